//! The state table.
//!
//! It exists because a state is found by one of two keys, one for each direction, which differ if there is a
//! translation, and because the relevant parts of a key depend on the protocol. Sees: addresses and ports of flows,
//! and the time it is given. Never: rules, except to remember which one created a state.

use std::collections::{BTreeMap, HashMap};

use super::address::Bits;
use super::flow::Flow;
use super::limits::{INTERVAL, LOOKS, Limits};
use super::name::NameId;
use super::packet::{ESP, ICMP, TCP, UDP};
use super::rule::{CompiledRule, RuleId};
use super::tcp::{self, Peer};
use crate::pf::syntax::{Direction, EndpointKind, Family};

/// An address with a port, with an ICMP identifier, or with 0.
pub(super) type End = (Bits, u16);

/// The variants of UDP states, the strictest first.
pub(super) const VARIANTS: [u8; 3] = [1, 2, 3];

/// The variant for an `extfilter` option.
pub(super) fn variant(kind: EndpointKind) -> u8 {
    match kind {
        EndpointKind::AddressPortDependent => 1,
        EndpointKind::AddressDependent => 2,
        EndpointKind::EndpointIndependent => 3,
    }
}

/// The key of a state: the inner endpoint as seen from inside (`lan`) and from outside (`gateway`), and the outer
/// likewise.
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
    pub spi: Indices,
}

/// The SPIs of an ESP state, one for each direction; 0 until a packet has shown it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Indices {
    /// The SPI of outgoing packets.
    pub outward: u32,
    /// The SPI of incoming packets.
    pub inward: u32,
}

impl Key {
    /// Whether packets of this state are translated.
    pub fn translates(&self) -> bool {
        self.lan != self.gateway
    }

    fn lan_side(&self) -> Find {
        let find = Find::new(self.family, self.protocol, self.variant, self.lan, self.outside_lan);
        find.with_spi(self.spi.outward)
    }

    fn gateway_side(&self) -> Find {
        let find = Find::new(self.family, self.protocol, self.variant, self.gateway, self.outside_gateway);
        find.with_spi(self.spi.inward)
    }
}

/// A lookup key: the parts of one side of a [`Key`] that matter for its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Find {
    family: Family,
    protocol: u8,
    variant: u8,
    near: End,
    far: End,
    spi: u32,
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
        Self { family, protocol, variant, near, far, spi: 0 }
    }

    /// The same key for an ESP packet with this SPI.
    pub fn with_spi(self, spi: u32) -> Self {
        Self { spi, ..self }
    }
}

/// The outer side of a new flow, to check whether its replies would match another flow's state.
pub(super) struct Probe {
    pub family: Family,
    pub protocol: u8,
    pub variant: u8,
    pub gateway: End,
    pub outside: End,
    pub spi: u32,
}

/// A state.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The interface that it is bound to; `None` if it floats.
    pub interface: Option<NameId>,
    /// The filter rule that created it; `None` if no rule matched.
    pub rule: Option<CompiledRule>,
    /// The translation rule that created it.
    pub translation: Option<CompiledRule>,
    /// The tag of its packets; 0 is none.
    pub tag: NameId,
    /// The interface that `route-to` or `reply-to` chose for its first packet.
    pub routed_to: Option<NameId>,
    /// The peer that opened it, and the other one.
    pub peers: [Peer; 2],
    key: usize,
    /// Its place in the order of creation.
    serial: u64,
    /// For protocols other than TCP, pf's state of each peer: 0 not seen, 1 single, 2 multiple.
    heard: [u8; 2],
    /// When its last packet passed, in seconds.
    touched: u64,
    /// The name of its timeout (`pfctl -s timeouts`).
    timeout: &'static str,
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
            serial: 0,
            heard: [1, 0],
            touched: 0,
            timeout: "",
        }
    }

    /// The name of the timeout that applies to it now.
    fn timeout_of(&self, protocol: u8, is_new: bool) -> &'static str {
        let both_heard_twice = self.heard == [2, 2];
        match (protocol, is_new) {
            (TCP, true) => "tcp.first",
            (TCP, false) => tcp::timeout(&self.peers),
            (ICMP, true) => "icmp.first",
            (ICMP, false) => "icmp.error",
            (UDP, true) => "udp.first",
            (UDP, false) if both_heard_twice => "udp.multiple",
            (UDP, false) => "udp.single",
            (ESP, true) => "esp.first",
            (ESP, false) if both_heard_twice => "esp.established",
            (ESP, false) => "esp.initiating",
            (_, true) => "other.first",
            (_, false) if both_heard_twice => "other.multiple",
            (_, false) => "other.single",
        }
    }

    /// The value of a timeout in the options of the rule that created it; 0 if there is none.
    fn own(&self, name: &str) -> u64 {
        let timeouts = self.rule.as_ref().map(|rule| &rule.syntax.state_options.timeouts);
        let own = timeouts.and_then(|timeouts| timeouts.iter().find(|(known, _)| *known == name));
        own.map_or(0, |(_, seconds)| u64::from(*seconds))
    }

    /// Whether an outgoing packet is at another interface than the one that the rule routed it to: there it passes
    /// unchanged.
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

