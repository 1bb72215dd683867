//! The policy: what happens to a packet, straight from the declaration.
//!
//! This is the table of what is permitted, read row by row, first match decides. It knows nothing of rules:
//! the rules are written from [`super::flows`], and the proof holds the one against the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::pipes::{self, FIRST};
use crate::model::{Declaration, End, Name, PortRange, PortSet, Protocol, VolumeAttachment};

/// Who may send what to whom.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Disjoint, in the order of their addresses.
    networks: Vec<Network>,
    volumes: BTreeMap<Ipv4Addr, Name>,
    links: Vec<Permission>,
    /// Links by the name of an end that may open them.
    by_source: BTreeMap<Name, Vec<usize>>,
    publishes: BTreeMap<(Ipv4Addr, u16), Ipv4Addr>,
    /// Every way that has conditions, in the order of the links.
    ways: Vec<Way>,
    /// Ways by the name of an end that sends.
    ways_by_source: BTreeMap<Name, Vec<usize>>,
    /// The link of each pipe, in the order of their numbers, which have no gaps.
    pipe_links: Vec<usize>,
    /// What the Mac itself has: its gateways, and the addresses of the volumes that it serves.
    here: BTreeSet<Ipv4Addr>,
}

/// One direction of a link that has conditions.
#[derive(Debug, Clone)]
struct Way {
    from: EndSet,
    to: EndSet,
    /// The addresses of `to`.
    destinations: Vec<Ipv4Net>,
    /// None where others have all its packets.
    pipe: Option<u16>,
}

#[derive(Debug, Clone)]
struct Network {
    provider: Name,
    range: Ipv4Net,
    gateway: Ipv4Addr,
    internet: bool,
}

/// One direction of a link.
#[derive(Debug, Clone)]
struct Permission {
    to: EndSet,
    /// The addresses of `to`.
    destinations: Vec<Ipv4Net>,
    protocol: Option<Protocol>,
    ports: Option<PortSet>,
    masquerade: bool,
    link: usize,
}

#[derive(Debug, Clone, Default)]
struct EndSet {
    providers: BTreeSet<Name>,
    volumes: BTreeSet<Name>,
}

/// A packet at one of pf's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Whether it comes in or goes out there.
    pub direction: Direction,
    /// Over what.
    pub interface: Interface,
    /// Its source.
    pub source: Ipv4Addr,
    /// Its destination.
    pub destination: Ipv4Addr,
    /// Its protocol, by IANA's number.
    pub protocol: u8,
    /// Its destination port, where the protocol has ports.
    pub port: u16,
    /// Whether it opens something: a TCP segment that is a SYN and no ACK, or anything that is not TCP.
    pub opening: bool,
}

/// The direction in which a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into the Mac.
    In,
    /// Out of it.
    Out,
}

/// The kinds of interface that the policy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// lo0: the Mac talks to itself.
    Loopback,
    /// One that leads outside and that NAT is loaded for.
    Egress,
    /// Any other, a provider's bridge among them.
    Other,
}

/// What happens to a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub verdict: Verdict,
    /// The row of the table that says so.
    pub because: Because,
    /// What becomes of its addresses.
    pub translation: Option<Translation>,
}

/// Whether a packet passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes, and so do the answers.
    Pass,
    /// It does not, and the sender is told (RST or ICMP).
    Refuse,
    /// It does not, in silence.
    Drop,
    /// It is none of ours: no rule of the anchor may match it.
    Untouched,
}

/// The row that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// Between a volume's network and 127.0.0.0/8.
    Loopback,
    /// Inside one provider.
    Within(Name),
    /// These links of the user's list cover it, by index.
    Links(Vec<usize>),
    /// No link covers it.
    NoLink,
    /// The provider reaches the world outside.
    Internet(Name),
    /// The provider does not.
    NoInternet(Name),
    /// The Mac itself talks to a volume.
    ThisMac,
    /// It comes from outside, and nobody asked for it.
    Outside,
    /// It has nothing to do with any volume.
    NotOurs,
}

/// A changed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// The source becomes the address of the interface that the packet leaves by.
    EgressSource,
    /// The source becomes the gateway of the receiving provider.
    GatewaySource(Ipv4Addr),
    /// The destination becomes the volume's address.
    Published(Ipv4Addr),
}

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

