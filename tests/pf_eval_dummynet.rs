//! Which pipes a packet goes through. The name of each test states a property of xnu's pf_test_dummynet.

use nixvol_net::pf::eval::{Machine, Outcome, Shaping};
use serde_json::json;

use crate::pf_words::{WEB, answer_words, check, machine, packet};

/// The dummynet rules that a packet matches at each hook, in order: `pipe 7 by a#0`, `none by 2`, separated by commas,
/// and by ` | ` between hooks.
fn met(machine: &mut Machine, text: &str) -> String {
    let met = |shaping: &Shaping| {
        let anchor = if shaping.rule.anchor.is_empty() { "" } else { "#" };
        let into = shaping.number().map_or_else(|| "none".to_owned(), |number| format!("pipe {number}"));
        format!("{into} by {}{anchor}{}", shaping.rule.anchor, shaping.rule.number)
    };
    let answer = machine.eval(&packet(text));
    let places = answer.verdicts().iter().map(|it| it.shaping.iter().map(met).collect::<Vec<_>>().join(", "));
    places.collect::<Vec<_>>().join(" | ")
}

/// Checks the matches of rules in the main ruleset.
fn check_main(main: &str, sequence: &[(&str, &str)]) {
    let mut machine = machine(main, &[]);
    for (text, expected) in sequence {
        assert_eq!(met(&mut machine, text), *expected, "{main}{text}");
    }
}

const STOCK: &str = "dummynet-anchor \"com.apple/*\"\nanchor \"com.apple/*\"\n";
const PING: &str = "in en0 icmp 10.0.0.1 192.0.2.10";

#[test]
fn the_last_match_counts_unless_quick() {
    check_main(
        "dummynet in all pipe 1\ndummynet in proto tcp pipe 2\n",
        &[(WEB, "pipe 2 by 1"), (PING, "pipe 1 by 0")],
    );
    check_main("no dummynet in proto tcp\ndummynet in all pipe 2\n", &[(WEB, "pipe 2 by 1")]);
    check_main(
        "no dummynet quick proto tcp\ndummynet in all pipe 2\n",
        &[(WEB, "none by 0"), (PING, "pipe 2 by 1")],
    );
    check_main("dummynet out all pipe 1\n", &[(WEB, "")]);
    check_main(
        "dummynet in on en1 all pipe 1\ndummynet in on ! lo0 from 10/8 pipe 2\n",
        &[(WEB, "pipe 2 by 1")],
    );
}

#[test]
fn a_packet_continues_after_the_rule_that_sent_it_into_a_pipe() {
    let two = "dummynet in quick all pipe 1\ndummynet in quick proto tcp pipe 2\n";
    check_main(two, &[(WEB, "pipe 1 by 0, pipe 2 by 1"), (PING, "pipe 1 by 0")]);
    // It continues after that rule, never before it; a rule without `quick` is the last match, so nothing follows it.
    check_main("dummynet in all pipe 1\ndummynet in quick proto tcp pipe 2\n", &[(WEB, "pipe 2 by 1")]);
    check_main(
        "dummynet in quick proto tcp pipe 2\ndummynet in all pipe 1\n",
        &[(WEB, "pipe 2 by 0, pipe 1 by 1")],
    );
    // `no dummynet` after a pipe keeps packets that come out of it from entering another one.
    let kept =
        "dummynet in quick proto tcp pipe 2\nno dummynet in quick proto tcp\ndummynet in quick all pipe 1\n";
    check_main(kept, &[(WEB, "pipe 2 by 0, none by 1"), (PING, "pipe 1 by 2")]);
}

