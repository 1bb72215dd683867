//! The router's time per packet, under the rules of 5 and of 500 providers.
//!
//! `cargo bench --bench router` runs it. A segment of an open connection matches a state; a new connection is evaluated
//! by the rules, which an index reduces to those that can match.

#[path = "../support.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod support;
#[path = "../tools.rs"]
mod tools;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use nixvol_net::explain::{STOCK_MAIN, examples};
use nixvol_net::loading::Interfaces;
use nixvol_net::plan::Plan;
use nixvol_net::render::ANCHOR;
use nixvol_net::router::{AnchorSource, EGRESS, ExampleHosts, NodeId, Router, RouterRules, Topology, Ways};
use nixvol_net::wire::Offload;
use serde_json::json;

/// Providers linked by etcd's ports, with a volume in the first and in the last.
fn router(providers: usize) -> (Router, [Ipv4Addr; 2]) {
    let mut input = support::providers(providers);
    let names = support::names(providers);
    let last = providers - 1;
    let addresses =
        [2, last * 256 + 2].map(|host| Ipv4Addr::from(0x0a00_0000 + u32::try_from(host).expect("a host")));
    input["volumes"]["one"] = json!({ "provider": names[0], "address": addresses[0] });
    input["volumes"]["two"] = json!({ "provider": names[last], "address": addresses[1] });
    // A link for each pair of neighbours, so that the number of rules grows with the providers.
    let pairs = names.windows(2).map(|pair| {
        json!({ "from": [pair[0]], "to": [pair[1], names[last]], "protocol": "tcp", "ports": ["2379-2380"] })
    });
    input["links"] = pairs.collect();
    let declaration = support::declared(&input);
    let plan = Plan::of(&declaration);
    let anchor = support::rendered(&input).files[ANCHOR].text.clone();
    let examples = examples(&plan);
    let (mac, lan, internet) = (examples.mac, examples.lan, examples.internet);
    let topology = Topology::of(&plan, &ExampleHosts { mac, lan, internet, strangers: Vec::new() });
    let interfaces = Interfaces::logical(&plan, EGRESS);
    let path = plan.anchor.as_str();
    let source =
        AnchorSource { main: STOCK_MAIN, path, text: &anchor, file: ANCHOR, interfaces: &interfaces };
    let rules = RouterRules::load(&topology, &source).expect("rules");
    let ways = Ways::new(&plan.pipes);
    (Router::new(topology, rules, ways), addresses)
}

fn segment([from, to]: [Ipv4Addr; 2], ports: (u16, u16), is_syn: bool, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(from.octets(), to.octets(), 64).tcp(ports.0, ports.1, 1000, 65_000);
    let builder = if is_syn { builder.syn() } else { builder.ack(1) };
    let mut bytes = Vec::new();
    builder.write_to_vec(&mut bytes, payload).expect("a packet");
    bytes
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router");
    group.throughput(Throughput::Elements(1));
    for providers in [5, 500] {
        let (mut net, ends) = router(providers);
        let mut open = segment(ends, (40_000, 2379), true, &[]);
        net.receive(NodeId(0), &mut open, Offload::default(), Duration::ZERO);
        let data = segment(ends, (40_000, 2379), false, &[0; 1400]);
        let mut buffer = data.clone();
        group.bench_function(BenchmarkId::new("open connection", providers), |b| {
            b.iter(|| {
                let (fate, _) = net.receive(NodeId(0), &mut buffer, Offload::default(), Duration::ZERO);
                black_box(fate);
            });
        });
        let mut port = 0_u16;
        group.bench_function(BenchmarkId::new("new connection", providers), |b| {
            b.iter(|| {
                port = port.wrapping_add(1).max(1);
                let mut syn = segment(ends, (port, 2379), true, &[]);
                net.rules_mut().machine_mut().forget();
                let (fate, _) = net.receive(NodeId(0), &mut syn, Offload::default(), Duration::ZERO);
                black_box(fate);
            });
        });
        group.bench_function(BenchmarkId::new("refused connection", providers), |b| {
            b.iter(|| {
                let mut syn = segment(ends, (40_000, 22), true, &[]);
                let (fate, _) = net.receive(NodeId(0), &mut syn, Offload::default(), Duration::ZERO);
                black_box(fate);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
