//! The router as a function: bytes in, bytes out. The path of each packet is the one that `explain` reports.

use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::{Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice};
use ipnet::Ipv4Net;
use nixvol_net::explain::{self, Question, STOCK_MAIN, examples};
use nixvol_net::loading::Interfaces;
use nixvol_net::model::{Conditions, Declaration};
use nixvol_net::pf::eval::Outcome;
use nixvol_net::pf::syntax::Direction;
use nixvol_net::plan::Plan;
use nixvol_net::render::ANCHOR;
use nixvol_net::router::{
    AnchorSource, EGRESS, ExampleHosts, Fault, Filter, NodeAttachment, NodeId, PacketFate, Router,
    RouterRules, Stop, Topology, Trouble, Ways,
};
use nixvol_net::wire::{self, Offload, read};
use serde_json::{Value, json};

use crate::support::{declared, default_input, fixture, rendered};

/// A network, with the router that plays the Mac between its nodes.
pub struct Net {
    pub declaration: Declaration,
    pub plan: Plan,
    pub anchor: String,
    pub router: Router,
    now: Duration,
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

    fn address(&self, name: &str) -> Ipv4Addr {
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

    fn send(&mut self, from: &str, bytes: &[u8]) -> Vec<Got> {
        self.send_raw(self.id(from), bytes).1
    }
}

/// A TCP SYN.
pub fn syn(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16) -> Vec<u8> {
    built(PacketBuilder::ipv4(source.octets(), destination.octets(), 64).tcp(from, to, 1000, 65_000).syn())
}

fn built(builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.write_to_vec(&mut bytes, &[]).expect("a packet");
    bytes
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).udp(from, to);
    builder.write_to_vec(&mut bytes, payload).expect("a packet");
    bytes
}

fn echo(source: Ipv4Addr, destination: Ipv4Addr, id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).icmpv4_echo_request(id, 1);
    builder.write_to_vec(&mut bytes, b"abcd").expect("a packet");
    bytes
}

