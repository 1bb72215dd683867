//! Replays a scenario: packets arrive, are answered and retransmitted, on a simulated clock.
//!
//! Never: what pf decides.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::machines::{Machines, icmp, tcp, udp};
use super::played::{Played, Ports, hooks, left};
use super::row::{RecordedPacket, RecordedScenario};
use super::sockets::{Heard, Sockets, Waiting};
use crate::loading::Interfaces;
use crate::model::Conditions;
use crate::pf::eval::{ACK, ICMP, SYN, TCP, TcpSegment, UDP};
use crate::plan;
use crate::router::{
    AnchorSource, EGRESS, MacInterface, MacNetwork, Node, NodeAttachment, NodeId, Over, PacketTrace, Router,
    RouterRules, Sender, StaticRoute, Topology, Ways,
};
use crate::wire::{self, Offload};

/// The path of the anchor.
const PATH: &str = "com.apple/250.nixvol";
/// The first ephemeral port.
const EPHEMERAL: u16 = 49_152;
const IDENTIFIER: u16 = 7;
const SEQUENCE: u32 = 1000;
/// The latency of a wire.
const WIRE: Duration = Duration::from_micros(100);
/// A TCP client of the Mac retransmits its SYN after one second, and again after another.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// When the replay ends.
const END: Duration = Duration::from_millis(2500);
const LOOPBACK_MTU: u16 = 16_384;
const ETHERNET_MTU: u16 = 1500;
/// Longest datagram of macOS's UDP sockets (net.inet.udp.maxdgram), and of its raw sockets.
const LONGEST_UDP: usize = 9216;
const LONGEST_RAW: usize = 8192;

/// The part of the result that a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The first packet and its answer.
    First,
    /// A retransmission, or an answer to one.
    Later,
    /// Not part of the result.
    Untold,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Duration,
    number: u64,
    part: Part,
    from: NodeId,
    /// The receiver; `None` for a packet that is still to be sent.
    to: Option<NodeId>,
    bytes: Vec<u8>,
}

struct Stage<'a> {
    act: &'a RecordedPacket,
    router: Router,
    doer: NodeId,
    waiting: Waiting,
    /// The SYN asked for ECN, so the first RST may be ignored.
    is_doubtful: bool,
    outcome: Option<String>,
    /// The time of `outcome`.
    ended: Option<Duration>,
    sockets: Sockets,
    machines: Machines,
    /// The source address that the intended receiver saw.
    saw: Option<Ipv4Addr>,
    events: BinaryHeap<Reverse<Event>>,
    number: u64,
    told: [Vec<PacketTrace>; 2],
    wire: [Vec<serde_json::Value>; 2],
}

/// Replays a scenario.
///
/// # Errors
/// What is invalid in it, in words.
pub fn play(row: &RecordedScenario) -> Result<Played, String> {
    let cast = cast(row)?;
    // The anchor has its interface names filled in already.
    let interfaces = Interfaces::default();
    let source = AnchorSource {
        main: &row.main,
        path: PATH,
        text: &row.anchor,
        file: "anchor",
        interfaces: &interfaces,
    };
    let rules = RouterRules::load(&cast.topology, &source).map_err(|errors| {
        let line =
            |error: &crate::pf::ParseError| format!("{}:{}: {}", error.line, error.column, error.message);
        errors.iter().map(line).collect::<Vec<_>>().join("; ")
    })?;
    let ways = Ways::new(&pipes(row)?);
    let stage = perform(cast, rules, ways, &row.act)?;
    Ok(stage.played(&row.id))
}

/// What the client sees, and when.
pub fn seen(
    cast: ReplayHosts,
    rules: RouterRules,
    ways: Ways,
    act: &RecordedPacket,
) -> Result<(String, Duration), String> {
    let stage = perform(cast, rules, ways, act)?;
    let timeout = || ("timeout".to_owned(), END);
    Ok(stage.outcome.zip(stage.ended).unwrap_or_else(timeout))
}

