//! Answers questions about one packet each, from rules that are loaded once.

use std::net::Ipv4Addr;

use super::end::{Asked, At};
use super::explanation::{Added, Explanation};
use super::hop::{ExplainedHook, HookEvaluator};
use super::live::{ExplainedRules, Loaded, RefusedStatement, load};
use super::question::Wrong;
use super::way::Way;
use crate::loading;
use crate::model::Declaration;
use crate::pf::Environment;
use crate::plan::Plan;

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

/// Rules that are loaded once to answer many questions.
pub(super) struct Explainer<'a> {
    pub(super) declaration: &'a Declaration,
    plan: &'a Plan,
    pub(super) loaded: Loaded,
    pub(super) live: bool,
}

impl<'a> Explainer<'a> {
    /// Loads the rules for a Mac with this address on this egress interface.
    pub(super) fn load(
        declaration: &'a Declaration,
        plan: &'a Plan,
        rules: &ExplainedRules,
        egress: &str,
        address: Ipv4Addr,
    ) -> Result<Self, Vec<RefusedStatement>> {
        let environment = environment(plan, egress, address);
        let loaded = load(plan, rules, &environment)?;
        Ok(Self { declaration, plan, loaded, live: !rules.captured.is_empty() })
    }

    /// The answer to a question about the same egress interface. It starts with an empty state table.
    pub(super) fn explained(&mut self, asked: Asked, way: Way) -> Explanation {
        let Self { declaration, plan, loaded, live } = self;
        loaded.machine.forget();
        let judge = HookEvaluator { declaration, plan, asked: &asked };
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

/// A note if a link's masquerade does not apply to the packet: from a guest to a volume that this Mac serves, it leaves
/// by no interface, which is where macOS translates.
fn own_source(declaration: &Declaration, asked: &Asked, packet: &[ExplainedHook]) -> Option<String> {
    if !matches!(asked.source.at, At::Bridge(_)) || !asked.destination.at.is_here() {
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
pub(super) fn environment(plan: &Plan, egress: &str, address: Ipv4Addr) -> Environment {
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
