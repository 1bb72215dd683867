//! Which rule decides. The name of each test states a property of the kernel.

use nixvol_net::pf::eval::{Outcome, TcpSegment, Via};
use serde_json::{Value, json};

use crate::pf_words::{WEB, check, check_main, machine, packet};

#[test]
fn the_last_match_wins_unless_quick() {
    check_main("block all\npass in proto tcp to port 80\n", &[(WEB, "pass rule 1")]);
    check_main("block in quick proto tcp\npass all\n", &[(WEB, "block rule 0")]);
    check_main("pass out all\n", &[(WEB, "pass default")]);
}

#[test]
fn a_list_of_negated_addresses_matches_everything() {
    check_main("block all\npass in from { !10.0.0.1, !10.0.0.2 }\n", &[(WEB, "pass rule 2")]);
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
fn tables_are_looked_up_in_the_anchor_then_in_the_root_only() {
    let main = |keep: &str| format!("table <t> {keep} {{ 10.0.0.1 }}\nanchor \"a\"\nanchor \"a/b\"\n");
    let rule = "block quick from <t>\n";
    let own = "table <t> { 10.0.0.2 }\nblock quick from <t>\n";
    let other = "in en0 tcp 10.0.0.2:40000 192.0.2.10:80";
    check(
        &mut machine(&main("persist"), &[("a", rule)]),
        &[(WEB, "block rule a#0"), (other, "pass default")],
    );
    check(&mut machine(&main("persist"), &[("a", own)]), &[(WEB, "pass default"), (other, "block rule a#0")]);
    let parent = "table <t> persist { 10.0.0.2 }\n";
    check(
        &mut machine(&main("persist"), &[("a", parent), ("a/b", rule)]),
        &[(WEB, "block rule a/b#0"), (other, "pass default")],
    );
    // No rule of the main ruleset uses the table, so it is discarded before the anchor looks it up.
    check(&mut machine(&main(""), &[("a", rule)]), &[(WEB, "pass default")]);
}

#[test]
fn a_wildcard_visits_direct_children_in_byte_order() {
    let main = "anchor \"com.apple/*\"\n";
    let block = "block quick all\n";
    let pass = "pass quick all\n";
    check(
        &mut machine(main, &[("com.apple/a", block), ("com.apple/B", pass)]),
        &[(WEB, "pass rule com.apple/B#0")],
    );
    check(&mut machine(main, &[("com.apple/a/b", block)]), &[(WEB, "pass default")]);
    check(&mut machine(main, &[("com.apple", block)]), &[(WEB, "pass default")]);
    check(&mut machine("pass all\n", &[("com.apple/a", block)]), &[(WEB, "pass rule 0")]);
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
fn quick_on_a_call_applies_if_the_last_match_is_inside() {
    let quick = "block all\nanchor \"a\" quick {\n pass in proto tcp\n}\nblock in proto tcp\n";
    check_main(quick, &[(WEB, "pass rule a#0")]);
    let nested = "block all\nanchor \"a\" quick {\n pass in proto tcp\n anchor \"b\" {\n  block in proto udp\n }\n}\n\
                  block in proto tcp\n";
    check_main(nested, &[(WEB, "block rule 2")]);
    let last = "anchor \"a\" {\n anchor \"b\" quick {\n  pass in proto tcp\n }\n}\nblock in proto tcp\n";
    check_main(last, &[(WEB, "block rule 1")]);
}

#[test]
fn interfaces_are_exact_names() {
    check_main(
        "block all\npass in on ! en0\n",
        &[(WEB, "block rule 0"), (&WEB.replace("en0", "en1"), "pass rule 1")],
    );
    check_main("block all\npass in on bridge\n", &[(&WEB.replace("en0", "bridge100"), "block rule 0")]);
}

#[test]
fn skipped_interfaces_are_not_filtered() {
    let mut machine = machine("set skip on lo0\nblock all\n", &[]);
    let answer = machine.eval(&packet("in lo0 tcp 127.0.0.1:1 127.0.0.1:2"));
    assert_eq!(answer.verdicts()[0].via, Via::Skip);
    let value = serde_json::to_value(&answer).expect("an answer");
    assert_eq!(value.get("rule"), None);
    check(&mut machine, &[(WEB, "block rule 0")]);
}

#[test]
fn packets_with_port_zero_are_dropped() {
    check_main("pass all\n", &[("in en0 udp 10.0.0.1:0 10.0.0.2:2", "block default")]);
}

#[test]
fn recursive_anchor_calls_terminate() {
    let call = "anchor \"/a\"\nanchor \"/a\"\npass all\n";
    let answer = machine("anchor \"a\"\n", &[("a", call)]).decide(&packet(WEB));
    assert!(!answer.is_known(), "the kernel would visit 2^64 rules");
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

/// An anchor of the shape that this project renders, below the stock main ruleset.
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
            ("out lo0 tcp 10.1.1.2:7 10.0.1.2:2379", "block rule com.apple/250.nixvol#2"),
            (
                "out en0 udp 10.0.1.2:7 8.8.8.8:53",
                "pass rule com.apple/250.nixvol#3: 192.0.2.10:7 > 8.8.8.8:53",
            ),
            ("out en0 udp 10.1.1.2:7 8.8.8.8:53", "block rule com.apple/250.nixvol#4"),
            ("in en0 tcp 192.0.2.77:7 10.0.1.2:22", "block rule com.apple/250.nixvol#6"),
            ("in lo0 tcp 127.0.0.1:7 127.0.1.11:2379", "pass default: 127.0.0.1:7 > 10.0.1.2:2379"),
            ("out en0 tcp 192.0.2.10:7 1.1.1.1:443", "pass rule com.apple/250.nixvol#3"),
            ("in en0 tcp 192.0.2.77:7 192.0.2.10:22", "pass default"),
        ],
    );
}

