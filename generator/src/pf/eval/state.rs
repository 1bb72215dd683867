//! The state table.
//!
//! It exists because a state is found by two keys, one for each direction, that differ where a translation
//! stands between them; and because which parts of a key count depends on the protocol.
//! Sees: addresses and ports of conversations. Never: rules, except to remember which made a state.

use std::collections::HashMap;

use super::address::Bits;
use super::flow::Flow;
use super::loaded::NameId;
use super::packet::{ICMP, TCP, UDP};
use super::rule::{CompiledRule, RuleId};
use super::tcp::Peer;
use crate::pf::syntax::{Direction, EndpointKind, Family};

/// An address and a port, or an identifier, or nothing.
pub(super) type End = (Bits, u16);

/// The variants of UDP states, from the strictest.
pub(super) const VARIANTS: [u8; 3] = [1, 2, 3];

/// The variant that `extfilter` asks for.
pub(super) fn variant(kind: EndpointKind) -> u8 {
    match kind {
        EndpointKind::AddressPortDependent => 1,
        EndpointKind::AddressDependent => 2,
        EndpointKind::EndpointIndependent => 3,
    }
}

/// What a state is about: the inner end as the inside and as the outside know it, and the outer end likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub family: Family,
    pub protocol: u8,
    pub variant: u8,
    pub direction: Direction,
    pub lan: End,
    pub gateway: End,
    pub outside_lan: End,
    pub outside_gateway: End,
}

impl Key {
    /// A packet of this state needs to be rewritten.
    pub fn translates(&self) -> bool {
        self.lan != self.gateway
    }

    fn lan_side(&self) -> Find {
        Find::new(self.family, self.protocol, self.variant, self.lan, self.outside_lan)
    }

    fn gateway_side(&self) -> Find {
        Find::new(self.family, self.protocol, self.variant, self.gateway, self.outside_gateway)
    }
}

/// What counts of one side of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Find {
    family: Family,
    protocol: u8,
    variant: u8,
    near: End,
    far: End,
}

impl Find {
    pub fn new(family: Family, protocol: u8, variant: u8, near: End, far: End) -> Self {
        let (variant, near, far) = match protocol {
            TCP => (0, near, far),
            ICMP => (0, near, (far.0, 0)),
            UDP if variant >= VARIANTS[2] && family == Family::Inet => (variant, near, (0, 0)),
            UDP if variant >= VARIANTS[1] => (variant, near, (far.0, 0)),
            UDP => (variant, near, far),
            _ => (0, (near.0, 0), (far.0, 0)),
        };
        Self { family, protocol, variant, near, far }
    }
}

/// A question about the outside: would a reply to this be taken for another conversation's?
pub(super) struct Probe {
    pub family: Family,
    pub protocol: u8,
    pub variant: u8,
    pub gateway: End,
    pub outside: End,
}

/// A state.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The interface that it is bound to; none where it floats.
    pub interface: Option<NameId>,
    /// The filter rule that made it; none where none matched.
    pub rule: Option<CompiledRule>,
    /// The translation rule that made it.
    pub translation: Option<CompiledRule>,
    /// The tag of its packets; 0 is none.
    pub tag: NameId,
    /// Where `route-to` and `reply-to` sent its first packet.
    pub routed_to: Option<NameId>,
    /// The end that opened it, and the other.
    pub peers: [Peer; 2],
    key: usize,
}

impl State {
    pub fn new(rule: Option<CompiledRule>, translation: Option<CompiledRule>, opener: Peer) -> Self {
        Self {
            interface: None,
            rule,
            translation,
            tag: 0,
            routed_to: None,
            peers: [opener, Peer::silent()],
            key: usize::MAX,
        }
    }

    /// A packet going out has left by another interface than this, and passes as it is.
    pub fn is_routed_past(&self, direction: Direction, interface: NameId) -> bool {
        use crate::pf::syntax::RouteKind::{Reply, To};
        let Some(rule) = self.rule.as_ref().filter(|_| direction == Direction::Out) else {
            return false;
        };
        let kind = rule.syntax.route.as_ref().map(|route| route.kind);
        let opened = matches!(
            (kind, rule.direction),
            (Some(To), Some(Direction::Out)) | (Some(Reply), Some(Direction::In))
        );
        opened && self.routed_to.is_some_and(|to| to != interface)
    }
}

