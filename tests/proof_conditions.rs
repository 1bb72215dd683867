//! Each condition of a rule as a function of packets, on both sides of each of its edges, and what a proof accepts
//! although it looks wrong.

use nixvol_net::pf;
use nixvol_net::pf::eval::{self, Machine};
use nixvol_net::plan::Plan;
use nixvol_net::prove::outcome::{HookOutcome, Outcomes};
use nixvol_net::prove::policy::FragmentTreatment;
use nixvol_net::prove::{self, ProofFinding, World, prove};

use crate::pf_words::packet;
use crate::proof::plan_and_anchor;
use crate::proof_random::asked;
use crate::support::{declared, default_input};

/// Compares what the function and the evaluator make of each packet under one rule. At least one packet must match and
/// one must not, so that the condition is looked at.
fn compare(plan: &Plan, rule: &str, packets: &[String]) {
    let world = World::new(plan, rule);
    let environment = world.environment();
    let ruleset = pf::parse(world.text(), &environment).unwrap_or_else(|errors| panic!("{rule}: {errors:?}"));
    let mut machine = Machine::new(environment.interfaces);
    machine.load("", &ruleset);
    let mut space = world.space(&ruleset.rules);
    let mut outcomes = Outcomes::default();
    let functions = prove::rules::read(&mut space, &ruleset.rules, machine.loaded(), &world, &mut outcomes);
    let mut matched = [0, 0];
    for text in packets {
        let packet = packet(text);
        let answer = machine.decide(&packet);
        let kernel = &answer.verdicts()[0];
        let asked = asked(&packet);
        if packet.fragment {
            let alone = outcomes.outcome(space.of(functions.fragment, &asked)).verdict;
            assert_eq!(alone, HookOutcome::of(kernel, None).verdict, "{rule}: {text}");
            let how = FragmentTreatment::of(space.of(functions.reassembly, &asked));
            assert_eq!(how, FragmentTreatment::AsTheyAre, "{rule}: {text}");
        } else {
            let found = outcomes.outcome(space.of(functions.outcome, &asked));
            assert_eq!(found, HookOutcome::of(kernel, None), "{rule}: {text}");
        }
        matched[usize::from(kernel.rule.is_some())] += 1;
    }
    assert!(!matched.contains(&0), "{rule}: {matched:?}");
}

fn default_plan() -> Plan {
    Plan::of(&declared(&default_input()))
}

#[test]
fn ports_on_both_sides_of_each_edge() {
    let plan = default_plan();
    let numbers = [1, 79, 80, 81, 89, 90, 91, 65_534, 65_535];
    for condition in [
        "80", "!= 80", "< 80", "<= 80", "> 80", ">= 80", "80:90", "80 >< 90", "80 <> 90", "89 >< 90",
        "> 65535", "< 1", "!= 65535", "1:65535", "80 <> 81", "90 <> 80",
    ] {
        for protocol in ["tcp", "udp"] {
            let ends = [
                (format!("from any port {condition} to any"), true),
                (format!("from any to any port {condition}"), false),
            ];
            for (ends, is_source) in ends {
                let flags = if protocol == "tcp" { " flags any" } else { "" };
                let rule = format!("block drop quick inet proto {protocol} {ends}{flags}\n");
                let of = |other: &str, port: u16| {
                    let (from, to) = if is_source { (port, 7) } else { (7, port) };
                    format!("in en0 {other} 10.0.0.1:{from} 10.1.0.1:{to}")
                };
                let other = if protocol == "tcp" { "udp" } else { "tcp" };
                let mut packets: Vec<String> = numbers.iter().map(|port| of(protocol, *port)).collect();
                packets.extend(numbers.iter().map(|port| of(other, *port)));
                packets.push("in en0 icmp 10.0.0.1 10.1.0.1".to_owned());
                packets.push("in en0 47 10.0.0.1 10.1.0.1".to_owned());
                packets.push(format!("{} {{\"fragment\":true}}", of(protocol, 80)));
                let is_empty = ["> 65535", "< 1", "89 >< 90"].contains(&condition);
                let text = if is_empty { format!("{rule}block drop quick inet proto 99\n") } else { rule };
                packets.push("in en0 99 10.0.0.1 10.1.0.1".to_owned());
                compare(&plan, &text, &packets);
            }
        }
    }
}