#[test]
fn ipv6() {
    check_main(
        "block all\npass in inet6 proto tcp from fd00::/32 to fd00::1 port 22\n",
        &[
            ("in en0 tcp fd00::5:7 fd00::1:22", "pass rule 1"),
            ("in en0 tcp fd00:1::5:7 fd00::1:22", "block rule 0"),
            ("in en0 icmp6 fd00::5 fd00::1", "block rule 0"),
        ],
    );
}

#[test]
fn a_range_of_addresses_is_compared_from_the_last_byte() {
    // The kernel compares the bytes in reverse order, so the range 10.0.0.1 - 10.0.0.9 also matches unrelated hosts.
    check_main(
        "block in from 10.0.0.1 - 10.0.0.9\n",
        &[
            ("in en0 icmp 10.0.0.5 1.1.1.1", "block rule 0"),
            ("in en0 icmp 99.0.0.5 1.1.1.1", "block rule 0"),
            ("in en0 icmp 10.0.0.10 1.1.1.1", "pass default"),
        ],
    );
}

#[test]
fn owners_are_compared_where_they_are_known() {
    check_main(
        "block all\npass out proto tcp user 501\npass out proto tcp from any to any port 99 user != 501\n",
        &[
            ("out en0 tcp 10.0.0.1:7 1.1.1.1:80 S{\"uid\":501}", "pass rule 1"),
            ("out en0 tcp 10.0.0.1:8 1.1.1.1:80 S{\"uid\":502}", "block rule 0"),
            ("out en0 tcp 10.0.0.1:9 1.1.1.1:80", "block rule 0"),
            ("out en0 tcp 10.0.0.1:9 1.1.1.1:99", "pass rule 2"),
        ],
    );
}

#[test]
fn icmp_types_and_codes() {
    check_main(
        "block all\npass in inet proto icmp icmp-type echoreq\npass in inet proto icmp icmp-type unreach code 3\n",
        &[
            ("in en0 icmp 10.0.0.1 10.0.0.2", "pass rule 1"),
            ("in en0 icmp 10.0.0.3 10.0.0.2 {\"icmp_type\":3,\"icmp_code\":3}", "pass rule 2"),
            ("in en0 icmp 10.0.0.3 10.0.0.2 {\"icmp_type\":3,\"icmp_code\":1}", "block rule 0"),
            ("in en0 udp 10.0.0.3:1 10.0.0.2:2", "block rule 0"),
        ],
    );
}

