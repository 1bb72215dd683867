//! The router as a function: bytes in, bytes out. The path of each packet is the one that `explain` reports.

use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use nixvol_net::explain::{self, Question, STOCK_MAIN, examples};
use nixvol_net::loading::Interfaces;
use nixvol_net::model::Declaration;
use nixvol_net::pf::eval::Outcome;
use nixvol_net::pf::syntax::Direction;
use nixvol_net::plan::Plan;
use nixvol_net::render::ANCHOR;
use nixvol_net::router::{
    AnchorSource, EGRESS, ExampleHosts, Filter, NodeAttachment, NodeId, PacketFate, Router, RouterRules,
    Stop, Topology, Ways,
};
use nixvol_net::wire::{self, Offload, read};
use serde_json::Value;

use crate::support::{declared, default_input, fixture, rendered};

/// A network, with the router that plays the Mac between its nodes.
pub struct Net {
    pub declaration: Declaration,
    pub plan: Plan,
    pub anchor: String,
    pub router: Router,
    pub now: Duration,
}

/// A packet that was delivered: the name of the receiving node, and the bytes.
type Got = (String, Vec<u8>);

impl Net {
    pub fn new(input: &Value) -> Self {
        Self::under(input, &rendered(input).files[ANCHOR].text)
    }

    /// The same network under other rules than the rendered ones.
    pub fn under(input: &Value, anchor: &str) -> Self {
        let declaration = declared(input);
        let plan = Plan::of(&declaration);
        let anchor = anchor.to_owned();
        let examples = examples(&plan);
        let strangers =
            (0..plan.bridges.len()).filter_map(|bridge| Some((bridge, examples.strangers[bridge]?)));
        let (mac, lan, internet) = (examples.mac, examples.lan, examples.internet);
        let topology =
            Topology::of(&plan, &ExampleHosts { mac, lan, internet, strangers: strangers.collect() });
        let interfaces = Interfaces::logical(&plan, EGRESS);
        let path = plan.anchor.as_str();
        let source =
            AnchorSource { main: STOCK_MAIN, path, text: &anchor, file: ANCHOR, interfaces: &interfaces };
        let rules = RouterRules::load(&topology, &source).expect("rules");
        let ways = Ways::new(&plan.pipes);
        let router = Router::new(topology, rules, ways);
        Self { declaration, plan, anchor, router, now: Duration::ZERO }
    }

    pub fn id(&self, name: &str) -> NodeId {
        self.router.topology().named(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    pub fn address(&self, name: &str) -> Ipv4Addr {
        self.router.topology().node(self.id(name)).addresses[0]
    }

    /// Sends bytes as a node; returns their fate, and every packet that is delivered, at once or later.
    pub fn send_raw(&mut self, from: NodeId, bytes: &[u8]) -> (PacketFate, Vec<Got>) {
        let mut bytes = bytes.to_vec();
        let (fate, deliveries) = self.router.receive(from, &mut bytes, Offload::default(), self.now);
        let deliveries = deliveries.to_vec();
        let name = |id| self.router.topology().node(id).name.clone();
        let got = deliveries.into_iter().map(|delivery| {
            (name(delivery.to), delivery.bytes.unwrap_or_else(|| bytes[..delivery.length].to_vec()))
        });
        let got = got.collect();
        (fate, got)
    }

    pub fn send(&mut self, from: &str, bytes: &[u8]) -> Vec<Got> {
        self.send_raw(self.id(from), bytes).1
    }
}

/// A TCP SYN.
pub fn syn(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16) -> Vec<u8> {
    built(PacketBuilder::ipv4(source.octets(), destination.octets(), 64).tcp(from, to, 1000, 65_000).syn())
}

pub fn built(builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.write_to_vec(&mut bytes, &[]).expect("a packet");
    bytes
}

pub fn udp(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).udp(from, to);
    builder.write_to_vec(&mut bytes, payload).expect("a packet");
    bytes
}

pub fn echo(source: Ipv4Addr, destination: Ipv4Addr, id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).icmpv4_echo_request(id, 1);
    builder.write_to_vec(&mut bytes, b"abcd").expect("a packet");
    bytes
}

