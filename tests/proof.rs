//! The proof accepts every rendered anchor, and rejects every change of one that matters.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nixvol_net::pf;
use nixvol_net::pf::eval::{Machine, PathVerdicts, Shaping};
use nixvol_net::plan::Plan;
use nixvol_net::prove::{Refutation, Violation, World, prove};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{declared, default_input, fixture, program, providers, rendered, topologies};

pub fn plan_and_anchor(input: &Value) -> (Plan, String) {
    let plan = Plan::of(&declared(input));
    let anchor = rendered(input).files["pf/anchor.conf"].text.clone();
    (plan, anchor)
}

/// A declaration that renders every kind of rule, small enough to try every mutant.
fn every_kind() -> Value {
    let mut input = fixture("rich.json");
    input["links"].as_array_mut().expect("links").truncate(4);
    input
}

#[test]
fn rendered_anchors_are_proven() {
    for (topology, input) in topologies() {
        let (plan, anchor) = plan_and_anchor(&input);
        prove(&plan, &anchor).unwrap_or_else(|refutation| panic!("{topology}: {refutation:?}"));
    }
    let empty = json!({ "version": 1, "providers": {}, "volumes": {} });
    let (plan, anchor) = plan_and_anchor(&empty);
    prove(&plan, &anchor).expect("nothing is proven of nothing");
    let (plan, anchor) = plan_and_anchor(&providers(1));
    prove(&plan, &anchor).expect("one provider");
}

/// The line indices of an anchor's rules.
pub fn rule_lines(anchor: &str) -> Vec<usize> {
    let is_rule = |line: &str| {
        ["pass ", "block ", "nat ", "no ", "rdr ", "dummynet ", "scrub "]
            .iter()
            .any(|word| line.starts_with(word))
    };
    anchor.lines().enumerate().filter(|(_, line)| is_rule(line)).map(|(index, _)| index).collect()
}

pub fn with_line(anchor: &str, at: usize, line: Option<&str>) -> String {
    let lines = anchor.lines().enumerate();
    let changed = lines.filter_map(|(index, old)| if index == at { line } else { Some(old) });
    changed.flat_map(|line| [line, "\n"]).collect()
}

fn machine(plan: &Plan, anchor: &str) -> Machine {
    let world = World::new(plan, anchor);
    let environment = world.environment();
    let ruleset = pf::parse(world.text(), &environment).expect("a ruleset");
    let mut machine = Machine::new(environment.interfaces);
    machine.load("", &ruleset);
    machine
}

/// Whether a mutant is refuted. If so, checks the counterexample: the evaluator must decide differently about its
/// packet under the rendered rules and under the mutant.
pub fn is_refuted(plan: &Plan, anchor: &str, mutant: &str) -> bool {
    let violations = match prove(plan, mutant) {
        Ok(_) => return false,
        Err(Refutation::Unreadable(_)) => return true,
        Err(Refutation::Violations(violations)) => violations,
    };
    let (original, changed) = (machine(plan, anchor), machine(plan, mutant));
    for violation in violations {
        match violation {
            Violation::Packet(example) => {
                let what = |answer: &PathVerdicts| {
                    let verdict = &answer.verdicts()[0];
                    (verdict.action, verdict.reply, verdict.state, verdict.via, verdict.after)
                };
                let (before, after) = (original.decide(&example.packet), changed.decide(&example.packet));
                assert_ne!(what(&before), what(&after), "no counterexample: {example}\n{mutant}");
            }
            Violation::Pipe(example) => {
                let pipes = |machine: &Machine| -> Vec<Option<u16>> {
                    let answer = machine.decide(&example.packet);
                    answer.verdicts()[0].shaping.iter().map(Shaping::number).collect()
                };
                assert_ne!(pipes(&original), pipes(&changed), "no counterexample: {example}\n{mutant}");
            }
            // A finding about a rule, fragments or other anchors need not have a packet with another outcome.
            Violation::Other(finding) => assert!(!finding.what.contains("disagree"), "{finding}\n{mutant}"),
            Violation::Unprovable { .. } => {}
        }
    }
    true
}

