//! How many connections per second the lab's Mac sustains, and how many UDP flows to one server, with rules of two
//! shapes that were run on Apple's own stack (tests/xnu), on a simulated clock.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::PacketBuilder;
use nixvol_net::explain::{STOCK_MAIN, examples};
use nixvol_net::loading::Interfaces;
use nixvol_net::plan::Plan;
use nixvol_net::render::ANCHOR;
use nixvol_net::router::{
    AnchorSource, EGRESS, ExampleHosts, NodeId, PacketFate, Router, RouterRules, Topology, Ways,
};
use nixvol_net::wire::{Offload, read};
use serde_json::{Value, json};

use crate::support::{declared, fixture, rendered, root};

/// Rules under which every connection makes states that stay for a minute and a half after it ends.
pub const TODAY: &str = "02-tcp-oneway-today";
/// Rules that make no states inside a provider, and short-lived ones across a link.
pub const NEW: &str = "09-port-range-new";

/// The outcome of a number of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// How many were attempted.
    pub tried: usize,
    /// How many did not complete.
    pub failed: usize,
    /// The maximum number of states at any time.
    pub states: usize,
}

/// Two volumes of one provider and one of another, with a link between the providers.
pub fn input() -> Value {
    let mut input = fixture("restricted.json");
    input["volumes"]["etcd-4"] = json!({ "provider": "aws", "address": "10.0.1.3" });
    input
}

/// A Mac under the rules of a scenario, changed by `change`.
pub fn mac(anchor: &str, change: impl Fn(String) -> String) -> Router {
    let text =
        fs::read_to_string(root().join(format!("tests/xnu/anchors/{anchor}.conf"))).expect("an anchor");
    // The scenario's rules have interface names filled in already.
    router(&input(), &change(text), |_| Interfaces::default())
}

/// A Mac under the rendered rules, loaded as the manager loads them.
pub fn rendered_mac(input: &Value) -> Router {
    router(input, &rendered(input).files[ANCHOR].text, |plan| Interfaces::logical(plan, EGRESS))
}

fn router(input: &Value, text: &str, interfaces: impl Fn(&Plan) -> Interfaces) -> Router {
    let plan = Plan::of(&declared(input));
    let examples = examples(&plan);
    let (mac, lan, internet) = (examples.mac, examples.lan, examples.internet);
    let topology = Topology::of(&plan, &ExampleHosts { mac, lan, internet, strangers: Vec::new() });
    let interfaces = interfaces(&plan);
    let path = plan.anchor.as_str();
    let source = AnchorSource { main: STOCK_MAIN, path, text, file: "anchor", interfaces: &interfaces };
    let rules = RouterRules::load(&topology, &source).expect("rules");
    let ways = Ways::new(&plan.pipes);
    Router::new(topology, rules, ways)
}

/// A node and its address.
type End = (NodeId, Ipv4Addr);

fn end(router: &Router, name: &str) -> End {
    let id = router.topology().named(name).expect("a node");
    (id, router.topology().node(id).addresses[0])
}

/// Opens and closes `a_second` connections per second for `seconds`, each from a port of its own.
pub fn connections(router: &mut Router, from: &str, to: &str, a_second: u32, seconds: u32) -> Load {
    let (from, to) = (end(router, from), end(router, to));
    let mut load = Load::default();
    for number in 0..a_second * seconds {
        let at = Duration::from_secs(1) + Duration::from_secs(1) * number / a_second;
        // Ports repeat after the 16,384 ephemeral ports of macOS.
        let port = 49_152 + u16::try_from(number % 16_384).expect("a port");
        load.tried += 1;
        load.failed += usize::from(!connection(router, from, to, (port, 2379), at, true));
        load.states = load.states.max(router.rules().machine().states());
    }
    load
}

/// Opens this many connections to a port at once and closes none; returns how many opened.
#[cfg(all(feature = "lab", target_os = "linux"))]
pub fn opened(router: &mut Router, from: &str, to: &str, port: u16, count: u16) -> usize {
    let (from, to) = (end(router, from), end(router, to));
    let mut open =
        |number| connection(router, from, to, (40_000 + number, port), Duration::from_secs(1), false);
    (0..count).filter(|number| open(*number)).count()
}