/// Whether the IP header checksum and the transport checksum of a packet are right.
pub fn is_sound(bytes: &[u8]) -> bool {
    let Ok(datagram) = read(bytes) else { return false };
    let icmp_is_right = match SlicedPacket::from_ip(bytes).expect("a packet").transport {
        Some(TransportSlice::Icmpv4(icmp)) => {
            icmp.header().icmp_type.calc_checksum(icmp.payload()) == icmp.checksum()
        }
        _ => true,
    };
    datagram.total == bytes.len() && wire::is_transport_right(bytes, &datagram) && icmp_is_right
}

/// A packet in the form `tcp 10.0.0.1:7 > 10.0.0.2:80 S`.
pub fn words(bytes: &[u8]) -> String {
    let packet = SlicedPacket::from_ip(bytes).expect("a packet");
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
    let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
    match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let flag = |set, letter| if set { letter } else { "" };
            let flags = [flag(tcp.syn(), "S"), flag(tcp.rst(), "R"), flag(tcp.ack(), "A")].concat();
            format!("tcp {source}:{} > {destination}:{} {flags}", tcp.source_port(), tcp.destination_port())
        }
        Some(TransportSlice::Udp(udp)) => {
            format!("udp {source}:{} > {destination}:{}", udp.source_port(), udp.destination_port())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!("icmp {source} > {destination} {}/{}", icmp.type_u8(), icmp.code_u8())
        }
        _ => format!("{source} > {destination}"),
    }
}

