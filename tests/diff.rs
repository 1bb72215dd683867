//! `diff`: it reports everything that a change opens and closes, nothing else, in few lines.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;

use insta::assert_snapshot;
use nixvol_net::diff::{
    Access, BundleFiles, ComparedSide, Diff, Presence, Statement, VolumeChange, VolumePlace, WayChange,
    markdown, text,
};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::{Flow, FlowVerdict, Opener};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::reach::{Walk, input};
use crate::support::{declared, default_input, names, program, providers, rendered, root, run, topologies};

/// The files that a declaration renders to.
fn files(input: &Value) -> BundleFiles {
    rendered(input).files.into_iter().map(|(path, file)| (path, file.text)).collect()
}

fn compared(old: &Value, new: &Value, [old_files, new_files]: [&BundleFiles; 2]) -> Diff {
    let (old, new) = (declared(old), declared(new));
    let (old_plan, new_plan) = (Plan::of(&old), Plan::of(&new));
    Diff::of(
        ComparedSide { declaration: &old, plan: &old_plan, files: old_files },
        ComparedSide { declaration: &new, plan: &new_plan, files: new_files },
    )
}

fn diff(old: &Value, new: &Value) -> Diff {
    compared(old, new, [&files(old), &files(new)])
}

/// The lines about flows and translations, without their witness packets.
fn headlines(old: &Value, new: &Value) -> Vec<String> {
    let nothing = BundleFiles::new();
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

/// The default topology with a few narrow links, so that one more makes a difference.
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
    ("volume-moved", |input| {
        input["volumes"]["etcd-1"]["address"] = json!("10.3.9.9");
        input["volumes"]["etcd-1"]["provider"] = json!("ibm");
    }),
    ("volume-renamed", |input| {
        let volumes = input["volumes"].as_object_mut().expect("volumes");
        let volume = volumes.remove("karpenter-worker-1").expect("a volume");
        volumes.insert("worker-1".to_owned(), volume);
    }),
    ("volume-removed", |input| {
        input["volumes"].as_object_mut().expect("volumes").remove("etcd-3");
        input["links"][1]["to"] = json!(["etcd-1", "etcd-2"]);
    }),
    ("overlap-allowed", |input| input["allowOverlap"] = json!(["10.0.5.0/24"])),
    ("publish-added", |input| input["volumes"]["etcd-1"]["publish"] = json!([2379])),
];

#[test]
fn each_edit_has_its_expected_output() {
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
fn every_golden_file_belongs_to_an_edit() {
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
fn the_reverse_diff_has_opposite_signs() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!([6443]));
    assert_eq!(headlines(&old, &new), ["+ opens aws, azure -> gcp tcp 6443"]);
    assert_eq!(headlines(&new, &old), ["- closes aws, azure -> gcp tcp 6443"]);
}

#[test]
fn flows_that_a_volume_already_had_are_not_reported() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!(["2379-2380"]));
    // etcd-1 and etcd-2 had a flow to etcd-3 of gcp before, and to nothing else there.
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
fn one_direction_between_two_providers_is_not_every_provider() {
    let with = |link: Value| {
        let mut input = providers(2);
        input["links"] = link;
        input
    };
    let none = with(json!([]));
    let there = with(json!([{ "from": ["p0"], "to": ["p1"], "protocol": "tcp", "ports": [80] }]));
    assert_eq!(headlines(&none, &there), ["+ opens p0 -> p1 tcp 80"]);
    let both = with(json!([{ "from": ["p0", "p1"], "to": ["p1", "p0"], "protocol": "tcp", "ports": [80] }]));
    assert_eq!(headlines(&none, &both), ["+ opens every provider -> every provider tcp 80"]);
    assert_eq!(headlines(&there, &both), ["+ opens p1 -> p0 tcp 80"]);
    let mut wide = providers(4);
    wide["links"] = json!([{ "from": ["p0"], "to": ["p1", "p2", "p3"], "protocol": "icmp" }]);
    assert_eq!(headlines(&providers(4), &wide), ["+ opens p0 -> every other provider icmp"]);
}