/// Removes each rule of the anchors of five topologies and records what the proof reports: every rule is needed.
#[test]
fn removing_any_rule_fails_the_proof() {
    let inputs = [
        ("default", default_input()),
        ("restricted", fixture("restricted-more.json")),
        ("rich", fixture("rich.json")),
        ("conditions", fixture("conditions.json")),
        ("single", fixture("single.json")),
    ];
    let mut table = String::new();
    for (topology, input) in inputs {
        let (plan, anchor) = plan_and_anchor(&input);
        let _ = writeln!(table, "== {topology}");
        for at in rule_lines(&anchor) {
            let line = anchor.lines().nth(at).expect("a line");
            let missed = match prove(&plan, &with_line(&anchor, at, None)) {
                Err(Refutation::Violations(violations)) => violations[0].to_string(),
                other => panic!("{topology}: nothing misses {line}: {other:?}"),
            };
            let _ = writeln!(table, "{line}\n    {missed}");
        }
    }
    insta::with_settings!({ snapshot_path => "snapshots/proof", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("rules-left-out", table);
    });
}

#[test]
fn no_rule_can_be_deleted_or_flipped() {
    let more = [every_kind(), fixture("conditions.json")];
    for input in topologies().into_iter().map(|(_, input)| input).chain(more) {
        let (plan, anchor) = plan_and_anchor(&input);
        for at in rule_lines(&anchor).into_iter().take(25) {
            let line = anchor.lines().nth(at).expect("a line");
            assert!(is_refuted(&plan, &anchor, &with_line(&anchor, at, None)), "deleted: {line}");
            let flipped = match line.split_once(' ') {
                Some(("pass", rest)) => {
                    let rest = rest.replace(" keep state", "").replace(" flags any", "");
                    format!("block return {rest}")
                }
                Some(("block", rest)) => {
                    let rest = rest.trim_start_matches("return ").trim_start_matches("drop ");
                    format!("pass {rest}")
                }
                Some(("nat", rest)) => format!("no nat {}", rest.split(" ->").next().expect("a rule")),
                Some(("rdr", rest)) => {
                    format!(
                        "no rdr {}",
                        rest.trim_start_matches("pass ").split(" ->").next().expect("a rule")
                    )
                }
                Some(("scrub", rest)) => {
                    let rest = rest.replace(" no-df", "").replace(" fragment reassemble", "");
                    format!("no scrub {rest}")
                }
                Some(("no", rest)) if rest.starts_with("dummynet") => {
                    let rest = rest.replacen("dummynet quick", "dummynet out quick", 1);
                    format!("{rest} pipe 29999")
                }
                Some(("no", rest)) => format!("{rest} -> 192.0.2.99"),
                Some(("dummynet", rest)) => {
                    format!("no dummynet {}", rest.split(" pipe").next().expect("a rule"))
                }
                _ => unreachable!("{line}"),
            };
            assert!(is_refuted(&plan, &anchor, &with_line(&anchor, at, Some(&flipped))), "{line}\n{flipped}");
        }
    }
}

/// All other mutants of one line, with a name each.
fn mutants(line: &str) -> Vec<(&'static str, String)> {
    let mut mutants = Vec::new();
    let mut change = |name, changed: String| {
        if changed != line {
            mutants.push((name, changed));
        }
    };
    change("without quick", line.replacen(" quick", "", 1));
    change("without family", line.replacen(" inet ", " ", 1));
    change("without state", line.replacen("keep state", "no state", 1));
    change("without flags", line.replacen(" flags S/SA", " flags any", 1));
    change("with flags", line.replacen(" flags any", " flags S/SA", 1));
    change("another answer", line.replacen("block return", "block drop", 1));
    change("an answer", line.replacen("block drop", "block return", 1));
    change("on any interface", line.replacen(" on lo0", "", 1));
    change("in only", line.replacen("pass quick inet", "pass in quick inet", 1));
    change("both ways", line.replacen(" in quick", " quick", 1));
    if line.contains("dummynet") {
        change("on lo0 too", line.replacen(" on ! lo0", "", 1));
        change("on lo0 only", line.replacen(" on ! lo0", " on lo0", 1));
        change("not on lo0", line.replacen("dummynet out quick ", "dummynet out quick on ! lo0 ", 1));
        change("the other way", line.replacen("dummynet out ", "dummynet in ", 1));
        change("one way", line.replacen("no dummynet ", "no dummynet out ", 1));
        change("tcp only", line.replacen(" from ", " proto tcp from ", 1));
        change(
            "another pipe",
            line.replacen(" pipe 20001", " pipe 20002", 1).replacen(" pipe 20000", " pipe 20003", 1),
        );
        change("a queue", line.replacen(" pipe ", " queue ", 1));
    }
    if let Some((head, ends)) = line.split_once(" from ")
        && let Some((source, rest)) = ends.split_once(" to ")
    {
        let end = rest
            .find(' ')
            .filter(|_| !rest.starts_with('!'))
            .or_else(|| rest.match_indices(' ').nth(1).map(|(at, _)| at));
        let (destination, tail) = rest.split_at(end.unwrap_or(rest.len()));
        change("wider source", format!("{head} from any to {destination}{tail}"));
        change("wider destination", format!("{head} from {source} to any{tail}"));
        if !tail.contains("port") {
            change("swapped ends", format!("{head} from {destination} to {source}{tail}"));
        }
    }
    if let Some((head, tail)) = line.split_once(" port ") {
        let tail = match tail.split_once('}') {
            Some((_, tail)) => tail,
            None => tail.split_once(' ').map_or("", |(_, tail)| tail),
        };
        change("every port", format!("{head} {}", tail.trim_start()));
        change("another port", format!("{head} port 1 {}", tail.trim_start()));
    }
    mutants
}