/// Recomputes the IP header checksum.
pub fn fix(bytes: &mut [u8]) {
    let header = etherparse::Ipv4HeaderSlice::from_slice(bytes).expect("a header").to_header();
    bytes[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}

fn topologies() -> Vec<(&'static str, Value)> {
    let names = ["restricted", "restricted-more", "rich", "single"];
    let fixtures = names.map(|name| (name, fixture(&format!("{name}.json"))));
    fixtures.into_iter().chain([("default", default_input())]).collect()
}

/// What `explain` reports of a packet agrees with what the router does with it, hook by hook.
#[test]
fn every_packet_takes_the_path_that_explain_reports() {
    for (name, input) in topologies() {
        let mut net = Net::new(&input);
        let nodes: Vec<NodeId> = net.router.topology().nodes().map(|(id, _)| id).collect();
        let mut compared = 0;
        for &from in &nodes {
            for &to in &nodes {
                for (protocol, port) in [("tcp", 2379), ("tcp", 5432), ("udp", 53), ("icmp", 0)] {
                    compared += u32::from(compare(&mut net, from, to, protocol, port));
                }
            }
        }
        assert!(compared > 60, "{name}: {compared}");
    }
}

/// Compares one packet; false where a pair of nodes has no path through the Mac.
fn compare(net: &mut Net, from: NodeId, to: NodeId, protocol: &str, port: u16) -> bool {
    let (source, destination) = {
        let topology = net.router.topology();
        let both_outside = [from, to].iter().all(|id| topology.node(*id).side == NodeAttachment::Outside);
        if from == to || both_outside {
            return false;
        }
        (topology.node(from).addresses[0], topology.node(to).addresses[0])
    };
    let bytes = match protocol {
        "tcp" => syn(source, destination, 49_152, port),
        "udp" => udp(source, destination, 49_152, port, b"x"),
        _ => echo(source, destination, 7),
    };
    let target = if port == 0 { destination.to_string() } else { format!("{destination}:{port}") };
    let question = Question {
        source: &source.to_string(),
        destination: &target,
        protocol: Some(protocol),
        egress: EGRESS,
    };
    let rules = explain::ExplainedRules { anchor: &net.anchor, name: ANCHOR, captured: &[] };
    let explanation =
        explain::explain(&net.declaration, &net.plan, &rules, &question).expect("an explanation");
    net.router.rules_mut().machine_mut().forget();
    let watch = net.router.watches_mut().add(Filter::All);
    net.router.write_down();
    let (fate, got) = net.send_raw(from, &bytes);
    // An answer that the Mac generates is recorded after the packet's own hooks.
    let hops = net.router.take_stories()[0].hops.len();
    let seen = net.router.watches_mut().take().into_iter().take(hops);
    let seen: Vec<_> = seen.map(|(_, seen)| seen).collect();
    net.router.watches_mut().remove(watch);
    let told: Vec<(String, Direction)> = explanation
        .packet
        .iter()
        .map(|hop| {
            let direction = match hop.direction.word() {
                "in" => Direction::In,
                _ => Direction::Out,
            };
            (hop.interface.clone(), direction)
        })
        .collect();
    let done: Vec<(String, Direction)> =
        seen.iter().map(|seen| (seen.interface.clone(), seen.direction)).collect();
    let packet = format!("{source} -> {target} {protocol}");
    assert_eq!(done, told, "{packet}");
    let passes = explanation.packet.iter().all(explain::ExplainedHook::passes);
    assert_eq!(matches!(fate, PacketFate::Delivered(id) if id == to), passes, "{packet}: {fate:?}");
    for (hop, seen) in explanation.packet.iter().zip(&seen) {
        if let Some(rule) = &hop.rule {
            let line = format!("{}:{} ", rule.file.as_deref().unwrap_or("?"), rule.line.unwrap_or(0));
            assert!(seen.comment.contains(&line), "{packet}: {} is not {line}", seen.comment);
        }
        let word = if hop.action == Outcome::Pass { "passed" } else { "blocked" };
        assert!(seen.comment.starts_with(word), "{packet}: {}", seen.comment);
    }
    assert!(got.iter().all(|(_, bytes)| is_sound(bytes)), "{packet}");
    true
}

#[test]
fn without_its_bridge_a_network_is_routed_to_the_egress_interface() {
    let mut net = Net::under(&fixture("rich.json"), "pass quick all no state\n");
    let (api, node) = (net.address("api"), net.address("node"));
    let to = |net: &mut Net| net.send("api", &syn(api, node, 7, 22)).first().map(|(to, _)| to.clone());
    assert_eq!(to(&mut net).as_deref(), Some("node"));
    let NodeAttachment::Bridge(bridge) = net.router.topology().node(net.id("node")).side else {
        panic!("no guest")
    };
    net.router.lose_bridge(bridge);
    net.router.write_down();
    assert_eq!(to(&mut net), None);
    let story = net.router.take_stories().remove(0);
    let left: Vec<&str> = story.hops.iter().map(|hop| net.router.topology().name(hop.over)).collect();
    assert_eq!((left, story.fate), (vec![EGRESS], Some(PacketFate::Stopped(Stop::Nobody))));
    // The Mac has no interface there, so a packet from a guest is not received.
    let id = net.id("node");
    assert!(matches!(net.send_raw(id, &syn(node, api, 7, 22)).0, PacketFate::Stopped(Stop::Refused(_))));
}

#[test]
fn forwarding_decrements_the_ttl_and_local_delivery_does_not() {
    let mut net = Net::new(&fixture("rich.json"));
    let (node, talos, api) = (net.address("node"), net.address("talos"), net.address("api"));
    // Between two guests the Mac forwards, so the TTL goes down by one.
    let got = net.send("node", &syn(node, talos, 7, 8));
    assert_eq!((got[0].0.as_str(), got[0].1[8]), ("talos", 63));
    assert!(is_sound(&got[0].1));
    let mut last = syn(node, talos, 9, 8);
    last[8] = 1;
    fix(&mut last);
    let got = net.send("node", &last);
    assert_eq!((got[0].0.as_str(), words(&got[0].1).as_str()), ("node", "icmp 10.21.0.1 > 10.21.0.20 11/0"));
    // To a volume that the Mac serves it delivers, and leaves the TTL as it is.
    let mut last = syn(node, api, 7, 6443);
    last[8] = 1;
    fix(&mut last);
    let got = net.send("node", &last);
    assert_eq!((got[0].0.as_str(), got[0].1[8]), ("api", 1));
}

#[test]
fn packets_above_the_mtu_are_fragmented_or_refused_with_the_mtu() {
    let mut net = Net::new(&default_input());
    let (one, two, world) = (net.address("etcd-1"), net.address("etcd-2"), net.address("internet"));
    let payload = vec![7; 5000];
    // lo0's MTU is large enough for the whole packet.
    assert_eq!(net.send("etcd-1", &udp(one, two, 7, 53, &payload)).len(), 1);
    let mut long = udp(one, world, 7, 53, &payload);
    let got = net.send("etcd-1", &long);
    assert_eq!(words(&got[0].1), "icmp 192.0.2.10 > 10.0.1.2 3/4");
    assert_eq!(got[0].1[26..28], 1500_u16.to_be_bytes());
    // Without the don't-fragment bit.
    long[6] = 0;
    fix(&mut long);
    let got = net.send("etcd-1", &long);
    assert_eq!(got.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [1500, 1500, 1500, 588]);
    let put_together: Vec<u8> = got.iter().flat_map(|(_, bytes)| bytes[20..].to_vec()).collect();
    assert_eq!(put_together[8..], payload);
    assert!(got.iter().all(|(to, bytes)| to == "internet" && read(bytes).is_ok()));
}

#[test]
fn segmentation_offload_equals_separate_segments() {
    let payload: Vec<u8> = (0..4000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut whole = Vec::new();
    PacketBuilder::ipv4([10, 0, 1, 2], [10, 1, 1, 2], 64)
        .tcp(40_000, 2379, 7000, 65_000)
        .ack(1)
        .psh()
        .write_to_vec(&mut whole, &payload)
        .expect("a packet");
    // As a kernel passes it with checksum offload: the field holds the checksum of the pseudo header.
    let pseudo = {
        let mut sum = 0_u32;
        for pair in whole[12..20].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        sum += 6 + u32::try_from(whole.len() - 20).expect("a length");
        u16::try_from((sum & 0xffff) + (sum >> 16)).expect("a sum")
    };
    whole[36..38].copy_from_slice(&pseudo.to_be_bytes());
    let gso = wire::Gso { is_tcp: true, has_ecn: false, size: 1460, header: 40 };
    let offload = Offload { checksum: Some((20, 16)), segments: Some(gso) };
    let mut header = [0; wire::OFFLOAD_HEADER];
    offload.write(&mut header);
    assert_eq!(Offload::read(&header), Some(offload));
    let datagram = read(&whole).expect("a packet");
    let pieces = wire::segments(&whole, &datagram, &offload);
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1500, 1500, 1120]);
    assert!(pieces.iter().all(|piece| is_sound(piece)));
    let data: Vec<u8> = pieces.iter().flat_map(|piece| piece[40..].to_vec()).collect();
    assert_eq!(data, payload);
    let sequence = |piece: &[u8]| u32::from_be_bytes([piece[24], piece[25], piece[26], piece[27]]);
    assert_eq!(pieces.iter().map(|piece| sequence(piece)).collect::<Vec<_>>(), [7000, 8460, 9920]);
    // Only the last segment has PSH set.
    assert_eq!(pieces.iter().map(|piece| piece[33]).collect::<Vec<_>>(), [0x10, 0x10, 0x18]);
    // NAT gives the same result before the checksum is completed as after it.
    let mut net = Net::new(&default_input());
    let world = net.address("internet");
    let mut open = syn(net.address("etcd-1"), world, 40_000, 80);
    let sum = u16::from_be_bytes([open[36], open[37]]);
    assert_ne!(sum, 0);
    let tcp_sum = partial(&open);
    open[36..38].copy_from_slice(&tcp_sum.to_be_bytes());
    let offload = Offload { checksum: Some((20, 16)), segments: None };
    let from = net.id("etcd-1");
    let (_, deliveries) = net.router.receive(from, &mut open, offload, Duration::ZERO);
    let mut left = deliveries[0].offload;
    wire::complete(&mut open, &mut left);
    assert!(is_sound(&open) && open[12..16] == net.address("mac").octets());
}