impl Policy {
    /// The policy of a declaration. `numbers` are those of [`pipes::Pipes`].
    pub fn of(declaration: &Declaration, numbers: &[Option<u16>]) -> Self {
        let mut networks: Vec<Network> = declaration
            .providers
            .iter()
            .map(|(name, provider)| Network {
                provider: name.clone(),
                range: provider.network,
                gateway: provider.gateway.addr(),
                internet: provider.internet,
            })
            .collect();
        networks.sort_by_key(|network| network.range.network());
        let mut links = Vec::new();
        let mut by_source: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        for link in &declaration.links {
            for (from, to) in link.directions() {
                for end in from {
                    by_source.entry(end.name().clone()).or_default().push(links.len());
                }
                links.push(Permission {
                    to: EndSet::of(to),
                    destinations: to.iter().map(|end| declaration.range(end)).collect(),
                    protocol: link.protocol,
                    ports: link.ports.clone(),
                    masquerade: link.masquerade,
                    link: link.index,
                });
            }
        }
        let mut publishes = BTreeMap::new();
        for volume in declaration.volumes.values() {
            for (alias, port) in
                volume.localhost.iter().flat_map(|alias| volume.publish.iter().map(|p| (*alias, *p)))
            {
                publishes.insert((alias, port), volume.address);
            }
        }
        let volumes =
            declaration.volumes.iter().map(|(name, volume)| (volume.address, name.clone())).collect();
        let (mut ways, mut pipe_links) = (Vec::new(), Vec::new());
        let mut ways_by_source: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        for (way, pipe) in pipes::ways(&declaration.links).into_iter().zip(numbers) {
            for end in way.from {
                ways_by_source.entry(end.name().clone()).or_default().push(ways.len());
            }
            ways.push(Way {
                from: EndSet::of(way.from),
                to: EndSet::of(way.to),
                destinations: way.to.iter().map(|end| declaration.range(end)).collect(),
                pipe: *pipe,
            });
            pipe_links.extend(pipe.map(|_| way.link.index));
        }
        let served = declaration.volumes.values().filter(|it| it.attachment == VolumeAttachment::Host);
        let gateways = networks.iter().map(|network| network.gateway);
        let here = gateways.chain(served.map(|volume| volume.address)).collect();
        Self { networks, volumes, links, by_source, publishes, ways, ways_by_source, pipe_links, here }
    }

    /// The pipe that a packet goes through at one of pf's hooks, by number.
    ///
    /// A packet goes through its pipe once: on its way out, or, where it never leaves because the Mac has its
    /// destination, as it comes in. What the Mac sends to itself on lo0 does both, and the way out counts.
    pub fn pipe(&self, packet: &Packet) -> Option<u16> {
        let is_last = match packet.direction {
            Direction::Out => true,
            Direction::In => {
                packet.interface != Interface::Loopback && self.here.contains(&packet.destination)
            }
        };
        if is_last { self.pipe_between(packet.source, packet.destination) } else { None }
    }

