//! The time of `reconcile`, with nothing to do and with one volume added, for few and many volumes, under each shell
//! and each awk.
//!
//! All tools are the toy Mac's. For comparison, the same calls are timed one after the other without a manager. `cargo
//! bench --bench reconcile` runs it.

#[path = "../network.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod network;
#[path = "../rig.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod rig;
#[path = "../tools.rs"]
mod tools;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use network::{AWKS, Kept, Network, SHELLS, many};
use rig::Call;
use serde_json::json;

/// Replays the calls that the toy Mac itself answered, each as a process; real tools are left out.
fn replay(network: &Network, calls: &[Call]) {
    for call in calls.iter().filter(|call| matches!(call.mark, '=' | '!')) {
        let mut command = Command::new(network.mac.bin().join(&call.words[0]));
        command.args(&call.words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("the toy Mac runs");
    }
}

/// The total time of some runs, each from the same state; restoring the state is not counted.
fn timed(network: &Network, from: &Kept, runs: u64, run: impl Fn()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..runs {
        network.put_back(from);
        let begin = Instant::now();
        run();
        total += begin.elapsed();
    }
    total
}

fn reconcile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reconcile");
    // A run takes long, so ten samples are enough.
    group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_secs(1));
    for volumes in [13, 1000] {
        let mut network = Network::new(&many(volumes));
        network.ok("start");
        let up = network.keep();
        let mut more = many(volumes);
        more["volumes"]["added"] =
            json!({ "provider": "aws", "address": "10.0.9.9", "localhost": "127.0.1.99" });
        network.install(&more);
        let added = network.keep();
        for (what, from) in [("nothing to do", &up), ("one volume added", &added)] {
            network.put_back(from);
            network.mac.forget_journal();
            network.ok("reconcile");
            let calls = network.mac.journal();
            let combinations = SHELLS.iter().map(|shell| (*shell, AWKS[0])).chain([(SHELLS[0], AWKS[1])]);
            for (shell, awk) in combinations {
                network.under(shell, awk);
                let id = BenchmarkId::new(format!("{what}, {}, {awk}", shell[0]), volumes);
                group.bench_function(id, |b| {
                    b.iter_custom(|runs| timed(&network, from, runs, || drop(network.ok("reconcile"))));
                });
            }
            let id = BenchmarkId::new(format!("{what}, the toy Mac alone"), volumes);
            group.bench_function(id, |b| {
                b.iter_custom(|runs| timed(&network, from, runs, || replay(&network, &calls)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reconcile);
criterion_main!(benches);