#[test]
fn protocols_flags_and_icmp_types() {
    let plan = default_plan();
    let mut packets = Vec::new();
    for kind in [0, 3, 8, 11, 13, 255] {
        for code in [0, 1, 3] {
            packets
                .push(format!("in en0 icmp 10.0.0.1 10.1.0.1 {{\"icmp_type\":{kind},\"icmp_code\":{code}}}"));
        }
    }
    for flags in ["S", "SA", "A", "R", "RA", "F", "FA", "SR", "SF", "P", "U", "FSRPAU"] {
        packets.push(format!("in en0 tcp 10.0.0.1:7 10.1.0.1:80 {flags}"));
    }
    for protocol in ["2", "47", "50", "255"] {
        packets.push(format!("in en0 {protocol} 10.0.0.1 10.1.0.1"));
    }
    packets.push("in en0 udp 10.0.0.1:7 10.1.0.1:80".to_owned());
    for whole in [
        "icmp 10.0.0.1 10.1.0.1",
        "tcp 10.0.0.1:7 10.1.0.1:80",
        "udp 10.0.0.1:7 10.1.0.1:80",
        "47 10.0.0.1 10.1.0.1",
    ] {
        packets.push(format!("in en0 {whole} {{\"fragment\":true}}"));
    }
    for condition in [
        "proto icmp from any to any icmp-type echoreq",
        "proto icmp from any to any icmp-type unreach code 3",
        "proto icmp from any to any icmp-type 0",
        "proto icmp from any to any",
        "proto tcp from any to any flags S/SA",
        "proto tcp from any to any flags R/R",
        "proto tcp from any to any flags FA/FAR",
        "proto tcp from any to any flags any",
        "proto tcp from any to any flags /SFRA",
        "proto udp from any to any",
        "proto 47 from any to any",
        "proto 255 from any to any",
        "from any to 10.1.0.1 flags S/SA",
    ] {
        for rest in ["block drop", "block return", "pass"] {
            let state = if rest == "pass" { " no state" } else { "" };
            // A rule with flags alone matches every other protocol, so that the last rule has nothing left there.
            compare(
                &plan,
                &format!("{rest} quick inet {condition}{state}\n"),
                &[
                    &packets[..],
                    &[
                        "in en0 tcp 10.0.0.1:7 10.9.0.1:80 A".to_owned(),
                        "in en0 47 10.0.0.1 10.9.0.1".to_owned(),
                    ],
                ]
                .concat(),
            );
        }
    }
}

#[test]
fn interfaces_directions_and_addresses() {
    let plan = default_plan();
    let mut packets = Vec::new();
    for interface in ["lo0", "en0", "en7", "bridge2000"] {
        for direction in ["in", "out"] {
            for (source, destination) in [
                ("10.0.0.1", "10.1.0.1"),
                ("10.1.0.1", "10.0.255.255"),
                ("10.0.0.0", "10.2.0.0"),
                ("9.255.255.255", "10.1.0.0"),
            ] {
                packets.push(format!("{direction} {interface} udp {source}:7 {destination}:80"));
            }
        }
    }
    for rule in [
        "block drop in quick on lo0 inet from any to any",
        "block drop quick on ! lo0 inet from any to any",
        "block drop out quick inet from any to any",
        "block drop quick inet from 10.0.0.0/16 to any",
        "block drop quick inet from ! 10.0.0.0/16 to any",
        "block drop quick inet from any to ! 10.1.0.0/16",
        "block drop quick inet from any to 10.1.0.1",
        "table <t> const { 10.0.0.0/8 !10.0.0.0/16 10.0.0.1 }\nblock drop quick inet from <t> to any",
        "table <t> const { 10.0.0.0/8 !10.1.0.0/16 }\nblock drop quick inet from any to ! <t>",
    ] {
        compare(&plan, &format!("{rule}\n"), &packets);
    }
}

/// Inserts a line before the first that contains a text.
fn before(anchor: &str, text: &str, line: &str) -> String {
    let at = anchor.lines().position(|known| known.contains(text)).expect("a line");
    let mut lines: Vec<&str> = anchor.lines().collect();
    lines.insert(at, line);
    lines.join("\n") + "\n"
}

#[test]
fn what_has_no_answer_needs_none() {
    let (plan, anchor) = plan_and_anchor(&default_input());
    // An ICMP timestamp request creates a state of its own, and the proof knows no reply to it.
    let line = "pass quick inet proto icmp from 10.0.0.0/16 to 10.1.0.0/16 icmp-type timereq keep state";
    let result = prove(&plan, &before(&anchor, "label \"link:", line));
    assert!(result.is_ok(), "{:?}", result.err());
}

