//! The proof: for every packet, the rendered rules do what the policy says.
//!
//! The bytes of an anchor are read back by the reader of pf, which shares no code with their writer, and held
//! against [`crate::plan::Policy`]. Nothing is sampled: packets that neither side can tell apart form a class, the
//! classes cover all packets, and one of each is put before both. A difference is a concrete packet.
//! Sees: plan, pf. Never: render.

mod classes;
mod compare;
mod limits;
mod space;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::pf::eval::{Machine, Packet};
use crate::pf::{self, Environment, Place};
use crate::plan::Plan;
use crate::plan::policy::{Answer, Decision, Translation, Verdict};

/// What was proven: how many classes of packets there are, each with one packet tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The number of classes.
    pub classes: usize,
    /// The number of rules that the kernel would hold.
    pub rules: usize,
}

/// Why the bytes are not what was declared.
#[derive(Debug)]
pub enum Refutation {
    /// They are no ruleset: pfctl would refuse to load them.
    Unreadable(Vec<pf::Error>),
    /// They are one that cannot be proven, or that does something else. Never empty.
    Violations(Vec<Violation>),
}

/// One way in which the rules differ from the policy.
#[derive(Debug, Clone)]
pub enum Violation {
    /// A statement that no proof can account for, at its line of the anchor.
    Unprovable {
        /// Where it stands.
        place: Place,
        /// What it is.
        what: &'static str,
    },
    /// A packet that the rules treat otherwise.
    Packet(Box<Counterexample>),
    /// A packet that they send through another pipe.
    Pipe(Box<Astray>),
}

/// A packet that goes through other pipes than the policy says.
#[derive(Debug, Clone)]
pub struct Astray {
    /// The packet, at one hook.
    pub packet: Packet,
    /// The number of the pipe that it should go through there.
    pub expected: Option<u16>,
    /// The numbers of those that it goes through.
    pub found: Vec<u16>,
    /// The rule that decides: its line in the anchor and its canonical text.
    pub rule: Option<(u32, String)>,
}

/// A packet that the rules treat otherwise than the policy says.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The packet, at one hook.
    pub packet: Packet,
    /// What the policy says.
    pub expected: Decision,
    /// What the rules do.
    pub found: Found,
}

/// What the rules do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whether it passes.
    pub treatment: Treatment,
    /// What becomes of its addresses.
    pub translation: Translated,
    /// The rule that decides, or that translates where none decides: its line in the anchor and its canonical text.
    pub rule: Option<(u32, String)>,
}

/// Whether a packet passes, as the rules have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Treatment {
    /// As the policy has it.
    Verdict(Verdict),
    /// It passes, but its answer does not come back.
    PassWithoutAnswer,
}

/// What the rules make of a packet's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translated {
    /// Nothing.
    No,
    /// What a policy can ask for.
    Known(Translation),
    /// Something else.
    Other {
        /// The source behind it.
        source: IpAddr,
        /// The destination behind it.
        destination: IpAddr,
    },
}

/// The name that stands for `$egress` in a proof.
pub const EGRESS: &str = "en0";

/// The machine on which an anchor is judged: lo0, and one interface that leads outside.
///
/// The outside interface has an address of documentation space that no provider has.
pub fn environment(plan: &Plan) -> (Environment, Ipv4Addr) {
    let free = |address: &Ipv4Addr| !plan.bridges.iter().any(|bridge| bridge.network.contains(address));
    let candidates =
        [[192, 0, 2, 10], [198, 51, 100, 10], [203, 0, 113, 10], [192, 88, 99, 10], [100, 64, 0, 10]];
    let address = candidates.into_iter().map(Ipv4Addr::from).find(free).unwrap_or(Ipv4Addr::BROADCAST);
    let mut environment = Environment::default();
    environment.add_address(EGRESS, address.into(), 24);
    environment.macros.insert("egress".to_owned(), EGRESS.to_owned());
    environment.macros.extend(crate::loading::logical_bridges(plan));
    (environment, address)
}

/// Proves that an anchor does what the plan's policy says, for all packets.
///
/// # Errors
/// Everything that speaks against it: at most one violation for each pair of a rule and a row of the policy.
pub fn prove(plan: &Plan, anchor: &str) -> Result<Proof, Refutation> {
    let (environment, egress) = environment(plan);
    let ruleset = pf::parse(anchor, &environment).map_err(Refutation::Unreadable)?;
    let unprovable = limits::unprovable(&ruleset);
    if !unprovable.is_empty() {
        return Err(Refutation::Violations(unprovable));
    }
    let rules = ruleset.rules.lists().iter().map(|list| list.len()).sum();
    let mut machine = Machine::new(environment.interfaces);
    machine.load("", &ruleset);
    let for_ipv6 = limits::for_ipv6(&machine);
    if !for_ipv6.is_empty() {
        return Err(Refutation::Violations(for_ipv6));
    }
    let outcome = classes::Classes::new(plan, machine, egress).compare();
    match outcome {
        Ok(classes) => Ok(Proof { classes, rules }),
        Err(violations) => Err(Refutation::Violations(violations)),
    }
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
        }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the rules {}", compare::describe(&self.packet), self.found)?;
        match &self.found.rule {
            Some((line, rule)) => write!(f, " (line {line}: {rule})")?,
            None => f.write_str(" (no rule matches)")?,
        }
        write!(f, ", but it must be {}", self.expected)
    }
}

impl fmt::Display for Astray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the rules ", compare::describe(&self.packet))?;
        match self.found.as_slice() {
            [] if self.rule.is_some() => f.write_str("keep it from all pipes, also those of others")?,
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

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.treatment {
            Treatment::Verdict(Verdict::Pass) => "pass it",
            Treatment::Verdict(Verdict::Carry) => "pass it without a state",
            Treatment::Verdict(Verdict::Refuse(Answer::Usual)) => "refuse it with an answer",
            Treatment::Verdict(Verdict::Refuse(Answer::Icmp)) => "refuse it with an ICMP error",
            Treatment::Verdict(Verdict::Drop) => "drop it in silence",
            Treatment::Verdict(Verdict::Untouched) => "leave it alone",
            Treatment::PassWithoutAnswer => "pass it, and block its answer",
        })?;
        match self.translation {
            Translated::No => Ok(()),
            Translated::Known(translation) => write!(f, ", {translation}"),
            Translated::Other { source, destination } => write!(f, ", as {source} to {destination}"),
        }
    }
}