#[test]
fn fragments_match_only_rules_that_need_no_header() {
    let fragment = "in en0 udp 10.0.0.1:7 10.0.0.2:53 {\"fragment\":true}";
    check_main("block all\npass in proto udp to port 53\n", &[(fragment, "block rule 0")]);
    check_main("block all\npass in fragment\n", &[(fragment, "pass rule 1"), (WEB, "block rule 0")]);
    // Flags and ICMP types are in the header, and a rule for them is skipped only for their own protocol.
    let tcp = "in en0 tcp 10.0.0.1:7 10.0.0.2:53 S {\"fragment\":true}".replace("S {", "S{");
    let icmp = "in en0 icmp 10.0.0.1 10.0.0.2 {\"fragment\":true}";
    check_main(
        "block all\npass in proto tcp flags S/SA\npass in inet proto icmp icmp-type echoreq\n",
        &[(&tcp, "block rule 0"), (icmp, "block rule 0")],
    );
    check_main(
        "block all\npass in proto tcp flags any\npass in inet proto icmp\n",
        &[(&tcp, "pass rule 1"), (icmp, "pass rule 2")],
    );
    // Scrub holds a lone fragment.
    check_main("scrub in all\npass all\n", &[(fragment, "block default")]);
}

#[test]
fn scrub_drops_invalid_tcp_flags() {
    let main = "scrub in on en0 all\n";
    for (flags, expected) in [("SR", "block default"), ("F", "block default"), ("FA", "pass default")] {
        check_main(main, &[(&format!("{WEB} {flags}"), expected)]);
    }
    check_main("no scrub in all\nscrub in all\n", &[(&format!("{WEB} SR"), "pass default")]);
}

#[test]
fn loaded_rulesets_can_be_inspected() {
    let machine = machine("anchor \"b/*\"\n", &[("b/x", "pass all\n"), ("b/y", "block all\n")]);
    let loaded = machine.loaded();
    let main = loaded.ruleset(0).expect("the main ruleset");
    let call = main.rules(nixvol_net::pf::eval::RuleList::Filter)[0].call().expect("a call");
    assert!(call.wildcard && loaded.find("b") == Some(call.ruleset));
    let parent = loaded.ruleset(call.ruleset).expect("a parent");
    let paths: Vec<_> = parent
        .children()
        .filter_map(|child| loaded.ruleset(child))
        .map(nixvol_net::pf::eval::LoadedRuleset::path)
        .collect();
    assert_eq!(paths, ["b/x", "b/y"]);
}

#[test]
fn packets_with_ip_options_need_allow_opts() {
    let with_options = |line: &str| {
        let mut packet = packet(line);
        packet.ip.options = true;
        packet
    };
    let reply = "out en0 tcp 192.0.2.10:80 10.0.0.1:40000 SA";
    for (main, passes, passes_back) in [
        ("", false, false),
        ("pass in all keep state\n", false, false),
        ("pass in all allow-opts keep state\nblock out all\n", true, true),
        ("pass in all allow-opts no state\npass out all no state\n", true, false),
        ("nat pass on en0 from any to any -> 192.0.2.1\n", false, false),
        ("set skip on en0\n", true, true),
    ] {
        let mut machine = machine(main, &[]);
        let mut passed = |line| machine.eval(&with_options(line)).action() == Outcome::Pass;
        assert_eq!((passed(WEB), passed(reply)), (passes, passes_back), "{main}");
    }
}

#[test]
fn a_range_ends_at_both_of_its_addresses() {
    let main = "block all\npass in from 10.0.0.5 - 10.0.0.9\n";
    for (source, expected) in [
        ("10.0.0.4", "block rule 0"),
        ("10.0.0.5", "pass rule 1"),
        ("10.0.0.9", "pass rule 1"),
        ("10.0.0.10", "block rule 0"),
    ] {
        check_main(main, &[(&format!("in en0 icmp {source} 192.0.2.10"), expected)]);
    }
    check_main(main, &[("in en0 udp 2001:db8::5:7 2001:db8::1:80", "block rule 0")]);
}

#[test]
fn a_packet_needs_what_its_header_has() {
    let read = |more: Value| {
        let mut packet = json!({ "dir": "in", "if": "en0", "src": "10.0.0.1", "dst": "10.0.0.2" });
        for (key, value) in more.as_object().expect("fields") {
            packet[key] = value.clone();
        }
        serde_json::from_value::<nixvol_net::pf::eval::Packet>(packet).map(|packet| packet.protocol())
    };
    for (name, number) in [("gre", 47), ("esp", 50), ("ah", 51), ("icmp", 1), ("47", 47)] {
        assert_eq!(read(json!({ "proto": name })).expect("a packet"), number);
    }
    for more in [
        json!({ "proto": "tcp" }),
        json!({ "proto": "udp", "sport": 7 }),
        json!({ "proto": "tcp", "dport": 7 }),
        // The first fragment has the header.
        json!({ "proto": "udp", "frag": true, "frag_id": 7, "frag_offset": 0, "frag_len": 80, "frag_more": true }),
    ] {
        assert!(read(more.clone()).is_err(), "{more}");
    }
    let later = json!({ "proto": "udp", "frag": true, "frag_id": 7, "frag_offset": 80, "frag_len": 80, "frag_more": true });
    assert_eq!(read(later).expect("a fragment"), 17);
}