fn perform(
    cast: ReplayHosts,
    rules: RouterRules,
    ways: Ways,
    act: &RecordedPacket,
) -> Result<Stage<'_>, String> {
    let doer = cast.doer;
    let mut router = Router::new(cast.topology, rules, ways);
    router.write_down();
    let waiting = Waiting {
        protocol: number(&act.protocol)?,
        from: (cast.source, if act.protocol == "icmp" { IDENTIFIER } else { EPHEMERAL }),
        to: (act.to, act.port.unwrap_or(0)),
        sequence: SEQUENCE,
    };
    let mut stage = Stage {
        act,
        router,
        doer,
        waiting,
        is_doubtful: act.ecn,
        outcome: None,
        ended: None,
        sockets: Sockets::new(act),
        machines: Machines::default(),
        saw: None,
        events: BinaryHeap::new(),
        number: 0,
        told: [Vec::new(), Vec::new()],
        wire: [Vec::new(), Vec::new()],
    };
    stage.begin()?;
    stage.run();
    Ok(stage)
}

impl Stage<'_> {
    fn begin(&mut self) -> Result<(), String> {
        let is_mac = self.is_here(self.doer);
        let longest = match self.waiting.protocol {
            UDP => LONGEST_UDP,
            _ => LONGEST_RAW,
        };
        if is_mac && self.act.size > longest {
            self.outcome = Some("EMSGSIZE".to_owned());
            return Ok(());
        }
        let bytes = self.packet(self.act.ecn)?;
        // Hosts other than the Mac fragment their own packets; the router fragments those of the Mac.
        let datagram = wire::read(&bytes).map_err(|malformed| malformed.words().to_owned())?;
        let is_whole = is_mac || datagram.total <= usize::from(ETHERNET_MTU);
        let cut = wire::fragments(&bytes, &datagram, usize::from(ETHERNET_MTU));
        let pieces = if is_whole { vec![bytes] } else { cut };
        for piece in pieces {
            self.send_at(Duration::ZERO, Part::First, self.doer, piece);
        }
        Ok(())
    }

    /// The packet that starts the scenario, for TCP with or without ECN.
    fn packet(&self, asks_ecn: bool) -> Result<Vec<u8>, String> {
        let (from, to, act) = (self.waiting.from, self.waiting.to, self.act);
        let payload = vec![b'x'; act.size];
        Ok(match self.waiting.protocol {
            TCP => {
                let flags = act.flags.as_deref().map(TcpSegment::flags_of).transpose();
                let flags = flags.map_err(|error| error.to_string())?;
                let ecn = if asks_ecn && flags.is_none() { 0xc0 } else { 0 };
                tcp(from, to, flags.unwrap_or(SYN | ecn), SEQUENCE, SEQUENCE + 1)
            }
            UDP => udp(from, to, &payload, act.df),
            _ => {
                let (kind, code) = (act.kind.unwrap_or(8), act.code.unwrap_or(0));
                let [high, low] = IDENTIFIER.to_be_bytes();
                let rest = match kind {
                    // The quoted packet: a datagram that was never sent.
                    3 | 4 | 5 | 11 | 12 => {
                        let about = udp((to.0, IDENTIFIER), (from.0, IDENTIFIER), &payload, false);
                        [&[0; 4][..], &about].concat()
                    }
                    _ => [&[high, low, 0, 1][..], &payload].concat(),
                };
                let rest = &rest[..rest.len().min(4 + act.size.max(28))];
                icmp(from.0, to.0, &[&[kind, code], rest].concat(), act.df)
            }
        })
    }

    fn send_at(&mut self, at: Duration, part: Part, from: NodeId, bytes: Vec<u8>) {
        self.number += 1;
        self.events.push(Reverse(Event { at, number: self.number, part, from, to: None, bytes }));
    }

    fn run(&mut self) {
        let is_client = self.is_here(self.doer) && self.waiting.protocol == TCP;
        for again in AGAIN {
            if is_client && self.outcome.is_none() {
                // Skipped when it is due, if there is an outcome by then.
                if let Ok(bytes) = self.packet(false) {
                    self.send_at(again, Part::Later, self.doer, bytes);
                }
            }
        }
        while let Some(Reverse(event)) = self.events.pop() {
            if event.at > END {
                break;
            }
            match event.to {
                Some(to) => self.arrive(&event, to),
                None if event.part == Part::Later && event.from == self.doer && self.outcome.is_some() => {}
                None => self.send(event.at, event.part, event.from, event.bytes, None),
            }
        }
    }

    /// Sends a packet through the router, and schedules the arrival of what it delivers.
    fn send(&mut self, at: Duration, part: Part, from: NodeId, bytes: Vec<u8>, sender: Option<Sender>) {
        let mut bytes = bytes;
        let (fate, deliveries) = self.router.receive_as(from, &mut bytes, Offload::default(), at, sender);
        let deliveries = deliveries.to_vec();
        let is_first = part == Part::First && from == self.doer && self.outcome.is_none() && at.is_zero();
        if is_first && self.is_here(from) {
            self.outcome = errno(&fate).map(str::to_owned);
            self.ended = self.outcome.as_ref().map(|_| at);
        }
        let stories = self.router.take_stories();
        if let Some(told) = self.told.get_mut(part as usize) {
            told.extend(stories);
        }
        for delivery in deliveries {
            let bytes = delivery.bytes.unwrap_or_else(|| bytes[..delivery.length].to_vec());
            let is_error = self.is_here(delivery.to) && self.outcome.as_deref().is_some_and(is_errno);
            if is_error {
                // The system call has already returned this error.
                continue;
            }
            let side = self.router.topology().node(delivery.to).side;
            if side == NodeAttachment::Outside {
                self.left(part, &bytes);
            }
            let at = if side == NodeAttachment::Here { delivery.at } else { delivery.at + WIRE };
            self.number += 1;
            let (number, to) = (self.number, Some(delivery.to));
            self.events.push(Reverse(Event { at, number, part, from, to, bytes }));
        }
    }

    fn left(&mut self, part: Part, bytes: &[u8]) {
        let (Ok(datagram), Some(wire)) = (wire::read(bytes), self.wire.get_mut(part as usize)) else {
            return;
        };
        let name = self.router.topology().name(Over::Egress);
        wire.push(left(name, datagram.source(), datagram.destination(), datagram.packet.protocol()));
    }

    /// Handles the arrival of a packet at a node.
    fn arrive(&mut self, event: &Event, to: NodeId) {
        let Ok(datagram) = wire::read(&event.bytes) else { return };
        if self.is_here(to) {
            let came = match self.router.topology().node(event.from).side {
                NodeAttachment::Here => None,
                NodeAttachment::Bridge(bridge) => Some(Over::Bridge(bridge)),
                NodeAttachment::Outside | NodeAttachment::Elsewhere => Some(Over::Egress),
                NodeAttachment::Mesh => Some(Over::Mesh),
                NodeAttachment::Underlay => Some(Over::Underlay),
            };
            let Some((bytes, datagram)) = self.sockets.whole(event.bytes.clone(), datagram) else { return };
            if self.is_here(self.doer) && self.hear(event, &datagram) {
                return;
            }
            if let Some((answer, sender)) = self.sockets.receive(&bytes, &datagram, came) {
                self.send(event.at, event.part, to, answer, Some(sender));
            }
            return;
        }
        if datagram.destination() == self.act.to
            && datagram.packet.protocol() == self.waiting.protocol
            && self.is_known(self.act.to)
        {
            self.saw = self.saw.or(Some(datagram.source()));
        }
        if to == self.doer && self.hear(event, &datagram) {
            return;
        }
        if let Some(answer) = self.machines.answer(&event.bytes, &datagram) {
            let pieces = match wire::read(&answer) {
                Ok(whole) if whole.total > usize::from(ETHERNET_MTU) => {
                    wire::fragments(&answer, &whole, usize::from(ETHERNET_MTU))
                }
                _ => vec![answer],
            };
            for piece in pieces {
                self.send_at(event.at, event.part, to, piece);
            }
        }
    }

    /// Whether a packet is for the client; if so, it may determine the outcome.
    fn hear(&mut self, event: &Event, datagram: &wire::Datagram) -> bool {
        let Some(heard) = self.waiting.hear(datagram) else { return false };
        if self.outcome.is_some() {
            return true;
        }
        let is_mac = self.is_here(self.doer);
        let outcome = match heard {
            Heard::Open(acknowledged) => {
                let (from, to) = (self.waiting.from, self.waiting.to);
                let bytes = tcp(from, to, ACK, SEQUENCE + 1, acknowledged);
                self.send_at(event.at, Part::Untold, self.doer, bytes);
                Some("connected".to_owned())
            }
            Heard::Answered => Some("answered".to_owned()),
            // xnu ignores the first RST of a local peer if its SYN asked for ECN, and retries without.
            Heard::Reset if self.is_doubtful && self.is_local() => {
                self.is_doubtful = false;
                None
            }
            Heard::Reset => Some("refused".to_owned()),
            Heard::BareReset => (!is_mac).then(|| "refused".to_owned()),
            Heard::Error(3, code) => self.unreachable(code),
            Heard::Error(..) => None,
        };
        self.ended = outcome.as_ref().map(|_| event.at);
        self.outcome = outcome;
        true
    }

    /// What an ICMP destination unreachable with this code means to the client.
    fn unreachable(&self, code: u8) -> Option<String> {
        let is_udp = self.waiting.protocol == UDP;
        if !self.is_here(self.doer) {
            let is_refusal = is_udp && code == 3;
            return Some(if is_refusal { "refused".to_owned() } else { format!("unreachable:{code}") });
        }
        match (self.waiting.protocol, code) {
            // As xnu's icmp_input and tcp_ctlinput: port, protocol and administratively prohibited end a connection
            // attempt.
            (TCP | UDP, 2 | 3) | (TCP, 9 | 10 | 13) => Some("refused".to_owned()),
            (UDP, 9 | 10 | 13) => Some("ECONNREFUSED".to_owned()),
            (UDP, 4) => Some("EMSGSIZE".to_owned()),
            (UDP, _) => Some("ENETUNREACH".to_owned()),
            _ => None,
        }
    }

    /// Whether the peer is the Mac itself or on a connected network.
    fn is_local(&self) -> bool {
        let path = self.router.topology().host().path(self.waiting.to.0, None);
        path.is_some_and(|path| path.gateway.is_none())
    }

    /// Whether an address belongs to a host of the scenario, or is public.
    fn is_known(&self, address: Ipv4Addr) -> bool {
        !address.is_private() || self.router.topology().owner(address).is_some()
    }

    /// Whether a node stands for processes of the Mac itself.
    fn is_here(&self, node: NodeId) -> bool {
        self.router.topology().node(node).side == NodeAttachment::Here
    }

    fn played(self, id: &str) -> Played {
        let mut ports = Ports::new(self.act.port);
        let topology = self.router.topology();
        let [first, later] = &self.told;
        let hooks_first = hooks(first, topology, &mut ports);
        let hooks_later = hooks(later, topology, &mut ports);
        let [wire, later_wire] = self.wire;
        let saw = if topology.host().owner(self.act.to).is_some() { self.sockets.saw } else { self.saw };
        Played {
            id: id.to_owned(),
            hooks: hooks_first,
            wire,
            outcome: self.outcome.unwrap_or_else(|| "timeout".to_owned()),
            server_saw: saw.map(|saw| saw.to_string()),
            later: hooks_later,
            later_wire,
        }
    }
}

