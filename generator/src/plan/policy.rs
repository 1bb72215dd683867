//! The policy: what happens to a packet, directly from the declaration.
//!
//! It is a table of what is permitted, evaluated row by row; the first match decides. It knows nothing of rules: those
//! are made from [`super::flows`], and the proof compares the two.
//!
//! A decision is made at each hook at which pf sees the packet. Traffic of this Mac to itself is seen twice, `out` and
//! `in` on lo0. What no link covers passes `out` and is refused `in`: only there is its checksum complete, which macOS
//! requires to answer it.

mod mesh;
mod packet;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

pub use packet::{
    ACK, Because, Decision, ECHO, FIN, ICMP, ICMP_ERRORS, PUSH, PolicyDirection, PolicyInterface,
    PolicyPacket, PolicyVerdict, RST, Reassembly, Refusal, SYN, TCP, Translation, UDP, UNREACHABLE, URG,
};
pub use parts::{Ends, NetworkPart, Parts, PermissionPart, WayPart, number_of, ranges_of};

use super::pipes::FIRST;
use super::region::AddressRegion;
use crate::model::{Declaration, Endpoint, Link, Name, PortSet, Protocol, VolumeAttachment};

/// The policy of a declaration: which traffic is permitted.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Disjoint, sorted by address.
    networks: Vec<Network>,
    volumes: BTreeMap<Ipv4Addr, Name>,
    links: Vec<Permission>,
    /// The indices of permissions by the name of an endpoint that may open connections.
    by_source: BTreeMap<Name, Vec<usize>>,
    publishes: BTreeMap<(Ipv4Addr, u16), Ipv4Addr>,
    /// Every path that has conditions, in the order of links.
    ways: Vec<Way>,
    /// The indices of ways by the name of a sending endpoint.
    ways_by_source: BTreeMap<Name, Vec<usize>>,
    /// The index of the link of each pipe; pipes are numbered without gaps.
    pipe_links: Vec<usize>,
    /// The addresses that the Mac itself has: gateways, and volumes that it serves.
    here: BTreeSet<Ipv4Addr>,
    /// The same for each Mac that shares the declaration.
    served: Vec<BTreeSet<Ipv4Addr>>,
    /// The tunnel to the other Macs, if there are others.
    mesh: Option<Tunnel>,
}

/// The addresses of Macs in the tunnel that joins them.
#[derive(Debug, Clone)]
struct Tunnel {
    own: Ipv4Addr,
    others: BTreeSet<Ipv4Addr>,
}

/// One direction of a link that has conditions.
#[derive(Debug, Clone)]
struct Way {
    from: EndSet,
    to: EndSet,
    /// `None` if earlier ways of the same breadth cover all of its packets.
    pipe: Option<u16>,
}

#[derive(Debug, Clone)]
struct Network {
    provider: Name,
    /// The index of the provider's bridge in the plan.
    bridge: usize,
    region: AddressRegion,
    gateway: Ipv4Addr,
    internet: bool,
    /// Whether the provider is on this Mac.
    is_here: bool,
}

