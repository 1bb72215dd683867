//! `explain` on captured rules: how what they do differs from what is declared.

use nixvol_net::explain::Captured;
use nixvol_net::loading::Interfaces;

use crate::explain::{World, held, mine, rich};

const OURS: &str = "com.apple/250.nixvol";
const MAIN: &str = "main";
const OTHER: &str = "com.apple/100.x";

/// What is said against these rules, hop by hop; `protocol` is that of the question.
fn said(
    world: &World,
    (from, to, protocol): (&str, &str, Option<&str>),
    anchor: &str,
    text: &str,
) -> Vec<String> {
    let captured =
        Captured { name: "capture".to_owned(), anchor: Some(anchor.to_owned()), text: text.to_owned() };
    world.captured(from, to, protocol, &[captured]).expect("an explanation").disagreements
}

/// Our own rules as a Mac holds them, changed.
fn changed(world: &World, from: &str, to: &str) -> String {
    let bridges = world.plan.bridges.iter().map(|it| (it.provider.as_str(), it.logical.as_str()));
    let text = held(&world.anchor, &Interfaces::new(["en0"], bridges.collect::<Vec<_>>())).text;
    assert!(text.contains(from), "{text}");
    text.replace(from, to)
}

#[test]
fn what_is_refused_is_neither_dropped_nor_refused_by_others() {
    let (rich, ask) = (rich(), ("db", "api:5432", None));
    let silent = changed(&rich, "block return ", "block drop ");
    let told = [
        said(&rich, ask, "com.apple/250.rich", &silent),
        said(&rich, ask, OTHER, "block return in quick all\n"),
    ];
    assert_eq!(
        told,
        [
            ["as declared this packet is refused, but the anchor com.apple/250.rich decides differently"],
            ["the anchor com.apple/100.x decides instead, to the same effect"],
        ]
    );
}

#[test]
fn what_is_dropped_is_not_answered() {
    let (mine, ask) = (mine(), ("lan", "etcd-1:22", None));
    let loud = changed(&mine, "block drop", "block return");
    assert_eq!(
        said(&mine, ask, OURS, &loud),
        ["as declared this packet is dropped, but the anchor com.apple/250.nixvol decides differently"]
    );
}

#[test]
fn what_passes_without_a_state_has_a_rule_and_no_state() {
    let (mine, ask) = (mine(), ("etcd-1", "karpenter-worker-1:80", None));
    let kept = changed(&mine, " no state", " keep state");
    let stateless = "as declared this packet passes without a state, but";
    let differently = format!("{stateless} the anchor {OURS} decides differently");
    assert_eq!(said(&mine, ask, OURS, &kept), [differently.as_str(); 2]);
    // Both hooks of the packet, and both of its answer.
    let instead = "the main ruleset decides instead, to the same effect";
    assert_eq!(said(&mine, ask, MAIN, "pass quick all no state\n"), [instead; 4]);
    let nothing = format!("{stateless} no rule decides");
    assert_eq!(said(&mine, ask, MAIN, ""), [nothing.as_str(); 4]);
}

#[test]
fn what_is_not_ours_has_no_rule_of_ours() {
    let (mine, ask) = (mine(), ("mac", "internet:443", None));
    let all = changed(&mine, "", "") + "pass out quick all flags S/SA keep state\n";
    assert_eq!(
        said(&mine, ask, OURS, &all),
        [
            "as declared this packet is not one of this network's, but the anchor com.apple/250.nixvol decides differently"
        ]
    );
}

#[test]
fn the_place_that_decides_instead_is_named() {
    let mine = mine();
    let skip = format!("set skip on en0\n{}", nixvol_net::explain::STOCK_MAIN);
    assert_eq!(
        said(&mine, ("lan", "etcd-1:22", None), MAIN, &skip),
        [
            "as declared this packet is dropped, but pf skips this interface (`set skip`)",
            "as declared this packet passes, but pf skips this interface (`set skip`)",
        ]
    );
    let nat = "nat on en0 inet from any to any -> 192.0.2.1\n";
    assert_eq!(
        said(&mine, ("karpenter-worker-1", "internet:443", None), MAIN, nat),
        ["as declared this packet passes, but the main ruleset translates it"]
    );
}

#[test]
fn a_refused_packet_is_answered_as_its_protocol_allows() {
    let rich = rich();
    let told = |protocol| {
        let text = rich.ask("db", "api", Some(protocol)).expect("an explanation").text();
        text.lines().next().expect("a line").to_owned()
    };
    let at = "blocked at hop 2 (in lo0),";
    assert_eq!(told("50"), format!("db -> api esp: {at} silently"));
    assert_eq!(told("51"), format!("db -> api ah: {at} silently"));
    assert_eq!(told("47"), format!("db -> api gre: {at} answered with an ICMP unreachable"));
    assert_eq!(told("icmp"), format!("db -> api icmp: {at} silently (pf sends no ICMP error for ICMP)"));
}
