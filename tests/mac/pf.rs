//! Rulesets: what a load accepts and what the kernel keeps. `tests/mac_pf` reads them and says what they do with a packet.

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::dummynet::Pipe;
use crate::escape::{escape, unescape};
use crate::kernel::Kernel;

/// The rules of one anchor, one line each, macros replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    lines: Vec<String>,
}

/// The sections of a ruleset, in the only order that macOS accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Table,
    Option,
    Normalization,
    Queueing,
    Translation,
    /// Apple's pfctl keeps dummynet rules in a list of their own; other pfctls have none.
    Dummynet,
    Filter,
}

impl Ruleset {
    /// A ruleset as it is stored on disk.
    pub fn kept(source: &str) -> Self {
        Self { lines: source.lines().map(str::to_owned).collect() }
    }

    pub fn source(&self) -> String {
        self.lines.iter().map(|line| line.clone() + "\n").collect()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn of(&self, wanted: Section) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(move |line| section(line) == Some(wanted))
    }

    /// The names of the tables.
    pub fn tables(&self) -> Vec<&str> {
        let name = |line| between(line, '<', '>');
        self.of(Section::Table).filter_map(name).collect()
    }

    /// The members of a table.
    pub fn table(&self, name: &str) -> Option<Vec<&str>> {
        let line = self.of(Section::Table).find(|line| between(line, '<', '>') == Some(name))?;
        let members = between(line, '{', '}').unwrap_or("");
        Some(members.split([',', ' ']).filter(|m| !m.is_empty()).collect())
    }

    /// The labels, in order, each once.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = Vec::new();
        for line in &self.lines {
            let label = line.split_once("label \"").and_then(|(_, rest)| rest.split('"').next());
            labels.extend(label.filter(|label| !labels.contains(label)));
        }
        labels
    }

    /// Removes the sections that `-F` names.
    pub fn flush(&mut self, drop: impl Fn(Section) -> bool) {
        self.lines.retain(|line| section(line).is_none_or(|s| !drop(s)));
    }
}

/// Parses a ruleset with the project's own reader; the error has the line and the message.
pub fn read(text: &str, kernel: &Kernel, defines: &[(String, String)]) -> Result<Ruleset, (u32, String)> {
    let mut question = addresses(kernel);
    for (name, value) in defines {
        let _ = writeln!(question, "define\t{name}\t{}", escape(value));
    }
    let _ = writeln!(question, "read\t{}", escape(text));
    let answer = ask(&question);
    match answer.strip_prefix("error\t").and_then(|error| error.trim_end().split_once('\t')) {
        Some((line, message)) => Err((line.parse().unwrap_or(0), unescape(message))),
        None => Ok(Ruleset::kept(&answer)),
    }
}

/// Asks the program that reads pf. Both have the same form: a line for each thing, its fields separated by tabs.
fn ask(question: &str) -> String {
    let program = env::current_exe().expect("the toy has a path").with_file_name("toymac-pf");
    let mut child = Command::new(program)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("toymac-pf runs");
    child.stdin.take().expect("its input").write_all(question.as_bytes()).expect("it reads the question");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "toymac-pf failed");
    String::from_utf8(output.stdout).expect("it answers in text")
}

fn addresses(kernel: &Kernel) -> String {
    let mut lines = String::new();
    for interface in &kernel.interfaces {
        for address in &interface.addresses {
            let _ = writeln!(lines, "address\t{}\t{}\t{}", interface.name, address.ip, address.len);
        }
    }
    lines
}

/// What pf did with a packet. `Through` is a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Through,
    /// Blocked with an answer to the sender.
    Refused,
    /// Blocked without an answer.
    Dropped,
}

/// Sends packets through an interface one after the other, and counts them by label. Returns the outcome of the last
/// one sent, and its source address after translation, if pf translated it.
pub fn send(kernel: &mut Kernel, interface: &str, packets: &[String]) -> (Way, Option<IpAddr>) {
    let mut translated = None;
    if !kernel.pf_enabled || kernel.skipped.iter().any(|skipped| skipped == interface) {
        return (Way::Through, translated);
    }
    let mut question = addresses(kernel);
    for (path, kept) in &kernel.anchors {
        let _ = writeln!(question, "anchor\t{path}\t{}", escape(&kept.source()));
    }
    for packet in packets {
        let _ = writeln!(question, "packet\t{packet}");
    }
    for line in ask(&question).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["label", anchor, label] => {
                *kernel.counts.entry(((*anchor).to_owned(), (*label).to_owned())).or_default() += 1;
            }
            ["pipe", number] => {
                let pipe = number.parse().ok().and_then(|number| kernel.pipes.get(&number));
                if pipe.is_none_or(Pipe::drops_all) {
                    return (Way::Dropped, translated);
                }
            }
            ["drop"] => return (Way::Dropped, translated),
            ["refuse"] => return (Way::Refused, translated),
            ["source", address] => translated = address.parse().ok(),
            other => unreachable!("toymac-pf says {other:?}"),
        }
    }
    (Way::Through, translated)
}

fn section(line: &str) -> Option<Section> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    Some(match first {
        "table" => Section::Table,
        "set" => Section::Option,
        "scrub" | "scrub-anchor" => Section::Normalization,
        "no" => match words.next() {
            Some("scrub") => Section::Normalization,
            Some("dummynet") => Section::Dummynet,
            _ => Section::Translation,
        },
        "altq" | "queue" => Section::Queueing,
        "dummynet" | "dummynet-anchor" => Section::Dummynet,
        "nat" | "rdr" | "binat" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => Section::Translation,
        "pass" | "block" | "anchor" | "antispoof" => Section::Filter,
        _ => return None,
    })
}

fn between(text: &str, open: char, close: char) -> Option<&str> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0)
}
