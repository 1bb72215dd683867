//! `diff`: flows in few lines, by pairs of endpoints or by services, whichever is fewer.

use serde_json::{Value, json};

use crate::diff::headlines;
use crate::support::providers;

/// Two providers with senders `s0`, `s1`, … in one and receivers `r0`, `r1`, … in the other.
fn volumes(senders: usize, receivers: usize) -> Value {
    let mut input = providers(2);
    for n in 0..senders {
        input["volumes"][format!("s{n}")] =
            json!({ "provider": "p0", "address": format!("10.0.0.{}", n + 20) });
    }
    for n in 0..receivers {
        input["volumes"][format!("r{n}")] =
            json!({ "provider": "p1", "address": format!("10.0.1.{}", n + 20) });
    }
    input
}

fn link(from: &[&str], to: &[&str], protocol: &str, port: u16) -> Value {
    json!({ "from": from, "to": to, "protocol": protocol, "ports": [port] })
}

/// What these links open between two senders and two receivers.
fn opened(links: Value) -> Vec<String> {
    let mut new = volumes(2, 2);
    new["links"] = links;
    headlines(&volumes(2, 2), &new)
}

#[test]
fn a_service_of_all_pairs_takes_one_line() {
    let all = link(&["s0", "s1"], &["r0", "r1"], "tcp", 80);
    // By pairs it would be three lines: s0 -> r0 with two ports, and the rest of the pairs, which is no rectangle.
    let one = link(&["s0"], &["r0"], "tcp", 443);
    assert_eq!(opened(json!([all, one])), ["+ opens s0 -> r0 tcp 443", "+ opens s0, s1 -> r0, r1 tcp 80"]);
    let other = link(&["s1"], &["r1"], "udp", 53);
    assert_eq!(
        opened(json!([all, one, other])),
        ["+ opens s0 -> r0 tcp 443", "+ opens s0, s1 -> r0, r1 tcp 80", "+ opens s1 -> r1 udp 53"]
    );
}

#[test]
fn with_as_many_lines_either_way_a_pair_has_all_its_services() {
    let links = json!([link(&["s0"], &["r0", "r1"], "tcp", 80), link(&["s0"], &["r0"], "tcp", 443)]);
    assert_eq!(opened(links), ["+ opens s0 -> r0 tcp 80,443", "+ opens s0 -> r1 tcp 80"]);
}

/// The names, with this prefix, of those of `count` volumes whose number (from 1) has a bit.
fn with_bit(prefix: char, count: usize, bit: usize) -> Vec<String> {
    (0..count).filter(|n| (n + 1) >> bit & 1 == 1).map(|n| format!("{prefix}{n}")).collect()
}

/// Seven ports, each of other receivers: 64 receivers have 64 sets of ports.
fn by_service(count: usize) -> Vec<String> {
    let mut new = volumes(1, count);
    let link = |bit: usize| json!({ "from": ["s0"], "to": with_bit('r', count, bit), "protocol": "tcp", "ports": [80 + 10 * bit] });
    new["links"] = (0..7).map(link).collect();
    headlines(&volumes(1, count), &new)
}

/// Seven receivers, each of other senders: 64 senders have 64 sets of receivers.
fn by_receiver(count: usize) -> Vec<String> {
    let mut new = volumes(count, 7);
    let link = |bit: usize| json!({ "from": with_bit('s', count, bit), "to": [format!("r{bit}")], "protocol": "tcp", "ports": [80] });
    new["links"] = (0..7).map(link).collect();
    headlines(&volumes(count, 7), &new)
}

#[test]
fn many_sets_of_services_or_receivers_are_told_one_by_one() {
    assert_eq!([by_service(64).len(), by_service(65).len()], [7, 65]);
    assert_eq!([by_receiver(64).len(), by_receiver(65).len()], [7, 65]);
    let services = by_service(65);
    assert_eq!(services[..2], ["+ opens s0 -> r0 tcp 80", "+ opens s0 -> r1 tcp 90"]);
    assert!(services.contains(&"+ opens s0 -> r10 tcp 80,90,110".to_owned()), "{services:#?}");
    assert!(by_receiver(65).contains(&"+ opens s10 -> r0, r1, r3 tcp 80".to_owned()));
}
