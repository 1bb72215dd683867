//! Properties of every declaration: determinism, independence, linear growth, and links that become exactly their
//! rules.

use std::net::Ipv4Addr;

use nixvol_net::model::{self, Endpoint, Protocol};
use nixvol_net::plan::policy::{
    Because, ECHO, ICMP, PolicyDirection, PolicyInterface, PolicyPacket, PolicyVerdict, SYN, TCP, UDP,
};
use nixvol_net::plan::{PermittedFlow, Plan};
use nixvol_net::prove::prove;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sizes;
use crate::support::{declared, default_input, names, providers, rendered, topologies};

#[test]
fn the_same_input_renders_the_same_bytes() {
    for (topology, input) in topologies() {
        assert_eq!(rendered(&input), rendered(&input), "{topology}");
    }
}

#[test]
fn every_file_ends_in_exactly_one_newline() {
    for (topology, input) in topologies() {
        for (path, file) in rendered(&input).files {
            assert!(file.text.ends_with('\n') && !file.text.ends_with("\n\n"), "{topology}/{path}");
        }
    }
}

/// JSON text with the keys of every object and the elements of every list in reverse order.
fn turned(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().rev().map(turned).collect::<Vec<_>>().join(",")),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}:{}", json!(key), turned(value));
            format!("{{{}}}", entries.iter().rev().map(entry).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[test]
fn the_order_of_the_input_changes_nothing() {
    for (topology, input) in topologies() {
        let turned = model::read(turned(&input).as_bytes()).expect("the same declaration");
        let plan = Plan::of(&turned);
        let turned = nixvol_net::render::bundle(&turned, &plan).expect("the same bundle");
        assert_eq!(turned, rendered(&input), "{topology}");
    }
}

#[test]
fn network_json_is_an_input_that_renders_the_same_bundle() {
    for (topology, input) in topologies() {
        let bundle = rendered(&input);
        let network: Value = serde_json::from_str(&bundle.files["network.json"].text).expect("JSON");
        assert_eq!(rendered(&network), bundle, "{topology}");
    }
}

#[test]
fn a_new_volume_leaves_others_unchanged() {
    let (before, mut input) = (Plan::of(&declared(&default_input())), default_input());
    input["volumes"]["aaa"] = json!({ "provider": "gcp", "address": "10.2.9.9", "localhost": "127.0.1.99" });
    let after = Plan::of(&declared(&input));
    let others: Vec<_> =
        after.volumes.iter().filter(|volume| volume.name.as_str() != "aaa").cloned().collect();
    assert_eq!(before.volumes, others);
    assert_eq!(before.bridges, after.bridges);
    let (old, new) = (rendered(&default_input()).files, rendered(&input).files);
    for path in old.keys().filter(|path| path.starts_with("guests/")) {
        assert_eq!(old[path], new[path], "{path}");
    }
    // The anchors differ only by the new address.
    let anchors = [old, new].map(|files| files["pf/anchor.conf"].text.replace(" 10.2.9.9", ""));
    assert_eq!(anchors[0], anchors[1]);
}

/// The number of rules in the kernel: a list in braces expands to one rule per member.
fn rules(anchor: &str) -> usize {
    let rule = |line: &&str| {
        ["scrub", "pass", "block", "nat", "no nat", "rdr", "no rdr"].iter().any(|word| line.starts_with(word))
    };
    let members = |line: &str| match line.split_once('{') {
        Some((_, list)) => list.split_once('}').expect("a closed list").0.split_whitespace().count(),
        None => 1,
    };
    anchor.lines().filter(rule).map(members).sum()
}

fn rules_of(input: &Value) -> usize {
    rules(&rendered(input).files["pf/anchor.conf"].text)
}

#[test]
fn rules_grow_with_providers_and_not_with_their_pairs() {
    for count in [5, 50, 500] {
        let mut mesh = providers(count);
        mesh["links"] = json!([{ "from": names(count), "to": names(count) }]);
        assert_eq!(rules_of(&mesh), 3 * count + 22, "a mesh of {count}");

        let mut ports = mesh.clone();
        ports["links"][0]["protocol"] = json!("tcp");
        ports["links"][0]["ports"] = json!([443, "2379-2380"]);
        assert_eq!(rules_of(&ports), 3 * count + 25, "a mesh of {count} by ports");
    }
}

#[test]
fn a_mesh_written_as_pairs_costs_no_more() {
    for count in [5, 50, 200] {
        let pair = |from: usize, to: usize| json!({ "from": [format!("p{from}")], "to": [format!("p{to}")], "bidirectional": true });
        let mut pairs = providers(count);
        pairs["links"] =
            (0..count).flat_map(|from| (from + 1..count).map(move |to| pair(from, to))).collect();
        assert_eq!(rules_of(&pairs), 3 * count + 22, "{count} providers in pairs");
    }
}

#[test]
fn masquerading_and_publishing_grow_linearly_too() {
    for count in [5, 50, 250] {
        let mut input = providers(count);
        input["links"] =
            json!([{ "from": names(count), "to": names(count), "protocol": "udp", "masquerade": true }]);
        for n in 0..count {
            let volume = json!({ "provider": format!("p{n}"), "address": format!("10.0.{n}.2"), "localhost": format!("127.0.1.{}", n + 2), "publish": [80] });
            input["volumes"][format!("v{n}")] = volume;
        }
        assert_eq!(rules_of(&input), 6 * count + 24, "{count} providers");
    }
}

/// A name, a size, and the declaration of that size.
type Grown<'a> = (&'a str, usize, &'a dyn Fn(usize) -> Value);

/// The cost of a proof, measured without a clock: the nodes that it creates, and the packet classes that it tests.
#[test]
fn the_cost_of_a_proof_is_linear() {
    let with_volumes = |count| sizes::mesh(count, 10 * count);
    let links_with_volumes = |count| sizes::links(count, 10 * count);
    let all: [Grown; 9] = [
        ("mesh", 60, &|count| sizes::mesh(count, 0)),
        ("mesh with volumes", 40, &with_volumes),
        ("links with volumes", 40, &links_with_volumes),
        ("chain", 60, &sizes::chain),
        ("star", 60, &sizes::star),
        ("ports", 100, &sizes::ports),
        ("hosts", 240, &sizes::hosts),
        ("masquerades", 60, &sizes::masquerades),
        ("conditions", 60, &sizes::conditions),
    ];
    for (name, count, input) in all {
        let cost = |count| {
            let input = input(count);
            let anchor = rendered(&input).files["pf/anchor.conf"].text.clone();
            let proof = prove(&Plan::of(&declared(&input)), &anchor).expect("it is proven");
            [proof.nodes, proof.classes]
        };
        let (once, twice) = (cost(count), cost(2 * count));
        for (once, twice) in once.into_iter().zip(twice) {
            assert!(twice * 10 <= once * 22, "{name}: {once} for {count}, {twice} for {}", 2 * count);
        }
    }
}

#[test]
fn links_covered_by_others_need_no_rule() {
    let mut input = default_input();
    let mesh = rules_of(&input);
    let links = input["links"].as_array_mut().expect("links");
    links.push(json!({ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [443] }));
    links.push(json!({ "from": ["etcd-1"], "to": ["etcd-2"], "bidirectional": true }));
    links.push(json!({ "from": ["etcd-1"], "to": ["aws"] }));
    assert_eq!(rules_of(&input), mesh);
}

/// Links between a few endpoints and ports, so that they overlap in many ways.
fn links() -> impl Strategy<Value = Vec<Value>> {
    let ends = || {
        proptest::sample::subsequence(
            vec!["aws", "azure", "gcp", "etcd-1", "etcd-2", "talos-control-plane-1"],
            1..4,
        )
    };
    let service = prop_oneof![
        Just((None, None)),
        Just((Some("icmp"), None)),
        Just((Some("tcp"), None)),
        (prop_oneof![Just("tcp"), Just("udp")], 78u16..82, 0u16..3).prop_map(|(protocol, first, more)| {
            (Some(protocol), Some(format!("{first}-{}", first + more)))
        }),
        (78u16..82).prop_map(|port| (None, Some(port.to_string()))),
    ];
    let link = (ends(), ends(), service, any::<bool>(), any::<bool>());
    let link = link.prop_filter("an end linked with itself", |(from, to, ..)| from.len() > 1 || from != to);
    let link = link.prop_map(|(from, to, (protocol, ports), bidirectional, masquerade)| {
        json!({ "from": from, "to": to, "protocol": protocol, "ports": ports.map(|ports| vec![ports]),
                "bidirectional": bidirectional, "masquerade": masquerade })
    });
    proptest::collection::vec(link, 0..6)
}

proptest! {
    #![proptest_config(crate::support::cases(400))]

    /// The flows that become rules, compared with the links one by one: an opening packet between two providers passes
    /// exactly where some flow contains it, and is masqueraded exactly where some masquerade contains it.
    #[test]
    fn flows_agree_with_the_links(links in links()) {
        let mut input = default_input();
        input["links"] = json!(links);
        let plan = Plan::of(&declared(&input));
        let hosts: Vec<Ipv4Addr> = ["10.0.1.2", "10.0.2.2", "10.0.9.9", "10.1.1.2", "10.1.9.9", "10.2.9.9", "10.3.9.9"]
            .iter().map(|host| host.parse().expect("an address")).collect();
        let declaration = declared(&input);
        let range = |end: &Endpoint| declaration.range(end);
        let in_flow = |flow: &PermittedFlow, packet: &PolicyPacket| {
            let holds = |ends: &[Endpoint], address: &Ipv4Addr| ends.iter().any(|end| range(end).contains(address));
            let number = flow.protocol.map(|protocol| match protocol.word() { "tcp" => TCP, "udp" => UDP, _ => ICMP });
            number.is_none_or(|number| number == packet.protocol)
                && flow.ports.as_ref().is_none_or(|ports| ports.contains(packet.port))
                && holds(&flow.from, &packet.source) && holds(&flow.to, &packet.destination)
        };
        for source in &hosts {
            for destination in &hosts {
                for (protocol, port) in [(TCP, 77), (TCP, 79), (TCP, 81), (UDP, 80), (ICMP, 0), (47, 0)] {
                    let packet = |direction| PolicyPacket {
                        direction, interface: PolicyInterface::Loopback, source: *source, destination: *destination,
                        protocol, port, flags: SYN, icmp: ECHO,
                    };
                    let incoming = plan.policy.decide(&packet(PolicyDirection::In));
                    if matches!(incoming.because, Because::Within(_)) {
                        continue;
                    }
                    let passes = plan.flows.iter().any(|flow| in_flow(flow, &packet(PolicyDirection::In)));
                    prop_assert_eq!(incoming.verdict == PolicyVerdict::Pass, passes, "{:?}", packet(PolicyDirection::In));
                    let outgoing = plan.policy.decide(&packet(PolicyDirection::Out));
                    let masqueraded = plan.masquerades.iter().any(|m| in_flow(&m.flow, &packet(PolicyDirection::Out)));
                    prop_assert_eq!(outgoing.translation.is_some(), masqueraded);
                }
            }
        }
    }

    /// No flow is redundant: each port range of each flow passes a packet that no other flow passes.
    #[test]
    fn no_flow_is_redundant(links in links()) {
        let mut input = default_input();
        input["links"] = json!(links);
        let plan = Plan::of(&declared(&input));
        let provider = |end: &Endpoint| match end {
            Endpoint::Provider(name) => name.clone(),
            Endpoint::Volume(name) => plan.volume(name).expect("a volume").provider.clone(),
        };
        // Whether the flow passes from every address of one endpoint to every address of another. Endpoints are nested
        // or disjoint.
        let passes = |flow: &PermittedFlow, from: &Endpoint, to: &Endpoint, protocol: Option<Protocol>, port: Option<u16>| {
            let holds = |ends: &[Endpoint], end: &Endpoint| ends.contains(end) || ends.contains(&Endpoint::Provider(provider(end)));
            holds(&flow.from, from) && holds(&flow.to, to)
                && (flow.protocol.is_none() || flow.protocol == protocol)
                && flow.ports.as_ref().is_none_or(|ports| port.is_some_and(|port| ports.contains(port)))
        };
        for (index, flow) in plan.flows.iter().enumerate() {
            for ends in [&flow.from, &flow.to] {
                let is_covered = |end: &Endpoint| {
                    matches!(end, Endpoint::Volume(_)) && ends.contains(&Endpoint::Provider(provider(end)))
                };
                prop_assert!(!ends.iter().any(is_covered), "a volume beside its provider: {:?}", ends);
            }
            let ports: Vec<Vec<Option<u16>>> = match &flow.ports {
                None => vec![vec![None]],
                Some(ports) => ports.ranges().iter().map(|r| (r.first..=r.last).map(Some).collect()).collect(),
            };
            let others = || plan.flows.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, flow)| flow);
            for range in ports {
                let needed = flow.from.iter().any(|from| flow.to.iter().any(|to| {
                    provider(from) != provider(to)
                        && range.iter().any(|port| !others().any(|other| passes(other, from, to, flow.protocol, *port)))
                }));
                prop_assert!(needed, "{:?} of {:?}", range, plan.flows);
            }
        }
    }
}
