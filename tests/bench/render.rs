//! The time from JSON to the rendered files, as providers and volumes grow.
//!
//! `cargo bench` runs it.

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

/// Providers that are all linked with each other.
fn mesh(count: usize) -> Value {
    let mut input = support::providers(count);
    input["links"] = json!([{ "from": support::names(count), "to": support::names(count) }]);
    input
}

/// Fifty providers, with volumes spread over them.
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

criterion_group!(benches, benchmark);
criterion_main!(benches);