/// One direction of a link.
#[derive(Debug, Clone)]
struct Permission {
    to: EndSet,
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

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

impl Policy {
    /// The policy of a declaration. `numbers` are those of [`super::pipes::Pipes`].
    pub fn of(declaration: &Declaration, numbers: &[Option<u16>]) -> Self {
        let mut networks: Vec<Network> = declaration
            .providers
            .iter()
            .enumerate()
            .map(|(bridge, (name, provider))| Network {
                provider: name.clone(),
                bridge,
                region: AddressRegion::of(declaration, name),
                gateway: provider.gateway.addr(),
                internet: provider.internet,
                is_here: declaration.remote_mac(name).is_none(),
            })
            .collect();
        networks.sort_by_key(|network| network.region.network.network());
        let mut links = Vec::new();
        let mut by_source: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        for link in &declaration.links {
            // The endpoints are those of `directions`, and conditions those of the ways below.
            let Link { from: _, to: _, bidirectional: _, protocol, ports, masquerade, conditions: _, index } =
                link;
            for (from, to) in link.directions() {
                for end in from {
                    by_source.entry(end.name().clone()).or_default().push(links.len());
                }
                links.push(Permission {
                    to: EndSet::of(to),
                    protocol: *protocol,
                    ports: ports.clone(),
                    masquerade: *masquerade,
                    link: *index,
                });
            }
        }
        let mut publishes = BTreeMap::new();
        let is_here = |volume: &&crate::model::Volume| declaration.remote_mac(&volume.provider).is_none();
        for volume in declaration.volumes.values().filter(is_here) {
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
        for (way, pipe) in declaration.ways().into_iter().zip(numbers) {
            for end in &way.from {
                ways_by_source.entry(end.name().clone()).or_default().push(ways.len());
            }
            ways.push(Way { from: EndSet::of(&way.from), to: EndSet::of(&way.to), pipe: *pipe });
            pipe_links.extend(pipe.map(|_| way.link.index));
        }
        let served = served(declaration);
        let here = served.get(&declaration.mesh.as_ref().map(|mesh| &mesh.mac)).cloned().unwrap_or_default();
        let served = served.into_values().collect();
        let mesh = declaration.several_macs().map(|mesh| Tunnel {
            own: mesh.this().address,
            others: mesh.peers().map(|(_, mac)| mac.address).collect(),
        });
        Self {
            networks,
            volumes,
            links,
            by_source,
            publishes,
            ways,
            ways_by_source,
            pipe_links,
            here,
            served,
            mesh,
        }
    }

    /// The number of the pipe that a packet goes through at one of pf's hooks.
    ///
    /// A packet goes through its pipe once: on its way out, or, if the Mac itself has the destination, as it comes in.
    /// Traffic of the Mac to itself is seen in both directions on lo0; there it is on the way out.
    pub fn pipe(&self, packet: &PolicyPacket) -> Option<u16> {
        let is_last = match packet.direction {
            PolicyDirection::Out => true,
            PolicyDirection::In => {
                packet.interface != PolicyInterface::Loopback && self.here.contains(&packet.destination)
            }
        };
        if is_last { self.pipe_between(packet.source, packet.destination) } else { None }
    }

    /// The pipe from one address to another. Narrower paths take precedence, first by sender, then by receiver; of the
    /// same breadth, the first one.
    pub fn pipe_between(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Option<u16> {
        // A shortcut: most declarations have no conditions, and a proof asks for every class of packets.
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

    /// The index in the user's list of the link whose conditions a pipe has.
    pub fn link_of_pipe(&self, number: u16) -> Option<usize> {
        self.pipe_links.get(usize::from(number.checked_sub(FIRST)?)).copied()
    }

    /// Whether source and destination of a packet are in the same provider.
    pub fn is_within(&self, packet: &PolicyPacket) -> bool {
        match (self.network(packet.source), self.network(packet.destination)) {
            (Some(from), Some(to)) => from.provider == to.provider,
            (None, _) | (_, None) => false,
        }
    }

    /// How a set of endpoints contains an address: by its volume (0) or by its provider (1); `None` if it does not.
    fn breadth(&self, ends: &EndSet, network: &Network, address: Ipv4Addr) -> Option<u8> {
        if ends.providers.contains(&network.provider) {
            return Some(1);
        }
        self.volumes.get(&address).filter(|volume| ends.volumes.contains(*volume)).map(|_| 0)
    }

    /// The paths with conditions that can apply to packets of a source in a network, in the order of links.
    fn ways_of<'a>(&'a self, from: &Network, source: Ipv4Addr) -> impl Iterator<Item = &'a Way> {
        let of = |name: &Name| self.ways_by_source.get(name).map_or(&[][..], Vec::as_slice);
        let volume = self.volumes.get(&source).map_or(&[][..], of);
        let mut numbers: Vec<usize> = of(&from.provider).iter().chain(volume).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| &self.ways[number])
    }

