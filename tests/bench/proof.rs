//! How long a proof takes as declarations grow in every way they can.
//!
//! `cargo bench --bench proof` runs it. `cargo bench --bench proof -- --write DIR` writes the declarations instead, for
//! `valgrind --tool=callgrind nixvol-net test --input`.

#[path = "../support.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod support;
#[path = "../tools.rs"]
mod tools;

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput};
use nixvol_net::plan::Plan;
use nixvol_net::prove::prove;
use serde_json::{Value, json};

fn provider(n: usize) -> String {
    format!("p{n}")
}

fn volume(n: usize) -> String {
    format!("v{n}")
}

/// Providers with a /24 each, and volumes spread over them.
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

fn mesh(providers: usize, volumes: usize) -> Value {
    network(providers, volumes, vec![json!({ "from": names(providers), "to": names(providers) })])
}

fn tcp(from: String, to: String, port: usize) -> Value {
    json!({ "from": [from], "to": [to], "protocol": "tcp", "ports": [port] })
}

fn chain(count: usize) -> Value {
    network(count, 0, (1..count).map(|n| tcp(provider(n - 1), provider(n), 443)).collect())
}

fn star(count: usize) -> Value {
    network(count, 0, (1..count).map(|n| tcp(provider(0), provider(n), 443)).collect())
}

/// One provider, and volumes of ten others that it reaches by a port of their own each.
fn ports(count: usize) -> Value {
    let elsewhere = (0..).filter(|n| n % 11 != 0).take(count);
    network(11, count + count / 10 + 1, elsewhere.map(|n| tcp(provider(0), volume(n), 1000 + n)).collect())
}

/// Links from volume to volume.
fn hosts(count: usize) -> Value {
    let link = |n: usize| tcp(volume(n), volume((n * 7 + count / 2 + 1) % count), 443);
    network(200, count, (0..count).map(link).collect())
}

fn masquerades(count: usize) -> Value {
    let link = json!({ "from": names(count), "to": names(count), "protocol": "udp", "masquerade": true });
    network(count, 0, vec![link])
}

fn conditions(count: usize) -> Value {
    let link = |n: usize| json!({ "from": [provider(n)], "to": [provider((n + 1) % count)], "conditions": { "latencyMs": 40 + n % 50 } });
    network(count, 0, (0..count).map(link).collect())
}

/// Every declaration, by its name and what it is counted in.
fn all() -> Vec<(&'static str, usize, Value)> {
    vec![
        ("mesh", 250, mesh(250, 0)),
        ("mesh", 500, mesh(500, 0)),
        ("mesh", 1000, mesh(1000, 0)),
        ("mesh-with-volumes", 1000, mesh(1000, 10_000)),
        ("mesh-with-volumes", 4000, mesh(4000, 40_000)),
        ("chain", 500, chain(500)),
        ("chain", 1000, chain(1000)),
        ("star", 500, star(500)),
        ("star", 1000, star(1000)),
        ("ports", 495, ports(495)),
        ("ports", 990, ports(990)),
        ("hosts", 5000, hosts(5000)),
        ("hosts", 10_000, hosts(10_000)),
        ("masquerades", 250, masquerades(250)),
        ("masquerades", 500, masquerades(500)),
        ("conditions", 250, conditions(250)),
        ("conditions", 500, conditions(500)),
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--write") {
        let directory = Path::new(arguments.get(at + 1).expect("a directory"));
        for (name, count, input) in all() {
            let file = directory.join(format!("{name}-{count}.json"));
            std::fs::write(file, input.to_string()).expect("it is written");
        }
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, count, input) in all() {
        let declaration = support::declared(&input);
        let plan = Plan::of(&declaration);
        let anchor = support::rendered(&input).files["pf/anchor.conf"].text.clone();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &anchor, |b, anchor| {
            b.iter(|| prove(&plan, black_box(anchor)).expect("it is proven"));
        });
        group.finish();
    }
    criterion.final_summary();
}