/// The checksum of the pseudo header of a TCP packet.
fn partial(bytes: &[u8]) -> u16 {
    let words = bytes[12..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum::<u32>() + 6 + u32::try_from(bytes.len() - 20).expect("a length");
    u16::try_from((sum & 0xffff) + (sum >> 16)).expect("a sum")
}

/// A deterministic sequence of pseudo-random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("a small number")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// A random packet: valid, truncated, with wrong lengths, checksums, options or offsets, or pure noise.
pub fn anything(random: &mut Random, sources: &[Ipv4Addr], destinations: &[Ipv4Addr]) -> Vec<u8> {
    let source = sources[random.below(sources.len())];
    let destination = destinations[random.below(destinations.len())];
    let (from, to) = (random.next().to_le_bytes(), random.next().to_le_bytes());
    let port = |bytes: [u8; 8]| match bytes[2] % 4 {
        0 => 2379 + u16::from(bytes[0] % 4),
        1 => u16::from(bytes[0] % 8),
        _ => u16::from_le_bytes([bytes[0], bytes[1]]),
    };
    let payload: Vec<u8> = (0..random.below(100)).map(|_| random.byte()).collect();
    let mut bytes = match random.below(5) {
        0 => syn(source, destination, port(from), port(to)),
        1 => udp(source, destination, port(from), port(to), &payload),
        2 => echo(source, destination, port(from)),
        3 => {
            let ip = etherparse::Ipv4Header::new(
                u16::try_from(payload.len()).expect("short"),
                64,
                etherparse::IpNumber(random.byte()),
                source.octets(),
                destination.octets(),
            )
            .expect("a header");
            [&ip.to_bytes()[..], &payload].concat()
        }
        _ => return (0..random.below(120)).map(|_| random.byte()).collect(),
    };
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            // Addresses are left alone: other tests cover forged sources.
            0 if !(12..20).contains(&at) => bytes[at] = random.byte(),
            1 => bytes[0] = 0x40 | (random.byte() & 0xf),
            2 if bytes.len() > 6 => bytes[6] = random.byte() & 0x3f,
            3 => bytes.truncate(at.max(1)),
            _ => {
                if let Some(flags) = bytes.get_mut(33) {
                    *flags = random.byte();
                }
            }
        }
        if random.below(4) > 0
            && let Ok(header) = etherparse::Ipv4HeaderSlice::from_slice(&bytes)
        {
            let sum = header.to_header().calc_header_checksum();
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
    bytes
}

/// Whether the restricted network must not deliver this packet, stated without pf: between providers only etcd's ports
/// pass.
fn is_forbidden(net: &Net, from: NodeId, to: &str, bytes: &[u8]) -> bool {
    let topology = net.router.topology();
    let (sender, receiver) = (topology.node(from), topology.node(net.id(to)));
    let datagram = read(bytes).expect("what goes out is a packet");
    let is_link = match SlicedPacket::from_ip(bytes).ok().and_then(|packet| packet.transport) {
        Some(TransportSlice::Tcp(tcp)) => {
            let ports = [tcp.source_port(), tcp.destination_port()];
            // Refusals pass too: a RST, and below an ICMP unreachable.
            tcp.rst() || ports.iter().any(|port| (2379..=2380).contains(port))
        }
        Some(TransportSlice::Icmpv4(icmp)) => icmp.type_u8() == 3,
        _ => false,
    };
    let between =
        sender.provider.is_some() && receiver.provider.is_some() && sender.provider != receiver.provider;
    let inward = sender.side == NodeAttachment::Outside && receiver.provider.is_some();
    // Nothing in this network opens connections to the outside, so nothing from there is a reply.
    (between && (!is_link || datagram.packet.fragment)) || inward
}

#[test]
fn a_hundred_thousand_broken_packets_do_no_harm() {
    let mut net = Net::new(&fixture("restricted.json"));
    let addresses = net.router.topology().nodes().flat_map(|(_, node)| node.addresses.clone());
    let inside: Vec<Ipv4Addr> = addresses.filter(|address| address.octets()[0] == 10).collect();
    let senders = ["etcd-1", "etcd-2", "lan", "internet", "mac", "aws"].map(|name| net.id(name));
    let mut random = Random(7);
    let (mut delivered, mut blocked, mut malformed) = (0, 0, 0);
    for number in 0..100_000_u64 {
        net.now = Duration::from_millis(number);
        let from = senders[random.below(senders.len())];
        let sources = net.router.topology().node(from).addresses.clone();
        let bytes = anything(&mut random, &sources, &inside);
        let (fate, got) = net.send_raw(from, &bytes);
        match fate {
            PacketFate::Delivered(_) => delivered += 1,
            PacketFate::Stopped(Stop::Blocked { .. }) => blocked += 1,
            PacketFate::Malformed(_) => malformed += 1,
            _ => {}
        }
        for (to, bytes) in got {
            let is_answer = !matches!(fate, PacketFate::Delivered(_));
            assert!(
                is_answer || !is_forbidden(&net, from, &to, &bytes),
                "{number}: {from:?} -> {to}: {bytes:?}"
            );
        }
    }
    assert!(delivered > 5000 && blocked > 5000 && malformed > 5000, "{delivered} {blocked} {malformed}");
}
