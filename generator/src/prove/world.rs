//! The machine that an anchor is proven for: it represents every Mac.
//!
//! The manager loads a line that names `$egress`, `$outside` or a bridge once for each such interface. The resulting
//! rules match only their interface ([`super::accept`] refuses any other), so what happens on an interface follows
//! from the lines without macros and from its own lines, in order, whatever other interfaces there are. So one world
//! represents all: two egress interfaces, another program's interface, every bridge, and an unknown interface that
//! appeared later. Where one of them is absent, so are its lines, and no packet crosses it.
//! The tunnel to other Macs is one interface. A rule for every interface but the tunnel is loaded without it too, with a
//! name that no interface has, so on every other interface it does the same.
//!
//! Addresses of the machine that a rule could use (`self`, `lo0`, `antispoof`) are replaced by addresses that no host
//! can have, so that a rule that uses them is exposed. An egress interface gets an address outside all networks, which
//! represents any: what the rules do with packets from and to all of these is part of the proof.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::loading::{self, Interfaces, LoadedAnchor};
use crate::packets::Space;
use crate::pf::Environment;
use crate::pf::environment::InterfaceInfo;
use crate::pf::syntax::{Position, Rule, RuleLists};
use crate::plan::Plan;
use crate::plan::policy::PolicyInterface;

/// The loopback interface.
pub const LOOPBACK: &str = "lo0";
/// Stand-ins for the machine's own addresses: reserved space, which no rule names by chance.
const MACHINE: [Ipv4Addr; 2] = [Ipv4Addr::new(247, 83, 151, 1), Ipv4Addr::new(247, 83, 151, 254)];
/// The name prefixes of the substituted interfaces: two for egress interfaces, one for bridges.
const KINDS: [&str; 3] = ["en", "utun", "bridge"];
const MACHINE_PREFIX: u8 = 24;
/// Candidate addresses for egress interfaces, from documentation space and the like.
const CANDIDATES: [[u8; 4]; 6] = [
    [192, 0, 2, 10],
    [198, 51, 100, 10],
    [203, 0, 113, 10],
    [192, 88, 99, 10],
    [100, 64, 0, 10],
    [198, 18, 0, 10],
];

/// An anchor as it is loaded on the machine that represents all.
#[derive(Debug, Clone)]
pub struct World {
    loaded: LoadedAnchor,
    /// The interfaces that are substituted for macros, each with its kind.
    kinds: BTreeMap<String, PolicyInterface>,
    /// The address of each egress interface.
    addresses: BTreeMap<String, Ipv4Addr>,
    environment_interfaces: Vec<InterfaceInfo>,
}

impl World {
    /// The world for an anchor of a plan.
    pub fn new(plan: &Plan, anchor: &str) -> Self {
        let names = Names::of(anchor);
        let one = |kind, first| names.units(kind, first).next().unwrap_or_default();
        let egress = [one(KINDS[0], 0), one(KINDS[1], 0)];
        let foreign = one(KINDS[2], 100);
        let mesh = names.units(KINDS[1], 0).nth(1).filter(|_| plan.mesh.is_some());
        let free = |address: &Ipv4Addr| !plan.bridges.iter().any(|bridge| bridge.network.contains(address));
        let mut free = CANDIDATES.into_iter().map(Ipv4Addr::from).filter(free);
        let addresses: BTreeMap<String, Ipv4Addr> =
            egress.iter().map(|name| (name.clone(), free.next().unwrap_or(MACHINE[1]))).collect();
        let mut kinds = BTreeMap::from([(LOOPBACK.to_owned(), PolicyInterface::Loopback)]);
        kinds.extend(egress.iter().map(|name| (name.clone(), PolicyInterface::Egress)));
        kinds.insert(foreign.clone(), PolicyInterface::Foreign);
        kinds.extend(mesh.iter().map(|name| (name.clone(), PolicyInterface::Mesh)));
        let mut bridges = BTreeMap::new();
        let units = names
            .units(KINDS[2], 2000)
            .zip(plan.bridges.iter().enumerate().filter(|(_, bridge)| bridge.is_here()));
        for (name, (index, bridge)) in units {
            kinds.insert(name.clone(), PolicyInterface::Bridge(index));
            bridges.insert(loading::bridge_macro(bridge.provider.as_str()), name);
        }
        let mut environment = Environment { interfaces: Vec::new(), ..Environment::default() };
        environment.add_address(LOOPBACK, MACHINE[0].into(), MACHINE_PREFIX);
        for (name, address) in &addresses {
            environment.add_address(name, (*address).into(), 24);
        }
        let [first, second] = egress;
        let outside = vec![first.clone(), second.clone(), foreign];
        let interfaces = Interfaces { egress: vec![first, second], outside, bridges, mesh, extfilter: false };
        let loaded = loading::load(anchor, &interfaces);
        Self { loaded, kinds, addresses, environment_interfaces: environment.interfaces }
    }

