//! What a change opens and closes: all of it, nothing else, in few words.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;

use insta::assert_snapshot;
use nixvol_net::diff::{Diff, Files, Side, Statement, markdown, text};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{
    ACK, Answer, Because, Decision, Direction, ECHO, ICMP, Interface, Packet, Policy, SYN, TCP, Translation,
    UDP, Verdict,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{declared, default_input, names, program, providers, rendered, root, run, topologies};

/// The files that an input renders to.
fn files(input: &Value) -> Files {
    rendered(input).files.into_iter().map(|(path, file)| (path, file.text)).collect()
}

fn compared(old: &Value, new: &Value, [old_files, new_files]: [&Files; 2]) -> Diff {
    let (old, new) = (declared(old), declared(new));
    let (old_plan, new_plan) = (Plan::of(&old), Plan::of(&new));
    Diff::of(
        Side { declaration: &old, plan: &old_plan, files: old_files },
        Side { declaration: &new, plan: &new_plan, files: new_files },
    )
}

fn diff(old: &Value, new: &Value) -> Diff {
    compared(old, new, [&files(old), &files(new)])
}

/// What is said of flows and translations, without packets.
fn headlines(old: &Value, new: &Value) -> Vec<String> {
    let nothing = Files::new();
    let diff = compared(old, new, [&nothing, &nothing]);
    diff.flows.iter().chain(&diff.translations).map(text::headline).collect()
}

#[test]
fn a_declaration_does_not_differ_from_itself() {
    for (topology, input) in topologies() {
        let diff = diff(&input, &input);
        assert!(diff.is_empty(), "{topology}: {diff:?}");
        assert_eq!(text::text(&diff, text::Style::default()), "no difference\n");
    }
}

/// The default topology with a few narrow links, so that one more can be seen.
fn narrow() -> Value {
    let mut input = default_input();
    input["links"] = json!([
        { "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": [443] },
        { "from": ["etcd-1", "etcd-2"], "to": ["etcd-1", "etcd-2", "etcd-3"], "protocol": "tcp", "ports": ["2379-2380"] },
    ]);
    input
}

fn add_link(input: &mut Value, ports: Value) {
    let link = json!({ "from": ["azure", "aws"], "to": ["gcp"], "protocol": "tcp", "ports": ports });
    input["links"].as_array_mut().expect("links").push(link);
}

type Edit = fn(&mut Value);

const EDITS: &[(&str, Edit)] = &[
    ("link-added", |input| add_link(input, json!(["6443"]))),
    ("link-added-over-another", |input| add_link(input, json!(["2379-2380"]))),
    ("link-widened", |input| input["links"][0]["ports"] = json!([443, "8000-8080"])),
    ("link-removed", |input| input["links"] = json!([input["links"][0]])),
    ("link-end-removed", |input| input["links"][1]["from"] = json!(["etcd-1"])),
    ("link-narrowed", |input| {
        input["links"][0].as_object_mut().expect("a link").remove("ports");
        input["links"][0]["protocol"] = json!("icmp");
    }),
    ("provider-added", |input| {
        input["providers"]["oci"] = json!({ "network": "10.5.0.0/16", "gateway": "10.5.1.1/24" });
        input["links"][0]["to"] = json!(["azure", "oci"]);
    }),
    ("provider-renumbered", |input| {
        input["providers"]["ibm"] = json!({ "network": "10.9.0.0/16", "gateway": "10.9.1.1/24" });
        for (name, address) in [("karpenter-worker-4", "10.9.2.2"), ("talos-control-plane-4", "10.9.1.2")] {
            input["volumes"][name]["address"] = json!(address);
        }
    }),
    ("internet-off", |input| input["providers"]["aws"]["internet"] = json!(false)),
    ("volume-added", |input| {
        input["volumes"]["etcd-4"] =
            json!({ "provider": "ibm", "address": "10.3.9.9", "localhost": "127.0.1.99" });
        input["links"][1]["to"] = json!(["etcd-1", "etcd-2", "etcd-3", "etcd-4"]);
    }),
    ("volume-renumbered", |input| input["volumes"]["etcd-1"]["address"] = json!("10.0.1.77")),
    ("masquerade-on", |input| input["links"][1]["masquerade"] = json!(true)),
    ("conditions-added", |input| {
        input["links"][0]["conditions"] = json!({ "latencyMs": 40, "loss": 0.01 });
        input["links"][1]["conditions"] = json!({ "bandwidthKbit": 5000 });
    }),
    ("publish-added", |input| input["volumes"]["etcd-1"]["publish"] = json!([2379])),
];

#[test]
fn each_edit_has_its_words() {
    for (name, edit) in EDITS {
        let mut new = narrow();
        edit(&mut new);
        let shown = text::text(&diff(&narrow(), &new), text::Style::default());
        insta::with_settings!({ snapshot_path => "snapshots/diff", prepend_module_to_snapshot => false, omit_expression => true }, {
            assert_snapshot!(*name, shown);
        });
    }
}

#[test]
fn every_golden_is_of_an_edit() {
    for snapshot in crate::support::files_below("tests/snapshots/diff") {
        let name = snapshot.file_stem().expect("a name").to_string_lossy().into_owned();
        let known = EDITS.iter().any(|(edit, _)| *edit == name);
        assert!(
            known || ["formats-json", "formats-markdown", "conditions-formats"].contains(&name.as_str()),
            "{name}"
        );
    }
}

#[test]
fn there_and_back_is_said_with_the_signs_turned() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!([6443]));
    assert_eq!(headlines(&old, &new), ["+ opens aws, azure -> gcp tcp 6443"]);
    assert_eq!(headlines(&new, &old), ["- closes aws, azure -> gcp tcp 6443"]);
}