/// The errno that the system call returns, derived from the packet's fate.
fn errno(fate: &crate::router::PacketFate) -> Option<&'static str> {
    use crate::router::{PacketFate, Stop};
    let PacketFate::Stopped(stop) = fate else { return None };
    match stop {
        Stop::Unreachable(why) | Stop::Refused(why) => {
            ["EADDRNOTAVAIL", "EHOSTUNREACH"].into_iter().find(|name| why.contains(name))
        }
        Stop::TooLong { .. } => Some("EMSGSIZE"),
        Stop::Blocked { .. } | Stop::Held | Stop::Options | Stop::Expired | Stop::Nobody => None,
    }
}

fn is_errno(outcome: &str) -> bool {
    outcome.starts_with('E')
}

fn number(protocol: &str) -> Result<u8, String> {
    match protocol {
        "tcp" => Ok(TCP),
        "udp" => Ok(UDP),
        "icmp" => Ok(ICMP),
        other => Err(format!("unknown protocol `{other}`; hint: tcp, udp or icmp")),
    }
}

fn pipes(row: &RecordedScenario) -> Result<Vec<plan::Pipe>, String> {
    let pipe = |(number, pipe): (&String, &super::row::RecordedPipe)| {
        let number = number.parse().map_err(|_| format!("`{number}` is not a pipe number"))?;
        let conditions = Conditions {
            latency_ms: Some(pipe.delay),
            span: None,
            jitter_ms: None,
            loss: pipe.loss,
            bandwidth_kbit: pipe.bandwidth,
        };
        Ok(plan::Pipe { number, from: Vec::new(), to: Vec::new(), conditions })
    };
    row.pipes.iter().map(pipe).collect()
}

