//! `diff`: conditions of paths that were added, removed or changed.

use std::fs;

use insta::assert_snapshot;
use nixvol_net::diff::record::DiffRecord;
use nixvol_net::diff::{markdown, text};
use serde_json::{Value, json};

use crate::diff::{diff, narrow, ways};
use crate::support::run;

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
    let record = DiffRecord::of(&diff, false);
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