    /// The decision on a reassembled packet that belongs to no state.
    pub fn decide(&self, packet: &PolicyPacket) -> Decision {
        if packet.is_malformed() && self.reassembly(packet, false).is_some() {
            return Decision { verdict: PolicyVerdict::Drop, because: Because::Malformed, translation: None };
        }
        let translation = self.translation(packet);
        let (verdict, because) = match self.verdict(packet, translation) {
            // ICMP errors are never answered, and create no state.
            (PolicyVerdict::Pass, because) if packet.is_icmp_error() => (PolicyVerdict::Carry, because),
            decided => decided,
        };
        // A blocked packet is not translated.
        Decision { verdict, because, translation: translation.filter(|_| verdict.passes()) }
    }

    /// The address translation of a packet, which precedes the verdict.
    fn translation(&self, packet: &PolicyPacket) -> Option<Translation> {
        match (packet.direction, packet.interface) {
            (PolicyDirection::In, PolicyInterface::Loopback) => {
                self.published(packet).map(Translation::Published)
            }
            (
                PolicyDirection::In,
                PolicyInterface::Bridge(_)
                | PolicyInterface::Egress
                | PolicyInterface::Foreign
                | PolicyInterface::Mesh
                | PolicyInterface::New,
            ) => None,
            (PolicyDirection::Out, interface) => {
                let from = self.network(packet.source)?;
                let Some(to) = self.network(packet.destination) else {
                    let leaves =
                        interface == PolicyInterface::Egress && !LOOPBACK.contains(&packet.destination);
                    return (leaves && from.internet).then_some(Translation::EgressSource);
                };
                let is_other = from.provider != to.provider;
                let covering = self.covering(packet, from, to);
                let masquerade = is_other && to.is_here && covering.iter().any(|link| link.masquerade);
                masquerade.then_some(Translation::GatewaySource(to.gateway))
            }
        }
    }

    /// The rows of the table, in order. `translation` is that of the packet.
    fn verdict(&self, packet: &PolicyPacket, translation: Option<Translation>) -> (PolicyVerdict, Because) {
        use PolicyDirection::{In, Out};
        use PolicyInterface::{Bridge, Egress, Foreign, Loopback, Mesh, New};
        if let Some(Translation::Published(_)) = translation {
            return (PolicyVerdict::Pass, Because::Loopback);
        }
        let (from, to) = (self.network(packet.source), self.network(packet.destination));
        match (packet.direction, packet.interface, from, to) {
            (In, Egress | Foreign, Some(_), _) => return (PolicyVerdict::Drop, Because::Forged),
            (In, over, _, _) if over != Loopback && self.here.contains(&packet.source) => {
                return (PolicyVerdict::Drop, Because::ForgedHere);
            }
            (In, Bridge(bridge), from, Some(_)) if from.is_none_or(|from| from.bridge != bridge) => {
                let provider = self.networks.iter().find(|network| network.bridge == bridge);
                let provider = provider.map(|network| network.provider.clone());
                return (PolicyVerdict::Drop, provider.map_or(Because::Forged, Because::ForgedGuest));
            }
            (In | Out, Loopback | Bridge(_) | Egress | Foreign | Mesh | New, _, _) => {}
        }
        if let Some(decided) = self.of_other_macs(packet, from, to) {
            return decided;
        }
        if let (Out, Egress, Some(_)) = (packet.direction, packet.interface, to) {
            return (refusal(packet), Because::Leak);
        }
        match (from, to) {
            (None, Some(_)) if LOOPBACK.contains(&packet.source) => (PolicyVerdict::Pass, Because::Loopback),
            (Some(_), None) if LOOPBACK.contains(&packet.destination) => {
                (PolicyVerdict::Pass, Because::Loopback)
            }
            (Some(from), Some(to)) if from.provider == to.provider => {
                let is_local = packet.interface == Loopback;
                let verdict = if is_local { PolicyVerdict::Carry } else { PolicyVerdict::Pass };
                (verdict, Because::Within(from.provider.clone()))
            }
            (Some(from), Some(to)) => self.between(packet, from, to),
            (Some(from), None) => outward(packet, from),
            (None, Some(_)) if packet.interface == Loopback => {
                let is_reset = packet.direction == In && packet.resets();
                if is_reset {
                    (PolicyVerdict::Carry, Because::Refusal)
                } else {
                    (PolicyVerdict::Pass, Because::ThisMac)
                }
            }
            (None, Some(to)) if packet.direction == Out && to.is_here && self.is_other_mac(packet.source) => {
                (PolicyVerdict::Pass, Because::OtherMac)
            }
            (None, Some(_)) if packet.direction == In => (PolicyVerdict::Drop, Because::Outside),
            (None, Some(_) | None) => (PolicyVerdict::Untouched, Because::NotOurs),
        }
    }