/// The hosts of a replay, and who starts it.
pub struct ReplayHosts {
    /// The Mac and all other hosts.
    pub topology: Topology,
    /// The node that sends the first packet.
    pub doer: NodeId,
    /// The source address of that packet.
    pub source: Ipv4Addr,
}

fn cast(row: &RecordedScenario) -> Result<ReplayHosts, String> {
    let (host, names) = host(row)?;
    let node = |name: String, side, addresses: Vec<Ipv4Addr>, mtu| Node {
        name,
        side,
        addresses,
        gateway: None,
        routes: Vec::new(),
        mtu,
        provider: None,
    };
    let own = host.links().iter().flat_map(|link| link.addresses.iter().map(Ipv4Net::addr)).collect();
    let mut nodes = vec![node("mac".to_owned(), NodeAttachment::Here, own, LOOPBACK_MTU)];
    for guest in &row.guests {
        let over = names.iter().find(|(name, _)| *name == guest.on).map(|(_, over)| *over);
        let Some(Over::Bridge(bridge)) = over else {
            return Err(format!("guest {} is on `{}`, which is not a bridge here", guest.address, guest.on));
        };
        let name = format!("guest:{}", guest.address);
        nodes.push(node(name, NodeAttachment::Bridge(bridge), vec![guest.address], ETHERNET_MTU));
    }
    for address in &row.lan {
        nodes.push(node(format!("lan:{address}"), NodeAttachment::Outside, vec![*address], ETHERNET_MTU));
    }
    let internet = row.act.at.strip_prefix("internet:").map(str::parse).transpose();
    let internet: Option<Ipv4Addr> = internet.map_err(|_| format!("`{}` has no address", row.act.at))?;
    nodes.push(node(
        internet.map_or_else(|| "internet".to_owned(), |address| format!("internet:{address}")),
        NodeAttachment::Outside,
        internet.into_iter().collect(),
        ETHERNET_MTU,
    ));
    let router = NodeId(nodes.len() - 1);
    let doer = nodes.iter().position(|node| node.name == row.act.at).map(NodeId);
    let doer = doer.ok_or_else(|| format!("nobody is `{}`", row.act.at))?;
    let topology = Topology::new(nodes, host, NodeId(0), Some(router));
    let source = row.act.bind.or_else(|| match doer {
        NodeId(0) => topology.host().source_for(row.act.to),
        doer => topology.node(doer).addresses.first().copied(),
    });
    let source = source.ok_or_else(|| format!("no route leads to {}", row.act.to))?;
    Ok(ReplayHosts { topology, doer, source })
}

