//! What states do. The name of each test states a property of the kernel.

use nixvol_net::pf::eval::{Machine, Outcome};
use nixvol_net::pf::syntax::Direction;

use crate::pf_words::{WEB, answer_words, check, check_main, machine, packet};

#[test]
fn a_translation_makes_a_state_even_without_state() {
    let main = "nat on en0 inet from 10/8 to any -> 192.0.2.10 static-port\npass out all no state\n";
    let mut machine = machine(main, &[]);
    check(&mut machine, &[("out en0 udp 10.0.0.1:7 8.8.8.8:53", "pass rule 0: 192.0.2.10:7 > 8.8.8.8:53")]);
    assert_eq!(machine.states(), 1);
}

#[test]
fn pass_implies_syn_and_state_but_the_default_does_not() {
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
fn states_float_and_forwarded_packets_must_pass_at_both_hooks() {
    let main = "block all\npass in on bridge2000 from 10.1/16\n";
    check_main(
        main,
        &[
            ("in bridge2000, out en0 tcp 10.1.0.2:7 10.2.0.2:80", "pass rule 1, block rule 0"),
            // The reply matches the state of the first hook, on any interface.
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
    check(&mut both, &[(there, "pass rule 1, pass rule 1"), (back, "pass state 1, pass state 1")]);
    assert_eq!(both.states(), 2);
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
            ("out en0 udp 10.0.0.1:7 8.8.8.8:53", "pass rule 1: 192.0.2.10:7 > 8.8.8.8:53"),
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
            ("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 A{\"seq\":1800000000,\"len\":10}", "block state"),
            ("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 R", "pass state 0"),
            // The RST has ended the connection, so the next SYN is evaluated by the rules.
            (WEB, "pass rule 0"),
        ],
    );
}

/// A connection to the web server, and a segment of either side with further fields.
fn there(flags: &str, more: &str) -> String {
    format!("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 {flags}{{{more}}}")
}

fn back(flags: &str, more: &str) -> String {
    format!("out en0 tcp 192.0.2.10:80 10.0.0.1:40000 {flags}{{{more}}}")
}

fn check_segments(sequence: &[(String, &str)]) {
    let sequence: Vec<(&str, &str)> =
        sequence.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    check_main("pass in proto tcp to port 80\n", &sequence);
}

#[test]
fn a_connection_that_both_sides_have_ended_is_reopened_by_a_syn() {
    check_segments(&[
        (there("S", r#""seq":100"#), "pass rule 0"),
        (back("SA", r#""seq":500,"ack":101"#), "pass state 0"),
        (there("A", r#""seq":101,"ack":501"#), "pass state 0"),
        (there("FA", r#""seq":101,"ack":501"#), "pass state 0"),
        (back("FA", r#""seq":501,"ack":102"#), "pass state 0"),
        // The server's FIN is not acknowledged yet: to pf the server has not ended.
        (there("A", r#""seq":102,"ack":502"#), "pass state 0"),
        (there("S", r#""seq":900"#), "pass rule 0"),
    ]);
}

#[test]
fn only_a_bare_reset_may_acknowledge_nothing() {
    for (flags, expected) in [("A", "block state"), ("PA", "block state"), ("RA", "pass state 0")] {
        check_segments(&[
            (there("S", r#""seq":100"#), "pass rule 0"),
            (back("SA", r#""seq":1500000000,"ack":101"#), "pass state 0"),
            (there("A", r#""seq":101,"ack":1500000001"#), "pass state 0"),
            (there(flags, r#""seq":101,"ack":0"#), expected),
        ]);
    }
}

#[test]
fn a_window_moves_with_what_is_acknowledged() {
    check_segments(&[
        (there("S", r#""seq":0"#), "pass rule 0"),
        (back("SA", r#""seq":500,"ack":1"#), "pass state 0"),
        (there("A", r#""seq":1,"ack":501"#), "pass state 0"),
        (there("PA", r#""seq":1,"ack":501,"len":900000000"#), "pass state 0"),
        (back("A", r#""seq":501,"ack":900000001"#), "pass state 0"),
        (there("PA", r#""seq":900000001,"ack":501,"len":900000000"#), "pass state 0"),
        // Beyond what the server has room for.
        (there("PA", r#""seq":1800000001,"ack":501,"len":900000000"#), "block state"),
        (back("A", r#""seq":501,"ack":1800000001"#), "pass state 0"),
        (there("PA", r#""seq":1800000001,"ack":501,"len":900000000"#), "pass state 0"),
    ]);
}

#[test]
fn a_closed_window_still_takes_one_byte() {
    for (length, expected) in [(1, "pass state 0"), (2, "block state")] {
        check_segments(&[
            (there("S", r#""seq":100"#), "pass rule 0"),
            (back("SA", r#""seq":500,"ack":101,"win":0"#), "pass state 0"),
            (there("A", r#""seq":101,"ack":501,"win":0"#), "pass state 0"),
            (back("A", r#""seq":501,"ack":101,"win":0"#), "pass state 0"),
            (there("PA", &format!(r#""seq":101,"ack":501,"len":{length}"#)), expected),
        ]);
    }
}

#[test]
fn a_rule_has_as_many_states_as_its_limit() {
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
fn tags_stay_with_the_packet() {
    let main = "block all\npass in on bridge2000 tag VOL\npass out on en0 tagged VOL\n";
    check_main(
        main,
        &[
            ("in bridge2000, out en0 udp 10.1.0.2:7 10.2.0.2:80", "pass rule 1, pass rule 2"),
            ("out en0 udp 10.1.0.3:7 10.2.0.2:80", "block rule 0"),
            ("out en0 udp 10.1.0.3:7 10.2.0.2:80 {\"tag\":\"VOL\"}", "pass rule 2"),
        ],
    );
}

#[test]
fn states_expire_with_time() {
    let mut machine = machine("block all\npass out on en0\n", &[]);
    let (query, answer) = ("out en0 udp 10.0.0.1:7 8.8.8.8:53", "in en0 udp 8.8.8.8:53 10.0.0.1:7");
    machine.tell_time(1000);
    // The timeout of UDP is longer once both sides have sent more than one packet.
    check(&mut machine, &[(query, "pass rule 1"), (answer, "pass state 1"), (query, "pass state 1")]);
    machine.tell_time(1059);
    check(&mut machine, &[(answer, "pass state 1")]);
    machine.tell_time(1118);
    check(&mut machine, &[(answer, "pass state 1")]);
    machine.tell_time(1178);
    assert_eq!(machine.states(), 0);
    check(&mut machine, &[(answer, "block rule 0"), (query, "pass rule 1")]);
    // Without an answer: 60 seconds after the first packet, 30 after each further one.
    machine.tell_time(1237);
    check(&mut machine, &[(query, "pass state 1")]);
    machine.tell_time(1267);
    assert_eq!(machine.states(), 0);
}

#[test]
fn a_rule_sets_how_long_its_states_last() {
    let mut machine = machine("pass all keep state (tcp.first 7)\n", &[]);
    machine.tell_time(1000);
    check(&mut machine, &[("out en0 tcp 10.0.0.1:7 8.8.8.8:80 S", "pass rule 0")]);
    machine.tell_time(1006);
    assert_eq!(machine.states(), 1);
    machine.tell_time(1007);
    assert_eq!(machine.states(), 0);
}

#[test]
fn the_table_holds_10000_states_and_timeouts_shrink_as_it_fills() {
    let mut machine = machine("pass all\n", &[]);
    machine.tell_time(1000);
    let open = |machine: &mut Machine, from: u16, count: u16| {
        let passes = |port: u16| {
            let packet = packet(&format!("out en0 udp 10.0.0.1:{port} 8.8.8.8:53"));
            machine.eval(&packet).action() == Outcome::Pass
        };
        (from..from + count).map(passes).filter(|passes| *passes).count()
    };
    assert_eq!(open(&mut machine, 1, 10_001), 10_000);
    assert_eq!(machine.states(), 10_000);
    // Adaptive timeouts shorten 60 seconds to 60 * (12,000 - 10,000) / 6,000, and the purge visits each state once in
    // ten seconds.
    machine.tell_time(1019);
    assert_eq!(machine.states(), 10_000);
    machine.tell_time(1021);
    assert!((9_500..10_000).contains(&machine.states()), "{}", machine.states());
    machine.tell_time(1200);
    assert_eq!(machine.states(), 0);
    // `set limit` and `set timeout` are honoured.
    let mut small = self::machine("set limit states 3\nset timeout udp.first 5\npass all\n", &[]);
    small.tell_time(1000);
    assert_eq!(open(&mut small, 1, 5), 3);
    small.tell_time(1010);
    assert_eq!(small.states(), 0);
}

#[test]
fn tcp_timeouts_depend_on_the_stage() {
    let mut machine = machine("pass all\n", &[]);
    let there = |flags: &str| format!("out en0 tcp 10.0.0.1:7 8.8.8.8:80 {flags}");
    let back = |flags: &str| format!("in en0 tcp 8.8.8.8:80 10.0.0.1:7 {flags}");
    machine.tell_time(0);
    for (packet, now) in [(there("S"), 119), (back("SA"), 148), (there("A"), 86_000), (there("FA"), 86_899)] {
        check(&mut machine, &[(&packet, if now == 119 { "pass rule 0" } else { "pass state 0" })]);
        machine.tell_time(now);
        assert_eq!(machine.states(), 1, "{packet}");
    }
    machine.tell_time(86_901);
    assert_eq!(machine.states(), 0);
}

#[test]
fn killed_states_are_removed_and_their_slots_reused() {
    let mut machine = machine("nat on en0 inet from 10/8 to any -> 192.0.2.10\npass all\n", &[]);
    let packet = |port: u16| format!("out en0 tcp 10.0.0.1:{port} 8.8.8.8:80 S");
    for round in 0..3 {
        for port in 1..=100 {
            let expected = "pass rule 0";
            let text = packet(port);
            let answer = answer_words(&machine.eval(&crate::pf_words::packet(&text)));
            assert!(answer.starts_with(expected), "{round} {port}: {answer}");
        }
        assert_eq!(machine.states(), 100);
        let odd = machine.kill(|talk| talk.source.1 % 2 == 1 && talk.destination.1 == 80);
        assert_eq!((odd, machine.states()), (50, 50));
        assert_eq!(machine.kill(|talk| talk.direction == Direction::Out), 50);
    }
}

#[test]
fn other_protocols_last_longer_once_both_sides_were_answered() {
    let (there, back) = ("out en0 gre 10.0.0.1 8.8.8.8", "in en0 gre 8.8.8.8 10.0.0.1");
    for (packets, seconds) in
        [(&[there][..], 60), (&[there, back], 30), (&[there, there], 30), (&[there, back, there], 60)]
    {
        let mut machine = machine("pass all\n", &[]);
        machine.tell_time(0);
        for packet_text in packets {
            machine.eval(&packet(packet_text));
        }
        machine.tell_time(seconds - 1);
        assert_eq!(machine.states(), 1, "{packets:?}");
        machine.tell_time(seconds + 1);
        assert_eq!(machine.states(), 0, "{packets:?}");
    }
}

#[test]
fn a_rule_limits_the_states_of_a_source_and_the_sources() {
    let web = |source: &str, port: u16| format!("in en0 udp {source}:{port} 192.0.2.10:80");
    let count = |options: &str, packets: &[String]| {
        let mut machine = machine(&format!("pass in all keep state ({options})\n"), &[]);
        for text in packets {
            machine.eval(&packet(text));
        }
        machine.states()
    };
    let packets: Vec<String> = (1..=4)
        .flat_map(|port| ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|source| web(source, port)))
        .collect();
    assert_eq!(count("source-track rule", &packets), 12);
    assert_eq!(count("source-track rule, max-src-states 2", &packets), 6);
    assert_eq!(count("source-track rule, max-src-nodes 2", &packets), 8);
    assert_eq!(count("source-track rule, max-src-nodes 1, max-src-states 3", &packets), 3);
    assert_eq!(count("max 5", &packets), 5);
    assert_eq!(count("source-track global", &packets), 12);
}

#[test]
fn a_wrong_answer_to_a_syn_leaves_the_server_unknown() {
    check_segments(&[
        (there("S", r#""seq":100"#), "pass rule 0"),
        (back("SA", r#""seq":500,"ack":900000000"#), "block state"),
        // So this is the first segment of the server, whatever the number of the one before.
        (back("SA", r#""seq":700000000,"ack":101"#), "pass state 0"),
        (there("A", r#""seq":101,"ack":700000001"#), "pass state 0"),
    ]);
}

/// The states after a quarter of an hour: those of established connections.
fn states_that_last(main: &str, sequence: &[(String, &str)]) -> usize {
    let mut machine = machine(main, &[]);
    machine.tell_time(0);
    for (text, expected) in sequence {
        check(&mut machine, &[(text, *expected)]);
    }
    machine.tell_time(900);
    machine.states()
}

#[test]
fn a_connection_that_pf_sees_late_is_established_once_both_sides_acknowledge() {
    let late = [
        (there("A", r#""seq":100,"ack":500"#), "pass rule 0"),
        (back("A", r#""seq":500,"ack":100"#), "pass state 0"),
        (there("A", r#""seq":100,"ack":500"#), "pass state 0"),
    ];
    let main = "pass in proto tcp flags any\n";
    assert_eq!((states_that_last(main, &late[..2]), states_that_last(main, &late)), (0, 1));
}

#[test]
fn a_syn_that_acknowledges_nothing_establishes_nothing() {
    let main = "pass in proto tcp\n";
    let mut both = vec![
        (there("S", r#""seq":100"#), "pass rule 0"),
        (back("S", r#""seq":500"#), "pass state 0"),
        (there("A", r#""seq":101,"ack":501"#), "pass state 0"),
    ];
    assert_eq!(states_that_last(main, &both), 0);
    both.push((back("A", r#""seq":501,"ack":101"#), "pass state 0"));
    assert_eq!(states_that_last(main, &both), 1);
}

#[test]
fn a_packet_at_another_interface_than_it_was_routed_to_passes_unchecked() {
    let outside = |interface: &str| {
        format!("out {interface} tcp 10.0.0.1:7 8.8.8.8:80 A{{\"seq\":1800000000,\"ack\":1,\"len\":10}}")
    };
    for (main, elsewhere) in [
        ("pass out on en0 route-to (en1 192.0.2.1) proto tcp\n", "pass state 0"),
        ("pass out on en0 proto tcp\n", "block state"),
    ] {
        check_main(
            main,
            &[
                ("out en0 tcp 10.0.0.1:7 8.8.8.8:80 S{\"seq\":100}", "pass rule 0"),
                ("in en0 tcp 8.8.8.8:80 10.0.0.1:7 SA{\"seq\":500,\"ack\":101}", "pass state 0"),
                (&outside("en1"), "block state"),
                (&outside("en2"), elsewhere),
            ],
        );
    }
}