/// The key of [`States::binding`]: a translation rule, and the inner endpoint that it translated.
type Binding = (RuleId, u8, Family, End);

/// The state table.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    entries: Slots<State>,
    keys: Slots<(Key, Vec<usize>)>,
    by_lan: HashMap<Find, usize>,
    by_gateway: HashMap<Find, usize>,
    of_rule: HashMap<RuleId, u32>,
    /// The states of each binding, in the order of creation.
    bindings: HashMap<Binding, BTreeMap<u64, usize>>,
    made: u64,
    /// The current time in seconds; constant if the caller supplies no time.
    now: u64,
    /// All states in the order of creation, and which of them the purge checks next.
    order: BTreeMap<u64, usize>,
    looked_at: u64,
    limits: Limits,
}

/// A slab: things keep their index, and free indices are reused.
#[derive(Clone, Debug)]
struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn get(&self, at: usize) -> Option<&T> {
        self.places.get(at)?.as_ref()
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.places.get_mut(at)?.as_mut()
    }

    /// The index of the next thing added.
    fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.places.len())
    }

    fn add(&mut self, thing: T) -> usize {
        let at = self.next();
        if self.free.pop().is_some() {
            self.places[at] = Some(thing);
        } else {
            self.places.push(Some(thing));
        }
        at
    }

    fn take(&mut self, at: usize) -> Option<T> {
        let thing = self.places.get_mut(at)?.take()?;
        self.free.push(at);
        Some(thing)
    }

    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.places.iter().enumerate().filter_map(|(at, thing)| Some((at, thing.as_ref()?)))
    }
}

impl States {
    /// The state that matches a packet in this direction on this interface.
    pub fn find(&self, direction: Direction, find: &Find, interface: NameId) -> Option<usize> {
        let tree = match direction {
            Direction::Out => &self.by_lan,
            Direction::In => &self.by_gateway,
        };
        let (_, states) = self.keys.get(*tree.get(find)?)?;
        let fits = |at: &&usize| {
            let state = self.entries.get(**at);
            state.is_some_and(|state| state.interface.is_none_or(|bound| bound == interface))
        };
        states.iter().find(fits).copied()
    }

