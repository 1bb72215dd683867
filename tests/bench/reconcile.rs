//! How long the manager takes to find that nothing is to be done, under each shell and with few and many volumes.
//!
//! Everything that it calls is the toy Mac's, whose own time is in the figures. `cargo bench --bench reconcile` runs it.

#[path = "../network.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod network;
#[path = "../rig.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod rig;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use network::{AWKS, Network, SHELLS, many};

fn reconcile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reconcile with nothing to do");
    group.sample_size(10);
    for volumes in [13, 1000] {
        let mut network = Network::new(&many(volumes));
        network.ok("start");
        for shell in SHELLS {
            network.under(shell, AWKS[0]);
            let id = BenchmarkId::new(shell[0], volumes);
            group.bench_function(id, |bencher| bencher.iter(|| network.ok("reconcile")));
        }
        // The same shell with what macOS has for an awk.
        network.under(SHELLS[0], AWKS[1]);
        let id = BenchmarkId::new("dash, one-true-awk", volumes);
        group.bench_function(id, |bencher| bencher.iter(|| network.ok("reconcile")));
    }
    group.finish();
}

criterion_group!(benches, reconcile);
criterion_main!(benches);
