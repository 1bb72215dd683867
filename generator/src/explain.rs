//! The path of a packet: where pf sees it on macOS, what the rules do with it there, and what in the declaration
//! asked for that.
//!
//! It exists because 'why does this not connect?' has an answer that spans two lo0 hooks or a bridge and an egress, a
//! translation, a rule and a line of the user's Nix source. It asks twice, on different paths: the bytes of the
//! anchor say what happens, the policy says what was declared, and where the two differ it says so. Sees: place,
//! input, model, plan, packets, reach, pf, others. Never: reads a file, asks the Mac, or knows how a rule is written.

mod apart;
mod asker;
mod end;
mod hop;
mod live;
mod names;
mod opening;
mod reason;
mod survey;
mod text;
mod way;

use std::fmt;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::loading::{self, Interfaces};
use crate::model::Declaration;
use crate::pf::Environment;
use crate::pf::syntax::Ruleset;
use crate::plan::Plan;

pub use end::{End, Examples, Service, examples};
pub use hop::{Hop, RESET, RuleAt, Through, UNREACHABLE};
pub use live::{Captured, Refused};
pub use opening::{Opening, opening};
pub use reason::{Declared, Reason};
pub use survey::{Answers, Fate, Part, Path, Protocol, Survey, is_survey, survey};

/// The main ruleset that macOS ships in `/etc/pf.conf`: it calls what is loaded below `com.apple`, and filters
/// nothing itself.
pub const STOCK_MAIN: &str = "\
scrub-anchor \"com.apple/*\"
nat-anchor \"com.apple/*\"
rdr-anchor \"com.apple/*\"
dummynet-anchor \"com.apple/*\"
anchor \"com.apple/*\"
";

/// The interface that is asked as the way out where nobody names one.
pub const WAY_OUT: &str = "en0";

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who opens.
    pub source: &'a str,
    /// Who is to be reached, followed by `:PORT` where the protocol has ports.
    pub destination: &'a str,
    /// A protocol's name or number.
    pub protocol: Option<&'a str>,
    /// The egress interface.
    pub egress: &'a str,
}

/// What the rules are.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The anchor as it was rendered.
    pub anchor: &'a str,
    /// What errors and explanations call it.
    pub name: &'a str,
    /// What a Mac really holds, if that was captured.
    pub captured: &'a [Captured],
}

/// The answer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explanation {
    /// The packet and its answer both get through.
    pub passes: bool,
    /// The same in words, with the place where it ends.
    pub verdict: String,
    /// Who opens.
    pub source: End,
    /// The endpoints that they reach.
    pub destination: End,
    /// The protocol and the port.
    pub service: Service,
    /// Where pf sees the packet, until something blocks it.
    pub packet: Vec<Hop>,
    /// Where pf sees the answer.
    pub answer: Vec<Hop>,
    /// What pipes add to the time of a round trip; none where they are not met, or nothing comes back.
    pub added: Option<Added>,
    /// What macOS itself refuses, whatever pf says.
    pub refused: Option<String>,
    /// The rules and the declaration say different things: a mistake in this program, or in a captured ruleset
    /// the work of another.
    pub disagreements: Vec<String>,
    /// Whether a captured ruleset was asked.
    pub live: bool,
    /// What was taken for granted.
    pub notes: Vec<String>,
    /// What cannot be known here.
    pub unknown: String,
}

/// Milliseconds that pipes add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// On the way there.
    pub there_ms: u32,
    /// On the way back.
    pub back_ms: u32,
    /// On both.
    pub round_trip_ms: u32,
}

impl Added {
    fn of(packet: &[Hop], answer: &[Hop]) -> Option<Self> {
        let is_met = packet.iter().chain(answer).any(|hop| !hop.pipes.is_empty());
        let [there_ms, back_ms] = [packet, answer].map(|hops| hops.iter().map(Hop::delay).sum());
        is_met.then_some(Self { there_ms, back_ms, round_trip_ms: there_ms + back_ms })
    }
}

/// A question that has no answer: what is wrong with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Wrong {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why there is no explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The question makes no sense.
    Question(Wrong),
    /// Rules that pf would refuse, one by one.
    Rules(Vec<Refused>),
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Self::Question(wrong)
    }
}

/// Explains the path of a packet and of its answer.
///
/// # Errors
/// A question that makes no sense, or rules that cannot be read.
pub fn explain(
    declaration: &Declaration,
    plan: &Plan,
    rules: &Rules,
    question: &Question,
) -> Result<Explanation, Error> {
    let asked = end::asked(&end::Resolver::new(plan), question)?;
    let way = way::way(plan, &asked)?;
    let (egress, address) = (&asked.egress, asked.egress_address);
    let mut explainer = Explainer::load(declaration, plan, rules, egress, address).map_err(Error::Rules)?;
    Ok(explainer.explained(asked, way))
}

/// The rules that are asked, as they were read: what plays them needs no text.
#[derive(Debug)]
pub struct Read {
    /// By path; the main ruleset's is empty.
    pub rulesets: Vec<(String, Ruleset)>,
    /// The interfaces that captured rules of ours were loaded for.
    pub names: Option<Interfaces>,
}