/// Whether the IP header checksum and the transport checksum of a packet are right.
fn is_sound(bytes: &[u8]) -> bool {
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
fn words(bytes: &[u8]) -> String {
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

/// Rules that refuse traffic to azure, out as well as in.
const ANSWERS: &str = "block return quick inet from any to 10.1.0.0/16\n";

#[test]
fn a_refused_syn_of_a_guest_gets_an_acceptable_rst() {
    let mut net = Net::under(&fixture("restricted.json"), ANSWERS);
    let (one, two) = (net.address("aws"), net.address("etcd-2"));
    let got = net.send("aws", &syn(one, two, 40_000, 5432));
    let [(to, bytes)] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!((to.as_str(), words(bytes)), ("aws", format!("tcp 10.1.1.2:5432 > {one}:40000 RA")));
    let packet = SlicedPacket::from_ip(bytes).expect("a packet");
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    // RFC 9293: a SYN occupies one sequence number.
    assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (0, 1001));
    assert!(is_sound(bytes));
    // A RST is never answered with another, and a corrupted segment is not answered at all.
    let rst = PacketBuilder::ipv4(one.octets(), two.octets(), 64).tcp(7, 5432, 1, 1).rst();
    assert_eq!(net.send("aws", &built(rst)), [], "it must not be cut, so that there is no ICMP either");
    let mut damaged = syn(one, two, 40_000, 5432);
    *damaged.last_mut().expect("bytes") ^= 1;
    assert_eq!(net.send("aws", &damaged), []);
}

#[test]
fn a_local_syn_is_answered_only_where_its_checksum_is_complete() {
    let from_mac = |anchor: &str| {
        let mut net = Net::under(&fixture("restricted.json"), anchor);
        let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
        let got = net.send("etcd-1", &syn(one, two, 40_000, 5432));
        got.iter().map(|(to, bytes)| format!("{to} {}", words(bytes))).collect::<Vec<_>>()
    };
    // Out on lo0 the checksum is left to the interface: pf finds it wrong and sends no RST.
    assert_eq!(from_mac(ANSWERS), Vec::<String>::new());
    let passed = format!("pass out quick on lo0 no state\n{ANSWERS}");
    assert_eq!(from_mac(&passed), ["etcd-1 tcp 10.1.1.2:5432 > 10.0.1.2:40000 RA"]);
    // pf's own RST is evaluated as it comes in on lo0.
    let deaf =
        format!("pass out quick on lo0 no state\n{ANSWERS}block in quick on lo0 proto tcp flags R/R\n");
    assert_eq!(from_mac(&deaf), Vec::<String>::new());
}

#[test]
fn a_refused_datagram_gets_an_icmp_error_that_pf_evaluates_and_a_ping_gets_none() {
    let anchor = format!("{ANSWERS}block drop quick proto icmp from 10.1.0.0/16 to 10.0.1.2\n");
    let mut net = Net::under(&fixture("restricted.json"), &anchor);
    let (one, two, guest) = (net.address("etcd-1"), net.address("etcd-2"), net.address("aws"));
    let mut datagram = udp(guest, two, 40_000, 53, b"who is there");
    assert_eq!(net.send("aws", &datagram), [], "pf answers nothing to what must not be cut");
    may_be_cut(&mut datagram);
    let got = net.send("aws", &datagram);
    let [(to, bytes)] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!((to.as_str(), words(bytes)), ("aws", format!("icmp 10.1.1.2 > {guest} 3/3")));
    assert_eq!(bytes[28..], datagram[..28], "it quotes the header and eight bytes");
    assert!(is_sound(bytes));
    assert_eq!(net.send("aws", &echo(guest, two, 9)), []);
    // The ICMP error to a volume is itself evaluated by the rules, which block it here.
    let mut datagram = udp(one, two, 40_000, 53, b"who is there");
    may_be_cut(&mut datagram);
    assert_eq!(net.send("etcd-1", &datagram), []);
    // A host outside gets no answer that would reveal a volume.
    let mut net = Net::new(&fixture("restricted.json"));
    let lan = net.address("lan");
    assert_eq!(net.send("lan", &syn(lan, one, 40_000, 2379)), []);
    assert_eq!(net.send("lan", &udp(lan, one, 40_000, 53, b"x")), []);
}

/// Clears the don't-fragment bit.
fn may_be_cut(bytes: &mut [u8]) {
    bytes[6] = 0;
    fix(bytes);
}

/// Splits a packet into fragments for an MTU of 1500.
fn cut(bytes: &[u8]) -> Vec<Vec<u8>> {
    wire::fragments(bytes, &read(bytes).expect("a packet"), 1500)
}

#[test]
fn fragments_are_evaluated_alone_or_reassembled_by_scrub() {
    let input = fixture("rich.json");
    let send = |anchor: &str, to_world: bool, order: &[usize]| {
        let mut net = Net::under(&input, anchor);
        let to = if to_world { net.address("internet") } else { net.address("talos") };
        let mut whole = udp(net.address("node"), to, 40_000, 53, &[7; 4000]);
        may_be_cut(&mut whole);
        let pieces = cut(&whole);
        let mut got = Vec::new();
        for at in order {
            got.extend(net.send("node", &pieces[*at]));
        }
        assert!(got.iter().all(|(_, bytes)| read(bytes).is_ok()), "{anchor}");
        let sources = got.iter().map(|(_, bytes)| read(bytes).expect("a packet").source());
        let same: Vec<Ipv4Addr> = sources.collect();
        let data: usize = got.iter().map(|(_, bytes)| bytes.len() - 20).sum();
        (same, data, net.address("mac"), net.address("node"))
    };
    // Without a scrub rule pf evaluates each fragment alone: none has ports, and none is translated.
    let nat = "nat on en0 inet from 10.0.0.0/8 to any -> (en0:0)\n";
    let (sources, data, _, node) = send(nat, true, &[0, 1, 2]);
    assert_eq!((sources, data), (vec![node; 3], 4008));
    let ports = "pass quick proto udp to any port 53\nblock quick all\n";
    assert_eq!(send(ports, false, &[0, 1, 2]).1, 0);
    // With a scrub rule the datagram is reassembled, in whatever order its fragments arrive.
    let scrub = "scrub in on ! lo0 all fragment reassemble\n";
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let (sources, data, mac, _) = send(&format!("{scrub}{nat}"), true, &order);
        assert_eq!((sources, data), (vec![mac; 3], 4008), "{order:?}");
        assert_eq!(send(&format!("{scrub}{ports}"), false, &order).1, 4008, "{order:?}");
    }
    // While a fragment is missing, the others are held.
    assert_eq!(send(&format!("{scrub}{ports}"), false, &[0, 2]).1, 0);
    assert_eq!(send(&format!("{scrub}{ports}"), false, &[0, 2, 2, 0]).1, 0);
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
fn nat_translates_packets_replies_and_quoted_headers() {
    let mut net = Net::new(&default_input());
    let (one, mac, world) = (net.address("etcd-1"), net.address("mac"), net.address("internet"));
    let out = net.send("etcd-1", &udp(one, world, 40_000, 53, b"question"));
    let [(to, bytes)] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(to, "internet");
    let datagram = read(bytes).expect("a packet");
    assert_eq!((datagram.source(), datagram.destination()), (mac, world));
    assert!(is_sound(bytes));
    let Some(TransportSlice::Udp(header)) = SlicedPacket::from_ip(bytes).expect("a packet").transport else {
        panic!("no UDP")
    };
    let port = header.source_port();
    assert_ne!(port, 40_000);
    // The reply goes back to the volume that asked, and so does an ICMP error, with the quoted packet translated back.
    let back = net.send("internet", &udp(world, mac, 53, port, b"answer"));
    assert_eq!(words(&back[0].1), "udp 198.51.100.7:53 > 10.0.1.2:40000");
    assert!(back[0].0 == "etcd-1" && is_sound(&back[0].1));
    let mut error = Vec::new();
    let unreachable = Icmpv4Type::Unknown { type_u8: 3, code_u8: 3, bytes5to8: [0; 4] };
    PacketBuilder::ipv4(world.octets(), mac.octets(), 64)
        .icmpv4(unreachable)
        .write_to_vec(&mut error, &bytes[..28])
        .expect("a packet");
    let back = net.send("internet", &error);
    assert_eq!(words(&back[0].1), "icmp 198.51.100.7 > 10.0.1.2 3/3");
    assert!(back[0].0 == "etcd-1" && is_sound(&back[0].1));
    let quoted = &back[0].1[28..];
    assert_eq!(quoted[12..16], one.octets());
    assert_eq!(quoted[20..22], 40_000_u16.to_be_bytes());
    let header = etherparse::Ipv4HeaderSlice::from_slice(quoted).expect("a header");
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    // NAT translates the identifier of an ICMP echo.
    let out = net.send("etcd-1", &echo(one, world, 9));
    assert!(is_sound(&out[0].1) && out[0].1[24..26] != [0, 9]);
}

#[test]
fn a_masqueraded_connection_uses_the_gateway_address_and_gets_replies() {
    let mut net = Net::new(&fixture("rich.json"));
    let (api, db) = (net.address("api"), net.address("db"));
    let out = net.send("api", &syn(api, db, 40_000, 2379));
    let [(to, bytes)] = out.as_slice() else { panic!("{out:?}") };
    let datagram = read(bytes).expect("a packet");
    assert_eq!((to.as_str(), datagram.source()), ("db", "10.21.0.1".parse().expect("an address")));
    let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ip(bytes).expect("a packet").transport else {
        panic!("no TCP")
    };
    let port = tcp.source_port();
    let answer = PacketBuilder::ipv4(db.octets(), datagram.source().octets(), 64)
        .tcp(2379, port, 5000, 65_000)
        .syn()
        .ack(1001);
    let back = net.send("db", &built(answer));
    assert_eq!(
        (back[0].0.as_str(), words(&back[0].1).as_str()),
        ("api", "tcp 10.21.7.9:2379 > 10.20.1.10:40000 SA")
    );
    assert!(is_sound(&back[0].1));
}

#[test]
fn a_published_port_answers_on_its_alias() {
    let mut net = Net::new(&fixture("rich.json"));
    let (mac, alias) = (net.address("mac"), Ipv4Addr::new(127, 0, 1, 10));
    let out = net.send("mac", &syn(mac, alias, 40_000, 443));
    assert_eq!(
        (out[0].0.as_str(), words(&out[0].1).as_str()),
        ("api", "tcp 192.0.2.10:40000 > 10.20.1.10:443 S")
    );
    let answer =
        PacketBuilder::ipv4([10, 20, 1, 10], mac.octets(), 64).tcp(443, 40_000, 1, 65_000).syn().ack(1001);
    let back = net.send("api", &built(answer));
    assert_eq!(
        (back[0].0.as_str(), words(&back[0].1).as_str()),
        ("mac", "tcp 127.0.1.10:443 > 192.0.2.10:40000 SA")
    );
    assert!(is_sound(&back[0].1));
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

/// Recomputes the IP header checksum.
fn fix(bytes: &mut [u8]) {
    let header = etherparse::Ipv4HeaderSlice::from_slice(bytes).expect("a header").to_header();
    bytes[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}

#[test]
fn pf_drops_ip_options() {
    let mut net = Net::new(&fixture("restricted.json"));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let plain = syn(one, two, 40_000, 2379);
    // Four no-operation options.
    let mut bytes = [&plain[..20], &[1; 4], &plain[20..]].concat();
    (bytes[0], bytes[3]) = (0x46, bytes[3] + 4);
    fix(&mut bytes);
    let from = net.id("etcd-1");
    assert_eq!(net.send_raw(from, &bytes), (PacketFate::Stopped(Stop::Options), Vec::new()));
    assert!(matches!(net.send_raw(from, &plain).0, PacketFate::Delivered(_)));
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
fn a_partitioned_path_drops_everything_until_it_is_healed() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two, three) = (net.address("etcd-1"), net.address("etcd-2"), net.address("etcd-3"));
    let (aws, azure) = (net.router.topology().group("aws"), net.router.topology().group("azure"));
    let reaches = |net: &mut Net, from: &str, source, destination| {
        let id = net.id(from);
        matches!(net.send_raw(id, &syn(source, destination, 7, 2379)).0, PacketFate::Delivered(_))
    };
    let all: Vec<NodeId> =
        net.router.topology().nodes().map(|(id, _)| id).filter(|id| !aws.contains(id)).collect();
    let cut = |net: &mut Net, other: Option<&str>, others: &[NodeId]| {
        let fault = Fault::new(("aws".to_owned(), &aws), (other.map(str::to_owned), others), Trouble::Cut);
        net.router.ways_mut().faults_mut().add(fault);
    };
    let heal = |net: &mut Net, ends| {
        let volumes = [("etcd-1", "aws"), ("etcd-2", "azure")];
        let belongs = |name: &str, end: &str| name == end || volumes.contains(&(name, end));
        net.router.ways_mut().faults_mut().heal(ends, belongs).len()
    };
    cut(&mut net, Some("azure"), &azure);
    assert_eq!(net.send_raw(net.id("etcd-1"), &syn(one, two, 7, 2379)), (PacketFate::Cut, Vec::new()));
    assert!(!reaches(&mut net, "etcd-2", two, one) && reaches(&mut net, "etcd-3", three, one));
    cut(&mut net, None, &all);
    cut(&mut net, None, &all);
    assert!(!reaches(&mut net, "etcd-3", three, one) && !reaches(&mut net, "etcd-1", one, three));
    // Less than what was cut; then exactly that pair; then all of an endpoint.
    assert_eq!(heal(&mut net, [Some("etcd-1"), Some("azure")]), 0);
    assert_eq!(heal(&mut net, [Some("azure"), None]), 1);
    assert!(!reaches(&mut net, "etcd-1", one, two) && !reaches(&mut net, "etcd-1", one, three));
    assert_eq!(heal(&mut net, [Some("gcp"), None]), 0);
    assert_eq!(heal(&mut net, [Some("aws"), None]), 1, "the same endpoints have one fault of a kind");
    assert!(reaches(&mut net, "etcd-1", one, two) && reaches(&mut net, "etcd-1", one, three));
}

#[test]
fn a_fault_ends_at_its_deadline_or_with_its_owner() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let (aws, azure) = (net.router.topology().group("aws"), net.router.topology().group("azure"));
    let id = net.id("etcd-1");
    let fault =
        |one: &str, trouble| Fault::new((one.to_owned(), &aws), (Some("azure".to_owned()), &azure), trouble);
    let (mut short, mut owned) = (fault("aws", Trouble::Cut), fault("etcd-1", Trouble::Cut));
    let slow = fault("aws", Trouble::Slow(Conditions::checked(Some(70), None, None).unwrap()));
    short.until = Some(Duration::from_secs(30));
    owned.owner = Some(7);
    let faults = net.router.ways_mut().faults_mut();
    faults.add(slow);
    faults.add(short);
    faults.add(owned);
    net.router.tell_time(Duration::from_millis(29_999));
    assert_eq!(net.router.ways().faults().all().len(), 3);
    net.router.tell_time(Duration::from_secs(30));
    assert_eq!(net.router.ways().faults().all().len(), 2);
    assert_eq!(net.send_raw(id, &syn(one, two, 7, 2379)).0, PacketFate::Cut);
    assert_eq!(net.router.ways_mut().faults_mut().withdraw(8), 0);
    assert_eq!(net.router.ways_mut().faults_mut().withdraw(7), 1);
    let now = Duration::from_secs(31);
    let mut segment = syn(one, two, 7, 2379);
    let (fate, deliveries) = net.router.receive(id, &mut segment, Offload::default(), now);
    assert!(matches!(fate, PacketFate::Delivered(_)));
    assert_eq!(deliveries[0].at, now + Duration::from_millis(70));
}

#[test]
fn a_slowed_path_loses_its_share_of_packets() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let (aws, azure) = (net.router.topology().group("aws"), net.router.topology().group("azure"));
    let trouble = Trouble::Slow(Conditions::checked(None, Some(0.25), None).unwrap());
    let fault = Fault::new(("aws".to_owned(), &aws), (Some("azure".to_owned()), &azure), trouble);
    net.router.ways_mut().faults_mut().add(fault);
    let id = net.id("etcd-1");
    let lost = (0..1000)
        .filter(|port| net.send_raw(id, &syn(one, two, 1000 + port, 2379)).0 == PacketFate::LostByFault);
    let lost = lost.count();
    assert!((200..300).contains(&lost), "{lost} of 1000");
}

