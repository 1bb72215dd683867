//! What Apple's own network stack did (tests/xnu, made with xnu-7195 in userland), and the lab's Mac does the same.

use std::collections::BTreeMap;
use std::fs;

use nixvol_net::replay::{self, Row};
use serde_json::{Value, json};

use crate::support::root;

/// Everything that the rows of a topology share.
fn topologies() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(root().join("tests/xnu/topologies.json")).expect("topologies");
    let mut all: BTreeMap<String, Value> = serde_json::from_str(&text).expect("topologies");
    let main = fs::read_to_string(root().join("tests/xnu/main.conf")).expect("a main ruleset");
    for (name, topology) in &mut all {
        let anchor = topology["anchor"].as_str().expect("a name");
        let anchor = fs::read_to_string(root().join(format!("tests/xnu/anchors/{anchor}.conf")));
        topology["anchor"] = json!(anchor.unwrap_or_else(|error| panic!("{name}: {error}")));
        topology["main"] = json!(main);
    }
    all
}

fn joined(topology: &Value, row: &Value) -> Value {
    let mut joined = topology.clone();
    let fields = row.as_object().expect("a row").clone();
    joined.as_object_mut().expect("a topology").extend(fields);
    joined
}

/// The rows as `lab replay` takes them.
pub fn rows() -> Vec<Value> {
    let topologies = topologies();
    let text = fs::read_to_string(root().join("tests/xnu/rows.jsonl")).expect("rows");
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("a row");
        let (topology, _) = row["id"].as_str().and_then(|id| id.rsplit_once('-')).expect("a number");
        joined(&topologies[topology], &row)
    };
    text.lines().map(row).collect()
}

fn read(row: &Value) -> Row {
    serde_json::from_value(row.clone()).unwrap_or_else(|error| panic!("{}: {error}", row["id"]))
}

#[test]
fn every_scenario_comes_out_as_on_apples_stack() {
    let rows = rows();
    assert_eq!(rows.len(), 175);
    let mut different = Vec::new();
    for row in &rows {
        let row = read(row);
        let played = replay::play(&row).unwrap_or_else(|why| panic!("{}: {why}", row.id));
        for (field, told, came) in replay::differences(&row, &played) {
            different.push(format!("{} {field}: {told} on Apple's, {came} here", row.id));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// A row that says otherwise is told: whatever is changed in it.
#[test]
fn a_difference_in_any_field_is_told() {
    let rows = rows();
    let row = rows.iter().find(|row| row["id"] == "33-bridge-gone-masq-new-07").expect("a row");
    for (field, wrong) in [
        ("hooks", json!([])),
        ("wire", json!([["en0", "10.0.1.2", "10.0.1.50", "udp"]])),
        ("outcome", json!("timeout")),
        ("server_saw", json!("10.0.1.2")),
        ("later", json!([["out"]])),
        ("later_wire", json!([["en0"]])),
    ] {
        let mut wrong_row = row.clone();
        wrong_row[field] = wrong;
        let wrong_row = read(&wrong_row);
        let played = replay::play(&wrong_row).expect("a play");
        let fields: Vec<&str> =
            replay::differences(&wrong_row, &played).iter().map(|(field, ..)| *field).collect();
        assert_eq!(fields, [field]);
    }
}