    /// The pipe from an address to an address. The narrower way counts, the sender's breadth before the receiver's, and
    /// of the same breadth the first.
    pub fn pipe_between(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Option<u16> {
        // Most declarations have none, and a proof asks about every class of packets.
        if self.ways.is_empty() {
            return None;
        }
        let (from, to) = (self.network(source)?, self.network(destination)?);
        if from.provider == to.provider {
            return None;
        }
        let breadth = |way: &&Way| {
            let sender = self.breadth(&way.from, from, source);
            let receiver = self.breadth(&way.to, to, destination);
            sender.zip(receiver)
        };
        let ways = self.ways_of(from, source).filter_map(|way| Some((breadth(&way)?, way)));
        ways.min_by_key(|(breadth, _)| *breadth).and_then(|(_, way)| way.pipe)
    }

    /// The link of the user's list whose conditions a pipe has, by index.
    pub fn link_of_pipe(&self, number: u16) -> Option<usize> {
        self.pipe_links.get(usize::from(number.checked_sub(FIRST)?)).copied()
    }

    /// Whether a packet stays inside one provider.
    pub fn is_within(&self, packet: &Packet) -> bool {
        match (self.network(packet.source), self.network(packet.destination)) {
            (Some(from), Some(to)) => from.provider == to.provider,
            _ => false,
        }
    }

    /// Whether ends hold an address by its provider (1), or by its volume (0).
    fn breadth(&self, ends: &EndSet, network: &Network, address: Ipv4Addr) -> Option<u8> {
        if ends.providers.contains(&network.provider) {
            return Some(1);
        }
        self.volumes.get(&address).filter(|volume| ends.volumes.contains(*volume)).map(|_| 0)
    }

    /// The ways that packets of a source in a network may take, in the order of the links.
    fn ways_of<'a>(&'a self, from: &Network, source: Ipv4Addr) -> impl Iterator<Item = &'a Way> {
        let of = |name: &Name| self.ways_by_source.get(name).map_or(&[][..], Vec::as_slice);
        let volume = self.volumes.get(&source).map_or(&[][..], of);
        let mut numbers: Vec<usize> = of(&from.provider).iter().chain(volume).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| &self.ways[number])
    }

    /// What happens to a packet that belongs to no state.
    pub fn decide(&self, packet: &Packet) -> Decision {
        let (source, destination) = (self.network(packet.source), self.network(packet.destination));
        let plain = |verdict, because| Decision { verdict, because, translation: None };
        if let (Some(published), Direction::In, Interface::Loopback) =
            (self.published(packet), packet.direction, packet.interface)
        {
            return Decision {
                translation: Some(Translation::Published(published)),
                ..plain(Verdict::Pass, Because::Loopback)
            };
        }
        match (source, destination) {
            (None, Some(_)) if LOOPBACK.contains(&packet.source) => plain(Verdict::Pass, Because::Loopback),
            (Some(from), Some(to)) if from.provider == to.provider => {
                plain(Verdict::Pass, Because::Within(from.provider.clone()))
            }
            (Some(from), Some(to)) => self.between(packet, from, to),
            (Some(from), None) => Self::outward(packet, from),
            (None, Some(_)) if packet.interface == Interface::Loopback => {
                plain(Verdict::Pass, Because::ThisMac)
            }
            (None, Some(_)) if packet.direction == Direction::In => plain(Verdict::Drop, Because::Outside),
            (None, Some(_) | None) => plain(Verdict::Untouched, Because::NotOurs),
        }
    }

    /// From a volume's network to what is nobody's.
    fn outward(packet: &Packet, from: &Network) -> Decision {
        let plain = |verdict, because| Decision { verdict, because, translation: None };
        if LOOPBACK.contains(&packet.destination) {
            return plain(Verdict::Pass, Because::Loopback);
        }
        if !from.internet {
            return plain(Verdict::Refuse, Because::NoInternet(from.provider.clone()));
        }
        let leaves = packet.direction == Direction::Out && packet.interface == Interface::Egress;
        let translation = leaves.then_some(Translation::EgressSource);
        Decision { translation, ..plain(Verdict::Pass, Because::Internet(from.provider.clone())) }
    }

    fn between(&self, packet: &Packet, from: &Network, to: &Network) -> Decision {
        let links: Vec<&Permission> =
            self.permissions(from, packet.source).filter(|link| self.covers(link, packet, to)).collect();
        let indices = || links.iter().map(|link| link.link).collect::<BTreeSet<_>>().into_iter().collect();
        let masquerade = packet.direction == Direction::Out && links.iter().any(|link| link.masquerade);
        if masquerade {
            // Translation comes first and makes it traffic inside the receiving provider, whatever its flags.
            let translation = Some(Translation::GatewaySource(to.gateway));
            return Decision { verdict: Verdict::Pass, because: Because::Links(indices()), translation };
        }
        let (verdict, because) = if links.is_empty() || !packet.opening {
            (Verdict::Refuse, Because::NoLink)
        } else {
            (Verdict::Pass, Because::Links(indices()))
        };
        Decision { verdict, because, translation: None }
    }

    /// The permissions of a source in a network.
    fn permissions<'a>(&'a self, from: &Network, source: Ipv4Addr) -> impl Iterator<Item = &'a Permission> {
        let of = |name: &Name| self.by_source.get(name).map_or(&[][..], Vec::as_slice);
        let volume = self.volumes.get(&source).map_or(&[][..], of);
        of(&from.provider).iter().chain(volume).map(|index| &self.links[*index])
    }

    fn covers(&self, link: &Permission, packet: &Packet, to: &Network) -> bool {
        let protocol = match link.protocol {
            _ if link.ports.is_some() && !matches!(packet.protocol, TCP | UDP) => false,
            None => true,
            Some(Protocol::Tcp) => packet.protocol == TCP,
            Some(Protocol::Udp) => packet.protocol == UDP,
            Some(Protocol::Icmp) => packet.protocol == ICMP,
        };
        protocol
            && link.ports.as_ref().is_none_or(|ports| ports.contains(packet.port))
            && self.holds(&link.to, to, packet.destination)
    }

    fn holds(&self, ends: &EndSet, network: &Network, address: Ipv4Addr) -> bool {
        ends.providers.contains(&network.provider)
            || self.volumes.get(&address).is_some_and(|volume| ends.volumes.contains(volume))
    }

    /// The network that an address lies in.
    fn network(&self, address: Ipv4Addr) -> Option<&Network> {
        let behind = self.networks.partition_point(|network| network.range.network() <= address);
        self.networks[..behind].last().filter(|network| network.range.contains(&address))
    }

    /// Every network and address that the policy tells apart. Two addresses that lie in the same ones are
    /// treated alike.
    pub fn constants(&self) -> Vec<Ipv4Net> {
        let networks = self.networks.iter().map(|network| network.range);
        let linked =
            |name: &&Name| self.by_source.contains_key(*name) || self.ways_by_source.contains_key(*name);
        let sources =
            self.volumes.iter().filter(|(_, name)| linked(name)).map(|(address, _)| (*address).into());
        let destinations = self.links.iter().flat_map(|link| link.destinations.iter().copied());
        let aliases = self.publishes.keys().map(|(alias, _)| (*alias).into());
        let here = self.here.iter().filter(|_| !self.ways.is_empty()).map(|address| (*address).into());
        let mut all: Vec<Ipv4Net> = networks
            .chain(sources)
            .chain(destinations)
            .chain(aliases)
            .chain(here)
            .chain([LOOPBACK])
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The sets of destinations that the policy tells apart for packets from `source`: each the union of some of
    /// its [`Policy::constants`].
    pub fn destinations_for(&self, source: Ipv4Addr) -> Vec<Vec<Ipv4Net>> {
        let mut sets = vec![vec![LOOPBACK], self.networks.iter().map(|network| network.range).collect()];
        sets.extend(self.publishes.keys().map(|(alias, _)| vec![(*alias).into()]));
        let Some(from) = self.network(source) else { return sets };
        sets.push(vec![from.range]);
        let mut by_service: BTreeMap<_, Vec<Ipv4Net>> = BTreeMap::new();
        for link in self.permissions(from, source) {
            let of_service = by_service.entry((link.protocol, &link.ports, link.masquerade)).or_default();
            of_service.extend(&link.destinations);
            // Masqueraded traffic takes the gateway of the network that receives it.
            if link.masquerade {
                let receivers = link.destinations.iter().filter_map(|range| self.network(range.network()));
                sets.extend(receivers.map(|network| vec![network.range]));
            }
        }
        sets.extend(by_service.into_values());
        let mut ways = self.ways_of(from, source).peekable();
        if ways.peek().is_some() {
            sets.push(self.here.iter().map(|address| (*address).into()).collect());
        }
        for way in ways {
            // Provider and volume differ in breadth.
            let is_single = |range: &&Ipv4Net| range.prefix_len() == 32;
            sets.push(way.destinations.iter().filter(is_single).copied().collect());
            sets.push(way.destinations.clone());
        }
        sets
    }

    /// The ranges of destination ports that the policy tells apart for packets from `source`.
    pub fn ports_for(&self, source: Ipv4Addr) -> Vec<PortRange> {
        let links = self.network(source).into_iter().flat_map(|from| self.permissions(from, source));
        let ranges = links.flat_map(|link| link.ports.iter().flat_map(PortSet::ranges)).copied();
        let published = self.publishes.keys().map(|(_, port)| PortRange { first: *port, last: *port });
        ranges.chain(published).collect()
    }

    fn published(&self, packet: &Packet) -> Option<Ipv4Addr> {
        let published = self.publishes.get(&(packet.destination, packet.port))?;
        (packet.protocol == TCP).then_some(*published)
    }
}

