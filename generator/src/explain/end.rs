//! The endpoints of a path: names, addresses and keywords, and where on the Mac each of them is.
//!
//! A declared name takes precedence over a keyword. Never: how a packet gets from one to the other.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Serialize;

use super::question::{Question, Wrong};
use crate::input::nearest;
use crate::model::VolumeAttachment;
use crate::place::Harmless;
use crate::plan::Plan;
use crate::plan::policy::{ICMP, TCP, UDP};

/// Example networks: the first free one is the Mac's LAN, the second the internet. RFC 5737 documentation networks come
/// first; the last two are used if a provider's network overlaps those.
const EXAMPLES: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 255, 0), 24),
];

/// Words for endpoints besides the names of the declaration.
const WORDS: [&str; 4] = ["internet", "lan", "localhost", "mac"];

/// An endpoint of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "End")]
pub struct QuestionEndpoint {
    /// The name or address as the user gave it.
    pub name: String,
    /// The address.
    pub address: Ipv4Addr,
    /// A description, such as `volume of aws, served by this Mac`.
    pub what: String,
    /// Its place on the Mac.
    #[serde(skip)]
    pub(super) at: At,
    /// The index of the volume whose address or alias it is.
    #[serde(skip)]
    pub(super) volume: Option<usize>,
}

/// The place of an endpoint. Bridges are given by their index in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// An address of 127.0.0.0/8.
    Loopback,
    /// An address on lo0 outside 127.0.0.0/8: a volume that the Mac serves.
    Host,
    /// The Mac's own address on a bridge.
    Gateway(usize),
    /// The Mac's own address on the egress interface.
    Mac,
    /// Behind a bridge: a guest, or an address that no volume has.
    Bridge(usize),
    /// On another Mac: in the network of this provider.
    OtherMac(usize),
    /// Outside, beyond the egress interface.
    Outside,
}

impl At {
    /// Whether the address is one of the Mac's own.
    pub fn is_here(self) -> bool {
        !matches!(self, Self::Bridge(_) | Self::OtherMac(_) | Self::Outside)
    }
}

/// A protocol, and a port if the protocol has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Service {
    /// The IANA protocol number.
    #[serde(serialize_with = "as_protocol")]
    #[schemars(with = "String")]
    pub protocol: u8,
    /// The destination port; null if the protocol has none.
    pub port: Option<u16>,
}

/// Serializes a protocol by its name as in links, or by its number if it has none.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn as_protocol<S: serde::Serializer>(protocol: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    let word = Service { protocol: *protocol, port: None }.to_string();
    serializer.serialize_str(word.trim_start_matches("protocol "))
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.protocol) {
            Some((name, _)) => f.write_str(name)?,
            None => write!(f, "protocol {}", self.protocol)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, " {port}"))
    }
}

const PROTOCOLS: [(&str, u8); 6] =
    [("tcp", TCP), ("udp", UDP), ("icmp", ICMP), ("gre", 47), ("esp", 50), ("ah", 51)];

/// A question with its endpoints, service and egress interface resolved.
pub(super) struct Asked {
    pub source: QuestionEndpoint,
    pub destination: QuestionEndpoint,
    pub service: Service,
    pub egress: String,
    pub egress_address: Ipv4Addr,
    /// Assumptions made while resolving.
    pub notes: Vec<String>,
}

/// Resolves a question.
pub(super) fn asked(resolver: &Resolver, question: &Question) -> Result<Asked, Wrong> {
    let (destination, port) = port_of(question.destination)?;
    if question.source.contains(':') {
        return Err(Wrong::new(
            format!("`{}` has a port, but a source takes none", Harmless(question.source)),
            "put the port after the destination, as in `etcd-2:2379`; addresses are IPv4",
        ));
    }
    let service = service(question.protocol, port)?;
    let (mut source, mut destination) = (resolver.end(question.source)?, resolver.end(destination)?);
    if let (true, At::Bridge(bridge) | At::OtherMac(bridge)) =
        (source.address == destination.address, destination.at)
    {
        // A provider's name stands for any two of its hosts; what one host sends to itself never reaches this Mac.
        let other =
            resolver.stranger(bridge, Some(source.address)).filter(|_| !is_address(&destination.name));
        destination.address = other.filter(|_| destination.volume.is_none()).ok_or_else(|| {
            let message = format!("`{}` and `{}` are the same machine", source.name, destination.name);
            Wrong::new(message, "what a VM sends to itself never reaches this Mac")
        })?;
    }
    let mut notes = Vec::new();
    for end in [&source, &destination] {
        notes.extend(resolver.note(end));
    }
    if source.at == At::Mac {
        notes.extend(resolver.bind(&mut source, &destination));
    }
    if destination.at == At::Mac && source.at == At::Mac {
        destination.address = source.address;
    }
    let egress = question.egress.to_owned();
    Ok(Asked { source, destination, service, egress, egress_address: resolver.mac(), notes })
}