    /// The verdict on a packet from one provider to another.
    fn between(&self, packet: &PolicyPacket, from: &Network, to: &Network) -> (PolicyVerdict, Because) {
        let links = self.covering(packet, from, to);
        let indices = || links.iter().map(|link| link.link).collect::<BTreeSet<_>>().into_iter().collect();
        // Translation comes first and turns the packet into traffic inside the receiving provider, whatever its TCP
        // flags.
        let is_masqueraded = packet.direction == PolicyDirection::Out
            && to.is_here
            && links.iter().any(|link| link.masquerade);
        if is_masqueraded || (!links.is_empty() && packet.opens()) {
            return (PolicyVerdict::Pass, Because::Links(indices()));
        }
        let is_local = packet.interface == PolicyInterface::Loopback;
        let is_out = packet.direction == PolicyDirection::Out;
        if packet.is_unreachable() && (is_out || is_local) || packet.resets() && is_local && !is_out {
            return (PolicyVerdict::Carry, Because::Refusal);
        }
        // On the way out on lo0 a segment's checksum is not complete, and pf does not answer such segments: it is
        // refused `in` on lo0.
        match (is_out, is_local) {
            (true, true) => (PolicyVerdict::Carry, Because::NoLink),
            (true, false) => (refusal(packet), Because::NoLink),
            (false, _) => (PolicyVerdict::Refuse(Refusal::Usual), Because::NoLink),
        }
    }

    /// The permissions that cover a packet.
    fn covering(&self, packet: &PolicyPacket, from: &Network, to: &Network) -> Vec<&Permission> {
        self.permissions(from, packet.source).filter(|link| self.covers(link, packet, to)).collect()
    }

    /// How a packet's fragments are reassembled at a hook; `None` if pf does not reassemble them. `is_for_egress` is
    /// whether the destination is the address of the egress interface on which the packet arrives.
    pub fn reassembly(&self, packet: &PolicyPacket, is_for_egress: bool) -> Option<Reassembly> {
        let (from, to) = (self.network(packet.source), self.network(packet.destination));
        let is_wire = packet.interface != PolicyInterface::Loopback;
        let is_egress = packet.interface == PolicyInterface::Egress;
        let clears_df = match packet.direction {
            PolicyDirection::In if packet.protocol == UDP && from.is_some() && to.is_some() => true,
            PolicyDirection::In if is_wire && from.is_some() => false,
            PolicyDirection::In if self.comes_from_other_mac(packet, to) => false,
            PolicyDirection::In => {
                let is_answer = is_egress && is_for_egress && matches!(packet.protocol, UDP | ICMP);
                return is_answer.then_some(Reassembly { clears_df: true });
            }
            PolicyDirection::Out => {
                let is_leak =
                    is_egress && (to.is_some() || from.is_some_and(|from| from.is_here && !from.internet));
                let is_between = is_wire && from.is_some() && to.is_some();
                return (is_leak || is_between).then_some(Reassembly { clears_df: true });
            }
        };
        Some(Reassembly { clears_df })
    }