/// The state table.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    /// In order of their making; removed ones leave a gap.
    entries: Vec<Option<State>>,
    keys: Vec<(Key, Vec<usize>)>,
    by_lan: HashMap<Find, usize>,
    by_gateway: HashMap<Find, usize>,
    of_rule: HashMap<RuleId, u32>,
}

impl States {
    /// The state of a packet in this direction on this interface.
    pub fn find(&self, direction: Direction, find: &Find, interface: NameId) -> Option<usize> {
        let tree = match direction {
            Direction::Out => &self.by_lan,
            Direction::In => &self.by_gateway,
        };
        let (_, states) = self.keys.get(*tree.get(find)?)?;
        let fits = |at: &&usize| {
            let state = self.entries.get(**at).and_then(Option::as_ref);
            state.is_some_and(|state| state.interface.is_none_or(|bound| bound == interface))
        };
        states.iter().find(fits).copied()
    }

    pub fn get(&self, at: usize) -> Option<(&State, &Key)> {
        let state = self.entries.get(at)?.as_ref()?;
        Some((state, &self.keys.get(state.key)?.0))
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut State> {
        self.entries.get_mut(at)?.as_mut()
    }

    /// How many states a rule has.
    pub fn count(&self, rule: RuleId) -> u32 {
        self.of_rule.get(&rule).copied().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// Whether nobody outside speaks with this end yet.
    pub fn is_free(&self, probe: &Probe) -> bool {
        let find = Find::new(probe.family, probe.protocol, probe.variant, probe.gateway, probe.outside);
        !self.by_gateway.contains_key(&find)
    }

    /// The outer port of the first state that a translation rule made for the source of a packet.
    pub fn binding(&self, rule: RuleId, protocol: u8, flow: &Flow, far: Option<Bits>) -> Option<u16> {
        let inner = (flow.source, flow.header.source);
        self.entries.iter().flatten().find_map(|state| {
            let (key, _) = self.keys.get(state.key)?;
            let fits = state.translation.as_ref().is_some_and(|made_by| made_by.id == rule)
                && (key.protocol, key.family) == (protocol, flow.family)
                && key.lan == inner
                && far.is_none_or(|far| key.outside_lan.0 == far);
            fits.then_some(key.gateway.1)
        })
    }

    /// Adds a state; false where its place is taken, and then the packet is dropped.
    pub fn insert(&mut self, key: Key, mut state: State) -> bool {
        let at = self.entries.len();
        let rule = state.rule.as_ref().map(|rule| rule.id);
        if let Some(&known) = self.by_lan.get(&key.lan_side()) {
            let bound = state.interface;
            let same = &mut self.keys[known].1;
            let is_taken =
                |at: &usize| self.entries[*at].as_ref().is_some_and(|other| other.interface == bound);
            if same.iter().any(is_taken) {
                return false;
            }
            // Bound states are looked at before floating ones.
            same.insert(if bound.is_none() { same.len() } else { 0 }, at);
            state.key = known;
        } else {
            if self.by_gateway.contains_key(&key.gateway_side()) {
                return false;
            }
            state.key = self.keys.len();
            self.by_lan.insert(key.lan_side(), state.key);
            self.by_gateway.insert(key.gateway_side(), state.key);
            self.keys.push((key, vec![at]));
        }
        self.entries.push(Some(state));
        if let Some(rule) = rule {
            *self.of_rule.entry(rule).or_default() += 1;
        }
        true
    }

    /// Removes a state, and its key with the last state of it.
    pub fn remove(&mut self, at: usize) {
        let Some(state) = self.entries.get_mut(at).and_then(Option::take) else {
            return;
        };
        if let Some(count) = state.rule.and_then(|rule| self.of_rule.get_mut(&rule.id)) {
            *count = count.saturating_sub(1);
        }
        let Some((key, states)) = self.keys.get_mut(state.key) else {
            return;
        };
        states.retain(|other| *other != at);
        if states.is_empty() {
            self.by_lan.remove(&key.lan_side());
            self.by_gateway.remove(&key.gateway_side());
        }
    }
}