/// IANA's number of ICMP.
pub const ICMP: u8 = 1;
/// IANA's number of TCP.
pub const TCP: u8 = 6;
/// IANA's number of UDP.
pub const UDP: u8 = 17;

impl EndSet {
    fn of(ends: &BTreeSet<End>) -> Self {
        let mut set = Self::default();
        for end in ends {
            match end {
                End::Provider(name) => set.providers.insert(name.clone()),
                End::Volume(name) => set.volumes.insert(name.clone()),
            };
        }
        set
    }
}

impl fmt::Display for Decision {
    /// `passed, as 10.1.1.1: links.0 covers it`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Pass => "passed",
            Verdict::Refuse => "refused with an answer",
            Verdict::Drop => "dropped in silence",
            Verdict::Untouched => "left alone",
        })?;
        if let Some(translation) = self.translation {
            write!(f, ", {translation}")?;
        }
        write!(f, ": {}", self.because)
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EgressSource => f.write_str("from the address of the interface that it leaves by"),
            Self::GatewaySource(gateway) => write!(f, "from {gateway}"),
            Self::Published(address) => write!(f, "to {address}"),
        }
    }
}

impl fmt::Display for Because {
    /// The row of the table that decides, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("volumes and localhost reach each other"),
            Self::Within(provider) => write!(f, "it stays inside `{provider}`"),
            Self::Links(links) => {
                for (index, link) in links.iter().enumerate() {
                    write!(f, "{}links.{link}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(if links.len() == 1 { " covers it" } else { " cover it" })
            }
            Self::NoLink => f.write_str("no link covers it"),
            Self::Internet(provider) => write!(f, "`{provider}` reaches the world outside"),
            Self::NoInternet(provider) => write!(f, "`{provider}` has no internet"),
            Self::ThisMac => f.write_str("the Mac itself reaches every volume"),
            Self::Outside => f.write_str("nobody outside reaches a volume"),
            Self::NotOurs => f.write_str("it has nothing to do with any volume"),
        }
    }
}