#[test]
fn a_volume_that_moves_takes_its_new_providers_links() {
    let mut old = narrow();
    let link = json!({ "from": ["gcp"], "to": ["etcd-1"], "protocol": "tcp", "ports": [2379] });
    old["links"].as_array_mut().expect("links").push(link);
    let mut new = old.clone();
    new["volumes"]["karpenter-worker-3"]["provider"] = json!("ibm");
    new["volumes"]["karpenter-worker-3"]["address"] = json!("10.3.2.9");
    let diff = diff(&old, &new);
    assert!(diff.flows.is_empty() && diff.translations.is_empty(), "by address nothing changed");
    let shown = text::text(&diff, text::Style::default());
    let told = "Volumes
~ moved karpenter-worker-3 from 10.2.3.2 of gcp to 10.3.2.9 of ibm
    + may open ibm any protocol
    + may be opened by ibm any protocol
    - may open etcd-1 tcp 2379
    - may open gcp any protocol
    - may be opened by gcp any protocol
";
    assert!(shown.contains(told), "{shown}");
    assert!(markdown::markdown(&diff, false).contains("\n    - may open etcd-1 tcp 2379\n"));
    let record = serde_json::to_value(nixvol_net::diff::record::DiffRecord::of(&diff, false)).expect("JSON");
    assert_eq!(record["volumes"][0]["change"], "moved");
    assert_eq!(record["volumes"][0]["lost"][0], json!({ "to": ["etcd-1"], "services": "tcp 2379" }));
}

#[test]
fn an_added_provider_takes_a_handful_of_lines() {
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
    assert!(text::text(&diff, text::Style { lines: false, colour: true }).contains("\u{1b}[33m+ opens"));
    insta::with_settings!({ snapshot_path => "snapshots/diff", prepend_module_to_snapshot => false, omit_expression => true }, {
        assert_snapshot!("formats-markdown", markdown::markdown(&diff, false));
        let record = nixvol_net::diff::record::DiffRecord::of(&diff, false);
        assert_snapshot!("formats-json", serde_json::to_string_pretty(&record).expect("JSON"));
    });
}

/// The lines about conditions.
fn ways(old: &Value, new: &Value) -> Vec<String> {
    let nothing = BundleFiles::new();
    compared(old, new, [&nothing, &nothing]).conditions.iter().map(text::way).collect()
}

/// The narrow topology with conditions on its first link, and a link with conditions for one volume.
fn slow() -> Value {
    let mut input = narrow();
    input["links"][0]["conditions"] = json!({ "latencyMs": 40, "loss": 0.01 });
    let link =
        json!({ "from": ["etcd-1"], "to": ["azure"], "protocol": "icmp", "conditions": { "latencyMs": 5 } });
    input["links"].as_array_mut().expect("links").push(link);
    input
}

#[test]
fn changed_conditions_are_reported_by_path() {
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
    // What the volume had is now covered by its provider's conditions.
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
    // Renumbered pipes, and links that are split differently, are no difference.
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
    assert_eq!(diff.summary(), "1 with different conditions");
    let record = nixvol_net::diff::record::DiffRecord::of(&diff, false);
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

/// Three providers, some volumes, and every kind of change to them.
pub fn networks() -> impl Strategy<Value = Value> {
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
    // Links of equal specificity must agree on their conditions; drop conditions from the last link backwards until
    // they do.
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

/// Conditions of a link, or none.
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
        // The other half of gcp's network may then belong to an outside host.
        let network = if wide { "10.3.0.0/16" } else { "10.2.128.0/17" };
        let gateway = if wide { "10.3.0.1/24" } else { "10.2.128.1/24" };
        input["providers"]["oci"] = json!({ "network": network, "gateway": gateway });
    }
    input
}

/// The boundary addresses of the plans above, and addresses that no plan names.
const HOSTS: [&str; 16] = [
    "9.255.255.255",
    "10.0.0.0",
    "10.0.1.1",
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
    "10.1.9.7",
];

fn hosts() -> Vec<Ipv4Addr> {
    HOSTS.iter().map(|host| host.parse().expect("an address")).collect()
}

fn services() -> Vec<(u8, u16)> {
    let ports = [0, 79, 80, 81, 443];
    let of = |protocol| ports.iter().map(move |port| (protocol, *port));
    of(TCP).chain(of(UDP)).chain([(ICMP, 0), (47, 0)]).collect()
}

fn openers() -> Vec<Opener> {
    hosts().into_iter().map(Opener::Address).chain([Opener::ThisMac]).collect()
}

