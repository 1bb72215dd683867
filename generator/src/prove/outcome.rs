//! The outcome of a packet at one of pf's hooks, in a form common to the rules, the policy and the evaluator.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::packets::{Map, Set, Space};
use crate::pf::eval::{Outcome as Action, StateUse, TranslationKind, Verdict as Kernel, Via};
use crate::pf::syntax::Block;
use crate::plan::policy::{PolicyVerdict, Refusal, Translation};

/// The outcome of a packet at one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookOutcome {
    /// The verdict.
    pub verdict: PolicyVerdict,
    /// The translation of its addresses, if it passes.
    pub translation: Option<Translation>,
}

impl HookOutcome {
    /// A verdict without translation.
    pub const fn plain(verdict: PolicyVerdict) -> Self {
        Self { verdict, translation: None }
    }

    /// The outcome of the evaluator's answer. `own` is the address of the egress interface, if the packet is on one.
    pub fn of(kernel: &Kernel, own: Option<Ipv4Addr>) -> Self {
        let verdict = match (kernel.action, kernel.reply) {
            (Action::Block, Some(Block::Drop) | None) => PolicyVerdict::Drop,
            (Action::Block, Some(Block::ReturnIcmp { icmp: _, icmp6: _ })) => {
                PolicyVerdict::Refuse(Refusal::Icmp)
            }
            (Action::Block, Some(Block::Return { icmp: _, icmp6: _ } | Block::ReturnRst { ttl: _ })) => {
                PolicyVerdict::Refuse(Refusal::Usual)
            }
            (Action::Pass, _) if kernel.state == StateUse::Created => PolicyVerdict::Pass,
            (Action::Pass, _) if kernel.via == Via::Default && kernel.translation.is_none() => {
                PolicyVerdict::Untouched
            }
            (Action::Pass, _) => PolicyVerdict::Carry,
        };
        let changed =
            kernel.translation.as_ref().filter(|_| verdict.passes()).map(|translation| translation.kind);
        let translation = match (changed, kernel.after.source, kernel.after.destination) {
            (Some(TranslationKind::Nat), IpAddr::V4(source), _) if Some(source) == own => {
                Some(Translation::EgressSource)
            }
            (Some(TranslationKind::Nat), IpAddr::V4(source), _) => Some(Translation::GatewaySource(source)),
            (Some(TranslationKind::Rdr | TranslationKind::Binat), _, IpAddr::V4(destination)) => {
                Some(Translation::Published(destination))
            }
            (Some(TranslationKind::Nat), IpAddr::V6(_), _)
            | (Some(TranslationKind::Rdr | TranslationKind::Binat), _, IpAddr::V6(_))
            | (None, _, _) => None,
        };
        Self { verdict, translation }
    }
}

/// Outcomes by number, shared by the rules and the policy; 0 is a packet that the network leaves untouched.
#[derive(Debug, Clone)]
pub struct Outcomes {
    all: Vec<HookOutcome>,
    numbers: HashMap<HookOutcome, u32>,
}

impl Default for Outcomes {
    fn default() -> Self {
        let mut outcomes = Self { all: Vec::new(), numbers: HashMap::new() };
        outcomes.number(HookOutcome::plain(PolicyVerdict::Untouched));
        outcomes
    }
}

impl Outcomes {
    /// The number of an outcome; a new one if it has none yet.
    ///
    /// # Panics
    /// If there are 2^31 outcomes.
    pub fn number(&mut self, outcome: HookOutcome) -> u32 {
        let all = &mut self.all;
        *self.numbers.entry(outcome).or_insert_with(|| {
            all.push(outcome);
            u32::try_from(all.len() - 1).expect("fewer than 2^31 outcomes")
        })
    }

    /// The outcome with a number.
    pub fn outcome(&self, number: u32) -> HookOutcome {
        self.all[number as usize]
    }

    /// The outcome with a number; `None` for the number of an undecided function.
    pub fn decided(&self, number: u32) -> Option<HookOutcome> {
        self.all.get(number as usize).copied()
    }

    /// The function that has one outcome everywhere.
    pub fn constant(&mut self, outcome: HookOutcome) -> Map {
        Map::constant(self.number(outcome))
    }

    /// The packets whose outcome is decided and satisfies a predicate.
    pub fn select(&self, space: &mut Space, map: Map, is_meant: impl Fn(HookOutcome) -> bool) -> Set {
        space.select(map, |number| self.decided(number).is_some_and(&is_meant))
    }

    /// An outcome as a function of packets: ICMP errors that pass create no state.
    pub fn of_packets(&mut self, space: &mut Space, outcome: HookOutcome, errors: Set) -> Map {
        let usual = self.constant(outcome);
        match stateless(outcome) {
            same if same == outcome => usual,
            stateless => {
                let stateless = self.constant(stateless);
                space.choose(errors, stateless, usual)
            }
        }
    }

    /// Applies the rule that ICMP errors create no state to a function of outcomes. Other values stay as they are.
    pub fn settled(&mut self, space: &mut Space, map: Map, errors: Set) -> Map {
        space.behind_addresses(map, &mut |diagrams, map| {
            diagrams.overlay(errors, map, map, &mut |number| {
                self.decided(number).map_or(number, |outcome| self.number(stateless(outcome)))
            })
        })
    }

    /// The function in which malformed packets are dropped, as pf does.
    pub fn without(&mut self, space: &mut Space, map: Map, malformed: Set) -> Map {
        let dropped = self.constant(HookOutcome::plain(PolicyVerdict::Drop));
        space.choose(malformed, dropped, map)
    }
}

/// The outcome for a packet that creates no state.
fn stateless(outcome: HookOutcome) -> HookOutcome {
    match outcome.verdict {
        PolicyVerdict::Pass => HookOutcome { verdict: PolicyVerdict::Carry, ..outcome },
        PolicyVerdict::Carry | PolicyVerdict::Refuse(_) | PolicyVerdict::Drop | PolicyVerdict::Untouched => {
            outcome
        }
    }
}
