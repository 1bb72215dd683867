//! The input that Nix makes of a configuration: the preset, what changes it, and where each value was defined.
//!
//! These parts need only Nix. The whole module needs nix-darwin and Nixpkgs' lib, which are taken from
//! `NIXVOL_NIX_DARWIN` and `NIXVOL_NIXPKGS_LIB`; without them those tests report that they were skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{default_input, files_below, rendered, root, run, skipped};

/// Runs `nix-instantiate` without a daemon, a store, or the user's configuration.
pub fn nix_instantiate(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new("nix-instantiate")
        .args(arguments)
        .current_dir(root())
        .env("NIX_REMOTE", "dummy://")
        .env("NIX_STATE_DIR", home.path())
        .env("NIX_CONF_DIR", home.path())
        .env("HOME", home.path())
        .env_remove("NIX_CONFIG")
        .env_remove("NIX_PATH")
        .output()
        .expect("nix-instantiate does not run; hint: install Nix (Debian's package is `nix-bin`)")
}

/// The value of an expression, or Nix's error message.
pub fn evaluate(expression: &str) -> Result<Value, String> {
    let output = nix_instantiate(&["--eval", "--strict", "--json", "-E", expression]);
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn pure(attribute: &str) -> Value {
    evaluate(&format!("(import ./tests/nix/pure.nix).{attribute}")).unwrap()
}

/// The sources of nix-darwin and Nixpkgs' lib, as Nix strings; none, reported as skipped, if they are not set.
pub fn sources() -> Option<(Value, Value)> {
    let source = |name| std::env::var(name).ok().map(|path| json!(path));
    let sources = source("NIXVOL_NIX_DARWIN").zip(source("NIXVOL_NIXPKGS_LIB"));
    if sources.is_none() {
        skipped(
            "NIXVOL_NIX_DARWIN and NIXVOL_NIXPKGS_LIB are not set, so no module was evaluated by nix-darwin",
        );
    }
    sources
}

/// An attribute of a system with one more module, given as a Nix expression.
fn darwin(module: &str, attribute: &str) -> Option<Result<Value, String>> {
    let (nix_darwin, lib) = sources()?;
    let sources = format!("nixDarwin = {nix_darwin}; nixpkgsLib = {lib};");
    Some(evaluate(&format!(
        "(import ./tests/nix/darwin.nix {{ {sources} modules = [ ({module}) ]; }}).{attribute}"
    )))
}

/// Passes an attribute of a system to `look`, if nix-darwin is available.
pub fn with_darwin(module: &str, attribute: &str, look: impl FnOnce(Value)) {
    if let Some(value) = darwin(module, attribute) {
        look(value.unwrap());
    }
}

/// Asserts that evaluating a system fails with an error that contains all of these words.
pub fn refused(module: &str, words: &[&str]) {
    let Some(result) = darwin(module, "toplevel") else {
        return;
    };
    let error = result.expect_err(module);
    for word in words {
        assert!(error.contains(word), "`{word}` is not in:\n{error}");
    }
}

#[test]
fn every_file_parses() {
    let mut files = vec![PathBuf::from("flake.nix")];
    files.extend(["modules", "templates", "tests/nix"].into_iter().flat_map(files_below));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "nix"));
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        let output = nix_instantiate(&["--parse", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn preset_is_the_embedded_declaration() {
    // Byte-identical JSON in the module's normal form, which omits defaults, …
    let text = |attribute: &str| {
        evaluate(&format!("builtins.toJSON (import ./tests/nix/pure.nix).{attribute}")).unwrap()
    };
    let embedded = text("embedded");
    assert_eq!(text("preset"), embedded);
    // … and the same bundle from the generator, which fills them in.
    let expected = rendered(&default_input());
    assert_eq!(rendered(&pure("preset")), expected);
    let module = r#"{ services.nixvol-net = { enable = true; preset = "multi-cloud"; }; }"#;
    with_darwin(module, "declared", |text| assert_eq!(text, embedded));
    with_darwin(module, "input", |input| assert_eq!(rendered(&input), expected));
}

#[test]
fn the_preset_moves_as_a_whole() {
    let moved = pure("shifted");
    let text = moved.to_string();
    assert!(!text.contains("\"10.") && text.contains("172.24.2.2"), "{text}");
    let back = (0..5)
        .fold(text, |text, cloud| text.replace(&format!("\"172.{}.", 20 + cloud), &format!("\"10.{cloud}.")));
    assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), pure("preset"));
    rendered(&moved);
    let module = |base: &str| {
        format!(r#"{{ services.nixvol-net = {{ preset = "multi-cloud"; presetBase = "{base}"; }}; }}"#)
    };
    with_darwin(&module("172.20.0.0/16"), "input", |input| assert_eq!(rendered(&input), rendered(&moved)));
    let option = "services.nixvol-net.presetBase";
    for base in ["172.252.0.0/16", "172.20.0.0/12", "172.20.1.0/16", "172.16.0.0"] {
        let module = module(base).replace("preset =", "enable = true; preset =");
        refused(&module, &[option, "is not of type"]);
    }
}

#[test]
fn additions_to_a_moved_preset_use_its_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("configuration.nix");
    let module = "{\n  services.nixvol-net = {\n    preset = \"multi-cloud\";\n    presetBase = \"172.20.0.0/16\";\n  };\n}\n";
    std::fs::write(&file, module).unwrap();
    let added = run(&["add", "volume", "extra", "--provider", "azure", "--file", file.to_str().unwrap()], "");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("address = \"172.21."), "{text}");
}