#[test]
fn only_states_that_come_about_must_be_brief() {
    let (plan, anchor) = plan_and_anchor(&default_input());
    let brief = anchor.lines().find(|line| line.contains("label \"this-mac\"")).expect("a rule");
    let lasting = brief.replace(" (tcp.finwait 5, tcp.closed 1)", "");
    assert_ne!(brief, lasting);
    let shadowed = anchor.replace(brief, &format!("{brief}\n{lasting}"));
    assert!(prove(&plan, &shadowed).is_ok(), "the first of two equal rules decides");
    let in_force = anchor.replace(brief, &lasting);
    let found = format!("{:?}", prove(&plan, &in_force).err());
    assert!(found.contains("lasts for 90 s"), "{found}");
}

#[test]
fn a_finding_names_a_fragment_by_its_addresses() {
    let told = |text: &str| {
        let finding = ProofFinding { packet: Some(packet(text)), what: "it is lost".to_owned(), rule: None };
        finding.to_string()
    };
    for (packet, expected) in [
        ("in lo0 tcp 10.0.0.1:7 10.1.0.1:80", "in lo0: tcp 10.0.0.1:7 -> 10.1.0.1:80 flags S: it is lost"),
        (
            "in lo0 tcp 10.0.0.1:7 10.1.0.1:80 {\"fragment\":true}",
            "in lo0: fragment of tcp 10.0.0.1 -> 10.1.0.1: it is lost",
        ),
        ("out en0 udp 10.0.0.1:7 10.1.0.1:80", "out en0: udp 10.0.0.1:7 -> 10.1.0.1:80: it is lost"),
        (
            "out en0 udp 10.0.0.1:7 10.1.0.1:80 {\"fragment\":true}",
            "out en0: fragment of udp 10.0.0.1 -> 10.1.0.1: it is lost",
        ),
        ("in en0 icmp 10.0.0.1 10.1.0.1", "in en0: icmp 10.0.0.1 -> 10.1.0.1 type 8 code 0: it is lost"),
        (
            "in en0 icmp 10.0.0.1 10.1.0.1 {\"fragment\":true}",
            "in en0: fragment of icmp 10.0.0.1 -> 10.1.0.1: it is lost",
        ),
        ("in en0 47 10.0.0.1 10.1.0.1", "in en0: protocol 47 10.0.0.1 -> 10.1.0.1: it is lost"),
    ] {
        assert_eq!(told(packet), expected);
    }
}

/// The reply that must come back by the state of a packet: a SYN-ACK to a SYN, and an ACK to anything else.
#[test]
fn the_answer_to_a_segment_acknowledges_it() {
    let mut machine = crate::pf_words::machine("pass all flags any\n", &[]);
    for (flags, seq, expected) in
        [("S", 1_000, ("SA", 1_001)), ("A", 1_000, ("A", 1_000)), ("FA", 7, ("A", 7))]
    {
        let there = packet(&format!("out en0 tcp 10.0.0.1:7 10.1.0.1:80 {flags}{{\"seq\":{seq}}}"));
        let passed = machine.eval(&there);
        let back = prove::packet::answer(&there, &passed.verdicts()[0]).expect("an answer");
        let eval::Transport::Tcp { source, destination, segment } = back.transport else {
            panic!("{back:?}")
        };
        assert_eq!(
            (source, destination, segment.letters().as_str(), segment.acknowledgement),
            (80, 7, expected.0, expected.1)
        );
        assert!(machine.eval(&back).is_passed_by_state(), "{flags}");
    }
}

#[test]
fn only_what_a_state_passes_comes_back() {
    let main = "block in on en1\npass in on en0 proto tcp from 10.0.0.1 port 40000\n";
    for (text, expected) in [
        ("out en0 tcp 192.0.2.10:80 10.0.0.1:40000 SA{\"seq\":500,\"ack\":101}", true),
        // Outside the window: the state blocks it.
        ("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 A{\"seq\":1800000000,\"len\":10}", false),
        // Rules decide.
        ("in en0 tcp 10.0.0.1:40000 192.0.2.10:81 S", false),
        ("in en1 tcp 10.0.0.2:40000 192.0.2.10:80 S", false),
    ] {
        let mut machine = crate::pf_words::machine(main, &[]);
        machine.eval(&packet("in en0 tcp 10.0.0.1:40000 192.0.2.10:80 S{\"seq\":100}"));
        assert_eq!(machine.eval(&packet(text)).is_passed_by_state(), expected, "{text}");
    }
}
