//! The published JSON Schema, held against the reader: what one calls a wrong shape, the other does too.

use jsonschema::Validator;
use nixvol_net::explain::STOCK_MAIN;
use nixvol_net::input;
use serde_json::{Value, json};

use crate::seen::Seen;
use crate::support::{default_input, program, rendered, root, run, topologies};

fn validator() -> Validator {
    validator_of(&[])
}

/// The published schema of a command's output.
pub fn schema_of(command: &[&str]) -> Value {
    let schema = run(&[&["schema"], command].concat(), "");
    assert_eq!(schema.status.code(), Some(0), "{command:?}: {}", String::from_utf8_lossy(&schema.stderr));
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    schema
}

/// What a command's output is held against.
pub fn validator_of(command: &[&str]) -> Validator {
    jsonschema::validator_for(&schema_of(command)).expect("the schema compiles")
}

#[test]
fn fixtures_and_rendered_declarations_match_the_schema() {
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
    volume["guest"] = json!({ "mac": "52:54:00:12:34:56", "interface": "eth0", "dns": ["10.0.1.1"] });
    input["providers"]["aws"]["region"] = json!("us-east-1");
    input["hostsFile"] = json!("/etc/hosts");
    input["reconcileInterval"] = json!(60);
    input["allowOverlap"] = json!(["10.0.0.0/16"]);
    input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [80, "1-2"], "bidirectional": true,
        "masquerade": false, "conditions": { "latencyMs": 1, "jitterMs": 1, "loss": 0.5, "bandwidthKbit": 7 } }]);
    input["positions"] = json!({ "volumes": { "file": "a.nix", "line": 1, "column": 1 } });
    // Codes of the shape; those of values beyond it are not the schema's to know, nor are lengths and words.
    let shape = ["E001", "E002", "E003", "E004", "E005"];
    let beyond = ["E006", "E007", "E008", "E009", "E044", "E046", "E062"];
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

/// Commands that print JSON, by the name of their schema. Every form that an output has is among them.
pub const OUTPUTS: &[(&str, &[&str])] = &[
    ("render", &["render", "--out", "OUT/bundle"]),
    ("verify", &["verify", "OUT/bundle"]),
    ("verify", &["verify", "OUT/spoilt"]),
    ("verify", &["verify", "OUT/unreadable"]),
    ("verify", &["verify", "OUT/piped"]),
    ("test", &["test"]),
    ("test", &["test", "--input", "tests/fixtures/ways.json"]),
    ("test", &["test", "--input", "tests/fixtures/restricted.json"]),
    ("test", &["test", "--input", "OUT/expects.json"]),
    ("test", &["test", "--input", "tests/fixtures/regions.json"]),
    ("test", &["test", "--all-macs", "--input", "tests/fixtures/macs.json"]),
    ("check", &["check"]),
    ("check", &["check", "--input", "tests/fixtures/overlap.json"]),
    ("check", &["check", "--input", "OUT/expects.json"]),
    ("explain", &["explain", "etcd-1", "etcd-2:5432", "--input", "tests/fixtures/restricted.json"]),
    ("explain", &["explain", "etcd-1", "internet:443"]),
    ("explain", &["explain", "etcd-1", "etcd-2", "--protocol", "icmp"]),
    ("explain", &["explain", "etcd-1", "etcd-2", "--input", "tests/fixtures/restricted.json"]),
    ("explain", &["explain", "any", "etcd-2:2379", "--input", "tests/fixtures/restricted.json"]),
    ("explain", &["explain", "etcd-1", "etcd-2:80", "--input", "tests/fixtures/ways.json"]),
    ("explain", &["explain", "etcd-1", "etcd-2:2379", "--input", "OUT/expects.json"]),
    ("explain", &["explain", "etcd-1", "etcd-2:2380", "--input", "tests/fixtures/conditions.json"]),
    ("explain", &["explain", "etcd-1", "etcd-2", "--input", "tests/fixtures/conditions.json"]),
    ("explain", &["explain", "etcd-1.localhost", "internet:80"]),
    ("explain", &["explain", "lan", "127.0.1.11"]),
    ("explain", &["explain", "aws", "etcd-2:22", "--input", "tests/fixtures/restricted.json"]),
    ("explain", &["explain", "etcd-1", "etcd-2:2379", "--ruleset", "OUT/others.conf"]),
    ("explain", &["explain", "api", "db:5432", "--input", "tests/fixtures/macs.json"]),
    ("explain", &["explain", "probe", "db:80", "--input", "tests/fixtures/macs.json"]),
    ("diff", &["diff", "tests/fixtures/restricted.json", "tests/fixtures/restricted-more.json"]),
    ("diff", &["diff", "tests/fixtures/restricted.json", "tests/fixtures/restricted-more.json", "--lines"]),
    ("diff", &["diff", "tests/fixtures/single.json", "tests/fixtures/ways.json"]),
    ("snapshot check", &["snapshot", "check", "--dir", "OUT/bundle", "--input", "tests/fixtures/ways.json"]),
    ("snapshot check", &["snapshot", "check", "--dir", "OUT/spoilt"]),
    (
        "snapshot accept",
        &["snapshot", "accept", "--dir", "OUT/accepted", "--input", "tests/fixtures/ways.json"],
    ),
    ("snapshot accept", &["snapshot", "accept", "--dir", "OUT/accepted"]),
    ("graph", &["graph"]),
    ("graph", &["graph", "--input", "tests/fixtures/rich.json"]),
    ("graph", &["graph", "--input", "tests/fixtures/macs.json"]),
    ("graph", &["graph", "--from", "OUT/capture"]),
    ("graph", &["graph", "--input", "tests/fixtures/restricted.json", "--provider", "gcp"]),
    (
        "add",
        &[
            "add",
            "volume",
            "one-more",
            "--provider",
            "aws",
            "--dry-run",
            "--file",
            "templates/flake/configuration.nix",
        ],
    ),
    (
        "add",
        &[
            "add",
            "volume",
            "one-more",
            "--provider",
            "aws",
            "--dry-run",
            "--configuration",
            "studio",
            "--file",
            "tests/nix/edits/hosts/two.nix",
        ],
    ),
    ("remove", &["remove", "volume", "lost", "--dry-run", "--file", "OUT/wrong.nix"]),
    (
        "remove",
        &[
            "remove",
            "volume",
            "karpenter-worker-6",
            "--dry-run",
            "--file",
            "templates/flake/configuration.nix",
        ],
    ),
    (
        "rename",
        &[
            "rename",
            "volume",
            "karpenter-worker-6",
            "worker-6",
            "--dry-run",
            "--file",
            "templates/flake/configuration.nix",
        ],
    ),
    (
        "move",
        &[
            "move",
            "volume",
            "karpenter-worker-6",
            "--to",
            "gcp",
            "--dry-run",
            "--file",
            "templates/flake/configuration.nix",
        ],
    ),
    ("init", &["init", "--from", "tests/import/compose.yaml", "--dry-run"]),
    ("pf check", &["pf", "check", "tests/pf/cases/services-wrong.conf", "tests/pf/cases/services.conf"]),
    ("pf print", &["pf", "print", "tests/pf/cases/services.conf"]),
    ("pf print", &["pf", "print", "tests/pf/cases/services-wrong.conf"]),
    ("help", &["help", "errors"]),
    ("help", &["help", "E025"]),
    ("help", &["help", "pf", "eval"]),
];

