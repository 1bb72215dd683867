//! The evaluator: what Apple's pf does with a packet.
//!
//! It exists so that a ruleset is judged by its decisions. It follows the kernel, oddities included, and never
//! fails: there is an answer for any rules and any packet. Simplified: states expire and fragments are dropped only
//! if the caller supplies the time, IKE and PPTP are distinguished by addresses and ports only, a SYN proxy is a
//! plain state, pipes delay nothing, `max-src-conn` does nothing, and random choices of the kernel are fixed, except
//! ports where the caller asks for it. Sees: rulesets as they were read, and packets. Never: text, files, or the
//! plan behind a ruleset.

mod address;
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
mod walk;

pub use address::{Bits, Ranges, address_of, bits_of, family_of};
pub use decide::Step;
pub use loaded::{List, Loaded, LoadedRuleset, TableId};
pub use packet::{
    ACK, ESP, Hook, ICMP, Inner, Ip, Packet, PacketError, Part, RST, SYN, Segment, TCP, Transport, UDP,
};
pub use rule::{AddressTest, Call, CompiledRule, Side};
pub use tables::Tables;
pub use verdict::{
    Answer, Detail, Form, Outcome, RuleRef, Scrubbed, Shaping, StateUse, TranslationKind, TranslationRef,
    Verdict, Via,
};

use std::net::IpAddr;

use self::decide::{emerge, enter, judge};
use self::flow::{Flow, Kind};
use self::loaded::{NameId, STRANGER};
use self::memory::Memory;
use self::state::Key;
use super::environment::{Environment, InterfaceInfo};
use super::syntax::{Direction, Ruleset, SetOption, SettingValue};

/// A machine with pf: interfaces, loaded rulesets, and states.
///
/// Load the main ruleset first and anchors after it, as the machine does: tables of the main ruleset that
/// nothing uses are gone by the time an anchor looks for them.
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
    /// A machine with nothing but the default environment's interfaces: lo0.
    fn default() -> Self {
        Self::new(Environment::default().interfaces)
    }
}

impl Machine {
    /// A machine with these interfaces and nothing loaded.
    pub fn new(interfaces: Vec<InterfaceInfo>) -> Self {
        Self { loaded: Loaded::new(interfaces), memory: Memory::default() }
    }

    /// Loads a ruleset at a path (empty for the main one), in place of what was there. States stay.
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

    /// What is loaded, for whoever reasons about all packets.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Puts other rules in place of a list of the main ruleset, tables and all else as they are: whoever knows
    /// which rules can match at all need not have the others looked at.
    pub fn replace(&mut self, list: List, rules: Vec<CompiledRule>) {
        self.loaded.replace(list, rules);
    }

    /// Makes an index of what is loaded, so that a packet is held against those rules only that can be about its
    /// addresses. It changes no answer, and is gone with the next [`Machine::load`].
    pub fn index(&mut self) {
        self.loaded.index();
    }

    /// Tells the time, in seconds from any moment: states that have lasted too long go. Without it none do.
    pub fn tell_time(&mut self, seconds: u64) {
        self.memory.states.tell_time(seconds);
        self.memory.fragments.tell_time(seconds);
    }

    /// Draws the ports that the kernel leaves to chance from a sequence. Without it all connections ask for the same.
    pub fn take_chances(&mut self, seed: u64) {
        self.memory.chance = Some(seed);
    }

    /// Removes the states that `doomed` picks by the ends that opened them and were opened, and says how many.
    pub fn kill(&mut self, doomed: impl Fn(&Conversation) -> bool) -> usize {
        self.memory.states.remove_all(|_, key| doomed(&Conversation::of(key)))
    }

    /// How many states there are.
    pub fn states(&self) -> usize {
        self.memory.states.len()
    }

    /// Forgets all states, and where pools stand.
    pub fn forget(&mut self) {
        self.memory.forget();
    }

    /// What pf makes of a packet, which may make states and meet those of earlier packets.
    pub fn eval(&mut self, packet: &Packet) -> Answer {
        for hook in &packet.hooks {
            self.loaded.names.intern(&hook.interface);
        }
        if let Some(tag) = &packet.tag {
            self.loaded.names.intern(tag);
        }
        run(&self.loaded, &mut self.memory, packet)
    }

    /// A packet that is about to be shown to pf, place by place.
    pub fn begin(&self, packet: &Packet) -> Passage {
        let hook = Hook { direction: Direction::In, interface: String::new() };
        let tag = packet.tag.as_deref().map_or(0, |tag| self.loaded.names.get(tag));
        Passage { flow: Flow::new(packet, &hook, STRANGER, tag) }
    }

    /// What pf makes of a packet in its next place, which sees it as the one before left it.
    pub fn pass(&mut self, passage: &mut Passage, direction: Direction, interface: &str) -> Verdict {
        let name = self.loaded.names.intern(interface);
        passage.flow.enter(direction, name);
        judge(&self.loaded, &mut self.memory, &mut passage.flow)
    }

    /// The first step of a packet in its next place, which sees it as the one before left it.
    pub fn enter(&mut self, passage: &mut Passage, direction: Direction, interface: &str) -> Step {
        let name = self.loaded.names.intern(interface);
        passage.flow.enter(direction, name);
        enter(&self.loaded, &mut self.memory, &mut passage.flow)
    }

    /// The next step of a packet that has come out of the pipe it was in, in the same place.
    pub fn emerge(&mut self, passage: &mut Passage) -> Step {
        emerge(&self.loaded, &mut self.memory, &mut passage.flow)
    }

    /// What pf makes of a packet that is the first it ever sees.
    pub fn decide(&self, packet: &Packet) -> Answer {
        run(&self.loaded, &mut Memory::default(), packet)
    }
}

/// A packet on its way from place to place.
#[derive(Clone, Debug)]
pub struct Passage {
    flow: Flow,
}

impl Passage {
    /// The packet as it is now.
    pub fn form(&self) -> Form {
        self.flow.form()
    }

    /// What normalization has changed in this place so far.
    pub fn scrubbed(&self) -> Scrubbed {
        self.flow.scrubbed
    }

    /// The bytes behind the IP header of the datagram that the packet has become in this place, if it has, and all its
    /// parts brought theirs.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        self.flow.payload.take()
    }

    /// What an ICMP error quotes, as it is now.
    pub fn quoted(&self) -> Option<Inner> {
        match self.flow.kind {
            Kind::Icmp { inner, .. } => inner,
            _ => None,
        }
    }
}

/// What a state is about, as it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// IANA's number; both kinds of ICMP are the first.
    pub protocol: u8,
    /// Which way its first packet went.
    pub direction: Direction,
    /// Who opened it, and from which port; before translation.
    pub source: (IpAddr, u16),
    /// Who was to be reached, and at which port; before translation.
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

/// The number of a hook's interface; unknown ones are distinguished inside one path.
fn interface_of(loaded: &Loaded, packet: &Packet, hook: &Hook) -> NameId {
    let known = loaded.names.get(&hook.interface);
    if known != STRANGER {
        return known;
    }
    let first = packet.hooks.iter().position(|other| other.interface == hook.interface);
    STRANGER.saturating_sub(first.and_then(|first| NameId::try_from(first).ok()).unwrap_or(0))
}

fn run(loaded: &Loaded, memory: &mut Memory, packet: &Packet) -> Answer {
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
        Some(single) if !packet.is_path => Answer::Single(single),
        last => {
            hops.extend(last);
            Answer::Path { action, hops }
        }
    }
}