#[test]
fn dummynet_comes_before_states_and_translation() {
    let main = "nat on en0 inet from 10.0.0.1 to any -> 192.0.2.10\nrdr on en0 inet proto tcp to port 80 -> 10.0.0.8\n\
                dummynet in from 10.0.0.1 to 192.0.2.10 pipe 1\ndummynet out from 10.0.0.1 to any pipe 2\n\
                dummynet out from 10.0.0.8 pipe 3\npass all flags any keep state\n";
    check_main(
        main,
        &[
            (WEB, "pipe 1 by 0"),
            // The state passes it now. The reply is matched before its translation is undone.
            (&format!("{WEB} A"), "pipe 1 by 0"),
            ("out en0 tcp 10.0.0.8:80 10.0.0.1:40000 SA", "pipe 3 by 2"),
            ("out en0 udp 10.0.0.1:7 9.9.9.9:53", "pipe 2 by 1"),
        ],
    );
    let mut machine = machine("dummynet in all pipe 1\nblock in all\n", &[]);
    assert_eq!(answer_words(&machine.eval(&packet(WEB))), "block rule 0");
    assert_eq!(met(&mut machine, WEB), "pipe 1 by 0", "what is blocked has been through it");
}

#[test]
fn each_hook_is_evaluated_separately() {
    let main = "dummynet out all pipe 1\ndummynet in on en1 all pipe 2\n";
    check_main(main, &[("in en1, out en0 icmp 10.0.0.1 10.0.0.2", "pipe 2 by 1 | pipe 1 by 0")]);
}

#[test]
fn dummynet_is_inactive_on_skipped_interfaces_and_with_an_empty_main_list() {
    check_main("set skip on en0\ndummynet in all pipe 1\n", &[(WEB, "")]);
    let anchor = ("com.apple/a", "dummynet in quick all pipe 1\n");
    assert_eq!(met(&mut machine(STOCK, &[anchor]), WEB), "pipe 1 by com.apple/a#0");
    assert_eq!(met(&mut machine("anchor \"com.apple/*\"\n", &[anchor]), WEB), "");
    assert_eq!(met(&mut machine("dummynet-anchor \"x\"\n", &[anchor]), WEB), "");
    // A packet that scrub holds enters no pipe. Invalid TCP flags are checked only after dummynet.
    let scrub = "scrub in all\ndummynet in all pipe 1\n";
    check_main(
        scrub,
        &[
            ("in en0 udp 10.0.0.1:7 10.0.0.2:53 {\"fragment\":true}", ""),
            (&format!("{WEB} SR"), "pipe 1 by 0"),
        ],
    );
}

/// The last match is discarded at the end of a child anchor that a wildcard called, and at every call.
#[test]
fn below_a_wildcard_only_quick_rules_have_an_effect() {
    let child = |text| [("com.apple/250.nixvol", text)];
    assert_eq!(met(&mut machine(STOCK, &child("dummynet in all pipe 1\n")), WEB), "");
    assert_eq!(met(&mut machine(STOCK, &child("no dummynet in all\n")), WEB), "");
    assert_eq!(
        met(&mut machine(STOCK, &child("dummynet in quick all pipe 1\n")), WEB),
        "pipe 1 by com.apple/250.nixvol#0"
    );
    let two = [
        ("com.apple/b", "dummynet in quick all pipe 2\n"),
        ("com.apple/a", "dummynet in quick all pipe 1\n"),
    ];
    assert_eq!(met(&mut machine(STOCK, &two), WEB), "pipe 1 by com.apple/a#0, pipe 2 by com.apple/b#0");
    // A call of an anchor by name keeps the last match.
    let called = "dummynet-anchor \"x\"\n";
    assert_eq!(met(&mut machine(called, &[("x", "dummynet in all pipe 1\n")]), WEB), "pipe 1 by x#0");
    assert_eq!(
        met(&mut machine(called, &[("x/y", "dummynet in quick all pipe 1\n")]), WEB),
        "",
        "a grandchild"
    );
    // A call discards an earlier match, whatever the anchor contains.
    let before = "dummynet in all pipe 1\ndummynet-anchor \"x\"\n";
    assert_eq!(met(&mut machine(before, &[("x", "dummynet out all pipe 2\n")]), WEB), "");
    let behind = "dummynet-anchor \"x\"\ndummynet in all pipe 1\n";
    assert_eq!(met(&mut machine(behind, &[("x", "dummynet out all pipe 2\n")]), WEB), "pipe 1 by 1");
}