/// The Mac, and which interface each name stands for.
fn host(row: &RecordedScenario) -> Result<(MacNetwork, Vec<(String, Over)>), String> {
    let is_default = |route: &&Vec<String>| route.first().is_some_and(|network| network == "default");
    let egress = row.host.routes.iter().find(is_default).and_then(|route| route.last());
    let egress = egress.map_or(EGRESS, String::as_str);
    let mut bridges = 0;
    let mut names = Vec::new();
    let links = row.host.interfaces.iter().map(|interface| {
        let over = match interface.name.as_str() {
            "lo0" => Over::Loopback,
            name if name == egress => Over::Egress,
            _ => {
                bridges += 1;
                Over::Bridge(bridges - 1)
            }
        };
        names.push((interface.name.clone(), over));
        let mtu = if over == Over::Loopback { LOOPBACK_MTU } else { ETHERNET_MTU };
        let offloads = interface.offloads.unwrap_or(over != Over::Egress);
        MacInterface {
            over,
            name: interface.name.clone(),
            addresses: interface.addresses.clone(),
            offloads,
            mtu,
        }
    });
    let links: Vec<MacInterface> = links.collect();
    let over = |name: &String| {
        let found = names.iter().find(|(known, _)| known == name);
        found.map(|(_, over)| *over).ok_or_else(|| format!("a route uses `{name}`, which does not exist"))
    };
    let road = |route: &Vec<String>| match route.as_slice() {
        [network, name] => {
            let network = network.parse().map_err(|_| format!("`{network}` is not a network"))?;
            Ok(StaticRoute { network, over: over(name)?, gateway: None })
        }
        [network, gateway, name] => {
            let network = match network.as_str() {
                "default" => Ok(Ipv4Net::default()),
                network => network.parse().map_err(|_| format!("`{network}` is not a network")),
            };
            let gateway = gateway.parse().map_err(|_| format!("`{gateway}` is not a router"))?;
            Ok(StaticRoute { network: network?, over: over(name)?, gateway: Some(gateway) })
        }
        _ => Err("a route is a network and an interface, or a network and a router".to_owned()),
    };
    let roads = row.host.routes.iter().map(road).collect::<Result<_, String>>()?;
    Ok((MacNetwork::new(links, roads, row.host.forwarding), names))
}
