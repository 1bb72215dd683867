//! The path of a packet: where pf sees it on macOS, what the rules do with it there, and what in the declaration
//! asked for that.
//!
//! It exists because the answer to 'why does this not connect?' spans two lo0 hooks or a bridge and an egress
//! interface, a translation, a rule and a line of the user's Nix source. Two independent sources are evaluated: the
//! bytes of the anchor for what happens, the policy for what was declared; where the two differ, the explanation
//! reports it. Sees: place, input, model, plan, packets, reach, pf, others. Never: reads a file, asks the Mac, or knows
//! how a rule is written.

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

pub use end::{Examples, QuestionEndpoint, Service, examples};
pub use hop::{ExplainedHook, RESET, RulePlace, Through, UNREACHABLE};
pub use live::{Captured, RefusedStatement};
pub use opening::{Opening, opening};
pub use reason::{DeclaredValue, PolicyReason};
pub use survey::{
    Protocol, SamplePath, ServiceOutcome, Survey, SurveyAnswers, SurveyOutcome, is_survey, survey,
};

/// The main ruleset that macOS ships in `/etc/pf.conf`: it calls what is loaded below `com.apple`, and filters
/// nothing itself.
pub const STOCK_MAIN: &str = "\
scrub-anchor \"com.apple/*\"
nat-anchor \"com.apple/*\"
rdr-anchor \"com.apple/*\"
dummynet-anchor \"com.apple/*\"
anchor \"com.apple/*\"
";

/// The egress interface that is assumed unless the user names one.
pub const WAY_OUT: &str = "en0";

/// A question: whether and how a packet gets from a source to a destination.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The endpoint that opens.
    pub source: &'a str,
    /// The endpoint to be reached, followed by `:PORT` if the protocol has ports.
    pub destination: &'a str,
    /// The name or number of the protocol; `None` means TCP with a port and ICMP without.
    pub protocol: Option<&'a str>,
    /// The egress interface.
    pub egress: &'a str,
}

/// The rules to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct ExplainedRules<'a> {
    /// The text of the anchor as rendered.
    pub anchor: &'a str,
    /// Its file name, for errors and explanations.
    pub name: &'a str,
    /// Captured output of `pfctl` on a Mac; empty to evaluate the rendered rules.
    pub captured: &'a [Captured],
}

/// The path of a packet and of its reply, hop by hop.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explanation {
    /// Whether both the packet and its reply get through.
    pub passes: bool,
    /// The verdict in words, with the hop that blocks, if any.
    pub verdict: String,
    /// The source.
    pub source: QuestionEndpoint,
    /// The destination.
    pub destination: QuestionEndpoint,
    /// The protocol and the destination port.
    pub service: Service,
    /// The hops of the packet, up to the one that blocks it.
    pub packet: Vec<ExplainedHook>,
    /// The hops of the reply; empty if the packet does not arrive.
    pub answer: Vec<ExplainedHook>,
    /// The delay that pipes add to a round trip; null if no pipe is on the path, or the round trip is not completed.
    pub added: Option<Added>,
    /// Why macOS itself does not deliver the packet, regardless of pf.
    pub refused: Option<String>,
    /// Differences between the rules and the declaration: a bug of this program, or with captured rules the effect of
    /// another program.
    pub disagreements: Vec<String>,
    /// Whether captured rules were evaluated.
    pub live: bool,
    /// Assumptions, and other facts of use to the reader.
    pub notes: Vec<String>,
    /// What cannot be known here.
    pub unknown: String,
}

/// The delay that pipes add, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// For the packet.
    pub there_ms: u32,
    /// For the reply.
    pub back_ms: u32,
    /// For both together.
    pub round_trip_ms: u32,
}

impl Added {
    fn of(packet: &[ExplainedHook], answer: &[ExplainedHook]) -> Option<Self> {
        let is_met = packet.iter().chain(answer).any(|hop| !hop.pipes.is_empty());
        let [there_ms, back_ms] = [packet, answer].map(|hops| hops.iter().map(ExplainedHook::delay).sum());
        is_met.then_some(Self { there_ms, back_ms, round_trip_ms: there_ms + back_ms })
    }
}

/// A question that cannot be answered: the reason, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong with the question.
    pub message: String,
    /// What to do about it.
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

/// Why a packet cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExplainError {
    /// The question cannot be answered.
    Question(Wrong),
    /// Statements that pf would refuse.
    Rules(Vec<RefusedStatement>),
}

