//! Rulesets: what a load accepts and what the kernel keeps.

use std::net::IpAddr;

use nixvol_net::pf::eval::{Machine, Outcome, Packet, Shaping};
use nixvol_net::pf::syntax::Block;
use nixvol_net::pf::{Environment, Names};

use crate::dummynet::Pipe;
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
    let mut environment = environment(kernel);
    environment.macros = defines.iter().cloned().collect();
    match nixvol_net::pf::parse(text, &environment) {
        Ok(ruleset) => Ok(Ruleset::kept(&nixvol_net::pf::print(&ruleset, Names::MacOs))),
        Err(errors) => {
            let first = errors.first();
            Err(first.map_or((0, String::new()), |error| (error.line, error.message.clone())))
        }
    }
}

fn environment(kernel: &Kernel) -> Environment {
    let mut environment = Environment { interfaces: Vec::new(), ..Environment::default() };
    for interface in &kernel.interfaces {
        for address in &interface.addresses {
            environment.add_address(&interface.name, IpAddr::V4(address.ip), address.len);
        }
    }
    environment
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
    let environment = environment(kernel);
    let mut machine = Machine::new(environment.interfaces.clone());
    for (path, kept) in &kernel.anchors {
        if let Ok(ruleset) = nixvol_net::pf::parse(&kept.source(), &environment) {
            machine.load(path, &ruleset);
        }
    }
    for packet in packets {
        let packet: Packet = serde_json::from_str(packet).expect("a packet of the toy");
        let answer = machine.eval(&packet);
        for verdict in answer.verdicts() {
            if let Some((rule, label)) =
                verdict.rule.as_ref().and_then(|rule| Some((rule, rule.label.as_ref()?)))
            {
                *kernel.counts.entry((rule.anchor.to_string(), label.to_string())).or_default() += 1;
            }
            let mut pipes = verdict.shaping.iter().filter_map(Shaping::number);
            if pipes.any(|number| kernel.pipes.get(&number).is_none_or(Pipe::drops_all)) {
                return (Way::Dropped, translated);
            }
            if verdict.action == Outcome::Block {
                let silent = matches!(verdict.reply, None | Some(Block::Drop));
                return (if silent { Way::Dropped } else { Way::Refused }, translated);
            }
            if verdict.before.source != verdict.after.source {
                translated = Some(verdict.after.source);
            }
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