/// Sampled flows, each with the indices of its opener, destination and service in their lists.
fn sample() -> Vec<([usize; 3], Flow)> {
    let mut flows = Vec::new();
    for (from, opener) in openers().into_iter().enumerate() {
        for (to, destination) in hosts().into_iter().enumerate() {
            for (by, (protocol, port)) in services().into_iter().enumerate() {
                flows.push(([from, to, by], Flow { opener, destination, protocol, port }));
            }
        }
    }
    flows
}

/// For each opener, destination and service above: whether a statement names it.
struct Read([Vec<bool>; 3]);

impl Read {
    fn of(reader: &Reader, statement: &Statement) -> Self {
        let (side, words) = (statement.verb.side(), statement.services.to_string());
        let opens = |opener: Opener| reader.opens(&statement.from, side, opener, &statement.to);
        let serves = |(protocol, port)| {
            let (opener, destination) = (Opener::ThisMac, Ipv4Addr::LOCALHOST);
            self::serves(&words, &Flow { opener, destination, protocol, port })
        };
        let names = |to: Ipv4Addr| reader.names(&statement.to, side, to, &statement.from);
        Self([
            openers().into_iter().map(opens).collect(),
            hosts().into_iter().map(names).collect(),
            services().into_iter().map(serves).collect(),
        ])
    }

    fn says(&self, place: [usize; 3]) -> bool {
        self.0.iter().zip(place).all(|(named, place)| named[place])
    }
}

/// Interprets the words of a difference as a person would.
struct Reader<'a> {
    inputs: [&'a Value; 2],
    plans: [Plan; 2],
}

impl<'a> Reader<'a> {
    fn of(old: &'a Value, new: &'a Value) -> Self {
        Self { inputs: [old, new], plans: [old, new].map(|input| Plan::of(&declared(input))) }
    }

    fn provider(&self, side: usize, address: Ipv4Addr) -> Option<&str> {
        let bridges = &self.plans[side].bridges;
        bridges.iter().find(|it| it.region.contains(address)).map(|bridge| bridge.provider.as_str())
    }

    /// Whether both endpoints are in one provider, before and after: nothing is reported for these.
    fn is_within(&self, from: Opener, to: Ipv4Addr) -> bool {
        let Opener::Address(from) = from else { return false };
        [0, 1].into_iter().all(|side| {
            self.provider(side, from).is_some() && self.provider(side, from) == self.provider(side, to)
        })
    }

    /// Whether the words name an address on one side (old or new); `peers` are the words of the other endpoint.
    fn names(&self, words: &[String], side: usize, address: Ipv4Addr, peers: &[String]) -> bool {
        words.iter().any(|word| self.word(word, side, address, peers))
    }

    fn word(&self, word: &str, side: usize, address: Ipv4Addr, peers: &[String]) -> bool {
        let (base, exceptions) = word.split_once(" but ").unwrap_or((word, ""));
        let excepted = exceptions.split(" and ").filter(|it| !it.is_empty());
        self.base(base, side, address, peers)
            && !excepted.into_iter().any(|it| self.base(it, side, address, peers))
    }

    fn base(&self, word: &str, side: usize, address: Ipv4Addr, peers: &[String]) -> bool {
        let (name, notes) = word.split_once(" (").unwrap_or((word, ""));
        let side = match () {
            () if notes.contains("outside before") => 1,
            () if notes.contains("outside now") => 0,
            () => side,
        };
        let ours = [0, 1].map(|side| self.provider(side, address));
        match name {
            "every provider" => ours[side].is_some(),
            "every other provider" => {
                ours[side].is_some() && !peers.iter().any(|peer| self.of_one_provider(peer, side, address))
            }
            "localhost" => address.is_loopback(),
            "outside" | "the internet" => ours == [None, None] && !address.is_loopback(),
            "this Mac" => false,
            name => self.is_network(side, name, address) || is_range(name, address),
        }
    }

    /// Whether an address belongs to the provider that a word names, or to the provider of the volume it names.
    fn of_one_provider(&self, peer: &str, side: usize, address: Ipv4Addr) -> bool {
        let base = peer.split(" but ").next().unwrap_or(peer);
        let (name, notes) = base.split_once(" (").unwrap_or((base, ""));
        let side = if notes.contains("outside before") {
            1
        } else if notes.contains("outside now") {
            0
        } else {
            side
        };
        let volume = &self.inputs[side]["volumes"][name]["provider"];
        let name = volume.as_str().unwrap_or(name);
        let name = if is_range_word(name) { notes.split([' ', ')']).next().unwrap_or("") } else { name };
        self.provider(side, address) == Some(name)
    }