#[test]
fn what_a_volume_had_already_is_not_said_again() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!(["2379-2380"]));
    // etcd-1 and etcd-2 reached etcd-3 of gcp before, and nothing else there.
    let said = [
        "+ opens aws but etcd-1, azure but etcd-2 -> gcp tcp 2379-2380",
        "+ opens etcd-1, etcd-2 -> gcp but etcd-3 tcp 2379-2380",
    ];
    assert_eq!(headlines(&old, &new), said);
}

#[test]
fn the_form_of_a_link_does_not_matter() {
    let mut pairs = default_input();
    let all = ["aws", "azure", "digitalocean", "gcp", "ibm"];
    let pair = |from: &str, to: &str| json!({ "from": [from], "to": [to], "protocol": "tcp", "ports": [80, "81-90"] });
    let each =
        all.iter().flat_map(|from| all.iter().filter(move |to| *to != from).map(move |to| pair(from, to)));
    pairs["links"] = each.collect();
    let mut mesh = default_input();
    mesh["links"] = json!([{ "from": all, "to": all, "protocol": "tcp", "ports": ["80-90"] }]);
    assert_eq!(headlines(&pairs, &mesh), [""; 0]);
    let mut none = default_input();
    none["links"] = json!([]);
    assert_eq!(headlines(&none, &pairs), ["+ opens every provider -> every provider tcp 80-90"]);
    assert_eq!(
        headlines(&default_input(), &mesh),
        ["- closes every provider -> every provider any protocol but tcp 80-90"]
    );
}

#[test]
fn a_provider_more_costs_a_handful_of_lines() {
    let mesh = |count: usize| {
        let mut input = providers(count);
        input["links"] = json!([{ "from": names(count), "to": names(count) }]);
        input
    };
    let (few, many) = (headlines(&mesh(5), &mesh(6)), headlines(&mesh(40), &mesh(41)));
    assert_eq!(few.len(), many.len(), "{few:#?}\n{many:#?}");
    assert!(many.len() < 10, "{many:#?}");
}

