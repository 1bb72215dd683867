//! Random small networks, and the hosts and services at which two of them are compared.

use std::net::Ipv4Addr;

use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::{Flow, Opener};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Three providers, some volumes, and every kind of change to them.
pub fn networks() -> impl Strategy<Value = Value> {
    let ends =
        || proptest::sample::subsequence(vec!["aws", "azure", "gcp", "etcd-1", "etcd-2", "talos"], 1..4);
    let service = prop_oneof![
        Just((None, None)),
        Just((Some("icmp"), None)),
        Just((Some("tcp"), None)),
        (prop_oneof![Just("tcp"), Just("udp")], 79u16..81, 0u16..2)
            .prop_map(|(protocol, first, more)| (Some(protocol), Some(format!("{first}-{}", first + more)))),
        (79u16..81).prop_map(|port| (None, Some(port.to_string()))),
    ];
    let link = (ends(), ends(), service, any::<bool>(), proptest::bool::weighted(0.2), conditions());
    let link = link.prop_filter("an end linked with itself", |(from, to, ..)| from.len() > 1 || from != to);
    let link = link.prop_map(|(from, to, (protocol, ports), bidirectional, masquerade, conditions)| {
        json!({ "from": from, "to": to, "protocol": protocol, "ports": ports.map(|ports| vec![ports]),
                "bidirectional": bidirectional, "masquerade": masquerade, "conditions": conditions })
    });
    let often = || proptest::bool::weighted(0.8);
    let shape = (often(), often(), often(), often(), often(), 0usize..3);
    let network =
        (proptest::collection::vec(link, 0..4), shape).prop_map(|(links, shape)| network(&links, shape));
    // Links of equal specificity must agree on their conditions; drop conditions from the last link backwards until
    // they do.
    network.prop_map(|mut input| {
        for index in (0..input["links"].as_array().map_or(0, Vec::len)).rev() {
            if nixvol_net::model::read(input.to_string().as_bytes()).is_ok() {
                break;
            }
            input["links"][index]["conditions"] = Value::Null;
        }
        input
    })
}

/// Conditions of a link, or none.
fn conditions() -> impl Strategy<Value = Value> {
    let like = (0u16..3, 0u8..2, 0u8..2).prop_map(|(latency, loss, rate)| {
        let mut conditions = json!({ "latencyMs": latency * 20 });
        if loss > 0 {
            conditions["loss"] = json!(0.5);
        }
        if rate > 0 {
            conditions["bandwidthKbit"] = json!(800);
        }
        conditions
    });
    prop_oneof![Just(Value::Null), like]
}

fn network(links: &[Value], shape: (bool, bool, bool, bool, bool, usize)) -> Value {
    let (internet, wide, address, first_gateway, without_oci, count) = shape;
    let published = &[80, 443][..count];
    let mut input = json!({
        "version": 1,
        "providers": {
            "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24", "internet": internet },
            "azure": { "network": "10.1.0.0/16", "gateway": if first_gateway { "10.1.1.1/24" } else { "10.1.2.1/24" } },
            "gcp": { "network": if wide { "10.2.0.0/16" } else { "10.2.0.0/17" }, "gateway": "10.2.1.1/24" },
        },
        "volumes": {
            "etcd-1": { "provider": "aws", "address": if address { "10.0.1.2" } else { "10.0.1.3" },
                        "localhost": "127.0.1.11", "publish": published },
            "etcd-2": { "provider": "azure", "address": "10.1.9.2" },
            "talos": { "provider": "aws", "address": if address { "10.0.1.3" } else { "10.0.1.4" } },
        },
        "links": links,
    });
    if !without_oci {
        // The other half of gcp's network may then belong to an outside host.
        let network = if wide { "10.3.0.0/16" } else { "10.2.128.0/17" };
        let gateway = if wide { "10.3.0.1/24" } else { "10.2.128.1/24" };
        input["providers"]["oci"] = json!({ "network": network, "gateway": gateway });
    }
    input
}

/// The boundary addresses of the plans above, and addresses that no plan names.
const HOSTS: [&str; 16] = [
    "9.255.255.255",
    "10.0.0.0",
    "10.0.1.1",
    "10.0.1.2",
    "10.0.1.3",
    "10.0.1.4",
    "10.0.255.255",
    "10.1.9.2",
    "10.1.9.3",
    "10.2.127.255",
    "10.2.128.0",
    "10.3.9.9",
    "127.0.0.1",
    "127.0.1.11",
    "203.0.113.7",
    "10.1.9.7",
];

pub fn hosts() -> Vec<Ipv4Addr> {
    HOSTS.iter().map(|host| host.parse().expect("an address")).collect()
}

pub fn services() -> Vec<(u8, u16)> {
    let ports = [0, 79, 80, 81, 443];
    let of = |protocol| ports.iter().map(move |port| (protocol, *port));
    of(TCP).chain(of(UDP)).chain([(ICMP, 0), (47, 0)]).collect()
}

pub fn openers() -> Vec<Opener> {
    hosts().into_iter().map(Opener::Address).chain([Opener::ThisMac]).collect()
}

/// Sampled flows, each with the indices of its opener, destination and service in their lists.
pub fn sample() -> Vec<([usize; 3], Flow)> {
    let mut flows = Vec::new();
    for (from, opener) in openers().into_iter().enumerate() {
        for (to, destination) in hosts().into_iter().enumerate() {
            for (by, (protocol, port)) in services().into_iter().enumerate() {
                flows.push(([from, to, by], Flow { opener, destination, protocol, port }));
            }
        }
    }
    flows
}