    /// The permissions that can apply to packets of a source in a network.
    fn permissions<'a>(&'a self, from: &Network, source: Ipv4Addr) -> impl Iterator<Item = &'a Permission> {
        let of = |name: &Name| self.by_source.get(name).map_or(&[][..], Vec::as_slice);
        let volume = self.volumes.get(&source).map_or(&[][..], of);
        of(&from.provider).iter().chain(volume).map(|index| &self.links[*index])
    }

    fn covers(&self, link: &Permission, packet: &PolicyPacket, to: &Network) -> bool {
        let protocol = match link.protocol {
            None => link.ports.is_none() || matches!(packet.protocol, TCP | UDP),
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

    /// The provider's network that contains an address.
    fn network(&self, address: Ipv4Addr) -> Option<&Network> {
        let behind = self.networks.partition_point(|network| network.region.network.network() <= address);
        self.networks[..behind].last().filter(|network| network.region.contains(address))
    }

    fn published(&self, packet: &PolicyPacket) -> Option<Ipv4Addr> {
        let published = self.publishes.get(&(packet.destination, packet.port))?;
        (packet.protocol == TCP).then_some(*published)
    }
}

/// The addresses that each Mac itself has, by the Mac's name: gateways, and volumes that it serves.
fn served(declaration: &Declaration) -> BTreeMap<Option<&Name>, BTreeSet<Ipv4Addr>> {
    let mac_of = |provider: &Name| declaration.mesh.as_ref().map(|mesh| mesh.mac_of(provider));
    let gateways = declaration.providers.iter().map(|(name, it)| (mac_of(name), it.gateway.addr()));
    let served = declaration.volumes.values().filter(|it| it.attachment == VolumeAttachment::Host);
    let served = served.map(|volume| (mac_of(&volume.provider), volume.address));
    let mut by_mac: BTreeMap<Option<&Name>, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for (mac, address) in gateways.chain(served) {
        by_mac.entry(mac).or_default().insert(address);
    }
    by_mac
}

impl EndSet {
    fn of(ends: &BTreeSet<Endpoint>) -> Self {
        let mut set = Self::default();
        for end in ends {
            match end {
                Endpoint::Provider(name) => set.providers.insert(name.clone()),
                Endpoint::Volume(name) => set.volumes.insert(name.clone()),
            };
        }
        set
    }
}

/// The verdict on a packet from a provider's network to an address in none.
fn outward(packet: &PolicyPacket, from: &Network) -> (PolicyVerdict, Because) {
    if from.internet {
        return (PolicyVerdict::Pass, Because::Internet(from.provider.clone()));
    }
    let because = Because::NoInternet(from.provider.clone());
    let verdict = match (packet.direction, packet.interface) {
        (PolicyDirection::Out, PolicyInterface::Loopback) => PolicyVerdict::Carry,
        (PolicyDirection::Out, PolicyInterface::Egress) => refusal(packet),
        (PolicyDirection::In, _)
        | (
            PolicyDirection::Out,
            PolicyInterface::Bridge(_)
            | PolicyInterface::Foreign
            | PolicyInterface::Mesh
            | PolicyInterface::New,
        ) => PolicyVerdict::Refuse(Refusal::Usual),
    };
    (verdict, because)
}

/// A refusal on the way out over an interface that may leave checksums incomplete: TCP gets an ICMP error.
fn refusal(packet: &PolicyPacket) -> PolicyVerdict {
    PolicyVerdict::Refuse(if packet.protocol == TCP { Refusal::Icmp } else { Refusal::Usual })
}