#[test]
fn two_modules_publish_a_port_once() {
    let module = |rest: &str| {
        format!("{{ services.nixvol-net = {{ enable = true; preset = \"multi-cloud\"; {rest} }}; }}")
    };
    let one = module("volumes.etcd-1.publish = [ 2379 2380 ];");
    let other = module("volumes.etcd-1.publish = [ 2379 ];");
    with_darwin(&format!("{{ imports = [ ({one}) ({other}) ]; }}"), "input", |input| {
        let mut published: Vec<u64> =
            serde_json::from_value(input["volumes"]["etcd-1"]["publish"].clone()).unwrap();
        published.sort_unstable();
        assert_eq!(published, [2379, 2380]);
        rendered(&input);
    });
}

#[test]
fn expectations_reach_the_json() {
    let expect = |rest: &str| {
        format!(
            r#"{{ services.nixvol-net = {{ enable = true; preset = "multi-cloud"; expect = [
                 {{ from = [ "karpenter-worker-1" ]; to = [ "etcd-1" ]; protocol = "tcp"; ports = [ 2380 ]; passes = false; why = "apart"; }}
                 {{ from = [ "lan" ]; to = [ "any" ]; passes = false; {rest} }} ]; }}; }}"#
        )
    };
    with_darwin(&expect(""), "input", |input| {
        let golden = json!([
            { "from": ["karpenter-worker-1"], "to": ["etcd-1"], "protocol": "tcp", "ports": [2380], "passes": false, "why": "apart" },
            { "from": ["lan"], "to": ["any"], "passes": false },
        ]);
        assert_eq!(input["expect"], golden);
    });
    with_darwin(&expect(""), "toplevel", |_| ());
    refused(
        &expect("").replace(r#""lan""#, r#""lann""#),
        &["services.nixvol-net.expect, entry 2: `from` names \"lann\"", "\"internet\""],
    );
    refused(&expect("protocol = \"sctp\";"), &["services.nixvol-net.expect", "is not of type"]);
}

#[test]
fn every_field_reaches_the_json() {
    let golden: Value = serde_json::from_str(include_str!("nix/declared.json")).unwrap();
    assert_eq!(pure("declared"), golden);
    with_darwin("{ services.nixvol-net = import ./tests/nix/declared.nix; }", "input", |input| {
        assert_eq!(input, golden);
    });
}