/// One connection from its SYN to its last acknowledgement, or until it is open; false if one of its segments was lost.
fn connection(
    router: &mut Router,
    from: End,
    to: End,
    ports: (u16, u16),
    at: Duration,
    closes: bool,
) -> bool {
    // Direction, flags, sequence and acknowledgement numbers.
    let segments = [
        (true, "S", 1000, 0),
        (false, "SA", 5000, 1001),
        (true, "A", 1001, 5001),
        (true, "FA", 1001, 5001),
        (false, "A", 5001, 1002),
        (false, "FA", 5001, 1002),
        (true, "A", 1002, 5002),
    ];
    let count = if closes { segments.len() } else { 3 };
    segments[..count].iter().all(|(is_client, flags, sequence, acknowledgement)| {
        let (sender, receiver) = if *is_client { (from, to) } else { (to, from) };
        let ports = if *is_client { ports } else { (ports.1, ports.0) };
        let mut builder = PacketBuilder::ipv4(sender.1.octets(), receiver.1.octets(), 64)
            .tcp(ports.0, ports.1, *sequence, 65_000);
        for flag in flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'F' => builder.fin(),
                _ => builder.ack(*acknowledgement),
            };
        }
        let mut bytes = Vec::new();
        builder.write_to_vec(&mut bytes, &[]).expect("a packet");
        let (fate, _) = router.receive(sender.0, &mut bytes, Offload::default(), at);
        fate == PacketFate::Delivered(receiver.0)
    })
}

/// Sends a datagram from each of `count` sockets of a volume to one server outside; returns how many arrived, and from
/// how many ports.
pub fn flows(router: &mut Router, from: &str, first: u16, count: u16) -> (usize, usize) {
    let (from, to) = (end(router, from), end(router, "internet"));
    let mut ports = BTreeSet::new();
    let mut arrived = 0;
    for number in 0..count {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(from.1.octets(), to.1.octets(), 64)
            .udp(first + number, 53)
            .write_to_vec(&mut bytes, b"question")
            .expect("a packet");
        let (fate, _) = router.receive(from.0, &mut bytes, Offload::default(), Duration::from_secs(1));
        if fate == PacketFate::Delivered(to.0) {
            arrived += 1;
            read(&bytes).expect("a packet");
            ports.insert(u16::from_be_bytes([bytes[20], bytes[21]]));
        }
    }
    (arrived, ports.len())
}

#[test]
fn connections_inside_a_provider_do_not_fill_the_table() {
    let load = connections(&mut mac(NEW, |text| text), "etcd-1", "etcd-4", 400, 10);
    assert_eq!((load.failed, load.states), (0, 0), "{load:?}");
    // Two states each, for more than a minute and a half: on Apple's stack 6,509 of 15,000 fail within a minute.
    let load = connections(&mut mac(TODAY, |text| text), "etcd-1", "etcd-4", 250, 30);
    assert!(load.failed > 500 && load.states == 10_000, "{load:?}");
}

#[test]
fn states_across_a_link_expire_soon_enough() {
    // Apple's stack sustains 400 per second, with 7,979 states.
    let load = connections(&mut mac(NEW, |text| text), "etcd-1", "etcd-2", 400, 30);
    assert!(load.failed == 0 && (7000..9500).contains(&load.states), "{load:?}");
}

#[test]
fn the_rendered_rules_sustain_the_same_rates() {
    let net = || rendered_mac(&input());
    let within = connections(&mut net(), "etcd-1", "etcd-4", 400, 5);
    assert_eq!((within.failed, within.states), (0, 0), "{within:?}");
    let link = connections(&mut net(), "etcd-1", "etcd-2", 400, 30);
    assert!(link.failed == 0 && (7000..9500).contains(&link.states), "{link:?}");
    assert_eq!(flows(&mut net(), "etcd-1", 40_000, 1000), (1000, 1000));
}

#[test]
fn udp_flows_to_one_server_are_lost_where_nat_reuses_ports() {
    // xnu's pf_get_sport looks for states of a kind that never exists unless the rule names it (`extfilter`).
    let (arrived, ports) = flows(&mut mac(NEW, |text| text), "etcd-1", 40_000, 1000);
    assert!((940..995).contains(&arrived), "{arrived}");
    assert_eq!(arrived, ports);
    let extfilter = |text: String| {
        let nat = "nat on en0 inet from <internet> to ! <local> -> (en0:0)\n";
        assert!(text.contains(nat));
        text.replace(nat, &nat.replace('\n', " extfilter apd\n"))
    };
    assert_eq!(flows(&mut mac(NEW, extfilter), "etcd-1", 40_000, 4000), (4000, 4000));
}
