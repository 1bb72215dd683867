//! The evaluator: what Apple's pf decides about a packet.
//!
//! It exists so that a ruleset is judged by its decisions. It follows the kernel, oddities included, and never fails:
//! there is an answer for any rules and any packet. Simplified: states expire and fragments are dropped only if the
//! caller supplies the time, IKE and PPTP flows are distinguished by addresses and ports only, a SYN proxy is a plain
//! state, pipes delay nothing, `max-src-conn` does nothing, and random choices of the kernel are fixed, except ports
//! if the caller asks for it. Sees: parsed rulesets, and packets. Never: text, files, or the plan behind a ruleset.

mod address;
mod compile;
mod decide;
mod dummynet;
mod filter;
mod flow;
mod fragments;
mod index;
mod interface;
mod limits;
mod loaded;
mod memory;
mod name;
mod normalize;
mod packet;
mod pool;
mod reply;
mod rule;
mod state;
mod table;
mod tables;
mod tcp;
mod translate;
mod verdict;
mod visits;
mod walk;

pub use address::{Bits, Ranges, address_of, bits_of, family_of};
pub use decide::HookStep;
pub use loaded::{Loaded, LoadedRuleset};
pub use packet::{
    ACK, ESP, FragmentPart, Hook, ICMP, Inner, Ip, Packet, PacketError, RST, SYN, TCP, TcpSegment, Transport,
    UDP,
};
pub use rule::{AddressTest, Call, CompiledRule, HostTest, RuleList};
pub use tables::{TableId, Tables};
pub use verdict::{
    Detail, Form, Outcome, PathVerdicts, RuleRef, Scrubbed, Shaping, StateUse, TranslationKind,
    TranslationRef, Verdict, Via,
};

use std::net::IpAddr;

use self::decide::{emerge, enter, judge};
use self::flow::{Flow, Kind};
use self::memory::Memory;
use self::name::{NameId, STRANGER};
use self::state::Key;
use super::environment::{Environment, InterfaceInfo};
use super::syntax::{Direction, Ruleset, SetOption, SettingValue};

/// A pf instance: interfaces, loaded rulesets, and states.
///
/// Load the main ruleset first and anchors after it, as macOS does: an unused table of the main ruleset is gone by
/// the time an anchor refers to it.
///
/// ```
/// use nixvol_net::pf::eval::{Machine, Outcome, Packet};
/// use nixvol_net::pf::{Environment, parse};
///
/// let environment = Environment::default();
/// let ruleset = parse("block all\npass in proto tcp to port 80\n", &environment).unwrap();
/// let mut machine = Machine::new(environment.interfaces);
/// machine.load("", &ruleset);
/// let packet: Packet = serde_json::from_str(
///     r#"{"dir":"in","if":"en0","proto":"tcp","src":"10.0.0.1","sport":7,"dst":"10.0.0.2","dport":80}"#,
/// )
/// .unwrap();
/// let answer = machine.eval(&packet);
/// assert_eq!(answer.action(), Outcome::Pass);
/// assert_eq!(answer.verdicts()[0].rule.as_ref().unwrap().number, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Machine {
    loaded: Loaded,
    memory: Memory,
}

impl Default for Machine {
    /// A machine with the interfaces of the default environment (lo0), and no rules.
    fn default() -> Self {
        Self::new(Environment::default().interfaces)
    }
}

impl Machine {
    /// A machine with these interfaces and no rules.
    pub fn new(interfaces: Vec<InterfaceInfo>) -> Self {
        Self { loaded: Loaded::new(interfaces), memory: Memory::default() }
    }

    /// Loads a ruleset at an anchor path (empty for the main ruleset), replacing what was there. States stay.
    pub fn load(&mut self, path: &str, ruleset: &Ruleset) {
        self.loaded.load(path, ruleset);
        for setting in &ruleset.settings {
            if let SettingValue::Option(SetOption::Timeout(name, value) | SetOption::Limit(name, value)) =
                &setting.value
            {
                self.memory.states.set(name, *value);
            }
        }
    }

    /// The loaded rulesets and tables, for reasoning about all packets at once.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Replaces one list of the main ruleset; tables and everything else stay. It lets a caller that knows which
    /// rules can match at all leave out the others.
    pub fn replace(&mut self, list: RuleList, rules: Vec<CompiledRule>) {
        self.loaded.replace(list, rules);
    }

    /// Indexes the loaded rules by address, so that a packet is compared only with rules that can match its
    /// addresses. It changes no verdict; the next [`Machine::load`] discards it.
    pub fn index(&mut self) {
        self.loaded.index();
    }

    /// Advances the clock, in seconds from any origin: states expire. Without a call none does.
    pub fn tell_time(&mut self, seconds: u64) {
        self.memory.states.tell_time(seconds);
        self.memory.fragments.tell_time(seconds);
    }

    /// Makes the kernel's random choice of ports follow a pseudorandom sequence. Otherwise all connections start from
    /// the same port.
    pub fn take_chances(&mut self, seed: u64) {
        self.memory.chance = Some(seed);
    }

    /// Removes the states for which `doomed` returns true, and returns their number.
    pub fn kill(&mut self, doomed: impl Fn(&Conversation) -> bool) -> usize {
        self.memory.states.remove_all(|_, key| doomed(&Conversation::of(key)))
    }