#[test]
fn lines_of_files_and_other_formats() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!([6443]));
    new["providers"]["aws"]["internet"] = json!(false);
    let diff = diff(&old, &new);
    let [old_anchor, new_anchor] = [&old, &new].map(|input| files(input)["pf/anchor.conf"].clone());
    let anchor = diff.files.iter().find(|file| file.path == "pf/anchor.conf").expect("the anchor differs");
    let count = |text: &str| i64::try_from(text.lines().count()).expect("few lines");
    let grown = i64::try_from(anchor.added).expect("few") - i64::try_from(anchor.removed).expect("few");
    assert_eq!(grown, count(&new_anchor) - count(&old_anchor));
    let plain = text::text(&diff, text::Style::default());
    let lines = text::text(&diff, text::Style { lines: true, colour: false });
    assert!(lines.starts_with(&plain) && lines.contains("--- a/pf/anchor.conf\n+++ b/pf/anchor.conf\n@@"));
    assert!(text::text(&diff, text::Style { lines: false, colour: true }).contains("\u{1b}[32m+ opens"));
    insta::with_settings!({ snapshot_path => "snapshots/diff", prepend_module_to_snapshot => false, omit_expression => true }, {
        assert_snapshot!("formats-markdown", markdown::markdown(&diff, false));
        let record = nixvol_net::diff::record::Record::of(&diff, false);
        assert_snapshot!("formats-json", serde_json::to_string_pretty(&record).expect("JSON"));
    });
}

/// What is said of conditions.
fn ways(old: &Value, new: &Value) -> Vec<String> {
    let nothing = Files::new();
    compared(old, new, [&nothing, &nothing]).conditions.iter().map(text::way).collect()
}

/// The narrow topology with conditions on its first link, and one that a volume has for itself.
fn slow() -> Value {
    let mut input = narrow();
    input["links"][0]["conditions"] = json!({ "latencyMs": 40, "loss": 0.01 });
    let link =
        json!({ "from": ["etcd-1"], "to": ["azure"], "protocol": "icmp", "conditions": { "latencyMs": 5 } });
    input["links"].as_array_mut().expect("links").push(link);
    input
}

#[test]
fn conditions_that_changed_are_told_by_way() {
    let old = slow();
    let edited = |edit: fn(&mut Value)| {
        let mut new = slow();
        edit(&mut new);
        ways(&old, &new)
    };
    assert_eq!(
        edited(|input| input["links"][0]["conditions"]["latencyMs"] = json!(60)),
        ["~ conditions aws but etcd-1 -> azure: latency 40 ms -> 60 ms"]
    );
    assert_eq!(
        edited(|input| input["links"][0]["conditions"] = json!({ "bandwidthKbit": 800, "loss": 0.01 })),
        ["~ conditions aws but etcd-1 -> azure: latency 40 ms -> none, bandwidth none -> 800 kbit/s"]
    );
    // What was the volume's own is its provider's now.
    assert_eq!(
        edited(|input| input["links"][2]["conditions"] = Value::Null),
        ["~ conditions etcd-1 -> azure: latency 5 ms -> 40 ms, loss none -> 1%"]
    );
    assert_eq!(
        edited(|input| input["links"][0]["conditions"] = Value::Null),
        ["- conditions aws but etcd-1 -> azure: latency 40 ms, loss 1%"]
    );
    assert_eq!(
        edited(|input| input["links"][0]["bidirectional"] = json!(true)),
        ["+ conditions azure -> aws: latency 40 ms, loss 1%"]
    );
    // Pipes that get other numbers, and links that are cut otherwise, are no news.
    assert_eq!(
        edited(|input| {
            let first = json!({ "from": ["gcp"], "to": ["ibm"], "conditions": { "latencyMs": 1 } });
            input["links"].as_array_mut().expect("links").insert(0, first);
        }),
        ["+ conditions gcp -> ibm: latency 1 ms"]
    );
    assert_eq!(edited(|input| input["links"][0]["ports"] = json!([80])), [""; 0]);
    assert_eq!(
        edited(|input| input["links"][0]["to"] = json!(["azure", "etcd-2"])),
        [""; 0],
        "etcd-2 is of azure"
    );
}

#[test]
fn conditions_alone_are_a_difference_in_every_form() {
    let (old, mut new) = (slow(), slow());
    new["links"][0]["conditions"]["latencyMs"] = json!(60);
    let diff = diff(&old, &new);
    assert!(
        diff.flows.is_empty() && diff.translations.is_empty() && diff.objects.is_empty() && !diff.is_empty()
    );
    assert_eq!(diff.summary(), "1 with other conditions");
    let record = nixvol_net::diff::record::Record::of(&diff, false);
    let record = serde_json::to_value(&record).expect("JSON");
    assert_eq!(record["same"], false);
    let told = [
        text::text(&diff, text::Style::default()),
        markdown::markdown(&diff, false),
        format!("{:#}\n", record["conditions"]),
    ];
    insta::with_settings!({ snapshot_path => "snapshots/diff", prepend_module_to_snapshot => false, omit_expression => true }, {
        assert_snapshot!("conditions-formats", told.join("----\n"));
    });
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("old.json");
    fs::write(&file, old.to_string()).expect("a file");
    let output = run(&["diff", &file.to_string_lossy(), "-"], &new.to_string());
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("\nConditions\n~ conditions aws but etcd-1 -> azure: latency 40 ms -> 60 ms\n"),
        "{shown}"
    );
}