#[test]
fn every_other_mutant_is_refuted_or_proven_equivalent() {
    let mut equivalent: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut refuted = 0;
    for input in [default_input(), every_kind(), fixture("conditions.json")] {
        let (plan, anchor) = plan_and_anchor(&input);
        let rules = rule_lines(&anchor);
        for at in &rules {
            let line = anchor.lines().nth(*at).expect("a line");
            for (name, changed) in mutants(line) {
                if is_refuted(&plan, &anchor, &with_line(&anchor, *at, Some(&changed))) {
                    refuted += 1;
                } else {
                    equivalent.entry(name).or_default().push(line.to_owned());
                }
            }
        }
        // Swaps each pair of adjacent rules.
        for pair in rules.windows(2) {
            let (above, below) =
                (anchor.lines().nth(pair[0]).expect("a line"), anchor.lines().nth(pair[1]).expect("a line"));
            let swapped = with_line(&with_line(&anchor, pair[0], Some(below)), pair[1], Some(above));
            if is_refuted(&plan, &anchor, &swapped) {
                refuted += 1;
            } else {
                equivalent.entry("moved up").or_default().push(below.to_owned());
            }
        }
    }
    assert!(refuted > 200, "only {refuted} mutants were refuted");
    // Review every mutant that the prover calls equivalent: a new entry is a rule that could be written differently, or
    // a gap in the proof.
    insta::with_settings!({ snapshot_path => "snapshots/proof", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_debug_snapshot!("equivalent", equivalent);
    });
}