#[test]
fn fragments() {
    let udp = "in en0 udp 10.0.0.1:7 10.0.0.2:53 {\"fragment\":true}";
    let tcp = "in en0 tcp 10.0.0.1:7 10.0.0.2:53 {\"fragment\":true}";
    let icmp = "in en0 icmp 10.0.0.1 10.0.0.2 {\"fragment\":true}";
    // TCP fragments match no dummynet rule; other fragments match rules that name no protocol with ports.
    check_main("dummynet in all pipe 1\n", &[(udp, "pipe 1 by 0"), (tcp, ""), (icmp, "pipe 1 by 0")]);
    check_main("dummynet in proto udp pipe 1\n", &[(udp, "")]);
    check_main("dummynet in proto udp to port 53 pipe 1\n", &[(udp, "")]);
    check_main("dummynet in fragment pipe 1\n", &[(udp, ""), (icmp, "")]);
    check_main(
        "dummynet in inet proto icmp icmp-type echoreq pipe 1\n",
        &[(icmp, ""), (PING, "pipe 1 by 0")],
    );
    // A fragment that fails such a rule skips the following rules with the same source-port condition, usually none.
    let jump = "dummynet in proto udp to port 1 pipe 1\ndummynet in from any to 10.0.0.2 pipe 2\n";
    check_main(jump, &[(udp, ""), (icmp, "pipe 2 by 1")]);
    let lands = "dummynet in proto udp pipe 1\ndummynet in all pipe 2\ndummynet in proto udp from port 5 pipe 3\n\
                 dummynet in all pipe 4\n";
    check_main(lands, &[(udp, "pipe 4 by 3")]);
    // It skips nothing if the rule's source address does not match, which is tested first.
    check_main(
        "dummynet in proto udp from 9.9.9.9 pipe 1\ndummynet in all pipe 2\n",
        &[(udp, "pipe 2 by 1")],
    );
}

/// The kernel keeps a pointer to a matched rule without a pipe, and drops a fragment that then matches no filter rule.
#[test]
fn a_fragment_that_matched_a_dummynet_rule_is_dropped_if_no_filter_rule_matches() {
    let ping = "in en0 icmp 10.0.0.1 10.0.0.2 {\"fragment\":true}";
    let decides = |main: &str, anchor: &str, expected: &str| {
        check(&mut machine(main, &[("com.apple/x", anchor)]), &[(ping, expected)]);
    };
    decides("no dummynet in all\n", "", "block default");
    decides("no dummynet in all\npass in all\n", "", "pass rule 0");
    decides("no dummynet out all\n", "", "pass default");
    // A packet that comes out of a pipe is evaluated anew.
    decides("dummynet in all pipe 1\n", "", "pass default");
    decides("dummynet in quick all pipe 1\nno dummynet in all\n", "", "block default");
    // Below a wildcard a match without `quick` has no effect, but the pointer is kept.
    decides("dummynet-anchor \"com.apple/*\"\n", "dummynet in all pipe 1\n", "block default");
    decides("dummynet-anchor \"com.apple/*\"\n", "dummynet in quick all pipe 1\n", "pass default");
    let whole = "in en0 icmp 10.0.0.1 10.0.0.2";
    check(&mut machine("no dummynet in all\n", &[]), &[(whole, "pass default")]);
}

