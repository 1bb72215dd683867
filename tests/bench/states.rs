//! The capacity of a Mac's state table: connections per second inside a provider and across a link, and UDP flows to
//! one server through NAT, under the rendered rules and under older ones that were run on Apple's stack.
//!
//! `cargo bench --bench states` prints the table. The clock is simulated: the figures depend on pf's table and its
//! purge, not on this machine.

#[path = "../rates.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod rates;
#[path = "../support.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod support;
#[path = "../tools.rs"]
mod tools;

use nixvol_net::router::Router;
use rates::{TODAY, connections, flows, input, mac, rendered_mac};

/// Connections per second.
const RATES: [u32; 4] = [100, 250, 400, 500];
/// The duration in seconds: longer than a state stays.
const SECONDS: u32 = 150;
/// UDP flows from one volume.
const FLOWS: [u16; 2] = [1000, 4000];

/// Creates a Mac.
type Net = fn() -> Router;

fn main() {
    let rules: [(&str, Net); 2] =
        [("rendered", || rendered_mac(&input())), ("stateful", || mac(TODAY, |text| text))];
    println!("rules     path               per second    tried   failed  most states");
    for (name, net) in rules {
        for (path, to) in [("inside a provider", "etcd-4"), ("across a link", "etcd-2")] {
            for rate in RATES {
                let load = connections(&mut net(), "etcd-1", to, rate, SECONDS);
                let (tried, failed, states) = (load.tried, load.failed, load.states);
                println!("{name:<9} {path:<18} {rate:>10} {tried:>8} {failed:>8} {states:>12}");
            }
        }
        for count in FLOWS {
            let lost = usize::from(count) - flows(&mut net(), "etcd-1", 40_000, count).0;
            println!("{name:<9} {:<18} {:>10} {count:>8} {lost:>8}", "UDP by NAT", "at once");
        }
    }
}
