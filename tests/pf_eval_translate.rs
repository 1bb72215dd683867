//! What translation does: each test is a sentence about the kernel.

use nixvol_net::pf::eval::Machine;
use nixvol_net::pf::{Environment, parse};

use crate::pf_words::{WEB, address, answer_words, check, check_main, machine, packet};

#[test]
fn of_translations_the_first_match_wins_in_anchors_too() {
    let calls = "nat-anchor \"a\"\nnat on en0 inet from any to any -> 192.0.2.99 static-port\n";
    let ping = "out en0 udp 10.0.0.1:7 8.8.8.8:53";
    let no = "no nat on en0 inet from 10.0.0.1 to any\n";
    check(&mut machine(calls, &[("a", no)]), &[(ping, "pass default")]);
    let other = "nat on en0 inet from any to any -> 192.0.2.7 static-port\n";
    check(&mut machine(calls, &[("a", other)]), &[(ping, "pass default: 192.0.2.7:7 > 8.8.8.8:53")]);
}

#[test]
fn the_filter_sees_translated_addresses() {
    let main = "nat on en0 inet from 10/8 to any -> 192.0.2.10 static-port\nblock all\n\
                pass out from 10/8\npass out proto udp from 192.0.2.10\n";
    check_main(
        main,
        &[
            ("out en0 udp 10.0.0.1:7 8.8.8.8:53", "pass rule 2: 192.0.2.10:7 > 8.8.8.8:53"),
            ("in en0 udp 8.8.8.8:53 192.0.2.10:7", "pass state 2: 8.8.8.8:53 > 10.0.0.1:7"),
            ("out en0 icmp 10.0.0.1 8.8.8.8", "block rule 0: 192.0.2.10 > 8.8.8.8"),
        ],
    );
}

#[test]
fn pass_on_a_translation_skips_the_filter() {
    let main = "rdr pass on en0 inet proto tcp to any port 80 -> 10.0.0.8 port 8080\nblock all\n";
    check_main(
        main,
        &[
            (WEB, "pass default: 10.0.0.1:40000 > 10.0.0.8:8080"),
            ("out en0 tcp 10.0.0.8:8080 10.0.0.1:40000 SA", "pass state: 192.0.2.10:80 > 10.0.0.1:40000"),
        ],
    );
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
            ("out en0 tcp 10.0.0.1:7 8.8.8.8:53", "pass default: 192.0.2.10:7 > 8.8.8.8:53"),
            // TCP finds no port and goes out as it is; UDP does not look and loses its packet.
            ("out en0 tcp 10.0.0.2:7 8.8.8.8:53", "pass default"),
            ("out en0 udp 10.0.0.1:7 8.8.8.8:53", "pass default: 192.0.2.10:7 > 8.8.8.8:53"),
            ("out en0 udp 10.0.0.2:7 8.8.8.8:53", "block default: 192.0.2.10:7 > 8.8.8.8:53"),
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
    check_main(&format!("{rdr}block all\n"), &[(WEB, "block rule 0: 10.0.0.1:40000 > 10.0.0.8:80")]);
    check_main(&format!("{rdr}block return all\n"), &[(WEB, "block rule 0")]);
    check_main(&format!("{rdr}block log all\n"), &[(WEB, "block rule 0: 10.0.0.1:40000 > 10.0.0.8:8080")]);
}