#[test]
fn the_generator_accepts_the_input_and_points_into_the_nix_source() {
    let mut input = pure("declared");
    let checked = run(&["check", "--input", "-"], &input.to_string());
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));

    input["volumes"]["etcd-1"]["address"] = json!("10.7.1.2");
    let checked = run(&["check", "--input", "-"], &input.to_string());
    let error = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(2), "{error}");
    for place in ["volumes.etcd-1.address", "tests/nix/declared.nix:32", "tests/nix/declared.nix:12"] {
        assert!(error.contains(place), "`{place}` is not in:\n{error}");
    }
}

/// The line of each position, by path.
fn lines(positions: &Value) -> BTreeMap<&str, u64> {
    let positions = positions.as_object().unwrap().iter();
    positions.map(|(path, place)| (path.as_str(), place["line"].as_u64().unwrap())).collect()
}

#[test]
fn positions_are_those_of_the_definition_that_won() {
    let expected = BTreeMap::from([
        ("volumes.a", 6),
        ("volumes.a.provider", 12),
        ("volumes.a.address", 13),
        ("volumes.a.publish", 16),
        ("links.0", 22),
        ("links.0.from", 22),
        ("links.1", 23),
        ("links.1.to", 23),
    ]);
    assert_eq!(lines(&pure("wrapped")), expected);

    with_darwin("./tests/nix/override.nix", "input", |input| {
        let lines = lines(&input["positions"]);
        let place = |path: &str| (input["positions"][path]["file"].as_str().unwrap(), lines[path]);
        let user = "nixvol-net/tests/nix/override.nix";
        assert_eq!(place("volumes.etcd-1.address"), (user, 9));
        assert_eq!(place("providers.aws.network"), (user, 14));
        assert_eq!(place("links.0"), (user, 24));
        assert_eq!(place("links.1.ports"), (user, 32));
        assert_eq!(place("volumes.etcd-2.address").0, "nixvol-net/modules/presets/multi-cloud.nix");
        assert_eq!(place("volumes.etcd-9.address").0, user);
        assert_eq!(lines.get("volumes.etcd-9"), None, "a generated name has no place");
    });
}

/// A network in several files, each with an error.
const FILES: [(&str, &str); 4] = [
    (
        "aws.nix",
        "{ lib, ... }:\n{\n  services.nixvol-net.providers.aws = lib.mkIf true {\n    network = \"10.0.0.0/16\";\n    \
         gateway = \"10.0.1.1/24\";\n  };\n  services.nixvol-net.stateDir = \"/etc\";\n}\n",
    ),
    (
        "azure.nix",
        "{ lib, ... }:\n{\n  services.nixvol-net = lib.mkMerge [\n    { providers.azure.network = \"10.0.128.0/17\"; }\n    \
         { providers.azure.gateway = \"10.0.128.1/24\"; }\n  ];\n}\n",
    ),
    (
        "volumes.nix",
        "{ lib, ... }:\n{\n  services.nixvol-net.volumes = lib.genAttrs [ \"etcd-1\" \"etcd-2\" ] (name: {\n    \
         provider = \"aws\";\n    address = \"10.0.1.2\";\n  });\n}\n",
    ),
    (
        "links.nix",
        "{\n  services.nixvol-net.links = [\n    { from = [ \"aws\" ]; to = [ \"azure\" ]; }\n    {\n      from = [\n        \
         \"aws\"\n        \"azure\"\n      ];\n      to = [ \"azure\" ];\n      protocol = \"tcp\";\n      ports = [\n        443\n        \
         \"90-80\"\n      ];\n    }\n  ];\n}\n",
    ),
];

/// The errors of an input whose positions refer to these files.
fn told(input: &Value) -> String {
    let checked = run(&["check", "--input", "-"], &input.to_string());
    assert_eq!(checked.status.code(), Some(2));
    String::from_utf8_lossy(&checked.stderr).into_owned()
}

