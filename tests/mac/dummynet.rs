//! `dnctl`: dummynet's pipes, which have no owner, and the rules that send packets into a pipe that does not exist.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::kernel::Kernel;
use crate::pf::Section;
use crate::{Answer, FORBIDDEN};

/// The kernel's value for a loss rate of 1.
const ALL: i64 = 0x7fff_ffff;
/// The highest rate, in bits per second: an `int` in the kernel.
const FASTEST: u64 = 0x7fff_ffff;

/// A pipe, in the units of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pipe {
    /// In milliseconds.
    pub delay: u32,
    /// Loss rate, as a fraction of [`ALL`].
    pub loss: i64,
    /// In bits per second; 0 is unlimited.
    pub rate: u64,
}

impl Pipe {
    /// Whether the pipe drops every packet.
    pub fn drops_all(&self) -> bool {
        self.loss == ALL
    }
}

pub fn run(kernel: &mut Kernel, args: &[&str]) -> Answer {
    if args.iter().any(|word| matches!(*word, "flush" | "-f")) {
        return Answer::fail(FORBIDDEN, "toymac: nobody may call dnctl flush here");
    }
    if kernel.uid != 0 {
        return Answer::fail(69, "dnctl: socket: Operation not permitted");
    }
    match args {
        ["list"] => list(kernel),
        ["pipe", "delete", number] | ["pipe", number, "delete"] => delete(kernel, number),
        ["pipe", number, "config", words @ ..] => match (pipe_number(number), config(words)) {
            (None, _) => Answer::fail(64, "dnctl: need a pipe number"),
            (_, Err(answer)) => answer,
            (Some(number), Ok(pipe)) => {
                kernel.pipes.insert(number, pipe);
                Answer::default()
            }
        },
        _ => Answer::fail(64, "toymac: dnctl knows no such use"),
    }
}

fn pipe_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|number| *number > 0)
}

/// The whole configuration of a pipe: what is not given becomes 0.
fn config(words: &[&str]) -> Result<Pipe, Answer> {
    let mut pipe = Pipe::default();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let Some(&value) = words.next() else {
            return Err(Answer::fail(64, format!("dnctl: {word} needs an argument")));
        };
        match word {
            "delay" => {
                let delay = value.parse().map_err(|_| Answer::fail(64, "toymac: a delay is a number"))?;
                pipe.delay = delay;
            }
            "plr" => {
                let loss: f64 = value.parse().map_err(|_| Answer::fail(64, "toymac: a loss is a number"))?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
                let loss = (loss.clamp(0.0, 1.0) * ALL as f64) as i64;
                pipe.loss = loss;
            }
            "bw" => pipe.rate = rate(value)?,
            _ => return Err(Answer::fail(64, format!("dnctl: unrecognised option ``{word}''"))),
        }
    }
    Ok(pipe)
}

/// Parses `100000Kbit/s`, `2Mbit/s`, `300bit/s`, or a plain number, into bits per second.
fn rate(text: &str) -> Result<u64, Answer> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "bit/s" => 1,
        "Kbit/s" => 1_000,
        "Mbit/s" => 1_000_000,
        _ => return Err(Answer::fail(64, format!("toymac: `{text}` is no bandwidth"))),
    };
    let number: u64 = digits.parse().map_err(|_| Answer::fail(64, "toymac: a bandwidth is a number"))?;
    match number * unit {
        rate if rate > FASTEST => Err(Answer::fail(65, "dnctl: bandwidth too large")),
        rate => Ok(rate),
    }
}

fn delete(kernel: &mut Kernel, number: &str) -> Answer {
    let Some(number) = pipe_number(number) else {
        return Answer::fail(64, "dnctl: need a pipe number");
    };
    if kernel.pipes.remove(&number).is_none() {
        let text = format!("dnctl: rule {number}: setsockopt(IP_DUMMYNET_DEL): Invalid argument");
        return Answer::fail(1, text);
    }
    Answer::default()
}

#[allow(clippy::cast_precision_loss)]
fn list(kernel: &Kernel) -> Answer {
    let mut answer = Answer::default();
    for (number, pipe) in &kernel.pipes {
        let rate = match pipe.rate {
            0 => "unlimited".to_owned(),
            rate @ 1_000_000.. => format!("{:7.3} Mbit/s", rate as f64 / 1_000_000.0),
            rate @ 1_000.. => format!("{:7.3} Kbit/s", rate as f64 / 1_000.0),
            rate => format!("{:7.3} bit/s ", rate as f64),
        };
        let loss = match pipe.loss {
            0 => String::new(),
            loss => format!("plr {:.6}", loss as f64 / ALL as f64),
        };
        let delay = pipe.delay;
        answer.say(format!("{number:05}: {rate} {delay:4} ms   50 sl.{loss} 0 queues (1 buckets) droptail"));
        answer.say("    mask: 0x00 0x00000000/0x0000 -> 0x00000000/0x0000");
    }
    answer
}

/// Every anchor with a rule that names a missing pipe, and the pipe's number; packets that match such a rule are
/// dropped.
pub fn black_holes(kernel: &Kernel) -> Vec<(String, u16)> {
    let rules = kernel
        .anchors
        .iter()
        .flat_map(|(anchor, ruleset)| ruleset.of(Section::Dummynet).map(move |line| (anchor.clone(), line)));
    let missing = |(anchor, line): (String, &str)| {
        let number = line.rsplit_once(" pipe ")?.1.split_whitespace().next()?.parse().ok()?;
        (!kernel.pipes.contains_key(&number)).then_some((anchor, number))
    };
    rules.filter_map(missing).collect()
}

/// Appends to the file `holes` the black holes that a command left: those that did not exist before it, and after a
/// load all of them. The record survives later commands and reboots.
pub fn record(root: &Path, known: &[(String, u16)], kernel: &Kernel, words: &[&str]) {
    let loads = words.contains(&"-f") && !words.contains(&"-n");
    for hole in black_holes(kernel) {
        if !loads && known.contains(&hole) {
            continue;
        }
        let (anchor, number) = hole;
        let file = OpenOptions::new().create(true).append(true).open(root.join("holes"));
        if let Ok(mut file) = file {
            let command = words.join(" ");
            let _ =
                writeln!(file, "{anchor} sends packets into pipe {number}, which is not there: {command}");
        }
    }
}