#[test]
fn addresses_follow_interfaces() {
    let main = "nat on en0 inet from 10/8 to any -> (en0:0) static-port\n\
                block in to (en0)\npass in on en1 from (en0:network)\n";
    check_main(
        main,
        &[
            ("out en0 udp 10.0.0.1:7 8.8.8.8:53", "pass default: 192.0.2.10:7 > 8.8.8.8:53"),
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
fn binat_goes_both_ways() {
    check_main(
        "binat on en0 inet from 10.0.0.0/24 to any -> 192.0.2.0/24\n",
        &[
            ("out en0 tcp 10.0.0.5:7 8.8.8.8:80", "pass default: 192.0.2.5:7 > 8.8.8.8:80"),
            ("in en0 tcp 8.8.8.8:9 192.0.2.6:22", "pass default: 8.8.8.8:9 > 10.0.0.6:22"),
        ],
    );
}

#[test]
fn a_port_range_moves_as_a_whole_or_to_one() {
    let packet = "in en0 tcp 10.0.0.6:7 192.0.2.10:8004";
    let rule = "rdr on en0 inet proto tcp to any port 8000:8010 -> 10.0.0.8 port ";
    check_main(&format!("{rule}9000:*\n"), &[(packet, "pass default: 10.0.0.6:7 > 10.0.0.8:9004")]);
    check_main(&format!("{rule}9000\n"), &[(packet, "pass default: 10.0.0.6:7 > 10.0.0.8:9000")]);
    check_main(&format!("{rule}9000:9002\n"), &[(packet, "pass default: 10.0.0.6:7 > 10.0.0.8:9001")]);
}

#[test]
fn a_redirection_is_undone_without_a_state_and_takes_the_port_along() {
    // Seen in no manual: both ports become the redirected one.
    check_main(
        "rdr on en0 inet proto tcp from any to 192.0.2.10 port 80 -> 10.0.0.8 port 8080\n",
        &[
            ("out en0 tcp 10.0.0.8:8080 8.8.8.8:40000", "pass default: 192.0.2.10:80 > 8.8.8.8:80"),
            ("out en0 tcp 10.0.0.8:8081 8.8.8.8:40000", "pass default"),
            ("out en0 tcp 10.0.0.9:8080 8.8.8.8:40000", "pass default"),
        ],
    );
}

#[test]
fn on_the_way_out_redirections_share_a_failed_source_by_their_destinations() {
    // The first rule fails by its source, and its neighbour is passed over because it has the same
    // destination; with another destination it would have matched.
    let rules = |second: &str| {
        format!(
            "rdr on en0 inet proto tcp from 10.9/16 to 192.0.2.10 port 80 -> 10.0.0.8 port 8080\n\
             rdr on en0 inet proto tcp from any to {second} port 80 -> 10.0.0.8 port 8080\n"
        )
    };
    let packet = "out en0 tcp 10.0.0.8:8080 8.8.8.8:40000";
    check_main(&rules("192.0.2.10"), &[(packet, "pass default")]);
    check_main(&rules("192.0.2.11"), &[(packet, "pass default: 192.0.2.11:80 > 8.8.8.8:80")]);
}

#[test]
fn pools() {
    let out = "out en0 udp 10.0.0.5:7 8.8.8.8:53";
    for (kind, expected) in [
        ("bitmask", "pass default: 192.0.2.5:7 > 8.8.8.8:53"),
        ("random", "pass default: 192.0.2.127:7 > 8.8.8.8:53"),
        ("", "pass default: 192.0.2.0:7 > 8.8.8.8:53"),
    ] {
        let main = format!("nat on en0 inet from 10/8 to any -> 192.0.2.0/24 {kind} static-port\n");
        check_main(&main, &[(out, expected)]);
    }
}

#[test]
fn a_hash_gives_a_source_the_same_address_each_time() {
    let key = "0x0123456789abcdef0123456789abcdef";
    let main = format!("nat on en0 inet from 10/8 to any -> 192.0.2.0/24 source-hash {key} static-port\n");
    let mut machine = machine(&main, &[]);
    let mut at = |port: u16| {
        let answer = machine.eval(&packet(&format!("out en0 udp 10.0.0.5:{port} 8.8.8.8:53")));
        answer.verdicts()[0].after.source
    };
    assert_eq!(at(1), at(2));
}

#[test]
fn sticky_sources_keep_their_address() {
    let main = "nat on en0 inet from 10/8 to any -> { 192.0.2.1, 192.0.2.2 } round-robin sticky-address static-port\n";
    check_main(
        main,
        &[
            ("out en0 udp 10.0.0.5:1 8.8.8.8:53", "pass default: 192.0.2.2:1 > 8.8.8.8:53"),
            ("out en0 udp 10.0.0.5:2 8.8.8.8:53", "pass default: 192.0.2.2:2 > 8.8.8.8:53"),
            ("out en0 udp 10.0.0.6:3 8.8.8.8:53", "pass default: 192.0.2.1:3 > 8.8.8.8:53"),
        ],
    );
}

#[test]
fn tables_are_pools_that_go_round() {
    let main = "table <t> { 10.0.0.8/31, 10.0.0.20 }\nrdr on en0 inet proto udp to any port 53 -> <t>\n";
    let mut machine = machine(main, &[]);
    for (port, last) in [(1, 20), (2, 8), (3, 9), (4, 20)] {
        let text = format!("in en0 udp 1.0.0.1:{port} 192.0.2.1:53");
        check(&mut machine, &[(&text, &format!("pass default: 1.0.0.1:{port} > 10.0.0.{last}:53"))]);
    }
}

#[test]
fn an_endpoint_independent_translation_lets_strangers_in() {
    let main =
        "nat on en0 inet proto udp from 10/8 to any -> 192.0.2.10 static-port extfilter ei\nblock in all\n";
    check_main(
        main,
        &[
            ("out en0 udp 10.0.0.5:1 8.8.8.8:53", "pass default: 192.0.2.10:1 > 8.8.8.8:53"),
            ("in en0 udp 9.9.9.9:99 192.0.2.10:1", "pass state: 9.9.9.9:99 > 10.0.0.5:1"),
        ],
    );
}
