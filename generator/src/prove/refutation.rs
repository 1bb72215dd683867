//! Why a proof failed: the differences between rules and policy, in words.

use std::fmt;

use super::packet;
use crate::pf::eval::Packet;
use crate::pf::{self, Position};
use crate::plan::policy::{Decision, PolicyVerdict, Refusal, Translation};

/// Why the bytes do not implement the declaration.
#[derive(Debug)]
pub enum Refutation {
    /// They are not a valid ruleset: pfctl would refuse to load them.
    Unreadable(Vec<pf::ParseError>),
    /// They cannot be proven, or treat some packet differently. Never empty.
    Violations(Vec<Violation>),
}

/// One way in which the rules differ from the policy.
#[derive(Debug, Clone)]
pub enum Violation {
    /// A statement that no proof can account for.
    Unprovable {
        /// Its place in the anchor.
        place: Position,
        /// What it is, as a clause.
        what: &'static str,
    },
    /// A packet that the rules treat differently than the policy.
    Packet(Box<Counterexample>),
    /// A packet that the rules send through the wrong pipes.
    Pipe(Box<WrongPipes>),
    /// Any other difference.
    Other(Box<ProofFinding>),
}

/// Something that the rules must not do, or must do and do not.
#[derive(Debug, Clone)]
pub struct ProofFinding {
    /// A packet that shows it, at one hook.
    pub packet: Option<Packet>,
    /// The difference, as a clause about the packet.
    pub what: String,
    /// The rule responsible: its line in the anchor and its canonical text.
    pub rule: Option<(u32, String)>,
}

/// A packet that goes through other pipes than the policy requires.
#[derive(Debug, Clone)]
pub struct WrongPipes {
    /// The packet, at one hook.
    pub packet: Packet,
    /// The number of the pipe that it should go through; `None` for no pipe.
    pub expected: Option<u16>,
    /// The numbers of the pipes that it goes through, in order.
    pub found: Vec<u16>,
    /// The first rule that matches: its line in the anchor and its canonical text.
    pub rule: Option<(u32, String)>,
}

/// A packet that the rules treat differently than the policy.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The packet, at one hook.
    pub packet: Packet,
    /// The decision of the policy.
    pub expected: Decision,
    /// What the rules do.
    pub found: RuleOutcome,
}

/// What the rules do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOutcome {
    /// The rules' verdict.
    pub treatment: PolicyVerdict,
    /// The translation of its addresses.
    pub translation: Translated,
    /// The rule that decides, or else the one that translates: its line in the anchor and its canonical text.
    pub rule: Option<(u32, String)>,
}

/// How the rules translate a packet's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translated {
    /// Not at all.
    No,
    /// In a way that a policy can ask for.
    Known(Translation),
}

impl fmt::Display for Violation {
    /// One line: the packet, what the rules do, and what was declared.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprovable { place, what } => {
                write!(f, "line {}: {what}, which no proof accounts for", place.line)
            }
            Self::Packet(example) => example.fmt(f),
            Self::Pipe(example) => example.fmt(f),
            Self::Other(finding) => finding.fmt(f),
        }
    }
}

impl fmt::Display for ProofFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(packet) = &self.packet {
            write!(f, "{}: ", packet::describe(packet))?;
        }
        f.write_str(&self.what)?;
        match &self.rule {
            Some((line, rule)) => write!(f, " (line {line}: {rule})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the rules {}", packet::describe(&self.packet), self.found)?;
        match &self.found.rule {
            Some((line, rule)) => write!(f, " (line {line}: {rule})")?,
            None => f.write_str(" (no rule matches)")?,
        }
        write!(f, ", but it must be {}", self.expected)
    }
}

impl fmt::Display for WrongPipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the rules ", packet::describe(&self.packet))?;
        match self.found.as_slice() {
            [] if self.rule.is_some() => f.write_str("keep it out of all pipes, other anchors' too")?,
            [] => f.write_str("send it through no pipe")?,
            found => {
                let numbers: Vec<String> = found.iter().map(u16::to_string).collect();
                write!(f, "send it through pipe {}", numbers.join(" and then "))?;
            }
        }
        if let Some((line, rule)) = &self.rule {
            write!(f, " (line {line}: {rule})")?;
        }
        match self.expected {
            Some(pipe) => write!(f, ", but it must be pipe {pipe}"),
            None => f.write_str(", but it must be none"),
        }
    }
}

impl fmt::Display for RuleOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.treatment {
            PolicyVerdict::Pass => "pass it",
            PolicyVerdict::Carry => "pass it without a state",
            PolicyVerdict::Refuse(Refusal::Usual) => "refuse it with an answer",
            PolicyVerdict::Refuse(Refusal::Icmp) => "refuse it with an ICMP error",
            PolicyVerdict::Drop => "drop it silently",
            PolicyVerdict::Untouched => "leave it alone",
        })?;
        match self.translation {
            Translated::No => Ok(()),
            Translated::Known(translation) => write!(f, ", {translation}"),
        }
    }
}