/// Three providers, some volumes, and every kind of thing that can change about them.
fn networks() -> impl Strategy<Value = Value> {
    let ends =
        || proptest::sample::subsequence(vec!["aws", "azure", "gcp", "etcd-1", "etcd-2", "talos"], 1..4);
    let service = prop_oneof![
        Just((None, None)),
        Just((Some("icmp"), None)),
        Just((Some("tcp"), None)),
        (prop_oneof![Just("tcp"), Just("udp")], 79u16..81, 0u16..2)
            .prop_map(|(protocol, first, more)| (Some(protocol), Some(format!("{first}-{}", first + more)))),
        (79u16..81).prop_map(|port| (None, Some(port.to_string()))),
    ];
    let link = (ends(), ends(), service, any::<bool>(), proptest::bool::weighted(0.2), conditions());
    let link = link.prop_filter("an end linked with itself", |(from, to, ..)| from.len() > 1 || from != to);
    let link = link.prop_map(|(from, to, (protocol, ports), bidirectional, masquerade, conditions)| {
        json!({ "from": from, "to": to, "protocol": protocol, "ports": ports.map(|ports| vec![ports]),
                "bidirectional": bidirectional, "masquerade": masquerade, "conditions": conditions })
    });
    let often = || proptest::bool::weighted(0.8);
    let shape = (often(), often(), often(), often(), often(), 0usize..3);
    let network =
        (proptest::collection::vec(link, 0..4), shape).prop_map(|(links, shape)| network(&links, shape));
    // Links of the same breadth must agree: of those that do not, the later are like any.
    network.prop_map(|mut input| {
        for index in (0..input["links"].as_array().map_or(0, Vec::len)).rev() {
            if nixvol_net::model::read(input.to_string().as_bytes()).is_ok() {
                break;
            }
            input["links"][index]["conditions"] = Value::Null;
        }
        input
    })
}

/// What a link is like, most of the time like any.
fn conditions() -> impl Strategy<Value = Value> {
    let like = (0u16..3, 0u8..2, 0u8..2).prop_map(|(latency, loss, rate)| {
        let mut conditions = json!({ "latencyMs": latency * 20 });
        if loss > 0 {
            conditions["loss"] = json!(0.5);
        }
        if rate > 0 {
            conditions["bandwidthKbit"] = json!(800);
        }
        conditions
    });
    prop_oneof![Just(Value::Null), like]
}

fn network(links: &[Value], shape: (bool, bool, bool, bool, bool, usize)) -> Value {
    let (internet, wide, address, first_gateway, without_oci, count) = shape;
    let published = &[80, 443][..count];
    let mut input = json!({
        "version": 1,
        "providers": {
            "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24", "internet": internet },
            "azure": { "network": "10.1.0.0/16", "gateway": if first_gateway { "10.1.1.1/24" } else { "10.1.2.1/24" } },
            "gcp": { "network": if wide { "10.2.0.0/16" } else { "10.2.0.0/17" }, "gateway": "10.2.1.1/24" },
        },
        "volumes": {
            "etcd-1": { "provider": "aws", "address": if address { "10.0.1.2" } else { "10.0.1.3" },
                        "localhost": "127.0.1.11", "publish": published },
            "etcd-2": { "provider": "azure", "address": "10.1.9.2" },
            "talos": { "provider": "aws", "address": if address { "10.0.1.3" } else { "10.0.1.4" } },
        },
        "links": links,
    });
    if !without_oci {
        // What was half of gcp can become somebody else's.
        let network = if wide { "10.3.0.0/16" } else { "10.2.128.0/17" };
        let gateway = if wide { "10.3.0.1/24" } else { "10.2.128.1/24" };
        input["providers"]["oci"] = json!({ "network": network, "gateway": gateway });
    }
    input
}

