//! What scrub rules do to packets, as `pf eval` reports it: fragments are reassembled, flags and TTLs are changed.
//! Follows xnu's pf_normalize_ip.

use serde_json::{Value, json};

use crate::pf_words::machine;

/// A fragment of a UDP datagram from a guest.
fn part(offset: u16, length: u16, more: bool) -> Value {
    let mut part = json!({
        "dir": "in", "if": "bridge2000", "proto": "udp", "src": "10.0.1.50", "dst": "10.1.1.2",
        "frag_id": 7, "frag_offset": offset, "frag_len": length, "frag_more": more,
    });
    if offset == 0 {
        (part["sport"], part["dport"]) = (json!(40_000), json!(53));
    }
    part
}

/// The answers to a sequence of packets under a main ruleset.
fn answers(main: &str, packets: &[Value]) -> Vec<Value> {
    let mut machine = machine(main, &[]);
    let answer = |packet: &Value| {
        let packet =
            serde_json::from_value(packet.clone()).unwrap_or_else(|error| panic!("{packet}: {error}"));
        serde_json::to_value(machine.eval(&packet)).expect("an answer")
    };
    packets.iter().map(answer).collect()
}

fn actions(main: &str, packets: &[Value]) -> Vec<String> {
    let action = |answer: &Value| answer["action"].as_str().expect("an action").to_owned();
    answers(main, packets).iter().map(action).collect()
}

const PORTS: &str = "block all\npass in proto udp to port 53\n";

#[test]
fn a_datagram_is_evaluated_when_its_last_fragment_arrives() {
    let main = format!("scrub in all fragment reassemble\n{PORTS}");
    let (first, middle, last) = (part(0, 1480, true), part(1480, 1480, true), part(2960, 48, false));
    for order in [[&first, &middle, &last], [&last, &middle, &first], [&middle, &first, &last]] {
        let packets: Vec<Value> = order.into_iter().cloned().collect();
        let answers = answers(&main, &packets);
        assert_eq!([&answers[0]["action"], &answers[1]["action"]], ["held", "held"]);
        let whole = &answers[2];
        assert_eq!(
            (&whole["action"], &whole["reassembled"], &whole["rule"], &whole["out"]["dport"]),
            (&json!("pass"), &json!(true), &json!(1), &json!(53))
        );
    }
    // Fragments of different datagrams are not combined, and a duplicate is dropped.
    let mut other = last.clone();
    other["frag_id"] = json!(8);
    assert_eq!(actions(&main, &[first.clone(), middle.clone(), other]), ["held"; 3]);
    assert_eq!(actions(&main, &[first.clone(), first.clone(), last.clone()]), ["held", "block", "held"]);
}

#[test]
fn without_a_scrub_rule_every_fragment_is_evaluated_alone() {
    let parts = [part(0, 1480, true), part(1480, 48, false)];
    // A rule with ports matches no fragment.
    assert_eq!(actions(PORTS, &parts), ["block", "block"]);
    assert_eq!(actions("block all\npass in proto udp\n", &parts), ["pass", "pass"]);
    // `fragment crop` only trims overlaps and holds nothing.
    assert_eq!(
        actions("scrub in all fragment crop\nblock all\npass in proto udp\n", &parts),
        ["pass", "pass"]
    );
    let outward = "scrub out all fragment reassemble\nblock all\npass in proto udp\n";
    assert_eq!(actions(outward, &parts), ["pass", "pass"]);
}

#[test]
fn invalid_fragments_are_dropped() {
    let main = format!("scrub in all fragment reassemble\n{PORTS}");
    // Every fragment but the last must have a multiple of eight bytes, and none may extend beyond the last.
    assert_eq!(actions(&main, &[part(0, 1001, true)]), ["block"]);
    let beyond = [part(1480, 48, false), part(1480, 1480, true), part(0, 1480, true)];
    assert_eq!(actions(&main, &beyond), ["held", "block", "held"], "the datagram is forgotten");
    // Without `no-df`, a fragment with the don't-fragment bit is dropped.
    let with_df = |mut part: Value| {
        part["df"] = json!(true);
        part
    };
    let parts = [with_df(part(0, 1480, true)), with_df(part(1480, 48, false))];
    assert_eq!(actions(&main, &parts), ["block", "block"]);
    let no_df = format!("scrub in all no-df fragment reassemble\n{PORTS}");
    assert_eq!(actions(&no_df, &parts), ["held", "pass"]);
    // A fragment without an id and offset cannot be reassembled.
    let lone = json!({ "dir": "in", "if": "x", "proto": "icmp", "src": "10.0.0.1", "dst": "10.0.0.2", "frag": true });
    assert_eq!(actions(&main, &[lone]), ["block"]);
}

#[test]
fn overlapping_fragments_are_trimmed_or_dropped() {
    let main = format!("scrub in all fragment reassemble\n{PORTS}");
    assert_eq!(
        actions(&main, &[part(0, 80, true), part(40, 80, true), part(120, 8, false)]),
        ["held", "held", "pass"]
    );
    assert_eq!(
        actions(&main, &[part(40, 80, true), part(0, 80, true), part(120, 8, false)]),
        ["held", "held", "pass"]
    );
    assert_eq!(
        actions(&main, &[part(0, 80, true), part(16, 8, true), part(80, 8, false)]),
        ["held", "block", "pass"]
    );
}

#[test]
fn fragments_expire_after_half_a_minute() {
    let mut machine = machine(&format!("scrub in all fragment reassemble\n{PORTS}"), &[]);
    let mut action = |packet: Value, now: u64| {
        machine.tell_time(now);
        let packet = serde_json::from_value(packet).expect("a packet");
        serde_json::to_value(machine.eval(&packet)).expect("an answer")["action"].clone()
    };
    assert_eq!(action(part(0, 1480, true), 1000), "held");
    assert_eq!(action(part(1480, 48, false), 1031), "held");
    assert_eq!(action(part(0, 1480, true), 1032), "pass");
}

#[test]
fn no_df_and_min_ttl_are_applied() {
    let packet = json!({
        "dir": "in", "if": "en0", "proto": "udp", "src": "10.0.0.1", "dst": "10.0.0.2", "sport": 1, "dport": 53,
        "df": true, "ttl": 3,
    });
    let answer =
        &answers(&format!("scrub in all no-df min-ttl 9\n{PORTS}"), std::slice::from_ref(&packet))[0];
    assert_eq!((&answer["df"], &answer["ttl"]), (&json!(false), &json!(9)));
    let answer = &answers(&format!("scrub in all min-ttl 2\n{PORTS}"), &[packet])[0];
    assert_eq!((answer.get("df"), answer.get("ttl")), (None, None));
}

#[test]
fn an_incomplete_fragment_is_refused() {
    for (field, value) in [("frag_len", Value::Null), ("frag_offset", json!(3)), ("frag_len", json!(65_000))]
    {
        let mut part = part(1480, 48, false);
        part[field] = value;
        let read: Result<nixvol_net::pf::eval::Packet, _> = serde_json::from_value(part);
        assert!(read.expect_err("no packet").to_string().contains("frag_"), "{field}");
    }
}