    fn is_network(&self, side: usize, name: &str, address: Ipv4Addr) -> bool {
        let volume = &self.inputs[side]["volumes"][name]["address"];
        match volume.as_str() {
            Some(volume) => volume == address.to_string(),
            None => self.provider(side, address) == Some(name),
        }
    }

    /// Whether the words name an opener on one side.
    fn opens(&self, from: &[String], side: usize, opener: Opener, to: &[String]) -> bool {
        match opener {
            Opener::ThisMac => from.iter().any(|word| word == "this Mac"),
            Opener::Address(address) => self.names(from, side, address, to),
        }
    }
}

fn is_range_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
}

fn is_range(word: &str, address: Ipv4Addr) -> bool {
    if !is_range_word(word) {
        return false;
    }
    let of = |word: &str| word.parse::<Ipv4Addr>().unwrap_or_else(|_| panic!("{word}"));
    match (word.split_once('-'), word.split_once('/')) {
        (Some((first, last)), _) => (of(first)..=of(last)).contains(&address),
        (None, Some(_)) => word.parse::<ipnet::Ipv4Net>().expect("a network").contains(&address),
        (None, None) => of(word) == address,
    }
}

/// Whether the words name the service of a flow.
fn serves(words: &str, flow: &Flow) -> bool {
    if words == "any protocol" {
        return true;
    }
    if let Some(missing) = words.strip_prefix("any protocol but ") {
        return !serves(missing, flow);
    }
    words.split(", ").any(|part| {
        let (protocols, ports): (&[u8], &str) = match part {
            "icmp" => return flow.protocol == ICMP,
            "other protocols" => return ![TCP, UDP, ICMP].contains(&flow.protocol),
            part => match part.strip_prefix("tcp and udp") {
                Some(ports) => (&[TCP, UDP], ports),
                None if part.starts_with("tcp") => (&[TCP], &part[3..]),
                None => (&[UDP], part.strip_prefix("udp").unwrap_or_else(|| panic!("{part}"))),
            },
        };
        let number = |word: &str| word.parse::<u16>().unwrap_or_else(|_| panic!("{words}"));
        let mut ranges = ports.trim().split(',').filter(|range| !range.is_empty()).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (number(first)..=number(last)).contains(&flow.port)
        });
        protocols.contains(&flow.protocol) && (ports.is_empty() || ranges.any(|is_in| is_in))
    })
}

/// Checks that each witness belongs to its statement, and that both sides decide about it as the statement claims.
fn check_witnesses(diff: &Diff, walks: [&Walk; 2]) -> Result<(), TestCaseError> {
    for statement in diff.flows.iter().chain(&diff.translations) {
        prop_assert!(!statement.changes.is_empty());
        for change in &statement.changes {
            let fates = walks.map(|walk| walk.fate(&change.witness).0.to_string());
            prop_assert!(diff.covers(statement.flows(), &change.witness), "{}", text::headline(statement));
            prop_assert_eq!(&fates, &change.words, "{}", text::headline(statement));
            prop_assert_ne!(&fates[0], &fates[1]);
        }
    }
    Ok(())
}

/// A pair of networks: the second one has a volume renamed, moved to another provider, or removed.
fn turned() -> impl Strategy<Value = [Value; 2]> {
    (input(), input(), 0..5).prop_map(|(old, mut new, turn)| {
        let volumes = new["volumes"].as_object_mut().expect("volumes");
        match turn {
            0 => {
                let talos = volumes.remove("talos").expect("a volume");
                volumes.insert("talos-9".to_owned(), talos);
                let text = new.to_string().replace("\"talos\"", "\"talos-9\"");
                new = serde_json::from_str(&text).expect("JSON");
            }
            1 => {
                volumes["talos"]["provider"] = json!("azure");
                volumes["talos"]["address"] = json!("10.1.9.7");
            }
            _ => {}
        }
        // Where a link names both a volume and its provider, the move may make the link join an endpoint with itself.
        if nixvol_net::model::read(new.to_string().as_bytes()).is_ok() {
            [old, new]
        } else {
            [old.clone(), old]
        }
    })
}