    pub fn get(&self, at: usize) -> Option<(&State, &Key)> {
        let state = self.entries.get(at)?;
        Some((state, &self.keys.get(state.key)?.0))
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut State> {
        self.entries.get_mut(at)
    }

    /// Number of states of a rule.
    pub fn count(&self, rule: RuleId) -> u32 {
        self.of_rule.get(&rule).copied().unwrap_or(0)
    }

    /// The keys of all states; of several states with one key, once for each.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().filter_map(|(_, state)| self.keys.get(state.key)).map(|(key, _)| key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no other state would match replies to this endpoint.
    pub fn is_free(&self, probe: &Probe) -> bool {
        let find = Find::new(probe.family, probe.protocol, probe.variant, probe.gateway, probe.outside);
        let find = find.with_spi(probe.spi);
        !self.by_gateway.contains_key(&find)
    }

    /// The external port of the first state that a translation rule created for the source of a packet.
    pub fn binding(&self, rule: RuleId, protocol: u8, flow: &Flow, far: Option<Bits>) -> Option<u16> {
        let inner = (flow.source, flow.header.source);
        let states = self.bindings.get(&(rule, protocol, flow.family, inner))?;
        states.values().find_map(|at| {
            let (_, key) = self.get(*at)?;
            far.is_none_or(|far| key.outside_lan.0 == far).then_some(key.gateway.1)
        })
    }

    /// Adds a state; false if its key is taken or the table is full, in which case the packet is dropped.
    pub fn insert(&mut self, key: Key, mut state: State) -> bool {
        if self.entries.len() >= self.limits.states {
            return false;
        }
        let at = self.entries.next();
        if let Some(&known) = self.by_lan.get(&key.lan_side()) {
            let bound = state.interface;
            let is_taken = |at: &usize| self.entries.get(*at).is_some_and(|other| other.interface == bound);
            let Some((_, same)) = self.keys.get_mut(known) else { return false };
            if same.iter().any(is_taken) {
                return false;
            }
            // States bound to an interface are tried before floating ones.
            same.insert(if bound.is_none() { same.len() } else { 0 }, at);
            state.key = known;
        } else {
            if self.by_gateway.contains_key(&key.gateway_side()) {
                return false;
            }
            state.key = self.keys.add((key, vec![at]));
            self.by_lan.insert(key.lan_side(), state.key);
            self.by_gateway.insert(key.gateway_side(), state.key);
        }
        self.made += 1;
        state.serial = self.made;
        (state.touched, state.timeout) = (self.now, state.timeout_of(key.protocol, true));
        if let Some(rule) = &state.rule {
            *self.of_rule.entry(rule.id).or_default() += 1;
        }
        if let Some(binding) = self.binding_of(&state) {
            self.bindings.entry(binding).or_default().insert(state.serial, at);
        }
        self.order.insert(state.serial, at);
        self.entries.add(state);
        true
    }

    fn binding_of(&self, state: &State) -> Option<Binding> {
        let (key, _) = self.keys.get(state.key)?;
        Some((state.translation.as_ref()?.id, key.protocol, key.family, key.lan))
    }

    /// Moves the remote endpoint of a UDP state with relaxed filtering to the latest one. The lookup keys stay valid:
    /// they leave out the parts that change here.
    pub fn follow(&mut self, at: usize, direction: Direction, far: End) {
        let Some(place) = self.entries.get(at).map(|state| state.key) else { return };
        let Some((key, _)) = self.keys.get_mut(place) else { return };
        if key.protocol != UDP || key.variant <= VARIANTS[0] {
            return;
        }
        let is_any_address = key.variant >= VARIANTS[2];
        let known = match direction {
            Direction::Out => &mut key.outside_lan,
            Direction::In => &mut key.outside_gateway,
        };
        *known = (if is_any_address { far.0 } else { known.0 }, far.1);
    }

    /// Sets the SPI of an ESP state that a packet in this direction has shown. If another state has it already, this
    /// state is removed, and the result is false.
    pub fn show_index(&mut self, at: usize, direction: Direction, spi: u32) -> bool {
        let Some(place) = self.entries.get(at).map(|state| state.key) else { return false };
        let Some((key, _)) = self.keys.get_mut(place) else { return false };
        let (tree, before, after) = match direction {
            Direction::Out => {
                let before = key.lan_side();
                key.spi.outward = spi;
                (&mut self.by_lan, before, key.lan_side())
            }
            Direction::In => {
                let before = key.gateway_side();
                key.spi.inward = spi;
                (&mut self.by_gateway, before, key.gateway_side())
            }
        };
        tree.remove(&before);
        if let Some(owner) = tree.get(&after).copied() {
            self.remove(at);
            // The lookup entry belongs to the other state.
            match direction {
                Direction::Out => self.by_lan.insert(after, owner),
                Direction::In => self.by_gateway.insert(after, owner),
            };
            return false;
        }
        tree.insert(after, place);
        true
    }

    /// Records that a packet of a state has passed, from the peer that opened it or from the other one.
    pub fn touch(&mut self, at: usize, from_opener: bool) {
        let Some(protocol) = self.get(at).map(|(_, key)| key.protocol) else { return };
        let now = self.now;
        if let Some(state) = self.entries.get_mut(at) {
            let [opener, other] = &mut state.heard;
            let (from, to) = if from_opener { (opener, other) } else { (other, opener) };
            *from = (*from).max(1);
            if *to == 1 {
                *to = 2;
            }
            (state.touched, state.timeout) = (now, state.timeout_of(protocol, false));
        }
    }

    /// Advances the clock, in seconds. Every second some of the states are checked, so that each is checked once in
    /// ten seconds; those that have expired are removed.
    pub fn tell_time(&mut self, now: u64) {
        // After this many seconds even a table full of expired states is empty.
        let from = self.now.max(now.saturating_sub(10 * INTERVAL));
        for second in from..now {
            self.now = second + 1;
            self.look(1 + self.entries.len() / LOOKS);
        }
        self.now = now;
    }

    /// An empty table with the same limits.
    pub fn emptied(&self) -> Self {
        Self { limits: self.limits.clone(), ..Self::default() }
    }

    /// Applies a `set timeout` or `set limit`.
    pub fn set(&mut self, name: &'static str, value: u32) {
        self.limits.set(name, value);
    }

    fn look(&mut self, count: usize) {
        for _ in 0..count {
            let next = self.order.range(self.looked_at..).next().or_else(|| self.order.iter().next());
            let Some((&serial, &at)) = next else { return };
            self.looked_at = serial + 1;
            if self.get(at).is_some_and(|(state, _)| self.expires(state) <= self.now) {
                self.remove(at);
            }
        }
    }

    /// When a state expires (`pf_state_expires`): the sooner, the fuller the table is.
    fn expires(&self, state: &State) -> u64 {
        let own = state.own(state.timeout);
        let lasts = if own > 0 { own } else { self.limits.timeout(state.timeout) };
        let own = (state.own("adaptive.start"), state.own("adaptive.end"));
        let ((start, end), states) = if own.0 > 0 {
            (own, state.rule.as_ref().map_or(0, |rule| u64::from(self.count(rule.id))))
        } else {
            let adaptive = (self.limits.timeout("adaptive.start"), self.limits.timeout("adaptive.end"));
            (adaptive, self.entries.len() as u64)
        };
        if end == 0 || states <= start || start >= end {
            state.touched + lasts
        } else if states < end {
            state.touched + lasts * (end - states) / (end - start)
        } else {
            self.now
        }
    }

    /// Removes the states for which `doomed` returns true, and returns their number.
    pub fn remove_all(&mut self, doomed: impl Fn(&State, &Key) -> bool) -> usize {
        let picks = |at: &usize| self.get(*at).is_some_and(|(state, key)| doomed(state, key));
        let doomed: Vec<usize> = self.entries.iter().map(|(at, _)| at).filter(picks).collect();
        for at in &doomed {
            self.remove(*at);
        }
        doomed.len()
    }

    /// Removes a state, and its key if no other state shares it.
    pub fn remove(&mut self, at: usize) {
        let Some(state) = self.entries.take(at) else {
            return;
        };
        self.order.remove(&state.serial);
        if let Some(binding) = self.binding_of(&state)
            && let Some(states) = self.bindings.get_mut(&binding)
        {
            states.remove(&state.serial);
            if states.is_empty() {
                self.bindings.remove(&binding);
            }
        }
        if let Some(count) = state.rule.and_then(|rule| self.of_rule.get_mut(&rule.id)) {
            *count = count.saturating_sub(1);
        }
        let Some((_, states)) = self.keys.get_mut(state.key) else {
            return;
        };
        states.retain(|other| *other != at);
        if states.is_empty()
            && let Some((key, _)) = self.keys.take(state.key)
        {
            self.by_lan.remove(&key.lan_side());
            self.by_gateway.remove(&key.gateway_side());
        }
    }
}
