//! A field of the declaration is in every language that it must be in: the schema, the options of the module, the JSON
//! that the module makes, and `network.json`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::nix::{evaluate, pure};
use crate::schema::schema_of;
use crate::support::{fixture, rendered};

/// The parts of a declaration that have fields of their own: as the module and the schema name them, and the options
/// that only the module reads.
const PARTS: &[(&str, &str, &[&str])] = &[
    ("providers", "Provider", &["enable"]),
    ("volumes", "Volume", &["enable"]),
    ("links", "Link", &[]),
    ("expect", "Expectation", &[]),
    ("localhost", "Localhost", &[]),
    ("macs", "DeclaredMac", &[]),
];

/// The kind of object that a field has, if it has fields of its own.
fn nested<'a>(schema: &Value, field: &'a Value) -> Option<&'a str> {
    let forms = field["anyOf"].as_array().into_iter().flatten().chain([field]);
    let mut kinds = forms.filter_map(|form| form["$ref"].as_str()?.strip_prefix("#/$defs/"));
    kinds.find(|kind| schema["$defs"][kind]["properties"].is_object())
}

/// The fields of a kind by the schema, those of its parts too, with a value that is not the default.
fn stated(schema: &Value, kind: &str) -> Value {
    let fields = schema["$defs"][kind]["properties"].as_object().expect("the fields of a kind");
    let value = |field| nested(schema, field).map_or_else(|| json!("stated"), |kind| stated(schema, kind));
    fields.iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

/// The paths of an object's fields, except of those that contain others.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().expect("an object") {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if value.as_object().is_some_and(|fields| !fields.is_empty()) {
            leaves(value, &path, into);
        } else {
            into.insert(path);
        }
    }
}

fn fields(value: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    leaves(value, "", &mut paths);
    paths
}

#[test]
fn the_module_has_an_option_for_every_field_and_no_other() {
    let (schema, options) = (schema_of(&[]), pure("options"));
    for (part, kind, only_module) in PARTS {
        let prefix = format!("services.nixvol-net.{part}.");
        let names =
            options.as_object().expect("options").keys().filter_map(|name| name.strip_prefix(&prefix));
        let names: BTreeSet<&str> = names.collect();
        // An option whose values have options of their own is not a field by itself.
        let is_leaf = |name: &&str| !names.iter().any(|other| other.starts_with(&format!("{name}.")));
        let leaves = names.iter().copied().filter(is_leaf).filter(|name| !only_module.contains(name));
        let options: BTreeSet<String> = leaves.map(str::to_owned).collect();
        assert_eq!(options, fields(&stated(&schema, kind)), "the options of {part} (left) and its fields");
    }
}

#[test]
fn the_module_passes_every_field_on() {
    let schema = schema_of(&[]);
    let declared = |(part, kind, _): &(&str, &str, &[&str])| {
        let entry = stated(&schema, kind);
        let value = match *part {
            "links" | "expect" => json!([entry]),
            "localhost" => entry,
            _ => json!({ "NAME": entry }),
        };
        ((*part).to_owned(), value)
    };
    let declared: Value = PARTS.iter().map(declared).collect();
    let json = Value::from(declared.to_string()).to_string().replace("${", "\\${");
    let data = "import ./modules/data.nix { lib = import ./tests/nix/lib; }";
    let passed = evaluate(&format!("{data} (builtins.fromJSON {json})")).expect("the data");
    for (part, ..) in PARTS {
        assert_eq!(passed[part], declared[part], "modules/data.nix drops a field of {part}");
    }
}

#[test]
fn the_rendered_declaration_has_every_field() {
    let schema = schema_of(&[]);
    let mut input = fixture("macs.json");
    input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "conditions": { "latencyMs": 1 } }]);
    input["expect"] = json!([{ "from": ["aws"], "to": ["gcp"], "passes": true }]);
    let network = &rendered(&input).files["network.json"].text;
    let network: Value = serde_json::from_str(network).expect("JSON");
    for (part, kind, _) in PARTS {
        // Every entry has the same fields, so that any of them will do.
        let entry = match &network[part] {
            Value::Array(entries) => &entries[0],
            part if *kind == "Localhost" => part,
            entries => entries.as_object().and_then(|entries| entries.values().next()).expect("an entry"),
        };
        assert_eq!(fields(entry), fields(&stated(&schema, kind)), "network.json (left), {part}");
    }
}