proptest! {
    #![proptest_config(crate::support::cases(40))]

    /// The statements name a flow, once, exactly where its outcome at the hooks differs between the two sides.
    #[test]
    fn exactly_the_changed_flows_are_reported_once([old, new] in turned()) {
        let nothing = BundleFiles::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let reader = Reader::of(&old, &new);
        let [before, now] = reader.plans.each_ref().map(Walk::of);
        check_witnesses(&diff, [&before, &now])?;
        let statements: Vec<&Statement> = diff.flows.iter().chain(&diff.translations).collect();
        let read: Vec<Read> = statements.iter().map(|statement| Read::of(&reader, statement)).collect();
        for (place, flow) in sample() {
            let fates = [&before, &now].map(|walk| walk.fate(&flow).0);
            let is_within = reader.is_within(flow.opener, flow.destination);
            let read = read.iter().map(|read| !is_within && read.says(place));
            let said: Vec<String> = read
                .zip(&statements)
                .filter(|(says, _)| *says)
                .map(|(_, statement)| text::headline(statement))
                .collect();
            let meant = statements.iter().filter(|it| diff.covers(it.flows(), &flow));
            let meant: Vec<String> = meant.map(|it| text::headline(it)).collect();
            prop_assert_eq!(&said, &meant, "{:?} {:?}", flow, fates);
            prop_assert_eq!(said.len(), usize::from(fates[0] != fates[1]), "{:?} {:?} {:?}", flow, fates, said);
        }
    }

    /// What a volume gained and lost is what it may open by name on only one of the sides.
    #[test]
    fn what_each_volume_gained_and_lost_is_reported([old, new] in turned()) {
        let nothing = BundleFiles::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let reader = Reader::of(&old, &new);
        let walks = reader.plans.each_ref().map(Walk::of);
        for change in &diff.volumes {
            for places in &change.volumes {
                for (peer, at) in peers(&reader) {
                    if places.iter().flatten().any(|place| at.contains(&Some(Opener::Address(place.address)))) {
                        continue;
                    }
                    for (protocol, port) in services() {
                        for is_opened in [false, true] {
                            check_access(&walks, change, places, (&peer, at), (protocol, port, is_opened), &reader)?;
                        }
                    }
                }
            }
        }
    }

    /// Conditions are reported, once, exactly where a packet goes through a different pipe configuration.
    #[test]
    fn exactly_the_changed_conditions_are_reported_once(old in networks(), new in networks()) {
        let nothing = BundleFiles::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let reader = Reader::of(&old, &new);
        let plans = &reader.plans;
        let hosts = hosts();
        for (source, destination) in hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to))) {
            let [before, now] = plans.each_ref().map(|plan| {
                let pipe = plan.policy.pipe_between(source, destination).and_then(|number| plan.pipe(number));
                pipe.map(|pipe| pipe.conditions.to_string())
            });
            let flow = Flow { opener: Opener::Address(source), destination, protocol: ICMP, port: 0 };
            let is_within = reader.is_within(flow.opener, destination);
            let side = |way: &WayChange| usize::from(way.presence != Presence::Removed);
            let said = |way: &&WayChange| {
                !is_within
                    && reader.names(&way.from, side(way), source, &way.to)
                    && reader.names(&way.to, side(way), destination, &way.from)
            };
            let said = diff.conditions.iter().filter(said).count();
            let meant = diff.conditions.iter().filter(|way| diff.covers(way.flows(), &flow)).count();
            prop_assert_eq!([said, meant], [usize::from(before != now); 2], "{} {}: {:?} {:?}", source, destination, before, now);
        }
        for way in &diff.conditions {
            let [source, destination] = way.witness;
            let flow = Flow { opener: Opener::Address(source), destination, protocol: ICMP, port: 0 };
            prop_assert!(diff.covers(way.flows(), &flow), "{}", text::way(way));
        }
    }

    #[test]
    fn no_line_is_printed_twice(old in input(), new in input()) {
        let said = [headlines(&old, &new), ways(&old, &new)].concat();
        let distinct: BTreeSet<&String> = said.iter().collect();
        prop_assert_eq!(distinct.len(), said.len(), "{:#?}", said);
    }
}

/// Who a peer is before and after; none where it does not exist on that side.
type Peer = [Option<Opener>; 2];