#[test]
fn unprovable_rules_are_refused() {
    let (plan, anchor) = plan_and_anchor(&default_input());
    for line in [
        "scrub in all",
        "set skip on lo0",
        "anchor \"other\"",
        "pass quick inet from 10.0.0.0/16 to 10.0.0.0/16 user root",
        "pass quick inet from 10.0.0.0/16 to 10.0.0.0/16 tag x",
        "pass quick inet from 10.0.0.0/16 to 10.0.0.0/16 probability 50%",
        "pass quick inet from 10.0.0.0/16 to 10.0.0.0/16 keep state (if-bound)",
        "pass quick inet from 10.0.0.0/16 to 10.0.0.0/16 keep state (max 10)",
        "pass quick from any to any",
        "rdr on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 10.0.1.2 port 8080",
        "nat on en0 inet from 10.0.0.0/16 to any -> { 192.0.2.1, 192.0.2.2 }",
        "dummynet out inet from 10.0.0.0/16 to 10.1.0.0/16 pipe 20000",
        "no dummynet inet from 10.0.0.0/16 to 10.1.0.0/16",
        "dummynet out quick inet from 10.0.0.0/16 to 10.1.0.0/16 queue 20000",
        "dummynet out quick from any to any pipe 20000",
        "dummynet out quick inet from 10.0.0.0/16 to 10.1.0.0/16 probability 50% pipe 20000",
        "dummynet-anchor \"other\"",
    ] {
        let is_translation = line.starts_with("rdr") || line.starts_with("nat");
        let is_first = line.starts_with("scrub") || line.starts_with("set");
        let text = if is_first {
            format!("{line}\n{anchor}")
        } else if is_translation {
            anchor.replacen("# --- Filter ---", &format!("{line}\n# --- Filter ---"), 1)
        } else {
            format!("{anchor}{line}\n")
        };
        match prove(&plan, &text) {
            Err(Refutation::Violations(violations)) => {
                assert!(matches!(violations[0], Violation::Unprovable { .. }), "{line}: {}", violations[0]);
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn an_anchor_with_syntax_errors_is_refused_with_their_lines() {
    let (plan, _) = plan_and_anchor(&default_input());
    let Err(Refutation::Unreadable(errors)) =
        prove(&plan, "pass quick\nnat on en0 from any to any -> (en0)\nblock\nfoo bar\n")
    else {
        panic!("it was read");
    };
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 4]);
}

/// The proof itself tests one packet of each class. Here every address of the plan and neighbours of each are tested
/// against the evaluator and the policy, as an independent check.
#[test]
fn a_grid_of_packets_agrees_with_the_policy() {
    use nixvol_net::plan::policy::{ACK, ECHO, PolicyDirection, PolicyInterface, PolicyPacket, SYN};
    for input in [default_input(), every_kind(), fixture("conditions.json")] {
        let (plan, anchor) = plan_and_anchor(&input);
        let machine = machine(&plan, &anchor);
        let world = World::new(&plan, &anchor);
        let hooks: Vec<(&str, PolicyInterface)> =
            world.interfaces().chain([("en7", PolicyInterface::New)]).collect();
        let mut addresses: Vec<std::net::Ipv4Addr> =
            vec!["127.0.0.1", "127.0.1.1", "192.168.1.7", "8.8.8.8", "224.0.0.1"]
                .into_iter()
                .map(|text| text.parse().expect("an address"))
                .collect();
        for bridge in &plan.bridges {
            addresses.extend([bridge.gateway.addr(), bridge.network.network(), bridge.network.broadcast()]);
            let outside = u32::from(bridge.network.broadcast()).wrapping_add(1);
            addresses.push(outside.into());
        }
        addresses
            .extend(plan.volumes.iter().flat_map(|volume| [Some(volume.address), volume.alias]).flatten());
        addresses.sort_unstable();
        addresses.dedup();
        let (mut tried, mut differ) = (0, Vec::new());
        for source in &addresses {
            for destination in &addresses {
                for (name, number, port, flags) in [
                    ("tcp", 6, 2379, "S"),
                    ("tcp", 6, 5432, "S"),
                    ("tcp", 6, 2379, "A"),
                    ("tcp", 6, 443, "SA"),
                    ("udp", 17, 53, ""),
                    ("icmp", 1, 0, ""),
                    ("47", 47, 0, ""),
                ] {
                    for (word, direction) in [("in", PolicyDirection::In), ("out", PolicyDirection::Out)] {
                        for (hook, interface) in hooks.iter().copied() {
                            let mut packet = json!({ "dir": word, "if": hook, "proto": name, "src": source, "dst": destination });
                            if matches!(number, 6 | 17) {
                                packet["sport"] = json!(40000);
                                packet["dport"] = json!(port);
                            }
                            if number == 6 {
                                packet["flags"] = json!(flags);
                            }
                            let packet: nixvol_net::pf::eval::Packet =
                                serde_json::from_value(packet).expect("a packet");
                            let answer = machine.decide(&packet);
                            let asked = PolicyPacket {
                                direction,
                                interface,
                                source: *source,
                                destination: *destination,
                                protocol: number,
                                port,
                                flags: match flags {
                                    "S" => SYN,
                                    "SA" => SYN | ACK,
                                    _ => ACK,
                                },
                                icmp: ECHO,
                            };
                            let passes = format!("{:?}", answer.action()) == "Pass";
                            let decision = plan.policy.decide(&asked);
                            let may = !decision.verdict.blocks();
                            tried += 1;
                            let shaping = &answer.verdicts()[0].shaping;
                            let pipes = shaping.iter().filter_map(Shaping::number).collect::<Vec<_>>();
                            if passes != may || !pipes.iter().copied().eq(plan.policy.pipe(&asked)) {
                                differ.push(format!("{asked:?}: {decision}, pipes {pipes:?}"));
                            }
                        }
                    }
                }
            }
        }
        assert!(differ.is_empty(), "{} of {tried}: {:#?}", differ.len(), &differ[..differ.len().min(5)]);
    }
}

#[test]
fn verify_checks_a_bundle_against_its_own_declaration() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    assert!(program().arg("render").arg("--out").arg(&out).output().expect("it runs").status.success());
    let verify = || {
        let output = program().arg("verify").arg(&out).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(verify().0, Some(0));

    let anchor = out.join("pf/anchor.conf");
    let text = std::fs::read_to_string(&anchor).expect("the anchor");
    std::fs::write(&anchor, text.replace("block return quick", "pass quick")).expect("a change");
    let (code, told) = verify();
    assert_eq!(code, Some(1));
    assert!(
        told.contains("anchor.conf: ") && told.contains("-> 10.") && told.contains("no link covers it"),
        "{told}"
    );

    std::fs::write(&anchor, format!("{text}# a comment changes nothing\n")).expect("a change");
    assert_eq!(verify().0, Some(0));
    std::fs::write(&anchor, "no ruleset\n").expect("a change");
    assert_eq!(verify().0, Some(1));
    std::fs::write(&anchor, text).expect("a change");

    let hosts = out.join("hosts");
    std::fs::write(&hosts, "6.6.6.6 etcd-1.nixvol\n").expect("a change");
    let (code, told) = verify();
    assert_eq!(code, Some(1));
    assert!(told.contains("hosts: is not what the declaration renders"), "{told}");
    std::fs::remove_file(out.join("network.json")).expect("a file");
    assert_eq!(verify().0, Some(2));
}

/// Links between a few endpoints and ports, with and without masquerade, in a topology whose providers may lack
/// internet.
fn inputs() -> impl Strategy<Value = Value> {
    let ends = || proptest::sample::subsequence(vec!["aws", "gcp", "lab", "api", "db", "node"], 1..4);
    let service = prop_oneof![
        Just((None, None)),
        Just((Some("icmp"), None)),
        (prop_oneof![Just("tcp"), Just("udp")], 78u16..82, 0u16..3)
            .prop_map(|(protocol, first, more)| (Some(protocol), Some(format!("{first}-{}", first + more)))),
        (78u16..82).prop_map(|port| (None, Some(port.to_string()))),
    ];
    // Links of equal specificity must agree on their conditions, so most have the same or none.
    let conditions = prop_oneof![
        2 => Just(Value::Null),
        2 => Just(json!({ "latencyMs": 40 })),
        1 => Just(json!({ "loss": 0.5 })),
    ];
    let link = (ends(), ends(), service, any::<bool>(), any::<bool>(), conditions)
        .prop_filter("an end linked with itself", |(from, to, ..)| from.len() > 1 || from != to)
        .prop_map(|(from, to, (protocol, ports), bidirectional, masquerade, conditions)| {
            json!({ "from": from, "to": to, "protocol": protocol, "ports": ports.map(|ports| vec![ports]),
                    "bidirectional": bidirectional, "masquerade": masquerade, "conditions": conditions })
        });
    let input = (proptest::collection::vec(link, 0..5), any::<bool>(), any::<bool>());
    let input = input.prop_map(|(links, aws, gcp)| {
        let mut input = fixture("rich.json");
        input["links"] = json!(links);
        input["providers"]["aws"]["internet"] = json!(aws);
        input["providers"]["gcp"]["internet"] = json!(gcp);
        input
    });
    input.prop_filter("two ways that differ", |input| {
        nixvol_net::model::read(input.to_string().as_bytes()).is_ok()
    })
}

proptest! {
    #![proptest_config(crate::support::cases(16))]

    #[test]
    fn random_declarations_are_proven_and_have_no_redundant_rule(input in inputs()) {
        let (plan, anchor) = plan_and_anchor(&input);
        if let Err(refutation) = prove(&plan, &anchor) {
            let told = match refutation {
                Refutation::Violations(violations) => violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
                Refutation::Unreadable(errors) => format!("{errors:?}"),
            };
            prop_assert!(false, "{}\n{}", told, anchor);
        }
        for at in rule_lines(&anchor) {
            let mutant = with_line(&anchor, at, None);
            prop_assert!(prove(&plan, &mutant).is_err(), "needless: {}\n{}", anchor.lines().nth(at).unwrap_or_default(), anchor);
        }
    }
}

#[test]
fn egress_addresses_are_outside_all_providers() {
    let mut input = providers(1);
    input["providers"]["doc"] = json!({ "network": "192.0.2.0/24", "gateway": "192.0.2.1/24" });
    let (plan, anchor) = plan_and_anchor(&input);
    let world = World::new(&plan, &anchor);
    let ways: Vec<_> = world.interfaces().filter_map(|(name, _)| world.address_of(name)).collect();
    assert_eq!(ways.len(), 2);
    assert!(!plan.bridges.iter().any(|bridge| ways.iter().any(|way| bridge.network.contains(way))));
    prove(&plan, &anchor).expect("it is proven");
}
