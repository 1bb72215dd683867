//! The links of one side over the classes, and where the rows of two sides part.
//!
//! Two rows are compared as wholes: for each service, the destinations on the one side against those on the other.
//! So one changed link among a thousand costs its own ends, and not a thousand times a thousand pairs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::Side;
use super::space::{Class, Owner, Space};
use crate::model::{End, Name, PortSet, Protocol};
use crate::plan::policy::{ICMP, TCP, UDP};

/// What a link lets pass, and how, whoever its ends are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Manner {
    protocol: Option<Protocol>,
    ports: Option<PortSet>,
    /// The new source, where there is one.
    pub gateway: Option<Ipv4Addr>,
}

impl Manner {
    /// Whether it has a packet of this protocol and port.
    pub fn covers(&self, protocol: u8, port: u16) -> bool {
        let wanted = match self.protocol {
            None => self.ports.is_none() || matches!(protocol, TCP | UDP),
            Some(Protocol::Tcp) => protocol == TCP,
            Some(Protocol::Udp) => protocol == UDP,
            Some(Protocol::Icmp) => protocol == ICMP,
        };
        wanted && self.ports.as_ref().is_none_or(|ports| ports.contains(port))
    }

    /// Where its ranges of ports begin, and where they are left.
    pub fn cuts(&self) -> impl Iterator<Item = u32> {
        let ranges = self.ports.iter().flat_map(PortSet::ranges);
        ranges.flat_map(|range| [u32::from(range.first), u32::from(range.last) + 1])
    }
}

/// The manners of both sides, by number.
#[derive(Debug, Default)]
pub struct Manners {
    /// By number.
    pub all: Vec<Manner>,
    numbers: HashMap<Manner, u32>,
}

impl Manners {
    fn number(&mut self, manner: Manner) -> u32 {
        *self.numbers.entry(manner).or_insert_with_key(|manner| {
            self.all.push(manner.clone());
            u32::try_from(self.all.len() - 1).expect("fewer manners than addresses")
        })
    }
}

/// One direction of a link.
#[derive(Debug)]
struct Permission {
    manner: u32,
    to: Vec<Class>,
}

/// All links of one side.
#[derive(Debug)]
pub struct Links {
    permissions: Vec<Permission>,
    /// By class: the permissions that it may use, and those that lead to it; in order.
    from: Vec<Vec<u32>>,
    to: Vec<Vec<u32>>,
}

impl Links {
    /// The links of a side, its manners numbered.
    pub fn of(side: Side, index: usize, space: &Space, manners: &mut Manners) -> Self {
        let mut by_provider: HashMap<&Name, Vec<Class>> = HashMap::new();
        for class in space.all() {
            if let Some(provider) = space.facts(class).owner[index].provider() {
                by_provider.entry(provider).or_default().push(class);
            }
        }
        let volume = |name: &Name| space.class(side.declaration.volumes[name].address);
        let resolve = |ends: &BTreeSet<End>| -> Vec<Class> {
            let of_end = |end: &End| match end {
                End::Provider(name) => by_provider.get(name).cloned().unwrap_or_default(),
                End::Volume(name) => vec![volume(name)],
            };
            ends.iter().flat_map(of_end).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let count = space.classes.len();
        let mut links =
            Self { permissions: Vec::new(), from: vec![Vec::new(); count], to: vec![Vec::new(); count] };
        for link in &side.declaration.links {
            let (from, to) = (resolve(&link.from), resolve(&link.to));
            let mut add = |from: &[Class], to: &[Class]| {
                for (gateway, to) in by_gateway(side, index, space, link.masquerade, to) {
                    let manner = Manner { protocol: link.protocol, ports: link.ports.clone(), gateway };
                    links.add(manners.number(manner), from, to);
                }
            };
            add(&from, &to);
            if link.bidirectional {
                add(&to, &from);
            }
        }
        links
    }

    fn add(&mut self, manner: u32, from: &[Class], to: Vec<Class>) {
        let number = u32::try_from(self.permissions.len()).expect("fewer links than addresses");
        for class in from {
            self.from[*class as usize].push(number);
        }
        for class in &to {
            self.to[*class as usize].push(number);
        }
        self.permissions.push(Permission { manner, to });
    }

    /// The permissions that a class may use: equal lists are equal rows.
    pub fn row(&self, class: Class) -> &[u32] {
        &self.from[class as usize]
    }

    /// The manners in which one class may reach another, in order.
    pub fn manners(&self, from: Class, to: Class) -> Vec<u32> {
        let to = &self.to[to as usize];
        let both = self.row(from).iter().filter(|permission| to.binary_search(permission).is_ok());
        let set: BTreeSet<u32> =
            both.map(|permission| self.permissions[*permission as usize].manner).collect();
        set.into_iter().collect()
    }

    fn reach(&self, row: &[u32]) -> BTreeMap<u32, BTreeSet<Class>> {
        let mut reach: BTreeMap<u32, BTreeSet<Class>> = BTreeMap::new();
        for permission in row {
            let permission = &self.permissions[*permission as usize];
            reach.entry(permission.manner).or_default().extend(&permission.to);
        }
        reach
    }
}

/// Masqueraded traffic takes the gateway's address of whoever receives it: the destinations by that.
fn by_gateway(
    side: Side,
    index: usize,
    space: &Space,
    masquerade: bool,
    to: &[Class],
) -> Vec<(Option<Ipv4Addr>, Vec<Class>)> {
    if !masquerade {
        return vec![(None, to.to_vec())];
    }
    let mut parts: BTreeMap<Option<Ipv4Addr>, Vec<Class>> = BTreeMap::new();
    for class in to {
        let provider = space.facts(*class).owner[index].provider();
        let gateway = provider.map(|name| side.declaration.providers[name].gateway.addr());
        parts.entry(gateway).or_default().push(*class);
    }
    parts.into_iter().collect()
}

/// The destinations that a row of the old side reaches otherwise than one of the new side.
pub fn parting(old: (&Links, &[u32]), new: (&Links, &[u32])) -> BTreeSet<Class> {
    let (old, new) = (old.0.reach(old.1), new.0.reach(new.1));
    let nothing = BTreeSet::new();
    let manners: BTreeSet<&u32> = old.keys().chain(new.keys()).collect();
    let parts = manners.into_iter().flat_map(|manner| {
        let [old, new] = [&old, &new].map(|side| side.get(manner).unwrap_or(&nothing));
        old.symmetric_difference(new).copied().collect::<Vec<_>>()
    });
    parts.collect()
}

/// Whether a class became another kind of thing: where it stands, not what it is called.
pub fn moved(space: &Space, class: Class) -> bool {
    let [old, new] = &space.facts(class).owner;
    let place = |owner: &Owner| (matches!(owner, Owner::Loopback(_)), owner.range());
    place(old) != place(new)
}

/// Whether its network's way outside was opened or closed.
pub fn internet_changed(space: &Space, class: Class) -> bool {
    let internet = |owner: &Owner| matches!(owner, Owner::Network { internet: true, .. });
    let [old, new] = &space.facts(class).owner;
    internet(old) != internet(new)
}