/// Every constant of the plans above, and a stranger to each.
const HOSTS: [&str; 14] = [
    "9.255.255.255",
    "10.0.0.0",
    "10.0.1.2",
    "10.0.1.3",
    "10.0.1.4",
    "10.0.255.255",
    "10.1.9.2",
    "10.1.9.3",
    "10.2.127.255",
    "10.2.128.0",
    "10.3.9.9",
    "127.0.0.1",
    "127.0.1.11",
    "203.0.113.7",
];

fn services() -> Vec<(u8, u16, bool)> {
    let ports = [0, 79, 80, 81, 443];
    let of = |protocol, opening| ports.iter().map(move |port| (protocol, *port, opening));
    of(TCP, true).chain(of(TCP, false)).chain(of(UDP, true)).chain([(ICMP, 0, true), (47, 0, true)]).collect()
}

fn packets() -> Vec<Packet> {
    let hosts: Vec<Ipv4Addr> = HOSTS.iter().map(|host| host.parse().expect("an address")).collect();
    let mut packets = Vec::new();
    for source in &hosts {
        for destination in &hosts {
            for (protocol, port, opening) in services() {
                for direction in [Direction::In, Direction::Out] {
                    for interface in [Interface::Loopback, Interface::Egress, Interface::New] {
                        let (source, destination) = (*source, *destination);
                        packets.push(Packet {
                            direction,
                            interface,
                            source,
                            destination,
                            protocol,
                            port,
                            flags: if protocol != TCP {
                                0
                            } else if opening {
                                SYN
                            } else {
                                ACK
                            },
                            icmp: ECHO,
                        });
                    }
                }
            }
        }
    }
    packets
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass | Verdict::Carry => "passed",
        Verdict::Refuse(_) => "refused",
        Verdict::Drop => "dropped",
        Verdict::Untouched => "untouched",
    }
}

/// What is carried out on lo0 to be refused as it comes in is refused.
fn ends_as(decision: &Decision) -> Verdict {
    match (decision.verdict, &decision.because) {
        (Verdict::Carry, Because::NoLink | Because::NoInternet(_)) | (Verdict::Refuse(_), _) => {
            Verdict::Refuse(Answer::Usual)
        }
        (Verdict::Carry, _) => Verdict::Pass,
        (verdict, _) => verdict,
    }
}

type Seen = (Verdict, Option<Translation>);

fn seen(policies: [&Policy; 2], packet: &Packet) -> [Seen; 2] {
    policies.map(|policy| policy.decide(packet)).map(|decision| (ends_as(&decision), decision.translation))
}

