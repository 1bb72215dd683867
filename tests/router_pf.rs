//! What the router does at pf: refusals and who gets an answer, fragments, translation, states.

use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice};
use ipnet::Ipv4Net;
use nixvol_net::render::ANCHOR;
use nixvol_net::router::{PacketFate, Stop};
use nixvol_net::wire::{self, read};

use crate::router::{Net, built, echo, fix, is_sound, syn, udp, words};
use crate::support::{default_input, fixture, rendered};

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