fn with_conditions(conditions: &Value) -> Value {
    let mut input = fixture("restricted.json");
    input["links"][0]["conditions"] = conditions.clone();
    input
}

#[test]
fn conditions_delay_lose_and_slow() {
    let mut net = Net::new(&with_conditions(&json!({ "latencyMs": 40, "loss": 0.25, "bandwidthKbit": 800 })));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let from = net.id("etcd-1");
    let mut arrivals = Vec::new();
    for port in 1..=2000 {
        net.now = Duration::from_millis(u64::from(port));
        let mut bytes = syn(one, two, port, 2379);
        let (_, deliveries) = net.router.receive(from, &mut bytes, Offload::default(), net.now);
        arrivals.extend(deliveries.first().map(|delivery| delivery.at.saturating_sub(net.now)));
    }
    // 40 bytes at 100,000 bytes per second take 0.4 ms, less than the 1 ms between two packets, so none queues.
    assert!(arrivals.iter().all(|arrival| *arrival == Duration::from_micros(40_400)), "{arrivals:?}");
    assert!((1400..1600).contains(&arrivals.len()), "{}", arrivals.len());
    // Sent at once they queue, and what exceeds the queue is dropped.
    let mut net = Net::new(&with_conditions(&json!({ "bandwidthKbit": 800 })));
    let mut last = Duration::ZERO;
    let mut dropped = 0;
    for port in 1..=4000 {
        let mut bytes = syn(one, two, port, 2379);
        match net.router.receive(from, &mut bytes, Offload::default(), Duration::ZERO).1.first() {
            Some(delivery) => {
                assert_eq!(delivery.at.saturating_sub(last), Duration::from_micros(400));
                last = delivery.at;
            }
            None => dropped += 1,
        }
    }
    assert_eq!(dropped, 4000 - 50, "dummynet has 50 slots");
}