    /// The text that is loaded.
    pub fn text(&self) -> &str {
        &self.loaded.text
    }

    /// What a reader of the text must know of the machine: macros, interfaces, addresses.
    pub fn environment(&self) -> Environment {
        Environment {
            interfaces: self.environment_interfaces.clone(),
            hosts: BTreeMap::new(),
            ..Environment::default()
        }
    }

    /// The place in the anchor of something in the loaded text.
    pub fn origin(&self, place: Position) -> Position {
        Position { line: self.loaded.origin(place.line), ..place }
    }

    /// An error in the loaded text, moved to its place in the anchor.
    pub fn error_at_origin(&self, error: crate::pf::ParseError) -> crate::pf::ParseError {
        crate::pf::ParseError { line: self.loaded.origin(error.line), ..error }
    }

    /// A packet space that distinguishes every interface that the rules or the policy distinguish.
    pub fn space(&self, rules: &RuleLists) -> Space {
        let named =
            rules.lists().into_iter().flatten().filter_map(|rule| Some(&rule.interface.as_ref()?.name));
        Space::new(self.kinds.keys().chain(named).cloned())
    }

    /// The number of rules on a Mac with one egress interface and no interface of another program.
    pub fn count(&self, rules: &RuleLists) -> usize {
        let first = self.addresses.keys().next();
        let is_there = |rule: &&Rule| {
            let name = rule.interface.as_ref().map(|interface| &interface.name);
            name.is_none_or(|name| match self.kind(name) {
                PolicyInterface::Egress => Some(name) == first,
                PolicyInterface::Foreign => false,
                PolicyInterface::Loopback
                | PolicyInterface::Bridge(_)
                | PolicyInterface::Mesh
                | PolicyInterface::New => true,
            })
        };
        rules.lists().into_iter().flatten().filter(is_there).count()
    }

    /// The interfaces that the policy distinguishes, each with its kind.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, PolicyInterface)> {
        self.kinds.iter().map(|(name, kind)| (name.as_str(), *kind))
    }

    /// The kind of an interface, for the policy.
    pub fn kind(&self, name: &str) -> PolicyInterface {
        self.kinds.get(name).copied().unwrap_or(PolicyInterface::New)
    }

    /// The address of an egress interface.
    pub fn address_of(&self, interface: &str) -> Option<Ipv4Addr> {
        self.addresses.get(interface).copied()
    }

    /// Whether the name is substituted for a macro.
    pub fn is_put_in(&self, name: &str) -> bool {
        match self.kind(name) {
            PolicyInterface::Bridge(_)
            | PolicyInterface::Egress
            | PolicyInterface::Foreign
            | PolicyInterface::Mesh => true,
            PolicyInterface::Loopback | PolicyInterface::New => false,
        }
    }

    /// Whether an address in a rule is a stand-in for one of the machine's own.
    pub fn is_machines(&self, address: IpAddr) -> bool {
        let of_machine = |v4: Ipv4Addr| v4.octets()[..3] == MACHINE[0].octets()[..3];
        matches!(address, IpAddr::V4(v4) if of_machine(v4) || self.addresses.values().any(|own| *own == v4))
    }
}

/// The interface names that the anchor itself contains, so that none of them is substituted for a macro.
struct Names<'a>(BTreeSet<&'a [u8]>);

impl<'a> Names<'a> {
    fn of(text: &'a str) -> Self {
        let is_unit = |word: &&[u8]| {
            let letters = word.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            let (kind, unit) = word.split_at(letters);
            let is_number = !unit.is_empty() && unit.iter().all(u8::is_ascii_digit);
            is_number && KINDS.iter().any(|known| known.as_bytes() == kind)
        };
        Self(text.as_bytes().split(|byte| !byte.is_ascii_alphanumeric()).filter(is_unit).collect())
    }

    fn units(&self, kind: &'static str, first: usize) -> impl Iterator<Item = String> + '_ {
        (first..).map(move |unit| format!("{kind}{unit}")).filter(|name| !self.0.contains(name.as_bytes()))
    }
}