/// Long lists are indexed, and the index must include rules that make fragments skip others.
#[test]
fn fragments_skip_the_same_rules_in_an_indexed_list() {
    let jump = "dummynet in proto udp to 9.9.9.9 pipe 1\ndummynet in from any to 10.0.0.2 pipe 2\n";
    let far = "dummynet in from any to { 10.9.0.1 10.9.0.3 10.9.0.5 10.9.0.7 10.9.0.9 10.9.0.11 10.9.0.13 10.9.0.15 \
               10.9.0.17 10.9.0.19 10.9.0.21 10.9.0.23 10.9.0.25 } pipe 3\n";
    let fragment = "in en0 udp 10.0.0.1:7 10.0.0.2:53 {\"fragment\":true}";
    for text in [jump.to_owned() + far, far.to_owned() + jump] {
        let mut walked = machine(&text, &[]);
        let mut indexed = walked.clone();
        indexed.index();
        for packet in [fragment, "in en0 udp 10.0.0.1:7 10.0.0.2:53", "in en0 icmp 10.0.0.1 10.9.0.7"] {
            assert_eq!(met(&mut walked, packet), met(&mut indexed, packet), "{text}{packet}");
        }
        assert_eq!(met(&mut indexed, fragment), "");
    }
}

#[test]
fn ports_are_compared_on_both_sides() {
    let pipe = |ends: &str, packet: &str| {
        met(&mut machine(&format!("dummynet out quick proto udp {ends} pipe 7\n"), &[]), packet)
    };
    let packet = "out en0 udp 10.0.0.1:7 10.0.0.2:80";
    let hit = pipe("from any to any", packet);
    for (ends, hits) in [
        ("from any to any port 80", true),
        ("from any to any port 81", false),
        ("from any port 7 to any", true),
        ("from any port 8 to any", false),
        ("from any port 7 to any port 81", false),
    ] {
        assert_eq!(pipe(ends, packet) == hit, hits, "{ends}");
    }
    assert_ne!(pipe("from any to any", "out en0 icmp 10.0.0.1 10.0.0.2"), hit);
}

#[test]
fn the_type_of_service_must_be_equal() {
    let tos = |tos: u8| format!("{PING} {{\"tos\":{tos}}}");
    let rule = "in inet all tos 0x10";
    check_main(
        &format!("dummynet {rule} pipe 1\n"),
        &[(&tos(0x10), "pipe 1 by 0"), (&tos(0x18), ""), (PING, "")],
    );
    // The filter only requires one bit in common.
    let mut machine = machine(&format!("block {rule}\n"), &[]);
    check(&mut machine, &[(&tos(0x18), "block rule 0"), (&tos(0x08), "pass default")]);
}

#[test]
fn no_rule_depends_on_owners_or_operating_systems() {
    check_main("dummynet in proto tcp user root pipe 1\n", &[(WEB, "pipe 1 by 0")]);
    check_main("dummynet in proto tcp group wheel pipe 1\n", &[(WEB, "pipe 1 by 0")]);
    check_main("dummynet in proto tcp from any os \"Linux\" pipe 1\n", &[(WEB, "pipe 1 by 0")]);
    check_main(
        "dummynet in proto tcp flags S/SA pipe 1\n",
        &[(WEB, "pipe 1 by 0"), (&format!("{WEB} A"), "")],
    );
}

#[test]
fn a_tag_goes_through_the_pipe() {
    let tagged = "block in tagged slow\n";
    check(&mut machine(&format!("dummynet in all tag slow pipe 1\n{tagged}"), &[]), &[(WEB, "block rule 0")]);
    check(&mut machine(&format!("no dummynet in all tag slow\n{tagged}"), &[]), &[(WEB, "pass default")]);
    check_main(
        "dummynet in quick all tag slow pipe 1\ndummynet in tagged slow pipe 2\n",
        &[(WEB, "pipe 1 by 0, pipe 2 by 1")],
    );
}

#[test]
fn queues_and_json() {
    let mut machine = machine("dummynet in quick all queue 3\nno dummynet in all\n", &[]);
    let answer = machine.eval(&packet(WEB));
    assert_eq!(answer.action(), Outcome::Pass);
    let value = serde_json::to_value(&answer).expect("an answer");
    assert_eq!(
        value["dummynet"],
        json!([{ "rule": 0, "anchor": "", "queue": 3 }, { "rule": 1, "anchor": "" }])
    );
}
