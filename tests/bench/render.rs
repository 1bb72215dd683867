//! How long it takes from the JSON to the rendered bytes, as providers and volumes grow.
//!
//! `cargo bench` runs it; the README says what it printed.

#[path = "../support.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod support;
#[path = "../tools.rs"]
mod tools;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nixvol_net::model;
use nixvol_net::plan::Plan;
use nixvol_net::render;
use serde_json::{Value, json};

fn whole(json: &str) -> usize {
    let declaration = model::read(json.as_bytes()).expect("a valid declaration");
    let bundle = render::bundle(&declaration, &Plan::of(&declaration)).expect("a bundle");
    bundle.files.len()
}

/// Providers that all link with all.
fn mesh(count: usize) -> Value {
    let mut input = support::providers(count);
    input["links"] = json!([{ "from": support::names(count), "to": support::names(count) }]);
    input
}

/// Fifty providers, and volumes spread over them.
fn volumes(count: usize) -> Value {
    let mut input = mesh(50);
    for n in 0..50 {
        input["providers"][format!("p{n}")] =
            json!({ "network": format!("10.{n}.0.0/16"), "gateway": format!("10.{n}.0.1/24") });
    }
    for n in 0..count {
        let (provider, host) = (n % 50, n / 50 + 256);
        let address = format!("10.{provider}.{}.{}", host / 200, host % 200 + 2);
        input["volumes"][format!("v{n}")] = json!({ "provider": format!("p{provider}"), "address": address });
    }
    input
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("providers");
    for count in [5, 50, 500] {
        let json = mesh(count).to_string();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &json, |b, json| {
            b.iter(|| whole(black_box(json)));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("volumes");
    group.sample_size(10);
    for count in [13, 1000, 10_000] {
        let json = volumes(count).to_string();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &json, |b, json| {
            b.iter(|| whole(black_box(json)));
        });
    }
    group.finish();
}

/// The proof alone: the rendered anchor against the policy, for all packets.
fn proof(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("proof");
    group.sample_size(10);
    for count in [5, 50, 200, 800] {
        let mut input = mesh(count);
        // A link for every provider beside the mesh, so that rules grow with providers.
        let ring = (0..count).map(|n| {
            let (from, to) = (format!("p{n}"), format!("p{}", (n + 1) % count));
            json!({ "from": [from], "to": [to], "protocol": "udp", "ports": [1000 + n] })
        });
        input["links"][0]["protocol"] = json!("tcp");
        let links: Vec<Value> =
            input["links"].as_array().into_iter().flatten().cloned().chain(ring).collect();
        input["links"] = json!(links);
        let declaration = support::declared(&input);
        let plan = Plan::of(&declaration);
        let anchor = support::rendered(&input).files["pf/anchor.conf"].text.clone();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &anchor, |b, anchor| {
            b.iter(|| nixvol_net::prove::prove(&plan, black_box(anchor)).expect("it is proven"));
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark, proof);
criterion_main!(benches);