#[test]
fn a_walk_that_is_abandoned_is_not_indexed() {
    // Six levels of anchors with ten calls each: too many visits for a walk, but few enough rules that match an address
    // for an index to reach the last rule of the main ruleset.
    let others = (0..20).fold(String::new(), |text, last| text + &format!("block from 192.0.2.{last}\n"));
    let level = |number: usize| {
        let call =
            if number < 5 { format!("anchor \"/l{}\"\n", number + 1).repeat(10) } else { String::new() };
        (format!("l{number}"), call + &others)
    };
    let levels: Vec<(String, String)> = (0..6).map(level).collect();
    let anchors: Vec<(&str, &str)> = levels.iter().map(|(path, rules)| (&**path, &**rules)).collect();
    let mut walked = machine("anchor \"l0\"\nblock quick all\n", &anchors);
    let mut indexed = walked.clone();
    indexed.index();
    let packet = packet(WEB);
    let answer = walked.eval(&packet);
    assert!(!answer.is_known(), "the walk is abandoned before the last rule");
    assert_eq!(answer, indexed.eval(&packet));
    assert_eq!(
        (answer.action(), walked.states()),
        (Outcome::Block, 0),
        "nothing passes by a verdict that is not known"
    );
}

#[test]
fn a_verdict_is_not_known_after_a_million_rules() {
    let many = |count: usize, line: &str| line.repeat(count);
    for (calls, is_known) in [(998, true), (999, false)] {
        // The call in the main ruleset, and each call there with the thousand rules behind it.
        let outer = many(calls, "anchor \"/inner\"\n");
        let inner = many(1_000, "block in on en9\n");
        for kind in ["", "nat-", "dummynet-"] {
            let main = format!("{kind}anchor \"outer\"\n");
            let (outer, inner) = match kind {
                "nat-" => (outer.replace("anchor", "nat-anchor"), many(1_000, "nat on en9 -> 10.0.0.1\n")),
                "dummynet-" => {
                    (outer.replace("anchor", "dummynet-anchor"), many(1_000, "dummynet in on en9 pipe 1\n"))
                }
                _ => (outer.clone(), inner.clone()),
            };
            let mut machine = machine(&main, &[("outer", &outer), ("inner", &inner)]);
            let way = packet(if kind == "nat-" { "out en0 tcp 10.0.0.1:40000 192.0.2.10:80" } else { WEB });
            let answer = machine.eval(&way);
            assert_eq!(answer.is_known(), is_known, "{kind} {calls}");
            let answer = serde_json::to_value(&answer).expect("JSON");
            let (action, via) = if is_known { ("pass", "default") } else { ("unknown", "abandoned") };
            assert_eq!((&answer["action"], &answer["via"]), (&json!(action), &json!(via)), "{kind} {calls}");
            assert_eq!(answer.get("rule").is_some(), is_known);
        }
    }
    // What is not known of one packet is known of the next.
    let levels = [("l", many(1_001, "anchor \"/m\"\n")), ("m", many(1_000, "block in on en9\n"))];
    let anchors = levels.each_ref().map(|(path, rules)| (*path, rules.as_str()));
    let mut machine = machine("pass quick proto udp no state\nanchor \"l\"\n", &anchors);
    assert!(!machine.eval(&packet(WEB)).is_known());
    assert!(machine.eval(&packet("in en0 udp 10.0.0.1:40000 192.0.2.10:80")).is_known());
}

#[test]
fn flags_are_letters_both_ways() {
    for flags in 0..=u8::MAX {
        let segment = TcpSegment { flags, sequence: 0, acknowledgement: 0, length: 0, window: 0 };
        assert_eq!(TcpSegment::flags_of(&segment.letters()), Ok(flags), "{}", segment.letters());
    }
    let syn = TcpSegment { flags: 0x12, sequence: 0, acknowledgement: 0, length: 0, window: 0 };
    assert_eq!(syn.letters(), "SA");
}