#[test]
fn an_error_shows_every_file_involved() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    for (name, text) in FILES {
        std::fs::write(at(name), text).unwrap();
    }
    let look = |input: &Value| {
        let text = told(input).replace(&format!("{}/", directory.path().display()), "");
        insta::with_settings!({ snapshot_path => "snapshots/nix", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("two-files", text);
        });
    };
    // Once with the definitions merged by the test's stand-in, once by the real module system.
    let files = FILES.map(|(name, _)| at(name)).join(" ");
    look(&evaluate(&format!("(import ./tests/nix/pure.nix).parts [{files} ]")).unwrap());
    // Evaluating `input` alone does not trigger the module's assertions.
    with_darwin(&format!("{{ imports = [{files} ]; }}"), "input", |input| look(&input));
}

#[test]
fn every_part_of_the_preset_can_be_overridden() {
    with_darwin("./tests/nix/override.nix", "input", |input| {
        assert_eq!(input["volumes"]["etcd-1"]["address"], "10.9.1.7");
        assert_eq!(input["volumes"]["etcd-1"]["localhost"], "127.0.1.11");
        assert_eq!(input["providers"]["aws"]["network"], "10.9.0.0/16");
        assert_eq!(input["providers"].get("ibm"), None);
        assert_eq!(input["volumes"].get("talos-control-plane-4"), None, "its provider is off");
        assert_eq!(input["volumes"].get("etcd-3"), None);
        assert_eq!(input["volumes"]["etcd-9"]["provider"], "gcp");
        assert_eq!(input["links"].as_array().unwrap().len(), 2);
        assert_eq!(input["hostsFile"], Value::Null);
    });
    with_darwin(
        r#"{ services.nixvol-net = { preset = "multi-cloud"; providers.ibm.enable = false; }; }"#,
        "input",
        |input| {
            assert_eq!(input["links"][0]["to"], json!(["aws", "azure", "digitalocean", "gcp"]));
        },
    );
}

#[test]
fn parts_of_the_preset_can_be_left_out() {
    let module = |rest: &str| {
        format!(
            r#"{{ lib, ... }}: {{ services.nixvol-net = {{ enable = true; preset = "multi-cloud"; {rest} }}; }}"#
        )
    };
    let count = |rest: &str, providers: usize, volumes: usize, links: usize| {
        with_darwin(&module(rest), "input", |input| {
            let parts = |name: &str| match &input[name] {
                Value::Array(parts) => parts.len(),
                Value::Object(parts) => parts.len(),
                _ => 0,
            };
            assert_eq!(["providers", "volumes", "links"].map(parts), [providers, volumes, links], "{rest}");
            // The generator accepts the rest.
            rendered(&input);
        });
        with_darwin(&module(rest), "toplevel", |_| ());
    };
    count("", 5, 13, 1);
    count("volumes.etcd-1.enable = false;", 5, 12, 1);
    count("volumes.etcd-1 = { enable = false; };", 5, 12, 1);
    count("providers.ibm.enable = false;", 4, 11, 1);
    count("providers = lib.genAttrs [ \"aws\" \"gcp\" ] (_: { enable = false; });", 3, 7, 1);
    let all_but_aws = "lib.genAttrs [ \"azure\" \"digitalocean\" \"gcp\" \"ibm\" ] (_: { enable = false; })";
    count(&format!("providers = {all_but_aws};"), 1, 3, 0);
    count("volumes = lib.mkForce { };", 5, 0, 1);
    count("links = [ ];", 5, 13, 0);
    count("links = [ { from = [ \"aws\" ]; to = [ \"gcp\" ]; } ];", 5, 13, 1);
    count(
        "links = lib.mkDefault [ { from = [ \"aws\" ]; to = [ \"etcd-3\" ]; masquerade = true; } ];",
        5,
        13,
        2,
    );
}
