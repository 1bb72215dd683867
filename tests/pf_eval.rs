//! What pf does, rule by rule: each test is a sentence about the kernel.

use std::net::IpAddr;

use nixvol_net::pf::eval::{Answer, Machine, Outcome, Packet, Verdict, Via};
use nixvol_net::pf::{Environment, parse};
use serde_json::{Value, json};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A machine with a main ruleset and anchors, loaded in this order.
fn machine(main: &str, anchors: &[(&str, &str)]) -> Machine {
    let mut environment = Environment::default();
    environment.add_address("en0", address("192.0.2.10"), 24);
    let mut machine = Machine::new(environment.interfaces.clone());
    for (path, text) in [("", main)].iter().chain(anchors) {
        let text = format!("{text}\n");
        let ruleset = parse(&text, &environment).unwrap_or_else(|errors| panic!("{text}{errors:?}"));
        machine.load(path, &ruleset);
    }
    machine
}

/// `in en0 tcp 10.0.0.1:40000 10.0.0.2:80 A` and the like, `in en0, out en1 …` for a path; flags are S where
/// they are left out, and behind them come other fields as JSON.
fn packet(text: &str) -> Packet {
    let (text, more) = text
        .split_once('{')
        .map_or((text, "{}".to_owned()), |(a, b)| (a, format!("{{{b}")));
    let mut value: Value = serde_json::from_str(&more).expect("more fields");
    let (places, rest) = match text.rsplit_once(", ") {
        Some((first, last)) => {
            let mut words = last.splitn(3, ' ');
            let place = [
                words.next().expect("a direction"),
                words.next().expect("an interface"),
            ]
            .join(" ");
            (
                format!("{first}, {place}"),
                words.next().expect("the rest").to_owned(),
            )
        }
        None => {
            let at = text.match_indices(' ').nth(1).expect("a place").0;
            (text[..at].to_owned(), text[at + 1..].to_owned())
        }
    };
    let path: Vec<Vec<&str>> = places
        .split(", ")
        .map(|place| place.split(' ').collect())
        .collect();
    match path.as_slice() {
        [place] => (value["dir"], value["if"]) = (json!(place[0]), json!(place[1])),
        path => value["path"] = json!(path),
    }
    let words: Vec<_> = rest.split_whitespace().collect();
    value["proto"] = json!(words[0]);
    for (word, address, port) in [(words[1], "src", "sport"), (words[2], "dst", "dport")] {
        let end = if matches!(words[0], "tcp" | "udp") {
            word.rsplit_once(':')
        } else {
            None
        };
        value[address] = json!(end.map_or(word, |(address, _)| address));
        if let Some((_, number)) = end {
            value[port] = json!(number.parse::<u16>().expect("a port"));
        }
    }
    if let Some(flags) = words.get(3) {
        value["flags"] = json!(flags);
    }
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `pass rule 1`, `block rule a/b#0`, `pass state 1`, `pass default`, with `: source > destination` where
/// the packet has changed.
fn words(verdict: &Verdict) -> String {
    let mut words = match (verdict.action, verdict.via) {
        (Outcome::Pass, via) => format!("pass {via:?}"),
        (Outcome::Block, via) => format!("block {via:?}"),
    }
    .to_lowercase();
    if let Some(rule) = &verdict.rule {
        words.push(' ');
        if !rule.anchor.is_empty() {
            words.push_str(&rule.anchor);
            words.push('#');
        }
        words.push_str(&rule.number.to_string());
    }
    if verdict.before != verdict.after {
        let value = serde_json::to_value(verdict).expect("a verdict");
        let out = &value["out"];
        let end = |address: &str, port: &str| {
            let address = out[address].as_str().unwrap_or_default().to_owned();
            out[port]
                .as_u64()
                .map_or(address.clone(), |port| format!("{address}:{port}"))
        };
        words = format!("{words}: {} > {}", end("src", "sport"), end("dst", "dport"));
    }
    words
}

fn answer_words(answer: &Answer) -> String {
    answer.verdicts().iter().map(words).collect::<Vec<_>>().join(", ")
}

/// Packets of one sequence and what becomes of them.
fn check(machine: &mut Machine, sequence: &[(&str, &str)]) {
    for (text, expected) in sequence {
        assert_eq!(answer_words(&machine.eval(&packet(text))), *expected, "{text}");
    }
}

fn check_main(main: &str, sequence: &[(&str, &str)]) {
    check(&mut machine(main, &[]), sequence);
}

const WEB: &str = "in en0 tcp 10.0.0.1:40000 192.0.2.10:80";

#[test]
fn the_last_match_wins_and_quick_ends() {
    check_main(
        "block all\npass in proto tcp to port 80\n",
        &[(WEB, "pass rule 1")],
    );
    check_main("block in quick proto tcp\npass all\n", &[(WEB, "block rule 0")]);
    check_main("pass out all\n", &[(WEB, "pass default")]);
}

#[test]
fn of_translations_the_first_match_wins_in_anchors_too() {
    let calls = "nat-anchor \"a\"\nnat on en0 inet from any to any -> 192.0.2.99 static-port\n";
    let ping = "out en0 udp 10.0.0.1:7 8.8.8.8:53";
    let no = "no nat on en0 inet from 10.0.0.1 to any\n";
    check(&mut machine(calls, &[("a", no)]), &[(ping, "pass default")]);
    let other = "nat on en0 inet from any to any -> 192.0.2.7 static-port\n";
    check(
        &mut machine(calls, &[("a", other)]),
        &[(ping, "pass default: 192.0.2.7:7 > 8.8.8.8:53")],
    );
}

#[test]
fn the_filter_sees_translated_addresses() {
    let main = "nat on en0 inet from 10/8 to any -> 192.0.2.10 static-port\nblock all\n\
                pass out from 10/8\npass out proto udp from 192.0.2.10\n";
    check_main(
        main,
        &[
            (
                "out en0 udp 10.0.0.1:7 8.8.8.8:53",
                "pass rule 2: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            (
                "in en0 udp 8.8.8.8:53 192.0.2.10:7",
                "pass state 2: 8.8.8.8:53 > 10.0.0.1:7",
            ),
            (
                "out en0 icmp 10.0.0.1 8.8.8.8",
                "block rule 0: 192.0.2.10 > 8.8.8.8",
            ),
        ],
    );
}

#[test]
fn a_translation_makes_a_state_even_without_state() {
    let main = "nat on en0 inet from 10/8 to any -> 192.0.2.10 static-port\npass out all no state\n";
    let mut machine = machine(main, &[]);
    check(
        &mut machine,
        &[(
            "out en0 udp 10.0.0.1:7 8.8.8.8:53",
            "pass rule 0: 192.0.2.10:7 > 8.8.8.8:53",
        )],
    );
    assert_eq!(machine.states(), 1);
}

#[test]
fn pass_on_a_translation_skips_the_filter() {
    let main = "rdr pass on en0 inet proto tcp to any port 80 -> 10.0.0.8 port 8080\nblock all\n";
    check_main(
        main,
        &[
            (WEB, "pass default: 10.0.0.1:40000 > 10.0.0.8:8080"),
            (
                "out en0 tcp 10.0.0.8:8080 10.0.0.1:40000 SA",
                "pass state: 192.0.2.10:80 > 10.0.0.1:40000",
            ),
        ],
    );
}

#[test]
fn pass_means_syn_and_state_and_no_rule_means_neither() {
    let mut machine = machine("pass in proto tcp to port 80\n", &[]);
    check(
        &mut machine,
        &[
            ("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 A", "pass default"),
            ("in en0 tcp 10.0.0.1:40000 192.0.2.10:81 S", "pass default"),
        ],
    );
    assert_eq!(machine.states(), 0);
    check(&mut machine, &[(WEB, "pass rule 0")]);
    assert_eq!(machine.states(), 1);
}

#[test]
fn states_float_and_forwarding_needs_both_passes() {
    let main = "block all\npass in on bridge2000 from 10.1/16\n";
    check_main(
        main,
        &[
            (
                "in bridge2000, out en0 tcp 10.1.0.2:7 10.2.0.2:80",
                "pass rule 1, block rule 0",
            ),
            // The reply meets the state of the first hook on whatever interface it leaves by.
            ("out en7 tcp 10.2.0.2:80 10.1.0.2:7 SA", "pass state 1"),
        ],
    );
}

#[test]
fn bound_states_stay_on_their_interface() {
    let main = "set state-policy if-bound\nblock all\npass in on en0 proto tcp\n";
    check_main(
        main,
        &[
            (WEB, "pass rule 1"),
            ("out en1 tcp 192.0.2.10:80 10.0.0.1:40000 SA", "block rule 0"),
            ("out en0 tcp 192.0.2.10:80 10.0.0.1:40000 SA", "pass state 1"),
        ],
    );
}

#[test]
fn host_local_traffic_is_seen_twice_and_makes_two_states() {
    let there = "out lo0, in lo0 tcp 10.0.1.2:7 10.1.1.2:80";
    let back = "out lo0, in lo0 tcp 10.1.1.2:80 10.0.1.2:7 SA";
    let one_sided = "block all\npass out on lo0 from 10.0/16 to 10.1/16\n";
    check_main(one_sided, &[(there, "pass rule 1, block rule 0")]);
    let mut both = machine("block all\npass from 10.0/16 to 10.1/16\n", &[]);
    check(
        &mut both,
        &[
            (there, "pass rule 1, pass rule 1"),
            (back, "pass state 1, pass state 1"),
        ],
    );
    assert_eq!(both.states(), 2);
}

#[test]
fn a_list_of_negated_addresses_matches_everything() {
    check_main(
        "block all\npass in from { !10.0.0.1, !10.0.0.2 }\n",
        &[(WEB, "pass rule 2")],
    );
}

#[test]
fn in_a_table_the_longest_prefix_decides() {
    let main =
        "table <t> { 10/8 !10.1/16 10.1.2/24 }\nblock all\npass in from <t>\npass in on en1 from !<t>\n";
    check_main(
        main,
        &[
            ("in en0 icmp 10.1.2.9 1.1.1.1", "pass rule 1"),
            ("in en0 icmp 10.1.9.9 1.1.1.1", "block rule 0"),
            ("in en1 icmp 10.1.9.9 1.1.1.1", "pass rule 2"),
        ],
    );
    check_main("block all\npass in from !<nothing>\n", &[(WEB, "pass rule 1")]);
}

#[test]
fn a_table_is_looked_for_in_its_anchor_then_in_the_root_and_never_between() {
    let main = |keep: &str| format!("table <t> {keep} {{ 10.0.0.1 }}\nanchor \"a\"\nanchor \"a/b\"\n");
    let rule = "block quick from <t>\n";
    let own = "table <t> { 10.0.0.2 }\nblock quick from <t>\n";
    let other = "in en0 tcp 10.0.0.2:40000 192.0.2.10:80";
    check(
        &mut machine(&main("persist"), &[("a", rule)]),
        &[(WEB, "block rule a#0"), (other, "pass default")],
    );
    check(
        &mut machine(&main("persist"), &[("a", own)]),
        &[(WEB, "pass default"), (other, "block rule a#0")],
    );
    let parent = "table <t> persist { 10.0.0.2 }\n";
    check(
        &mut machine(&main("persist"), &[("a", parent), ("a/b", rule)]),
        &[(WEB, "block rule a/b#0"), (other, "pass default")],
    );
    // Nothing of the root uses it, so it is gone before the anchor asks.
    check(&mut machine(&main(""), &[("a", rule)]), &[(WEB, "pass default")]);
}

#[test]
fn a_wildcard_visits_direct_children_in_the_order_of_bytes() {
    let main = "anchor \"com.apple/*\"\n";
    let block = "block quick all\n";
    let pass = "pass quick all\n";
    check(
        &mut machine(main, &[("com.apple/a", block), ("com.apple/B", pass)]),
        &[(WEB, "pass rule com.apple/B#0")],
    );
    check(
        &mut machine(main, &[("com.apple/a/b", block)]),
        &[(WEB, "pass default")],
    );
    check(
        &mut machine(main, &[("com.apple", block)]),
        &[(WEB, "pass default")],
    );
    check(
        &mut machine("pass all\n", &[("com.apple/a", block)]),
        &[(WEB, "pass rule 0")],
    );
}

#[test]
fn each_list_needs_its_own_call() {
    let anchor = "rdr on en0 inet proto tcp to any port 80 -> 10.0.0.8\nblock in proto tcp to port 80\n";
    check(
        &mut machine("anchor \"com.apple/*\"\n", &[("com.apple/x", anchor)]),
        &[(WEB, "block rule com.apple/x#0")],
    );
    check(
        &mut machine("rdr-anchor \"com.apple/*\"\n", &[("com.apple/x", anchor)]),
        &[(WEB, "pass default: 10.0.0.1:40000 > 10.0.0.8:80")],
    );
}

#[test]
fn quick_on_a_call_counts_when_something_inside_matched_last() {
    let quick = "block all\nanchor \"a\" quick {\n pass in proto tcp\n}\nblock in proto tcp\n";
    check_main(quick, &[(WEB, "pass rule a#0")]);
    let nested = "block all\nanchor \"a\" quick {\n pass in proto tcp\n anchor \"b\" {\n  block in proto udp\n }\n}\n\
                  block in proto tcp\n";
    check_main(nested, &[(WEB, "block rule 2")]);
    let last = "anchor \"a\" {\n anchor \"b\" quick {\n  pass in proto tcp\n }\n}\nblock in proto tcp\n";
    check_main(last, &[(WEB, "block rule 1")]);
}

#[test]
fn a_round_starts_at_the_second_address() {
    let main = "rdr on en0 inet proto tcp to any port 80 -> { 10.0.0.8, 10.0.0.9 } round-robin\n";
    let mut machine = machine(main, &[]);
    for (port, last) in [(1, 9), (2, 8), (3, 9)] {
        let text = format!("in en0 tcp 1.0.0.1:{port} 192.0.2.1:80");
        let expected = format!("pass default: 1.0.0.1:{port} > 10.0.0.{last}:80");
        check(&mut machine, &[(&text, &expected)]);
    }
    // Without a memory it is always the first time.
    let answer = machine.decide(&packet("in en0 tcp 1.0.0.1:9 192.0.2.1:80"));
    assert_eq!(answer_words(&answer), "pass default: 1.0.0.1:9 > 10.0.0.9:80");
}

#[test]
fn interfaces_are_exact_names() {
    check_main(
        "block all\npass in on ! en0\n",
        &[(WEB, "block rule 0"), (&WEB.replace("en0", "en1"), "pass rule 1")],
    );
    check_main(
        "block all\npass in on bridge\n",
        &[(&WEB.replace("en0", "bridge100"), "block rule 0")],
    );
}

#[test]
fn skipped_interfaces_are_not_looked_at() {
    let mut machine = machine("set skip on lo0\nblock all\n", &[]);
    let answer = machine.eval(&packet("in lo0 tcp 127.0.0.1:1 127.0.0.1:2"));
    assert_eq!(answer.verdicts()[0].via, Via::Skip);
    let value = serde_json::to_value(&answer).expect("an answer");
    assert_eq!(value.get("rule"), None);
    check(&mut machine, &[(WEB, "block rule 0")]);
}

#[test]
fn addresses_follow_interfaces() {
    let main = "nat on en0 inet from 10/8 to any -> (en0:0) static-port\n\
                block in to (en0)\npass in on en1 from (en0:network)\n";
    check_main(
        main,
        &[
            (
                "out en0 udp 10.0.0.1:7 8.8.8.8:53",
                "pass default: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            ("in en0 udp 10.0.0.1:7 192.0.2.10:53", "block rule 0"),
            ("in en0 udp 10.0.0.1:7 192.0.2.11:53", "pass default"),
            ("in en1 udp 192.0.2.200:7 192.0.2.10:53", "pass rule 1"),
        ],
    );
    let mut environment = Environment::default();
    environment.add_address("en5", address("10.9.9.9"), 24);
    environment.add_address("en5", address("10.9.9.8"), 24);
    let ruleset = parse("block in to (en5)\n", &environment).expect("a ruleset");
    let mut machine = Machine::new(environment.interfaces);
    machine.load("", &ruleset);
    check(&mut machine, &[("in en5 icmp 1.1.1.1 10.9.9.8", "block rule 0")]);
}

#[test]
fn without_an_address_there_is_nothing_to_translate_to() {
    check_main(
        "nat on en9 inet from any to any -> (en9:0)\n",
        &[("out en9 udp 10.0.0.1:7 8.8.8.8:53", "pass default")],
    );
}

#[test]
fn two_sources_cannot_share_a_port() {
    let main = "nat on en0 inet from 10/8 to any -> 192.0.2.10 static-port\n";
    check_main(
        main,
        &[
            (
                "out en0 tcp 10.0.0.1:7 8.8.8.8:53",
                "pass default: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            // TCP finds no port and goes out as it is; UDP does not look and loses its packet.
            ("out en0 tcp 10.0.0.2:7 8.8.8.8:53", "pass default"),
            (
                "out en0 udp 10.0.0.1:7 8.8.8.8:53",
                "pass default: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            (
                "out en0 udp 10.0.0.2:7 8.8.8.8:53",
                "block default: 192.0.2.10:7 > 8.8.8.8:53",
            ),
        ],
    );
}

#[test]
fn a_tcp_source_keeps_its_outer_port() {
    let mut machine = machine("nat on en0 inet from 10/8 to any -> 192.0.2.10\n", &[]);
    let port = |machine: &mut Machine, text| {
        let answer = machine.eval(&packet(text));
        let value = serde_json::to_value(answer).expect("an answer");
        value["nat"]["sport"].as_u64().expect("a port")
    };
    let first = port(&mut machine, "out en0 tcp 10.0.0.1:7 8.8.8.8:53");
    assert!((50001..=65535).contains(&first));
    assert_eq!(port(&mut machine, "out en0 tcp 10.0.0.1:7 9.9.9.9:53"), first);
    assert_ne!(port(&mut machine, "out en0 tcp 10.0.0.2:7 8.8.8.8:53"), first);
}

#[test]
fn a_blocked_packet_keeps_its_ports_and_an_answered_one_its_addresses() {
    let rdr = "rdr on en0 inet proto tcp to any port 80 -> 10.0.0.8 port 8080\n";
    check_main(
        &format!("{rdr}block all\n"),
        &[(WEB, "block rule 0: 10.0.0.1:40000 > 10.0.0.8:80")],
    );
    check_main(&format!("{rdr}block return all\n"), &[(WEB, "block rule 0")]);
    check_main(
        &format!("{rdr}block log all\n"),
        &[(WEB, "block rule 0: 10.0.0.1:40000 > 10.0.0.8:8080")],
    );
}

#[test]
fn icmp_errors_follow_the_packet_they_quote() {
    let error = |port: u16| {
        format!(
            "in en0 icmp 9.9.9.9 192.0.2.10 {{\"icmp_type\":3,\"inner\":{{\"proto\":\"udp\",\
             \"src\":\"192.0.2.10\",\"sport\":{port},\"dst\":\"8.8.8.8\",\"dport\":53}}}}"
        )
    };
    let mut machine = machine(
        "nat on en0 inet from 10/8 to any -> 192.0.2.10 static-port\nblock all\npass out on en0 proto udp\n",
        &[],
    );
    check(
        &mut machine,
        &[
            (
                "out en0 udp 10.0.0.1:7 8.8.8.8:53",
                "pass rule 1: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            (&error(7), "pass state 1: 9.9.9.9 > 10.0.0.1"),
            (&error(8), "block rule 0"),
        ],
    );
}

#[test]
fn segments_outside_the_window_are_dropped() {
    check_main(
        "pass in proto tcp to port 80\n",
        &[
            (WEB, "pass rule 0"),
            ("out en0 tcp 192.0.2.10:80 10.0.0.1:40000 SA", "pass state 0"),
            ("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 A", "pass state 0"),
            (
                "in en0 tcp 10.0.0.1:40000 192.0.2.10:80 A{\"seq\":1800000000,\"len\":10}",
                "block state",
            ),
            ("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 R", "pass state 0"),
            // The connection is over: a new one is judged by the rules.
            (WEB, "pass rule 0"),
        ],
    );
}

#[test]
fn tags_go_with_the_packet() {
    let main = "block all\npass in on bridge2000 tag VOL\npass out on en0 tagged VOL\n";
    check_main(
        main,
        &[
            (
                "in bridge2000, out en0 udp 10.1.0.2:7 10.2.0.2:80",
                "pass rule 1, pass rule 2",
            ),
            ("out en0 udp 10.1.0.3:7 10.2.0.2:80", "block rule 0"),
            (
                "out en0 udp 10.1.0.3:7 10.2.0.2:80 {\"tag\":\"VOL\"}",
                "pass rule 2",
            ),
        ],
    );
}

#[test]
fn a_rule_has_as_many_states_as_it_says() {
    check_main(
        "pass in proto udp keep state (max 1)\n",
        &[
            ("in en0 udp 10.0.0.1:1 10.0.0.2:2", "pass rule 0"),
            ("in en0 udp 10.0.0.1:2 10.0.0.2:2", "block rule 0"),
            ("in en0 udp 10.0.0.1:1 10.0.0.2:2", "pass state 0"),
        ],
    );
}

#[test]
fn port_zero_is_nobodys() {
    check_main(
        "pass all\n",
        &[("in en0 udp 10.0.0.1:0 10.0.0.2:2", "block default")],
    );
}

#[test]
fn anchors_that_call_each_other_end() {
    let call = "anchor \"/a\"\nanchor \"/a\"\npass all\n";
    let answer = machine("anchor \"a\"\n", &[("a", call)]).decide(&packet(WEB));
    assert_eq!(answer.action(), Outcome::Pass);
}

#[test]
fn relative_and_absolute_calls() {
    let block = "block quick all\n";
    check(
        &mut machine("anchor \"a\"\n", &[("a", "anchor \"../b\"\n"), ("b", block)]),
        &[(WEB, "block rule b#0")],
    );
    check(
        &mut machine("anchor \"a\"\n", &[("a", "anchor \"b\"\n"), ("a/b", block)]),
        &[(WEB, "block rule a/b#0")],
    );
}

/// The shape of the anchor that this project writes, on the stock main ruleset.
#[test]
fn an_anchor_under_the_stock_ruleset() {
    let stock = "scrub-anchor \"com.apple/*\"\nnat-anchor \"com.apple/*\"\nrdr-anchor \"com.apple/*\"\n\
                 dummynet-anchor \"com.apple/*\"\nanchor \"com.apple/*\"\n";
    let anchor = "table <nets> persist { 10.0.0.0/16 10.1.0.0/16 }\ntable <internet> persist { 10.0.0.0/16 }\n\
                  nat on en0 inet from <internet> to ! <nets> -> (en0:0) static-port\n\
                  rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 2379 -> 10.0.1.2\n\
                  pass quick inet from 10.0.0.0/16 to 10.0.0.0/16\n\
                  pass quick inet proto tcp from 10.0.0.0/16 to 10.1.0.0/16 port 2379\n\
                  block return quick inet from <nets> to <nets>\n\
                  pass quick inet from 192.0.2.10 to ! <nets>\n\
                  block return quick inet from <nets> to any\n\
                  pass quick on lo0 inet from any to <nets>\n\
                  block drop in quick inet from any to <nets>\n";
    let name = "com.apple/250.nixvol";
    check(
        &mut machine(stock, &[(name, anchor)]),
        &[
            (
                "out lo0, in lo0 tcp 10.0.1.2:7 10.1.1.2:2379",
                "pass rule com.apple/250.nixvol#1, pass rule com.apple/250.nixvol#1",
            ),
            (
                "out lo0, in lo0 tcp 10.1.1.2:2379 10.0.1.2:7 SA",
                "pass state com.apple/250.nixvol#1, pass state com.apple/250.nixvol#1",
            ),
            (
                "out lo0 tcp 10.1.1.2:7 10.0.1.2:2379",
                "block rule com.apple/250.nixvol#2",
            ),
            (
                "out en0 udp 10.0.1.2:7 8.8.8.8:53",
                "pass rule com.apple/250.nixvol#3: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            (
                "out en0 udp 10.1.1.2:7 8.8.8.8:53",
                "block rule com.apple/250.nixvol#4",
            ),
            (
                "in en0 tcp 192.0.2.77:7 10.0.1.2:22",
                "block rule com.apple/250.nixvol#6",
            ),
            (
                "in lo0 tcp 127.0.0.1:7 127.0.1.11:2379",
                "pass default: 127.0.0.1:7 > 10.0.1.2:2379",
            ),
            (
                "out en0 tcp 192.0.2.10:7 1.1.1.1:443",
                "pass rule com.apple/250.nixvol#3",
            ),
            ("in en0 tcp 192.0.2.77:7 192.0.2.10:22", "pass default"),
        ],
    );
}
