//! The published JSON Schema, held against the reader: what one calls a wrong shape, the other does too.

use jsonschema::Validator;
use nixvol_net::input;
use serde_json::{Value, json};

use crate::support::{default_input, rendered, run, topologies};

fn validator() -> Validator {
    let schema = run(&["schema"], "");
    assert_eq!(schema.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::validator_for(&schema).expect("the schema compiles")
}

#[test]
fn fixtures_and_rendered_declarations_fit() {
    let validator = validator();
    for (topology, input) in topologies() {
        assert!(
            validator.is_valid(&input),
            "{topology}: {:?}",
            validator.iter_errors(&input).collect::<Vec<_>>()
        );
        let network: Value =
            serde_json::from_str(&rendered(&input).files["network.json"].text).expect("JSON");
        assert!(
            validator.is_valid(&network),
            "{topology}: {:?}",
            validator.iter_errors(&network).collect::<Vec<_>>()
        );
    }
}

/// Every value of the JSON, replaced by one of each type and left out, and a stranger beside each key.
fn variations(input: &Value) -> Vec<Value> {
    let mut paths = vec![String::new()];
    let mut all = Vec::new();
    while let Some(path) = paths.pop() {
        match input.pointer(&path).expect("a path of the input") {
            Value::Object(entries) => {
                paths.extend(entries.keys().map(|key| format!("{path}/{key}")));
                let mut stranger = input.clone();
                stranger.pointer_mut(&path).expect("the same path")["stranger"] = json!({});
                all.push(stranger);
                for key in entries.keys() {
                    let mut without = input.clone();
                    let object = without.pointer_mut(&path).and_then(Value::as_object_mut);
                    object.expect("the same object").remove(key);
                    all.push(without);
                }
            }
            Value::Array(items) => paths.extend((0..items.len()).map(|index| format!("{path}/{index}"))),
            _ => {}
        }
        for other in [json!(null), json!(true), json!(1), json!(1.5), json!("1"), json!([]), json!({})] {
            let mut changed = input.clone();
            *changed.pointer_mut(&path).expect("the same path") = other;
            all.push(changed);
        }
    }
    all
}

#[test]
fn the_reader_and_the_schema_agree_on_shapes() {
    let validator = validator();
    let mut input = default_input();
    for volume in ["etcd-2", "etcd-3", "talos-control-plane-1", "karpenter-worker-1"] {
        input["volumes"].as_object_mut().expect("volumes").remove(volume);
    }
    let volume = &mut input["volumes"]["etcd-1"];
    volume["publish"] = json!([80]);
    volume["attachment"] = json!("host");
    volume["mountPoint"] = json!("/Volumes/a");
    input["providers"]["aws"]["region"] = json!("us-east-1");
    input["hostsFile"] = json!("/etc/hosts");
    input["reconcileInterval"] = json!(60);
    input["allowOverlap"] = json!(["10.0.0.0/16"]);
    input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [80, "1-2"], "bidirectional": true,
        "masquerade": false, "conditions": { "latencyMs": 1, "jitterMs": 1, "loss": 0.5, "bandwidthKbit": 7 } }]);
    input["positions"] = json!({ "volumes": { "file": "a.nix", "line": 1, "column": 1 } });
    // Codes of the shape; those of values beyond it are not the schema's to know, nor are lengths and words.
    let shape = ["E001", "E002", "E003", "E004", "E005"];
    let beyond = ["E006", "E007", "E008", "E009", "E062"];
    let mut tried = 0;
    for changed in variations(&input) {
        let (_, problems) = input::read(changed.to_string().as_bytes());
        let wrong_shape = problems.iter().any(|problem| shape.contains(&problem.kind.code()));
        let codes: Vec<&str> = match nixvol_net::model::read(changed.to_string().as_bytes()) {
            Ok(_) => Vec::new(),
            Err(rejected) => rejected.problems.iter().map(|problem| problem.kind.code()).collect(),
        };
        let fits = validator.is_valid(&changed);
        let words = codes.iter().any(|code| beyond.contains(code));
        let unfit: Vec<String> =
            validator.iter_errors(&changed).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(fits != (wrong_shape || words), "schema: {unfit:?}; reader: {codes:?}; {changed}");
        tried += 1;
    }
    assert!(tried > 300, "only {tried} variations");
}
