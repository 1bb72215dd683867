//! What translation does. The name of each test states a property of the kernel.

use nixvol_net::pf::eval::Machine;
use nixvol_net::pf::{Environment, parse};

use crate::pf_words::{WEB, address, answer_words, check, check_main, machine, packet};

#[test]
fn the_first_matching_translation_wins_in_anchors_too() {
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
fn round_robin_starts_at_the_second_address() {
    let main = "rdr on en0 inet proto tcp to any port 80 -> { 10.0.0.8, 10.0.0.9 } round-robin\n";
    let mut machine = machine(main, &[]);
    for (port, last) in [(1, 9), (2, 8), (3, 9)] {
        let text = format!("in en0 tcp 1.0.0.1:{port} 192.0.2.1:80");
        let expected = format!("pass default: 1.0.0.1:{port} > 10.0.0.{last}:80");
        check(&mut machine, &[(&text, &expected)]);
    }
    // `decide` has no memory, so it always starts the round anew.
    let answer = machine.decide(&packet("in en0 tcp 1.0.0.1:9 192.0.2.1:80"));
    assert_eq!(answer_words(&answer), "pass default: 1.0.0.1:9 > 10.0.0.9:80");
}

#[test]
fn nat_to_an_interface_without_an_address_does_nothing() {
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
            // TCP finds no free port and leaves untranslated; UDP is not checked, and its packet is dropped.
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
fn dropped_packets_keep_their_ports_and_refused_ones_their_addresses() {
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
fn binat_works_in_both_directions() {
    check_main(
        "binat on en0 inet from 10.0.0.0/24 to any -> 192.0.2.0/24\n",
        &[
            ("out en0 tcp 10.0.0.5:7 8.8.8.8:80", "pass default: 192.0.2.5:7 > 8.8.8.8:80"),
            ("in en0 tcp 8.8.8.8:9 192.0.2.6:22", "pass default: 8.8.8.8:9 > 10.0.0.6:22"),
        ],
    );
}

#[test]
fn a_port_range_maps_to_a_range_or_to_one_port() {
    let packet = "in en0 tcp 10.0.0.6:7 192.0.2.10:8004";
    let rule = "rdr on en0 inet proto tcp to any port 8000:8010 -> 10.0.0.8 port ";
    check_main(&format!("{rule}9000:*\n"), &[(packet, "pass default: 10.0.0.6:7 > 10.0.0.8:9004")]);
    check_main(&format!("{rule}9000\n"), &[(packet, "pass default: 10.0.0.6:7 > 10.0.0.8:9000")]);
    check_main(&format!("{rule}9000:9002\n"), &[(packet, "pass default: 10.0.0.6:7 > 10.0.0.8:9001")]);
}

#[test]
fn a_redirection_is_undone_without_a_state_and_rewrites_both_ports() {
    // Undocumented: both ports become the redirected one.
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
fn outbound_redirections_with_one_destination_share_a_source_mismatch() {
    // The first rule does not match by its source address, and the second is skipped because it has the same
    // destination; with another destination it matches.
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
fn tables_are_round_robin_pools() {
    let main = "table <t> { 10.0.0.8/31, 10.0.0.20 }\nrdr on en0 inet proto udp to any port 53 -> <t>\n";
    let mut machine = machine(main, &[]);
    for (port, last) in [(1, 20), (2, 8), (3, 9), (4, 20)] {
        let text = format!("in en0 udp 1.0.0.1:{port} 192.0.2.1:53");
        check(&mut machine, &[(&text, &format!("pass default: 1.0.0.1:{port} > 10.0.0.{last}:53"))]);
    }
}

/// Which datagrams reach a translated source that has sent to 8.8.8.8:53: from that peer, from its other port, and from
/// another host with the same or another port.
fn who_gets_in(extfilter: &str) -> [bool; 4] {
    let main = format!(
        "nat on en0 inet proto udp from 10/8 to any -> 192.0.2.10 static-port {extfilter}\nblock in all\n"
    );
    let mut machine = machine(&main, &[]);
    let out = "out en0 udp 10.0.0.5:1 8.8.8.8:53";
    check(&mut machine, &[(out, "pass default: 192.0.2.10:1 > 8.8.8.8:53")]);
    ["8.8.8.8:53", "8.8.8.8:99", "9.9.9.9:53", "9.9.9.9:99"].map(|from| {
        let answer = answer_words(&machine.eval(&packet(&format!("in en0 udp {from} 192.0.2.10:1"))));
        let passed = answer == format!("pass state: {from} > 10.0.0.5:1");
        assert!(passed || answer == "block rule 0", "{answer}");
        passed
    })
}

#[test]
fn extfilter_decides_which_hosts_may_answer_a_translated_datagram() {
    assert_eq!(who_gets_in(""), [true, false, false, false]);
    assert_eq!(who_gets_in("extfilter apd"), [true, false, false, false]);
    assert_eq!(who_gets_in("extfilter ad"), [true, true, false, false]);
    assert_eq!(who_gets_in("extfilter ei"), [true, true, true, true]);
}

/// The translated ports of one source towards two ports of a server and towards another server.
fn outer_ports(options: &str) -> Vec<u64> {
    let main = format!("nat on en0 inet proto udp from 10/8 to any -> 192.0.2.10 {options}\n");
    let mut machine = machine(&main, &[]);
    machine.take_chances(7);
    let mut port = |to: &str| {
        let answer = machine.eval(&packet(&format!("out en0 udp 10.0.0.5:7 {to}")));
        serde_json::to_value(answer).expect("an answer")["out"]["sport"].as_u64().expect("a port")
    };
    ["8.8.8.8:53", "8.8.8.8:54", "9.9.9.9:53"].into_iter().map(&mut port).collect()
}

#[test]
fn extmap_says_which_destinations_share_an_outer_port() {
    let kinds = |options: &str| {
        let ports = outer_ports(options);
        (ports[0] == ports[1], ports[0] == ports[2])
    };
    assert_eq!(kinds(""), (false, false));
    assert_eq!(kinds("extmap apd"), (false, false));
    assert_eq!(kinds("extmap ad"), (true, false));
    assert_eq!(kinds("extmap ei"), (true, true));
    // One state covers all destinations, so there is one port.
    assert_eq!(kinds("extfilter ei"), (true, true));
    assert_eq!(kinds("extfilter ad"), (true, false));
}

#[test]
fn a_state_for_any_peer_remembers_the_last_one() {
    let main = "nat on en0 inet proto udp from 10/8 to any -> 192.0.2.10 extfilter ad extmap ad\n";
    let mut machine = machine(main, &[]);
    let port = |machine: &mut Machine, to: &str| {
        let answer = machine.eval(&packet(&format!("out en0 udp 10.0.0.5:7 {to}")));
        serde_json::to_value(answer).expect("an answer")["out"]["sport"].as_u64().expect("a port")
    };
    let first = port(&mut machine, "8.8.8.8:53");
    assert_eq!(port(&mut machine, "8.8.8.8:54"), first);
    let conversation = std::cell::Cell::new(0);
    machine.kill(|it| {
        conversation.set(it.destination.1);
        false
    });
    assert_eq!((conversation.get(), machine.states()), (54, 1));
}

/// Without randomness the evaluator avoids the collision that costs the kernel one flow in 15,535; with `take_chances`
/// flows are lost as often as on a Mac.
#[test]
fn flows_of_two_sources_to_one_server_get_ports_of_their_own() {
    let main = "nat on en0 inet from 10/8 to any -> (en0:0)\n";
    let mut fixed = machine(main, &[]);
    let mut seen = std::collections::BTreeSet::new();
    for source in 1..=200 {
        let answer = fixed.eval(&packet(&format!("out en0 udp 10.0.0.{source}:40000 8.8.8.8:53")));
        let value = serde_json::to_value(&answer).expect("an answer");
        assert_eq!(value["action"], "pass", "{value}");
        let port = value["out"]["sport"].as_u64().expect("a port");
        assert!(seen.insert(port), "{port} twice");
        let back = fixed.eval(&packet(&format!("in en0 udp 8.8.8.8:53 192.0.2.10:{port}")));
        assert_eq!(answer_words(&back), format!("pass state: 8.8.8.8:53 > 10.0.0.{source}:40000"));
    }
    let lost = |options: &str| {
        let mut drawn = machine(&format!("nat on en0 inet from 10/8 to any -> (en0:0) {options}\n"), &[]);
        drawn.take_chances(1);
        let sources =
            (0..4000).map(|it| format!("out en0 udp 10.0.{}.{}:40000 8.8.8.8:53", it / 200, it % 200 + 1));
        sources.filter(|flow| answer_words(&drawn.eval(&packet(flow))).starts_with("block")).count()
    };
    let without = lost("");
    assert!((300..700).contains(&without), "{without} of 4,000 lost; a Mac lost 465");
    for options in ["extfilter apd", "extfilter ad", "extfilter ei"] {
        assert_eq!(lost(options), 0, "{options}");
    }
}

#[test]
fn esp_behind_nat_is_distinguished_by_the_spi_of_replies() {
    let main = "nat on en0 inet from 10/8 to any -> 192.0.2.10\nblock in all\n";
    let out = |source: &str, spi: u32| format!("out en0 esp {source} 8.8.8.8 {{\"spi\":{spi}}}");
    let back = |spi: u32| format!("in en0 esp 8.8.8.8 192.0.2.10 {{\"spi\":{spi}}}");
    let mut machine = machine(main, &[]);
    let mut meets = |packet: String, expected: &str| check(&mut machine, &[(&packet, expected)]);
    meets(back(70), "block rule 0");
    meets(out("10.0.0.1", 5), "pass default: 192.0.2.10 > 8.8.8.8");
    meets(out("10.0.0.1", 5), "pass state: 192.0.2.10 > 8.8.8.8");
    // Until the first reply has come, its owner is unknown, so a second source is blocked.
    meets(out("10.0.0.2", 6), "block default: 192.0.2.10 > 8.8.8.8");
    meets(back(70), "pass state: 8.8.8.8 > 10.0.0.1");
    meets(out("10.0.0.2", 6), "pass default: 192.0.2.10 > 8.8.8.8");
    meets(back(71), "pass state: 8.8.8.8 > 10.0.0.2");
    meets(back(70), "pass state: 8.8.8.8 > 10.0.0.1");
    meets(back(71), "pass state: 8.8.8.8 > 10.0.0.2");
    // An unknown SPI matches nothing, nor does a known SPI from another peer.
    meets(back(72), "block rule 0");
    meets("in en0 esp 9.9.9.9 192.0.2.10 {\"spi\":70}".to_owned(), "block rule 0");
    // A new SPI of the first source creates another state, which waits for a reply.
    meets(out("10.0.0.1", 8), "pass default: 192.0.2.10 > 8.8.8.8");
    meets(back(73), "pass state: 8.8.8.8 > 10.0.0.1");
}

/// ESP packets without an SPI are distinguished by their endpoints, so two sources behind NAT have a state each.
#[test]
fn esp_without_an_spi_is_distinguished_by_addresses() {
    check_main(
        "nat on en0 inet from 10/8 to any -> 192.0.2.10\nblock in all\n",
        &[
            ("out en0 esp 10.0.0.1 8.8.8.8", "pass default: 192.0.2.10 > 8.8.8.8"),
            ("in en0 esp 8.8.8.8 192.0.2.10", "pass state: 8.8.8.8 > 10.0.0.1"),
            ("out en0 esp 10.0.0.2 8.8.8.8", "pass default: 192.0.2.10 > 8.8.8.8"),
            ("out en0 esp 10.0.0.2 9.9.9.9", "pass default: 192.0.2.10 > 9.9.9.9"),
            ("in en0 esp 9.9.9.9 192.0.2.10", "pass state: 9.9.9.9 > 10.0.0.2"),
            ("in en0 esp 7.7.7.7 192.0.2.10", "block rule 0"),
        ],
    );
}

#[test]
fn esp_without_nat_has_an_spi_for_each_direction() {
    let main = "block all\npass out on en0 proto esp from 10.0.0.1\npass in on en0 proto esp to 10.0.0.9\n";
    check_main(
        main,
        &[
            ("out en0 esp 10.0.0.1 8.8.8.8 {\"spi\":5}", "pass rule 1"),
            ("in en0 esp 8.8.8.8 10.0.0.1 {\"spi\":70}", "pass state 1"),
            ("in en0 esp 8.8.8.8 10.0.0.1 {\"spi\":70}", "pass state 1"),
            ("in en0 esp 8.8.8.8 10.0.0.1 {\"spi\":71}", "block rule 0"),
            ("in en0 esp 8.8.8.8 10.0.0.9 {\"spi\":5}", "pass rule 2"),
            ("out en0 esp 10.0.0.9 8.8.8.8 {\"spi\":90}", "pass state 2"),
        ],
    );
}

#[test]
fn a_hash_of_an_ipv6_source_has_all_its_words() {
    let key = "0x0123456789abcdef0123456789abcdef";
    let main =
        format!("nat on en0 inet6 from fd00::/16 to any -> 2001:db8::/32 source-hash {key} static-port\n");
    let mut machine = machine(&main, &[]);
    let mut of = |source: &str| {
        let answer = machine.eval(&packet(&format!("out en0 udp {source}:7 2001:db8:ffff::1:53")));
        let std::net::IpAddr::V6(address) = answer.verdicts()[0].after.source else { panic!("IPv6") };
        address.segments()
    };
    let (one, other) = (of("fd00::5"), of("fd00::6"));
    assert_eq!((one[..2].to_vec(), of("fd00::5")), (vec![0x2001, 0xdb8], one));
    // Each of the three words of the host part differs.
    for word in [2..4, 4..6, 6..8] {
        assert_ne!(one[word.clone()], other[word.clone()]);
        assert_ne!(one[word], [0, 0]);
    }
}

#[test]
fn the_port_of_an_anchor_call_is_compared_with_the_source_of_an_answer() {
    let rule = "rdr inet proto tcp from any to 192.0.2.9 port 8080 -> 10.0.0.2 port 80\n";
    // Apple's kernel writes the port that is meant for the source into the destination, too.
    for (port, told) in [(80, "pass default: 192.0.2.9:8080 > 10.0.0.1:8080"), (81, "pass default")] {
        let calls = format!("rdr-anchor \"a\" inet proto tcp from any to any port {port}\n");
        let mut machine = machine(&calls, &[("a", rule)]);
        check(&mut machine, &[("out en0 tcp 10.0.0.2:80 10.0.0.1:40000 SA", told)]);
    }
}
