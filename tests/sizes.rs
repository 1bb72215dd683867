//! Declarations that grow in every dimension, for benchmarks and for the property that the cost of a proof is linear.

use serde_json::{Value, json};

fn provider(n: usize) -> String {
    format!("p{n}")
}

fn volume(n: usize) -> String {
    format!("v{n}")
}

/// A number of providers with a /24 each, and volumes spread evenly over them.
fn network(providers: usize, volumes: usize, links: Vec<Value>) -> Value {
    let mut input = json!({ "version": 1, "providers": {}, "volumes": {}, "links": links });
    let prefix = |n: usize| format!("10.{}.{}", n / 250, n % 250);
    for n in 0..providers {
        input["providers"][provider(n)] =
            json!({ "network": format!("{}.0/24", prefix(n)), "gateway": format!("{}.1/24", prefix(n)) });
    }
    for n in 0..volumes {
        let (own, host) = (n % providers, n / providers + 2);
        input["volumes"][volume(n)] =
            json!({ "provider": provider(own), "address": format!("{}.{host}", prefix(own)) });
    }
    input
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(provider).collect()
}

/// Every provider linked to every other.
pub fn mesh(providers: usize, volumes: usize) -> Value {
    network(providers, volumes, vec![json!({ "from": names(providers), "to": names(providers) })])
}

fn tcp(from: String, to: String, port: usize) -> Value {
    json!({ "from": [from], "to": [to], "protocol": "tcp", "ports": [port] })
}

/// Each provider linked to the next.
pub fn chain(count: usize) -> Value {
    network(count, 0, (1..count).map(|n| tcp(provider(n - 1), provider(n), 443)).collect())
}

/// One provider linked to each of the others.
pub fn star(count: usize) -> Value {
    network(count, 0, (1..count).map(|n| tcp(provider(0), provider(n), 443)).collect())
}

/// One provider, and volumes of ten others that it reaches by a different port each.
pub fn ports(count: usize) -> Value {
    let elsewhere = (0..).filter(|n| n % 11 != 0).take(count);
    network(11, count + count / 10 + 1, elsewhere.map(|n| tcp(provider(0), volume(n), 1000 + n)).collect())
}

/// Links from volume to volume.
pub fn hosts(count: usize) -> Value {
    let link = |n: usize| tcp(volume(n), volume((n * 7 + count / 2 + 1) % count), 443);
    network(200, count, (0..count).map(link).collect())
}

/// A mesh that is masqueraded.
pub fn masquerades(count: usize) -> Value {
    let link = json!({ "from": names(count), "to": names(count), "protocol": "udp", "masquerade": true });
    network(count, 0, vec![link])
}

/// A chain whose links have latency.
pub fn conditions(count: usize) -> Value {
    let link = |n: usize| json!({ "from": [provider(n)], "to": [provider((n + 1) % count)], "conditions": { "latencyMs": 40 + n % 50 } });
    network(count, 0, (0..count).map(link).collect())
}

/// Links from each provider to another, with volumes.
pub fn links(providers: usize, volumes: usize) -> Value {
    let link = |n: usize| tcp(provider(n), provider((n * 7 + 1) % providers), 443 + n % 3);
    network(providers, volumes, (0..providers).map(link).collect())
}