#[test]
fn jitter_delays_by_chance_and_no_packet_overtakes_another() {
    let mut net = Net::new(&with_conditions(&json!({ "latencyMs": 40, "jitterMs": 10 })));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let from = net.id("etcd-1");
    let mut arrivals = |gap: u64| {
        let mut arrivals = Vec::new();
        for port in 1..=1000_u16 {
            net.now += Duration::from_millis(gap);
            let mut bytes = syn(one, two, port, 2379);
            let (_, deliveries) = net.router.receive(from, &mut bytes, Offload::default(), net.now);
            arrivals.push((net.now, deliveries.first().expect("none is lost").at));
        }
        arrivals
    };
    // With a large gap each packet has a delay of its own, uniform between 40 and 50 ms.
    let mut delays: Vec<u128> =
        arrivals(100).iter().map(|(sent, at)| at.saturating_sub(*sent).as_micros()).collect();
    delays.sort_unstable();
    assert!(delays[0] >= 40_000 && delays[999] <= 50_000, "{} to {}", delays[0], delays[999]);
    assert!((44_500..45_500).contains(&delays[500]), "{}", delays[500]);
    assert!(delays[100] < 41_500 && delays[900] > 48_500, "{} and {}", delays[100], delays[900]);
    // With a small gap, a packet that would overtake another waits for it.
    let close = arrivals(1);
    assert!(close.is_sorted_by_key(|(_, at)| *at));
    assert!(close.iter().all(|(sent, at)| (40..=50).contains(&at.saturating_sub(*sent).as_millis())));
}