impl From<Wrong> for ExplainError {
    fn from(wrong: Wrong) -> Self {
        Self::Question(wrong)
    }
}

/// Explains the path of a packet and of its reply.
///
/// # Errors
/// If the question cannot be answered, or the rules cannot be read.
pub fn explain(
    declaration: &Declaration,
    plan: &Plan,
    rules: &ExplainedRules,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let asked = end::asked(&end::Resolver::new(plan), question)?;
    let way = way::way(plan, &asked)?;
    let (egress, address) = (&asked.egress, asked.egress_address);
    let mut explainer =
        Explainer::load(declaration, plan, rules, egress, address).map_err(ExplainError::Rules)?;
    Ok(explainer.explained(asked, way))
}

/// The parsed rules that a question is about.
#[derive(Debug)]
pub struct Read {
    /// By anchor path; the main ruleset's is empty.
    pub rulesets: Vec<(String, Ruleset)>,
    /// The interfaces for which a captured anchor of ours was loaded.
    pub names: Option<Interfaces>,
}

/// Reads the rules that a question is about.
///
/// # Errors
/// If the question cannot be answered, or the rules cannot be read.
pub fn read(plan: &Plan, rules: &ExplainedRules, question: &Question) -> Result<Read, ExplainError> {
    let asked = end::asked(&end::Resolver::new(plan), question)?;
    let environment = environment(plan, &asked.egress, asked.egress_address);
    let loaded = live::load(plan, rules, &environment).map_err(ExplainError::Rules)?;
    Ok(Read { rulesets: loaded.read, names: loaded.names })
}

/// The egress interfaces for which a captured anchor of ours was loaded; empty if they cannot be told.
pub fn ways_out(plan: &Plan, rules: &ExplainedRules) -> Vec<String> {
    live::ways_out(plan, rules, &environment(plan, WAY_OUT, examples(plan).mac))
}

/// Rules that are loaded once to answer many questions.
struct Explainer<'a> {
    declaration: &'a Declaration,
    plan: &'a Plan,
    loaded: live::Loaded,
    live: bool,
}

impl<'a> Explainer<'a> {
    /// Loads the rules for a Mac with this address on this egress interface.
    fn load(
        declaration: &'a Declaration,
        plan: &'a Plan,
        rules: &ExplainedRules,
        egress: &str,
        address: Ipv4Addr,
    ) -> Result<Self, Vec<RefusedStatement>> {
        let environment = environment(plan, egress, address);
        let loaded = live::load(plan, rules, &environment)?;
        Ok(Self { declaration, plan, loaded, live: !rules.captured.is_empty() })
    }

    /// The answer to a question about the same egress interface. It starts with an empty state table.
    fn explained(&mut self, asked: end::Asked, way: way::Way) -> Explanation {
        let Self { declaration, plan, loaded, live } = self;
        loaded.machine.forget();
        let judge = hop::HookEvaluator { declaration, plan, asked: &asked };
        let (packet, answer) = judge.both_ways(loaded, &way);
        let disagreements = packet.iter().chain(&answer).filter_map(|hop| hop.disagreement.clone()).collect();
        let passes = way.refused.is_none() && packet.iter().chain(&answer).all(ExplainedHook::passes);
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
    /// Whether rules and declaration agree. Not checked for captured rules, which may contain another program's.
    pub fn agrees(&self) -> bool {
        self.live || self.disagreements.is_empty()
    }

    /// The explanation as text for a terminal.
    pub fn text(&self) -> String {
        text::text(self)
    }
}

/// A note if a link's masquerade does not apply to the packet: from a guest to a volume that this Mac serves, it leaves
/// by no interface, which is where macOS translates.
fn own_source(declaration: &Declaration, asked: &end::Asked, packet: &[ExplainedHook]) -> Option<String> {
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

/// The environment of a Mac with this address on this egress interface.
fn environment(plan: &Plan, egress: &str, address: Ipv4Addr) -> Environment {
    let mut environment = Environment::default();
    environment.macros.extend(loading::logical_bridges(plan));
    environment.macros.insert(loading::EGRESS.to_owned(), egress.to_owned());
    environment.add_address(egress, address.into(), 24);
    environment
}

fn verdict(refused: Option<&str>, packet: &[ExplainedHook], answer: &[ExplainedHook]) -> String {
    let blocked = |hops: &[ExplainedHook]| {
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