/// The rules that a question is asked of.
///
/// # Errors
/// A question that makes no sense, or rules that cannot be read.
pub fn read(plan: &Plan, rules: &Rules, question: &Question) -> Result<Read, Error> {
    let asked = end::asked(&end::Resolver::new(plan), question)?;
    let environment = environment(plan, &asked.egress, asked.egress_address);
    let loaded = live::load(plan, rules, &environment).map_err(Error::Rules)?;
    Ok(Read { rulesets: loaded.read, names: loaded.names })
}

/// The ways out that a captured anchor of ours was loaded for; none where nothing tells.
pub fn ways_out(plan: &Plan, rules: &Rules) -> Vec<String> {
    live::ways_out(plan, rules, &environment(plan, WAY_OUT, examples(plan).mac))
}

/// Rules that are loaded once, to answer many questions.
struct Explainer<'a> {
    declaration: &'a Declaration,
    plan: &'a Plan,
    loaded: live::Loaded,
    live: bool,
}

impl<'a> Explainer<'a> {
    /// Loads the rules on a Mac that has this address on the interface that leads outside.
    fn load(
        declaration: &'a Declaration,
        plan: &'a Plan,
        rules: &Rules,
        egress: &str,
        address: Ipv4Addr,
    ) -> Result<Self, Vec<Refused>> {
        let environment = environment(plan, egress, address);
        let loaded = live::load(plan, rules, &environment)?;
        Ok(Self { declaration, plan, loaded, live: !rules.captured.is_empty() })
    }

    /// The answer to a question with the same way out, as if no packet had been there before.
    fn explained(&mut self, asked: end::Asked, way: way::Way) -> Explanation {
        let Self { declaration, plan, loaded, live } = self;
        loaded.machine.forget();
        let judge = hop::Judge { declaration, plan, asked: &asked };
        let (packet, answer) = judge.both_ways(loaded, &way);
        let disagreements = packet.iter().chain(&answer).filter_map(|hop| hop.disagreement.clone()).collect();
        let passes = way.refused.is_none() && packet.iter().chain(&answer).all(Hop::passes);
        let mut notes = asked.notes.clone();
        notes.extend(way.notes(plan, &asked));
        notes.extend(own_source(declaration, &asked, &packet));
        notes.extend(loaded.notes.iter().cloned());
        Explanation {
            added: Added::of(&packet, &answer).filter(|_| passes),
            passes,
            verdict: verdict(way.refused.as_deref(), &packet, &answer),
            source: asked.source,
            destination: asked.destination,
            service: asked.service,
            packet,
            answer,
            refused: way.refused,
            disagreements,
            live: *live,
            notes,
            unknown: unknown(*live),
        }
    }
}

impl Explanation {
    /// Whether rules and declaration say the same, where only ours are asked.
    pub fn agrees(&self) -> bool {
        self.live || self.disagreements.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        text::text(self)
    }
}

/// Says that a link's masquerade is not this packet's: from a guest to a volume that this Mac serves nothing leaves by
/// an interface, which is where macOS translates.
fn own_source(declaration: &Declaration, asked: &end::Asked, packet: &[Hop]) -> Option<String> {
    if !matches!(asked.source.at, end::At::Bridge(_)) || !asked.destination.at.is_here() {
        return None;
    }
    let covers = packet.first()?.reason.as_ref()?.declared.iter();
    let mut masqueraded = declaration.links.iter().filter(|link| link.masquerade).map(|link| link.index);
    let paths: Vec<&str> = covers.map(|declared| declared.path.as_str()).collect();
    let index = masqueraded.find(|index| paths.contains(&format!("links.{index}").as_str()))?;
    Some(format!(
        "links.{index} masquerades what leaves by an interface, and this ends where it comes in: {} sees the source {}",
        asked.destination.name, asked.source.address
    ))
}

/// A Mac with an address on the interface that leads outside.
fn environment(plan: &Plan, egress: &str, address: Ipv4Addr) -> Environment {
    let mut environment = Environment::default();
    environment.macros.extend(loading::logical_bridges(plan));
    environment.macros.insert(loading::EGRESS.to_owned(), egress.to_owned());
    environment.add_address(egress, address.into(), 24);
    environment
}

fn verdict(refused: Option<&str>, packet: &[Hop], answer: &[Hop]) -> String {
    let blocked = |hops: &[Hop]| {
        let (index, hop) = hops.iter().enumerate().find(|(_, hop)| !hop.passes())?;
        let (number, way, how) = (index + 1, hop.direction.word(), hop.answered.unwrap_or("silently"));
        Some(format!("blocked at hop {number} ({way} {}), {how}", hop.interface))
    };
    blocked(packet)
        .or_else(|| refused.map(|_| "refused by macOS, regardless of pf".to_owned()))
        .or_else(|| Some(format!("passes, but its answer is {}", blocked(answer)?)))
        .unwrap_or_else(|| "passes, and so does the answer".to_owned())
}

fn unknown(live: bool) -> String {
    let others = if live {
        "what changed since the capture"
    } else {
        "what other anchors say (`--ruleset` takes a capture)"
    };
    format!("routes, whether the network is up on this Mac, and {others}")
}
