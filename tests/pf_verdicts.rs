//! The evaluator against a real pf: every field of every answer.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nixvol_net::pf::eval::{Machine, Packet};
use nixvol_net::pf::{Environment, Names, parse};
use serde_json::{Map, Value};

/// The maximum number of differences shown per file.
const SHOWN: usize = 5;

#[test]
fn cases() {
    compare("cases.jsonl");
}

#[test]
fn filter() {
    compare("filter.jsonl");
}

#[test]
fn translate() {
    compare("translate.jsonl");
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pf-corpus/verdicts")
}

fn compare(file: &str) {
    let path = corpus().join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        crate::support::skipped(&format!("no {}", path.display()));
        return;
    };
    let mut differences = Vec::new();
    let mut packets = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        packets += compare_case(&case, &mut differences);
    }
    let shown: Vec<_> = differences.iter().take(SHOWN).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} of {packets} differ\n{}", differences.len(), shown.join("\n"));
}

fn compare_case(case: &Value, differences: &mut Vec<String>) -> usize {
    let environment = environment(case["macros"].as_object());
    let mut machine = Machine::new(environment.interfaces.clone());
    load(&mut machine, &environment, "", &case["main"]);
    for (name, text) in case["anchors"].as_object().into_iter().flatten() {
        load(&mut machine, &environment, name, text);
    }
    let packets = case["packets"].as_array().expect("packets");
    let answers = case["answers"].as_array().expect("answers");
    for (packet, expected) in packets.iter().zip(answers) {
        let parsed: Packet = serde_json::from_value(packet.clone()).expect("a packet");
        let answer = serde_json::to_value(machine.eval(&parsed)).expect("an answer");
        if answer != *expected {
            let (id, main) = (&case["id"], case["main"].as_str().unwrap_or_default());
            differences.push(format!("{id}\n{main}{packet}\nexpected {expected}\nanswered {answer}\n"));
        }
    }
    packets.len()
}

fn environment(macros: Option<&Map<String, Value>>) -> Environment {
    let mut environment = Environment { names: Names::OpenBsd, ..Environment::default() };
    environment.add_address("en0", IpAddr::from([192, 0, 2, 10]), 24);
    for (name, value) in macros.into_iter().flatten() {
        environment.macros.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    environment
}

fn load(machine: &mut Machine, environment: &Environment, path: &str, text: &Value) {
    let text = text.as_str().expect("a ruleset");
    let ruleset = parse(text, environment).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    machine.load(path, &ruleset);
}