pub(super) fn port_of(word: &str) -> Result<(&str, Option<u16>), Wrong> {
    let Some((end, port)) = word.rsplit_once(':') else {
        return Ok((word, None));
    };
    if end.contains(':') {
        return Err(Wrong::new(
            format!("`{}` is no end", Harmless(word)),
            "addresses are IPv4, as in `10.0.1.2:443`",
        ));
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok((end, Some(port))),
        _ => Err(Wrong::new(format!("`{}` is not a port", Harmless(port)), "a number from 1 to 65535")),
    }
}

/// Whether a protocol, by its name or number, has ports.
pub(super) fn has_ports(protocol: &str) -> bool {
    number_of(protocol).is_some_and(|number| matches!(number, TCP | UDP))
}

/// The number of a protocol, given by name or number.
fn number_of(word: &str) -> Option<u8> {
    let lower = word.to_ascii_lowercase();
    let named = PROTOCOLS.iter().find(|(name, _)| *name == lower).map(|(_, number)| *number);
    named.or_else(|| word.parse().ok())
}

pub(super) fn service(protocol: Option<&str>, port: Option<u16>) -> Result<Service, Wrong> {
    let protocol = match (protocol, port) {
        (None, Some(_)) => TCP,
        (None, None) => ICMP,
        (Some(word), _) => number_of(word).ok_or_else(|| {
            let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
            Wrong::new(
                format!("unknown protocol `{}`", Harmless(word)),
                format!("{} or a number", names.join(", ")),
            )
        })?,
    };
    let service = Service { protocol, port };
    match (matches!(protocol, TCP | UDP), port) {
        (true, None) => Err(Wrong::new(
            format!("{service} needs a port"),
            "add it to the destination, as in `etcd-2:2379`",
        )),
        (false, Some(port)) => {
            let protocol = Service { protocol, port: None };
            Err(Wrong::new(
                format!("{protocol} has no ports"),
                format!("leave out `:{port}`, or ask for tcp or udp"),
            ))
        }
        _ => Ok(service),
    }
}

/// The addresses that the words stand for, and for each bridge two addresses that no volume has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examples {
    /// `mac`: this Mac, on the egress interface.
    pub mac: Ipv4Addr,
    /// `lan`: a host in the same network as `mac`.
    pub lan: Ipv4Addr,
    /// `internet`: a host outside.
    pub internet: Ipv4Addr,
    /// For each provider an address that no volume has, if there is one.
    pub strangers: Vec<Option<Ipv4Addr>>,
    /// A second such address.
    pub others: Vec<Option<Ipv4Addr>>,
}

/// The example addresses for endpoints that the declaration does not name.
pub fn examples(plan: &Plan) -> Examples {
    let resolver = Resolver::new(plan);
    let numbers = 0..plan.bridges.len();
    let strangers: Vec<_> = numbers.clone().map(|bridge| resolver.stranger(bridge, None)).collect();
    let others = numbers.map(|bridge| resolver.stranger(bridge, strangers[bridge])).collect();
    Examples { mac: resolver.mac(), lan: resolver.lan(), internet: resolver.internet(), strangers, others }
}

pub(super) struct Resolver<'a> {
    plan: &'a Plan,
    /// Two networks that no provider overlaps: the Mac's LAN, and the internet.
    examples: [Ipv4Net; 2],
    /// The addresses of volumes.
    taken: HashSet<Ipv4Addr>,
}