    /// The flows that have a state, in no particular order.
    pub fn conversations(&self) -> impl Iterator<Item = Conversation> {
        self.memory.states.keys().map(Conversation::of)
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.memory.states.len()
    }

    /// Discards all states and fragments, and resets the positions of pools.
    pub fn forget(&mut self) {
        self.memory.forget();
    }

    /// Evaluates pf for a packet, which may create states and match those of earlier packets.
    pub fn eval(&mut self, packet: &Packet) -> PathVerdicts {
        for hook in &packet.hooks {
            self.loaded.names.intern(&hook.interface);
        }
        if let Some(tag) = &packet.tag {
            self.loaded.names.intern(tag);
        }
        run(&self.loaded, &mut self.memory, packet)
    }

    /// Prepares a packet for evaluation hook by hook.
    pub fn begin(&self, packet: &Packet) -> Passage {
        let hook = Hook { direction: Direction::In, interface: String::new() };
        let tag = packet.tag.as_deref().map_or(0, |tag| self.loaded.names.get(tag));
        Passage { flow: Flow::new(packet, &hook, STRANGER, tag) }
    }

    /// The verdict at the next hook of a packet, which sees it as the previous hook left it.
    pub fn pass(&mut self, passage: &mut Passage, direction: Direction, interface: &str) -> Verdict {
        let name = self.loaded.names.intern(interface);
        passage.flow.enter(direction, name);
        judge(&self.loaded, &mut self.memory, &mut passage.flow)
    }

    /// The first step at the next hook of a packet, which sees it as the previous hook left it.
    pub fn enter(&mut self, passage: &mut Passage, direction: Direction, interface: &str) -> HookStep {
        let name = self.loaded.names.intern(interface);
        passage.flow.enter(direction, name);
        enter(&self.loaded, &mut self.memory, &mut passage.flow)
    }

    /// The next step at the same hook, after the packet has left a pipe.
    pub fn emerge(&mut self, passage: &mut Passage) -> HookStep {
        emerge(&self.loaded, &mut self.memory, &mut passage.flow)
    }

    /// The verdict on a packet that finds no state: the first packet that pf sees.
    pub fn decide(&self, packet: &Packet) -> PathVerdicts {
        run(&self.loaded, &mut Memory::default(), packet)
    }
}

/// A packet on its path from hook to hook.
#[derive(Clone, Debug)]
pub struct Passage {
    flow: Flow,
}

impl Passage {
    /// The packet's current addresses and ports.
    pub fn form(&self) -> Form {
        self.flow.form()
    }

    /// What normalization has changed at this hook so far.
    pub fn scrubbed(&self) -> Scrubbed {
        self.flow.scrubbed
    }

    /// The payload of the reassembled datagram, if the packet completed one at this hook and all its fragments
    /// carried their bytes.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        self.flow.payload.take()
    }

    /// The packet quoted by an ICMP error, as it is now.
    pub fn quoted(&self) -> Option<Inner> {
        match self.flow.kind {
            Kind::Icmp { inner, .. } => inner,
            _ => None,
        }
    }
}

/// The flow of a state, as its first packet had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The IP protocol number; ICMPv6 counts as ICMP.
    pub protocol: u8,
    /// The direction of its first packet.
    pub direction: Direction,
    /// Address and port of the peer that opened it, before translation.
    pub source: (IpAddr, u16),
    /// Address and port of the destination, before translation.
    pub destination: (IpAddr, u16),
}

impl Conversation {
    fn of(key: &Key) -> Self {
        let end = |(bits, port)| (address_of(key.family, bits), port);
        let (source, destination) = match key.direction {
            Direction::Out => (key.lan, key.outside_lan),
            Direction::In => (key.outside_gateway, key.gateway),
        };
        let (protocol, direction) = (key.protocol, key.direction);
        Self { protocol, direction, source: end(source), destination: end(destination) }
    }
}

/// The number of a hook's interface. Unknown names get distinct numbers within one path.
fn interface_of(loaded: &Loaded, packet: &Packet, hook: &Hook) -> NameId {
    let known = loaded.names.get(&hook.interface);
    if known != STRANGER {
        return known;
    }
    let first = packet.hooks.iter().position(|other| other.interface == hook.interface);
    STRANGER.saturating_sub(first.and_then(|first| NameId::try_from(first).ok()).unwrap_or(0))
}

fn run(loaded: &Loaded, memory: &mut Memory, packet: &Packet) -> PathVerdicts {
    let tag = packet.tag.as_deref().map_or(0, |tag| loaded.names.get(tag));
    let mut hops = Vec::with_capacity(packet.hooks.len());
    let mut flow: Option<Flow> = None;
    for hook in &packet.hooks {
        let interface = interface_of(loaded, packet, hook);
        let mut here = match &flow {
            Some(flow) => flow.onward(hook, interface),
            None => Flow::new(packet, hook, interface, tag),
        };
        let verdict = judge(loaded, memory, &mut here);
        let is_blocked = verdict.action == Outcome::Block;
        hops.push(verdict);
        if is_blocked {
            break;
        }
        flow = Some(here);
    }
    let action = hops.last().map_or(Outcome::Pass, |verdict| verdict.action);
    match hops.pop() {
        Some(single) if !packet.is_path => PathVerdicts::Single(single),
        last => {
            hops.extend(last);
            PathVerdicts::Path { action, hops }
        }
    }
}