/// Volumes, the rest of each provider, and everything outside. A renamed volume is one peer.
fn peers(reader: &Reader) -> Vec<(String, Peer)> {
    let address = |word: &str| Some(Opener::Address(word.parse().expect("an address")));
    let mut peers = vec![
        ("this Mac".to_owned(), [Some(Opener::ThisMac); 2]),
        ("localhost".to_owned(), [address("127.0.0.1"); 2]),
        ("outside".to_owned(), [address("203.0.113.7"); 2]),
    ];
    let volume = |side: usize, name: &str| {
        let name = reader.inputs[side]["volumes"][name]["address"].as_str()?;
        address(name)
    };
    for name in ["etcd-1", "etcd-2"] {
        peers.push((name.to_owned(), [0, 1].map(|side| volume(side, name))));
    }
    let talos = [volume(0, "talos"), volume(1, "talos"), volume(1, "talos-9")];
    if talos[2].is_none() || talos[0] == talos[2] {
        peers.push(("talos".to_owned(), [talos[0], talos[1].or(talos[2])]));
    } else {
        peers.push(("talos".to_owned(), [talos[0], None]));
        peers.push(("talos-9".to_owned(), [None, talos[2]]));
    }
    // For each network, an address that nothing else names.
    let rests =
        [("aws", "10.0.7.7", "10.0.7.7"), ("azure", "10.1.7.7", "10.1.7.7"), ("gcp", "10.2.7.7", "10.2.7.7")];
    for (name, old, new) in rests {
        peers.push((name.to_owned(), [address(old), address(new)]));
    }
    let oci = [0, 1].map(|side| {
        let network = reader.inputs[side]["providers"]["oci"]["network"].as_str()?;
        address(if network.starts_with("10.3.") { "10.3.9.9" } else { "10.2.200.9" })
    });
    peers.push(("oci".to_owned(), oci));
    peers.retain(|(_, at)| at.iter().any(Option::is_some));
    peers
}

/// Whether the lines about a volume report, for a peer and a service, what differs between the two sides.
fn check_access(
    walks: &[Walk; 2],
    change: &VolumeChange,
    places: &[Option<VolumePlace>; 2],
    (peer, at): (&str, Peer),
    (protocol, port, is_opened): (u8, u16, bool),
    reader: &Reader,
) -> Result<(), TestCaseError> {
    let passes = [0, 1].map(|side| {
        let (Some(place), Some(peer)) = (&places[side], at[side]) else { return false };
        let flow = match (is_opened, peer) {
            (true, opener) => Flow { opener, destination: place.address, protocol, port },
            (false, Opener::ThisMac) => return false,
            (false, Opener::Address(destination)) => {
                Flow { opener: Opener::Address(place.address), destination, protocol, port }
            }
        };
        matches!(walks[side].fate(&flow).0, FlowVerdict::Passes(_))
    });
    for (side, is_lost) in [(1, false), (0, true)] {
        let expected = passes[side] && !passes[1 - side];
        let Some(who) = at[side] else { continue };
        let names = |access: &&Access| {
            let is_named = match who {
                Opener::ThisMac => access.peers.iter().any(|word| word == "this Mac"),
                Opener::Address(address) => reader.names(&access.peers, side, address, &[]),
            };
            let flow = Flow { opener: who, destination: Ipv4Addr::LOCALHOST, protocol, port };
            is_named && serves(&access.services.to_string(), &flow)
        };
        let meant = change.access.iter().filter(|it| it.is_lost == is_lost && it.is_opened == is_opened);
        let told = meant.filter(names).count();
        prop_assert_eq!(
            told,
            usize::from(expected),
            "{} {:?}: {} {} {} {:?}\n{:#?}",
            text::turns(change).join("; "),
            passes,
            peer,
            protocol,
            port,
            is_opened,
            change.access
        );
    }
    Ok(())
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
    // A bundle is compared as its files are on disk.
    let anchor = directory.path().join("bundle/pf/anchor.conf");
    fs::write(&anchor, fs::read_to_string(&anchor).expect("the anchor") + "pass quick all\n")
        .expect("written");
    let tampered = run(&["diff", &input, &bundle, "--lines"], "");
    assert_eq!(tampered.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&tampered.stdout).into_owned();
    assert!(shown.contains("~ pf/anchor.conf (+1 -0)") && shown.contains("\n+pass quick all\n"), "{shown}");
}

#[test]
fn unreadable_sides_are_reported_and_nothing_is_printed() {
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