impl<'a> Resolver<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        let free = |net: &Ipv4Net| {
            plan.bridges.iter().all(|bridge| !bridge.network.contains(net) && !net.contains(&bridge.network))
        };
        let mut free = EXAMPLES.into_iter().filter(free);
        let mut next = || free.next().unwrap_or(EXAMPLES[0]);
        let taken = plan.volumes.iter().map(|volume| volume.address).collect();
        Self { plan, examples: [next(), next()], taken }
    }

    /// The Mac's address on the egress interface.
    pub fn mac(&self) -> Ipv4Addr {
        host(self.examples[0], 10)
    }

    /// The example host on the Mac's LAN.
    pub fn lan(&self) -> Ipv4Addr {
        host(self.examples[0], 77)
    }

    /// The example host on the internet.
    pub fn internet(&self) -> Ipv4Addr {
        host(self.examples[1], 7)
    }

    /// The endpoint that a name, word or address stands for.
    pub fn end(&self, word: &str) -> Result<QuestionEndpoint, Wrong> {
        let name = word.to_ascii_lowercase();
        let plain = name.strip_suffix(".nixvol").unwrap_or(&name);
        let found = match plain.split_once('.') {
            _ if is_address(&name) => None,
            None => self.named(plain),
            Some((first, rest)) => self.dotted(first, rest)?,
        };
        if let Some(end) = found {
            return Ok(end);
        }
        if let Ok(address) = name.parse() {
            return self.address(address);
        }
        match plain {
            "internet" => {
                Ok(QuestionEndpoint::new(word, self.internet(), "a host on the internet", At::Outside))
            }
            "lan" => {
                Ok(QuestionEndpoint::new(word, self.lan(), "a host on the LAN of this Mac", At::Outside))
            }
            "localhost" => {
                Ok(QuestionEndpoint::new(word, Ipv4Addr::LOCALHOST, "this Mac's loopback", At::Loopback))
            }
            "mac" => Ok(QuestionEndpoint::new(word, self.mac(), "this Mac itself", At::Mac)),
            _ => Err(self.unknown(word, plain)),
        }
    }

    /// The endpoint for a name without dots: a volume or a provider.
    fn named(&self, name: &str) -> Option<QuestionEndpoint> {
        if let Some(index) = self.volume_named(name) {
            return Some(self.volume(name, index));
        }
        let index = self.bridge_of(name)?;
        let address = self.stranger(index, None)?;
        let what = format!("a host in {name} that is not a volume, on its bridge");
        Some(QuestionEndpoint::new(name, address, &what, self.behind(index)))
    }

    /// The endpoint for `VOLUME.PROVIDER`, `VOLUME.localhost` or `PROVIDER.gateway`.
    fn dotted(&self, first: &str, rest: &str) -> Result<Option<QuestionEndpoint>, Wrong> {
        let word = format!("{first}.{rest}");
        let Some(index) = self.volume_named(first) else {
            let gateway = self.bridge_of(first).filter(|_| rest == "gateway");
            return Ok(gateway.map(|bridge| self.gateway(&word, bridge)));
        };
        let volume = &self.plan.volumes[index];
        if rest == volume.provider.as_str() {
            return Ok(Some(self.volume(&word, index)));
        }
        if rest == "localhost" {
            let alias = volume.alias.ok_or_else(|| {
                Wrong::new(
                    format!("`{first}` has no localhost alias"),
                    format!("declare `volumes.{first}.localhost`"),
                )
            })?;
            return Ok(Some(self.alias(&word, alias, index)));
        }
        Err(Wrong::new(
            format!("`{first}` is not a volume of `{}`", Harmless(rest)),
            format!("it belongs to `{0}`: `{first}.{0}`", volume.provider),
        ))
    }

    fn address(&self, address: Ipv4Addr) -> Result<QuestionEndpoint, Wrong> {
        let word = address.to_string();
        let volumes = || self.plan.volumes.iter().enumerate();
        if let Some((index, _)) = volumes().find(|(_, volume)| volume.address == address) {
            return Ok(self.volume(&word, index));
        }
        if let Some((index, _)) = volumes().find(|(_, volume)| volume.alias == Some(address)) {
            return Ok(self.alias(&word, address, index));
        }
        if address.is_loopback() {
            return Ok(QuestionEndpoint::new(&word, address, "this Mac's loopback", At::Loopback));
        }
        let bridges = || self.plan.bridges.iter().enumerate();
        if let Some((index, _)) = bridges().find(|(_, bridge)| bridge.gateway.addr() == address) {
            return Ok(self.gateway(&word, index));
        }
        if let Some((index, bridge)) = bridges().find(|(_, bridge)| bridge.region.contains(address)) {
            let what = format!("a host in {} that is not a volume, on its bridge", bridge.provider);
            return Ok(QuestionEndpoint::new(&word, address, &what, self.behind(index)));
        }
        if let Some(end) = self.in_mesh(&word, address) {
            return Ok(end);
        }
        if address.is_unspecified() || address.is_multicast() || address.octets()[0] >= 240 {
            let message = format!("`{address}` is not the address of a single host");
            return Err(Wrong::new(message, "a volume's address, or one outside"));
        }
        if address == self.mac() {
            let what = "this Mac's address on the interface that leads outside";
            return Ok(QuestionEndpoint::new(&word, address, what, At::Mac));
        }
        Ok(QuestionEndpoint::new(&word, address, "outside the declared networks", At::Outside))
    }

    /// The endpoint for an address of a Mac in the tunnel; another Mac is where its providers are.
    fn in_mesh(&self, word: &str, address: Ipv4Addr) -> Option<QuestionEndpoint> {
        let mesh = self.plan.mesh.as_ref()?;
        if mesh.address == address {
            let what = "this Mac's address in the tunnel to the other Macs";
            return Some(QuestionEndpoint::new(word, address, what, At::Mac));
        }
        let peer = mesh.peers.iter().find(|peer| peer.address == address)?;
        let bridge = self.plan.bridges.iter().position(|bridge| bridge.mac.as_ref() == Some(&peer.mac))?;
        let what = format!("the address of the Mac {} in the tunnel", peer.mac);
        Some(QuestionEndpoint::new(word, address, &what, At::OtherMac(bridge)))
    }

    pub fn volume(&self, name: &str, index: usize) -> QuestionEndpoint {
        let volume = &self.plan.volumes[index];
        let at = self.behind(self.bridge_of(volume.provider.as_str()).unwrap_or_default());
        let (served, at) = match (&volume.mac, volume.attachment) {
            (Some(mac), _) => (format!("on the Mac {mac}"), at),
            (None, VolumeAttachment::Host) => ("served by this Mac".to_owned(), At::Host),
            (None, VolumeAttachment::Guest) => ("a VM's".to_owned(), at),
        };
        let title = if volume.name.as_str() == name { String::new() } else { format!(" {}", volume.name) };
        let what = format!("volume{title} of {}, {served}", volume.provider);
        QuestionEndpoint { volume: Some(index), ..QuestionEndpoint::new(name, volume.address, &what, at) }
    }

    fn alias(&self, name: &str, alias: Ipv4Addr, index: usize) -> QuestionEndpoint {
        let what = format!("localhost alias of {}", self.plan.volumes[index].name);
        QuestionEndpoint { volume: Some(index), ..QuestionEndpoint::new(name, alias, &what, At::Loopback) }
    }

    fn gateway(&self, name: &str, bridge: usize) -> QuestionEndpoint {
        let plan = &self.plan.bridges[bridge];
        if let Some(mac) = &plan.mac {
            let what = format!("the gateway of {} on the Mac {mac}", plan.provider);
            return QuestionEndpoint::new(name, plan.gateway.addr(), &what, At::OtherMac(bridge));
        }
        let what = format!("this Mac's address on {}, the gateway of {}", plan.logical, plan.provider);
        QuestionEndpoint::new(name, plan.gateway.addr(), &what, At::Gateway(bridge))
    }

    /// Where the hosts of a provider are that are not this Mac's own addresses.
    fn behind(&self, bridge: usize) -> At {
        let is_here = self.plan.bridges.get(bridge).is_none_or(crate::plan::Bridge::is_here);
        if is_here { At::Bridge(bridge) } else { At::OtherMac(bridge) }
    }

    /// The index of a volume; volumes are sorted by name.
    fn volume_named(&self, name: &str) -> Option<usize> {
        self.plan.volumes.binary_search_by(|volume| volume.name.as_str().cmp(name)).ok()
    }

    /// The index of a provider's bridge.
    fn bridge_of(&self, provider: &str) -> Option<usize> {
        self.plan.bridges.binary_search_by(|bridge| bridge.provider.as_str().cmp(provider)).ok()
    }

    /// An address of a provider's network that neither the gateway nor a volume has, other than `taken`.
    pub fn stranger(&self, bridge: usize, taken: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let bridge = &self.plan.bridges[bridge];
        let free = |address: &Ipv4Addr| {
            bridge.region.contains(*address)
                && *address != bridge.gateway.addr()
                && Some(*address) != taken
                && !self.taken.contains(address)
        };
        let near = bridge.gateway.trunc().hosts().rev().find(free);
        near.or_else(|| bridge.network.hosts().find(free))
    }

    /// A note on an endpoint: when its addresses exist, or which address a name stands for.
    pub fn note(&self, end: &QuestionEndpoint) -> Option<String> {
        if let Some(volume) = end.volume.map(|index| &self.plan.volumes[index]) {
            let mount = volume.mount_point.as_ref()?;
            return Some(format!("{} has its addresses only while {mount} is mounted", volume.name));
        }
        match end.at {
            At::Bridge(bridge) | At::OtherMac(bridge) if !is_address(&end.name) => Some(format!(
                "`{}` stands for {}, an address of {} that no volume has",
                end.name, end.address, self.plan.bridges[bridge].network
            )),
            At::Outside if !is_address(&end.name) => {
                Some(format!("`{}` stands for {}", end.name, end.address))
            }
            _ => None,
        }
    }

    /// Sets the source address that macOS chooses for a process of the Mac that binds none. Returns a note on it.
    fn bind(&self, source: &mut QuestionEndpoint, destination: &QuestionEndpoint) -> Option<String> {
        if is_address(&source.name) {
            return None;
        }
        let (address, whose) = match destination.at {
            At::Loopback | At::Host | At::Gateway(_) => {
                (destination.address, "the destination's own address")
            }
            At::Bridge(bridge) => (self.plan.bridges[bridge].gateway.addr(), "its address on that bridge"),
            At::OtherMac(_) => {
                let mesh = self.plan.mesh.as_ref()?;
                (mesh.address, "its address in the tunnel to the other Macs")
            }
            At::Mac | At::Outside => return None,
        };
        source.address = address;
        Some(format!("a process of this Mac that binds no address gets {address} here, {whose}"))
    }

    fn unknown(&self, word: &str, plain: &str) -> Wrong {
        let volumes = self.plan.volumes.iter().map(|volume| volume.name.as_str());
        let providers = self.plan.bridges.iter().map(|bridge| bridge.provider.as_str());
        let first = plain.split('.').next().unwrap_or(plain);
        let known: Vec<&str> = volumes.chain(providers).chain(WORDS).collect();
        let near = nearest(plain, known.iter().copied()).or_else(|| nearest(first, known.iter().copied()));
        let message = format!("no volume, provider or address is called `{}`", Harmless(word));
        match near {
            Some(near) => Wrong::new(message, format!("did you mean `{near}`?")),
            None => Wrong::new(
                message,
                "a volume, a provider, PROVIDER.gateway, an IPv4 address, internet, lan, localhost or mac",
            ),
        }
    }
}

impl QuestionEndpoint {
    fn new(name: &str, address: Ipv4Addr, what: &str, at: At) -> Self {
        Self { name: name.to_owned(), address, what: what.to_owned(), at, volume: None }
    }
}

pub(super) fn is_address(word: &str) -> bool {
    word.parse::<Ipv4Addr>().is_ok()
}

fn host(network: Ipv4Net, last: u8) -> Ipv4Addr {
    let [a, b, c, _] = network.addr().octets();
    Ipv4Addr::new(a, b, c, last)
}