#[test]
fn the_output_of_commands_matches_their_schemas() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().display().to_string();
    let write = |name: &str| {
        assert!(run(&["render", "--quiet", "--out", &format!("{out}/{name}")], "").status.success());
    };
    write("spoilt");
    write("accepted");
    let anchor = directory.path().join("spoilt/pf/anchor.conf");
    let text = std::fs::read_to_string(&anchor).expect("an anchor");
    let text: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("block return quick inet from <nixvol> to")).collect();
    std::fs::write(&anchor, text.join("\n") + "\n").expect("an anchor");
    std::fs::write(directory.path().join("spoilt/hosts"), "").expect("a file");
    write("unreadable");
    std::fs::write(directory.path().join("unreadable/pf/anchor.conf"), "pass quikc all\n")
        .expect("an anchor");
    let conditions = "tests/fixtures/conditions.json";
    let piped = program()
        .args(["render", "--quiet", "--input", conditions, "--out", &format!("{out}/piped")])
        .current_dir(root())
        .status();
    assert!(piped.expect("the program runs").success());
    let anchor = directory.path().join("piped/pf/anchor.conf");
    let text = std::fs::read_to_string(&anchor).expect("an anchor");
    assert!(text.contains(" pipe 20002\n") && text.contains(" pipe 20003\n"), "{text}");
    std::fs::write(&anchor, text.replace(" pipe 20002\n", " pipe 20003\n")).expect("an anchor");
    let others = STOCK_MAIN
        .replace("\nanchor ", "\nblock drop quick on lo0 proto tcp from any to any port 2379\nanchor ");
    std::fs::write(directory.path().join("others.conf"), others).expect("a file");
    std::fs::create_dir(directory.path().join("capture")).expect("a directory");
    let names = "bridge-aws\tbridge2000\t-\nveth-etcd-1\tfeth20000\tfeth20001\n";
    std::fs::write(directory.path().join("capture/names"), names).expect("a file");
    let wrong = "{ services.nixvol-net = {\n  providers.aws = { network = \"10.0.0.0/16\"; gateway = \"10.0.1.1/24\"; };\n  volumes.lost = { provider = \"aws\"; address = \"10.9.0.2\"; };\n}; }\n";
    std::fs::write(directory.path().join("wrong.nix"), wrong).expect("a file");
    let mut expects = default_input();
    let at = |line: u32| json!({ "file": "network.nix", "line": line, "column": 5 });
    expects["positions"] = json!({ "expect.0": at(7), "links.0": at(3) });
    expects["expect"] = json!([{ "from": ["aws"], "to": ["gcp"], "passes": false, "why": "apart" }, { "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [443], "passes": true }]);
    std::fs::write(directory.path().join("expects.json"), expects.to_string()).expect("a file");
    let mut seen = Seen::default();
    for (command, words) in OUTPUTS {
        let words: Vec<String> = words.iter().map(|word| word.replace("OUT", &out)).collect();
        let output = program().args(&words).args(["--format", "json"]).current_dir(root()).output();
        let output = output.expect("the program runs");
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr))
        });
        assert_eq!(value["version"], 1, "{words:?}");
        seen.hold(command, &value, &words.join(" "));
        let mut old = value;
        old.as_object_mut().expect("an object").remove("version");
        assert!(
            !validator_of(&command.split(' ').collect::<Vec<_>>()).is_valid(&old),
            "{command} needs no version"
        );
    }
    seen.assert_all(&[]);
    let unknown = run(&["schema", "weather"], "");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("hint: there is one of render, "));
}
