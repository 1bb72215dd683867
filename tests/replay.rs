//! What Apple's own network stack did (tests/xnu, recorded with xnu-7195 in userland), reproduced by the lab's Mac.

use std::collections::BTreeMap;
use std::fs;

use nixvol_net::replay::{self, Played, RecordedScenario};
use serde_json::{Value, json};

use crate::support::root;

/// Everything that the rows of a topology have in common.
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

/// The rows in the form that `lab replay` takes.
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

fn read(row: &Value) -> RecordedScenario {
    serde_json::from_value(row.clone()).unwrap_or_else(|error| panic!("{}: {error}", row["id"]))
}

#[test]
fn every_scenario_has_the_outcome_of_apples_stack() {
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

/// A changed value in any field of a row is reported as a difference.
#[test]
fn a_difference_in_any_field_is_reported() {
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

/// Plays a row with another action, and optionally with the checksum offload of en0 turned on or off.
fn changed(id: &str, act: &Value, offloads: Option<bool>) -> Played {
    let rows = rows();
    let mut row = rows.into_iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no row {id}"));
    row["act"].as_object_mut().expect("an act").extend(act.as_object().expect("fields").clone());
    for interface in row["host"]["interfaces"].as_array_mut().expect("interfaces") {
        if let Some(offloads) = offloads.filter(|_| interface["name"] == "en0") {
            interface["offloads"] = json!(offloads);
        }
    }
    replay::play(&read(&row)).unwrap_or_else(|why| panic!("{id}: {why}"))
}

fn verdicts(hooks: &[Value]) -> Vec<&str> {
    hooks.iter().map(|hook| hook[4].as_str().expect("a verdict")).collect()
}

/// Cases that no row covers, according to the source of xnu (7195 and 11417).
#[test]
fn the_outbound_rst_to_a_local_syn_depends_on_checksum_offload() {
    let wifi = changed("16-no-internet-today-01", &json!({}), Some(false));
    assert_eq!((wifi.outcome.as_str(), wifi.hooks.len()), ("refused", 3));
    let wired = changed("16-no-internet-today-01", &json!({}), Some(true));
    assert_eq!((wired.outcome.as_str(), wired.hooks.len(), wired.later.len()), ("timeout", 1, 2));
}

#[test]
fn the_first_rst_of_a_local_peer_is_ignored_if_the_syn_asked_for_ecn() {
    let played = changed("06-icmp-link-new-09", &json!({ "ecn": true }), None);
    let flags = |hooks: &[Value]| hooks[0][5]["flags"].as_str().expect("flags").to_owned();
    assert_eq!((flags(&played.hooks).as_str(), flags(&played.later).as_str()), ("SEW", "S"));
    assert_eq!(
        (played.outcome.as_str(), played.later.len()),
        ("refused", 4),
        "sent again once, and believed"
    );
    // A RST from a peer outside the Mac's networks is accepted at once.
    let far = changed("16-no-internet-today-01", &json!({ "ecn": true }), None);
    assert_eq!((far.outcome.as_str(), far.later.len()), ("refused", 0));
}

#[test]
fn a_closed_port_on_an_alias_does_not_answer_guests() {
    // tcp_respond looks up the route scoped to the interface on which the segment arrived, and that interface does not
    // have the alias.
    let alias = changed("08-any-both-today-07", &json!({ "to": "10.0.3.2", "listener": false }), None);
    assert_eq!((alias.outcome.as_str(), alias.hooks.len()), ("timeout", 1));
    let gateway = changed("08-any-both-today-07", &json!({ "to": "10.1.1.1", "listener": false }), None);
    assert_eq!((gateway.outcome.as_str(), gateway.hooks.len()), ("refused", 2));
}

#[test]
fn fragments_are_held_by_scrub_and_by_pipes_in_their_order() {
    let guest = json!({ "at": "guest:10.0.1.50", "to": "10.1.1.60", "port": 80 });
    let piped = changed("14-cond-any-today-07", &guest, None);
    let held = ["pass", "held", "pass", "held", "pass", "held", "pass", "pass", "pass"];
    assert_eq!((verdicts(&piped.hooks), piped.server_saw.as_deref()), (held.to_vec(), Some("10.0.1.50")));
    assert!(piped.hooks[6..].iter().all(|hook| hook[5]["from"] == "dummynet"));
    // Reassembled, it is refused like the whole packet.
    let scrubbed = changed("18-three-new-07", &guest, None);
    assert_eq!(verdicts(&scrubbed.hooks), ["held", "held", "block", "pass"]);
    assert_eq!(scrubbed.outcome, "refused");
}

#[test]
fn errors_from_a_closed_port_beyond_nat_reach_the_client() {
    let tcp = changed("03-tcp-both-new-01", &json!({ "port": 81 }), None);
    assert_eq!(
        (tcp.outcome.as_str(), tcp.hooks[1][5]["now"][1].as_str()),
        ("refused", Some("10.1.1.2:49152"))
    );
    let udp = changed("09-port-range-new-09", &json!({ "port": 81 }), None);
    assert_eq!((udp.outcome.as_str(), udp.hooks[2][5]["now"][1].as_str()), ("refused", Some("10.1.1.60")));
}

#[test]
fn without_its_bridge_a_syn_is_refused_and_nothing_leaks() {
    let played = changed("33-bridge-gone-masq-new-03", &json!({ "to": "10.0.1.50" }), None);
    assert_eq!((verdicts(&played.hooks), played.wire.len()), (vec!["pass", "block", "pass"], 0));
    assert_eq!(played.outcome, "unreachable:3");
}

#[test]
fn the_program_reports_differences_and_exits_with_1() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let run = |text: &str| {
        let mut command: Command = crate::support::program();
        command.args(["lab", "replay", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("read");
        let output = child.wait_with_output().expect("the end");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let rows = rows();
    let lines: Vec<String> = rows.iter().take(3).map(Value::to_string).collect();
    let (code, out, err) = run(&lines.join("\n"));
    assert_eq!((code, out.lines().count(), err.as_str()), (Some(0), 3, "3 of 3 as recorded\n"));
    let first: Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["id"], &first["hooks"]), (&rows[0]["id"], &rows[0]["hooks"]));
    let mut wrong = rows[1].clone();
    wrong["outcome"] = json!("connected");
    let (code, _, err) = run(&format!("{}\n{wrong}\n", lines[0]));
    assert_eq!(code, Some(1));
    let id = rows[1]["id"].as_str().expect("a name");
    assert!(err.starts_with(&format!("{id}: outcome: expected \"connected\"")), "{err}");
    for (bad, said) in [("{\"id\":3}", "invalid type"), ("", "no scenario"), ("nonsense", ":1:")] {
        let (code, _, err) = run(bad);
        assert!(code == Some(2) && err.contains(said), "{bad}: {err}");
    }
}
