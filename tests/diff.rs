//! `diff`: it reports everything that a change opens and closes, nothing else, in few lines.

use std::fs;

use insta::assert_snapshot;
use nixvol_net::diff::record::DiffRecord;
use nixvol_net::diff::{BundleFiles, ComparedSide, Diff, markdown, text};
use nixvol_net::plan::Plan;
use serde_json::{Value, json};

use crate::support::{declared, default_input, program, rendered, root, run, topologies};

/// The files that a declaration renders to.
pub fn files(input: &Value) -> BundleFiles {
    rendered(input).files.into_iter().map(|(path, file)| (path, file.text)).collect()
}

pub fn compared(old: &Value, new: &Value, [old_files, new_files]: [&BundleFiles; 2]) -> Diff {
    let (old, new) = (declared(old), declared(new));
    let (old_plan, new_plan) = (Plan::of(&old), Plan::of(&new));
    Diff::of(
        ComparedSide { declaration: &old, plan: &old_plan, files: old_files },
        ComparedSide { declaration: &new, plan: &new_plan, files: new_files },
    )
}

pub fn diff(old: &Value, new: &Value) -> Diff {
    compared(old, new, [&files(old), &files(new)])
}

/// The lines about flows and translations, without their witness packets.
pub fn headlines(old: &Value, new: &Value) -> Vec<String> {
    let nothing = BundleFiles::new();
    let diff = compared(old, new, [&nothing, &nothing]);
    diff.flows.iter().chain(&diff.translations).map(text::headline).collect()
}

/// The lines about conditions.
pub fn ways(old: &Value, new: &Value) -> Vec<String> {
    let nothing = BundleFiles::new();
    compared(old, new, [&nothing, &nothing]).conditions.iter().map(text::way).collect()
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
pub fn narrow() -> Value {
    let mut input = default_input();
    input["links"] = json!([
        { "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": [443] },
        { "from": ["etcd-1", "etcd-2"], "to": ["etcd-1", "etcd-2", "etcd-3"], "protocol": "tcp", "ports": ["2379-2380"] },
    ]);
    input
}

pub fn add_link(input: &mut Value, ports: Value) {
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
        let record = DiffRecord::of(&diff, false);
        assert_snapshot!("formats-json", serde_json::to_string_pretty(&record).expect("JSON"));
    });
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