/// Each packet of a witness is one of the statement's own, and both sides decide as it says.
fn check_witnesses(diff: &Diff, policies: [&Policy; 2]) -> Result<(), TestCaseError> {
    for (statements, of_verdict) in [(&diff.flows, true), (&diff.translations, false)] {
        for statement in statements {
            prop_assert!(!statement.changes.is_empty());
            for change in &statement.changes {
                let [old, new] = seen(policies, &change.witness);
                prop_assert!(statement.covers(&change.witness), "{}", text::headline(statement));
                if of_verdict {
                    let words = [old, new].map(|(verdict, _)| verdict_word(verdict).to_owned());
                    prop_assert_eq!(&words, &change.words);
                    prop_assert_ne!(old.0, new.0);
                } else {
                    prop_assert_ne!(old.1, new.1);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::support::cases(40))]

    /// A packet is spoken of, once, exactly where the two policies differ about it.
    #[test]
    fn all_that_changes_is_said_once_and_nothing_else(old in networks(), new in networks()) {
        let nothing = Files::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let plans = [&old, &new].map(|input| Plan::of(&declared(input)));
        let policies = [&plans[0].policy, &plans[1].policy];
        check_witnesses(&diff, policies)?;
        for packet in packets() {
            let [old, new] = seen(policies, &packet);
            let said = |statements: &[Statement]| -> Vec<usize> {
                let covering = statements.iter().enumerate().filter(|(_, it)| it.covers(&packet));
                covering.map(|(index, _)| index).collect()
            };
            let flows = said(&diff.flows);
            prop_assert_eq!(flows.len(), usize::from(old.0 != new.0), "{:?} {:?} {:?}", packet, old, new);
            if let Some(flow) = flows.first() {
                let words = [old, new].map(|(verdict, _)| verdict_word(verdict).to_owned());
                prop_assert!(diff.flows[*flow].changes.iter().any(|change| change.words == words));
            }
            let translated = said(&diff.translations);
            prop_assert_eq!(translated.len(), usize::from(old.1 != new.1), "{:?} {:?} {:?}", packet, old, new);
        }
    }

    /// Conditions are spoken of, once, exactly where a packet goes through something else.
    #[test]
    fn all_ways_that_change_are_said_once_and_no_other(old in networks(), new in networks()) {
        let nothing = Files::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let plans = [&old, &new].map(|input| Plan::of(&declared(input)));
        let hosts: Vec<Ipv4Addr> = HOSTS.iter().map(|host| host.parse().expect("an address")).collect();
        for (source, destination) in hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to))) {
            let [before, now] = plans.each_ref().map(|plan| {
                let pipe = plan.policy.pipe_between(source, destination).and_then(|number| plan.pipe(number));
                pipe.map(|pipe| pipe.conditions.to_string())
            });
            let said = diff.conditions.iter().filter(|way| way.covers(source, destination)).count();
            prop_assert_eq!(said, usize::from(before != now), "{} {}: {:?} {:?}", source, destination, before, now);
        }
        for way in &diff.conditions {
            prop_assert!(way.covers(way.witness[0], way.witness[1]), "{}", text::way(way));
        }
    }

    #[test]
    fn no_line_is_said_twice(old in networks(), new in networks()) {
        let said = [headlines(&old, &new), ways(&old, &new)].concat();
        let distinct: BTreeSet<&String> = said.iter().collect();
        prop_assert_eq!(distinct.len(), said.len(), "{:#?}", said);
    }
}

#[test]
fn the_program_compares_bundles_inputs_and_both() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = directory.path().join("bundle").to_string_lossy().into_owned();
    assert_eq!(run(&["render", "--out", &bundle], "").status.code(), Some(0));
    let input = root().join("generator/default.json").to_string_lossy().into_owned();
    let narrow = narrow().to_string();
    for (old, new, code) in [
        (bundle.as_str(), bundle.as_str(), 0),
        (&bundle, &input, 0),
        (&input, &bundle, 0),
        (&input, &input, 0),
        (&bundle, "-", 1),
        ("-", &bundle, 1),
        (&input, "-", 1),
    ] {
        let output = run(&["diff", old, new], &narrow);
        assert_eq!(output.status.code(), Some(code), "{old} {new}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let json = run(&["diff", &input, "-", "--format", "json"], &narrow);
    let record: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((json.status.code(), &record["same"]), (Some(1), &json!(false)));
    // A bundle is held as it lies there.
    let anchor = directory.path().join("bundle/pf/anchor.conf");
    fs::write(&anchor, fs::read_to_string(&anchor).expect("the anchor") + "pass quick all\n")
        .expect("written");
    let tampered = run(&["diff", &input, &bundle, "--lines"], "");
    assert_eq!(tampered.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&tampered.stdout).into_owned();
    assert!(shown.contains("~ pf/anchor.conf (+1 -0)") && shown.contains("\n+pass quick all\n"), "{shown}");
}

#[test]
fn bad_sides_are_told_and_nothing_is_printed() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().to_string_lossy().into_owned();
    let input = root().join("generator/default.json").to_string_lossy().into_owned();
    for (arguments, stdin, words) in [
        (vec!["diff", &input, "-"], "{}", vec!["error[E003]", "3 problems"]),
        (vec!["diff", "-", &input], "nonsense", vec!["error[E001]"]),
        (vec!["diff", "-", "-"], "{}", vec!["both sides", "hint:"]),
        (vec!["diff", &empty, &input], "", vec!["network.json", "hint:"]),
        (vec!["diff", "/nowhere.json", &input], "", vec!["/nowhere.json"]),
        (vec!["diff", &input], "", vec!["NEW"]),
    ] {
        let output = run(&arguments, stdin);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{arguments:?}: {stderr}");
    }
    let help = program().args(["diff", "--help"]).output().expect("the program runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Examples:") && help.contains("Exit: 0 the same"), "{help}");
}