#[test]
fn new_rules_keep_states_and_states_are_killed_by_opener() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two, three) = (net.address("etcd-1"), net.address("etcd-2"), net.address("etcd-3"));
    let open = |net: &mut Net, destination: Ipv4Addr, to: &str| {
        assert_eq!(net.send("etcd-1", &syn(one, destination, 7, 2379)).len(), 1);
        let answer = PacketBuilder::ipv4(destination.octets(), one.octets(), 64)
            .tcp(2379, 7, 1, 65_000)
            .syn()
            .ack(1001);
        assert_eq!(net.send(to, &built(answer))[0].0, "etcd-1");
    };
    open(&mut net, two, "etcd-2");
    open(&mut net, three, "etcd-3");
    let goes_on = |net: &mut Net, destination: Ipv4Addr| {
        let segment =
            PacketBuilder::ipv4(one.octets(), destination.octets(), 64).tcp(7, 2379, 1001, 65_000).ack(2);
        let id = net.id("etcd-1");
        matches!(net.send_raw(id, &built(segment)).0, PacketFate::Delivered(_))
    };
    // The new rules lack the link to gcp and keep the one to azure.
    let without_gcp = rendered(&fixture("restricted.json")).files[ANCHOR].text.clone();
    let net_of = |address: Ipv4Addr| Ipv4Net::from(address);
    assert!(net.router.rules_mut().apply("pass all nonsense\n").is_err());
    net.router.rules_mut().apply(&without_gcp).expect("rules");
    assert!(goes_on(&mut net, two) && goes_on(&mut net, three), "states survive");
    // Nothing was opened from that side.
    assert_eq!(net.router.end(&[(net_of(three), net_of(one))]), 0);
    assert_eq!(net.router.end(&[(net_of(one), net_of(three))]), 2);
    assert!(goes_on(&mut net, two) && !goes_on(&mut net, three));
    assert_eq!(net.router.end(&[("10.0.0.0/8".parse().expect("a network"), Ipv4Net::default())]), 2);
    assert!(!goes_on(&mut net, two));
    assert_eq!(net.router.rules().machine().states(), 0);
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
