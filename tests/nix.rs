//! The Nix interface: what the modules make of a configuration, evaluated by Nix itself.
//!
//! The pure parts need only Nix. The whole module needs nix-darwin and Nixpkgs' lib, which are taken from
//! `NIXVOL_NIX_DARWIN` and `NIXVOL_NIXPKGS_LIB`; without them those tests report that they were skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
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
fn refused(module: &str, words: &[&str]) {
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
fn the_module_has_a_test_in_the_form_of_nix_darwin() {
    let path = "./tests/nix/services-nixvol-net.nix";
    let form = "{ lib, ... }: { options = { out = lib.mkOption { type = lib.types.raw; }; \
                test = lib.mkOption { type = lib.types.lines; }; }; config.out = \"/out\"; }";
    with_darwin(&format!("{{ imports = [ {path} ({form}) ]; }}"), "test", |test| {
        let test = test.as_str().unwrap();
        assert!(test.contains("grep") && test.contains("/out/activate"), "{test}");
    });
    let parsed = nix_instantiate(&["--parse", path]);
    assert!(parsed.status.success());
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

#[test]
fn switch_installs_before_launchd_and_starts_last() {
    let module =
        r#"{ services.nixvol-net = { enable = true; preset = "multi-cloud"; confirmWithin = 90; }; }"#;
    with_darwin(module, "activate", |text| {
        let text = text.as_str().unwrap();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{text}"));
        let start =
            "\n/opt/nix-volumes/networking/manage-macos-networking.sh start --switch --confirm-within 90\n";
        let check = at("-activate.sh /var/db/org.nix-volumes.networking.receipt check /nix/store/");
        let install = at("-activate.sh /var/db/org.nix-volumes.networking.receipt install /nix/store/");
        assert!(
            at("set -e\n") < check
                && check < at("if [[ \"${checkActivation:-0}\" -eq 1 ]]")
                && check < install
        );
        assert!(install < at("setting up launchd services"));
        assert!(at("setting up launchd services") < at(start));
        assert!(at(start) < at("ln -sfn \"$(readlink -f \"$systemConfig\")\" /run/current-system"));
        assert!(!text.contains("receipt remove"));
    });
    with_darwin(module, "daemons.\"org.nix-volumes.networking.plist\"", |source| {
        let source = source.as_str().unwrap();
        assert!(source.ends_with("-nixvol-net-bundle/launchd/org.nix-volumes.networking.plist"), "{source}");
    });
    with_darwin(module, "bundle", |script| {
        let script = script.as_str().unwrap();
        assert!(
            script.contains("render --input /nix/store/") && script.contains("verify bundle\n"),
            "{script}"
        );
    });
    with_darwin(module, "toplevel", |_| ());
}

#[test]
fn disabling_cleans_up_after_launchd() {
    let declared = "{ services.nixvol-net = import ./tests/nix/declared.nix // { enable = false; confirmWithin = 9; }; }";
    for module in ["{ }", r#"{ services.nixvol-net.preset = "multi-cloud"; }"#, declared] {
        with_darwin(module, "activate", |text| {
            let text = text.as_str().unwrap();
            let remove =
                text.find("-activate.sh /var/db/org.nix-volumes.networking.receipt remove\n").unwrap();
            let check = text
                .find("-activate.sh /var/db/org.nix-volumes.networking.receipt check-remove || exit 2\n")
                .unwrap();
            assert!(check < text.find("checkActivation").unwrap());
            assert!(text.find("setting up launchd services").unwrap() < remove);
            assert!(!text.contains("manage-macos-networking.sh"));
        });
        with_darwin(module, "daemons", |daemons| {
            assert!(daemons.get("org.nix-volumes.networking.plist").is_none());
        });
    }
}

#[test]
fn hostile_values_stay_in_their_place() {
    let volume = |field: &str| {
        format!(r#"{{ services.nixvol-net = {{ enable = true; preset = "multi-cloud"; {field} }}; }}"#)
    };
    let mount = r#"/Volumes/a "b" 'c' \${d} $(e) `f` ; # é"#;
    with_darwin(
        &volume(&format!("volumes.etcd-1.mountPoint = {mount:?};").replace(r"\\$", r"\$")),
        "input",
        |input| {
            assert_eq!(input["volumes"]["etcd-1"]["mountPoint"], mount.replace('\\', ""));
        },
    );

    let option = |field: &str| format!("services.nixvol-net.{field}");
    for (field, value) in [
        ("base", r#""/opt/$(reboot)""#),
        ("stateDir", r#""/var/db/it's""#),
        ("logFile", r#""/var/log/a b""#),
        ("anchor", "\"com.apple/x\\n\""),
        ("volumes.etcd-1.mountPoint", r#""/Volumes/two\nlines""#),
        ("stateDir", "\"/var/db/two\\nlines\""),
        ("logFile", r#""/var/log/\${IFS}.log""#),
        ("anchor", r#""com.apple/a b""#),
        ("anchor", r#""com.apple/a/b""#),
        ("providers.aws.bridge", r#""bridge;reboot""#),
        ("providers.aws.network", "\"10.0.0.0/16\\n\""),
        ("providers.aws.gateway", r#""10.0.1.1/24 #""#),
        ("volumes.etcd-1.address", r#""10.0.1.2; reboot""#),
        ("volumes.etcd-1.localhost", r#""127.0.1.11`reboot`""#),
        ("localhost.bridge", r#""$(reboot)""#),
        ("localhost.gateway", "\"127.0.1.1/24\\n\""),
        ("allowOverlap", r#"[ "10.0.0.0/8 $(reboot)" ]"#),
    ] {
        refused(&volume(&format!("{field} = {value};")), &[&option(field), "is not of type"]);
    }
    for name in [r"a\nb", r"\${x}", r#"\"quoted\""#, "Etcd", "-a", "a.b"] {
        let field = format!(r#"volumes."{name}" = {{ provider = "aws"; address = "10.0.1.77"; }};"#);
        refused(&volume(&field), &["services.nixvol-net.volumes has an entry named", "lower-case"]);
        let field =
            format!(r#"providers."{name}" = {{ network = "10.9.0.0/16"; gateway = "10.9.0.1/16"; }};"#);
        refused(&volume(&field), &["services.nixvol-net.providers has an entry named", "lower-case"]);
        let field = format!(r#"links = [ {{ from = [ "{name}" ]; to = [ "gcp" ]; }} ];"#);
        refused(&volume(&field), &["services.nixvol-net.links, entry 1: `from` names", "not declared"]);
    }
}

/// `nix eval …input` asks for no assertion: the program says what is wrong, and the option that it comes from.
#[test]
fn the_name_of_an_entry_that_is_not_allowed_is_told_by_its_option() {
    for (field, option) in [
        ("providers.AWS = { network = \"10.9.0.0/16\"; gateway = \"10.9.0.1/16\"; };", "providers.AWS"),
        ("volumes.Etcd-9 = { provider = \"aws\"; address = \"10.0.1.77\"; };", "volumes.Etcd-9"),
    ] {
        let module =
            format!("{{ services.nixvol-net = {{ enable = true; preset = \"multi-cloud\"; {field} }}; }}");
        with_darwin(&module, "input", |input| {
            let output = run(&["check", "--input", "-"], &input.to_string());
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{error}");
            for words in
                ["error[E010]", option, "services.nixvol-net", "hint: ", "1 problem in the declaration"]
            {
                assert!(error.contains(words), "{words:?} is not in:\n{error}");
            }
        });
    }
}

#[test]
fn wrong_types_name_the_option() {
    for (field, value) in [
        ("volumes.etcd-1.address", r#""10.0.1""#),
        ("volumes.etcd-1.address", r#""10.0.1.256""#),
        ("volumes.etcd-1.publish", r#"[ "2379" ]"#),
        ("volumes.etcd-1.publish", "[ 65536 ]"),
        ("volumes.etcd-1.attachment", r#""vm""#),
        ("providers.aws.network", r#""10.0.0.0/33""#),
        ("providers.aws.gateway", r#""10.0.0.1""#),
        ("providers.aws.internet", r#""yes""#),
        ("links", r#"[ { from = [ ]; to = [ "aws" ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; ports = [ "80:90" ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; conditions.loss = 2; } ]"#),
        ("allowOverlap", r#"[ "10.0.0.0" ]"#),
        ("confirmWithin", "0"),
        ("confirmWithin", "100000"),
        ("reconcileInterval", "9"),
        ("reconcileInterval", r#""60""#),
        ("enable", r#""yes""#),
        ("hosts.enable", "1"),
        ("package", r#""nixvol-net""#),
        ("preset", r#""multicloud""#),
        ("base", r#""opt""#),
        ("providers", "[ ]"),
        ("providers.aws", "null"),
        ("volumes", "[ ]"),
        ("volumes.etcd-1", "false"),
        ("volumes.etcd-1.mountPoint", r#""Volumes/etcd-1""#),
        ("volumes.etcd-1.enable", "null"),
        ("localhost.gateway", r#""127.0.1.1""#),
        ("links", "{ }"),
        ("links", r#"[ { from = "aws"; to = [ "gcp" ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; protocol = "sctp"; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; ports = [ ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; conditions.latencyMs = -1; } ]"#),
    ] {
        let module = format!(
            r#"{{ imports = [ {{ services.nixvol-net.{field} = {value}; }} ];
                  services.nixvol-net = {{ enable = true; preset = "multi-cloud"; }}; }}"#
        );
        refused(&module, &[&format!("services.nixvol-net.{field}"), "is not of type"]);
    }
    refused(
        r#"{ services.nixvol-net = { enable = true; preset = "multi-cloud"; volumes.etcd-1.adress = ""; }; }"#,
        &["services.nixvol-net.volumes.etcd-1.adress", "does not exist"],
    );
}

/// The same for every option in `modules/options.nix`, without Nixpkgs' lib.
#[test]
fn every_option_has_a_description_and_an_example() {
    let options = pure("options");
    let options = options.as_object().unwrap();
    assert!(options.len() > 40, "{:#?}", options.keys());
    for (name, option) in options {
        let description = option["description"].as_str().unwrap().trim();
        let sentence = description.starts_with(char::is_uppercase) && description.ends_with('.');
        assert!(sentence, "{name}: {description}");
        assert!(option["hasExample"] == true || option["readOnly"] == true, "{name} has no example");
    }
    // Every option of the real module was covered.
    with_darwin("{ }", "options", |real| assert_eq!(real.as_object().unwrap().len(), options.len()));
}

#[test]
fn every_real_option_has_a_description_and_a_valid_example() {
    with_darwin("{ }", "options", |options| {
        let options = options.as_object().unwrap();
        for name in
            ["enable", "providers.network", "volumes.publish", "links.conditions.loss", "hosts.enable"]
        {
            assert!(options.contains_key(name), "{name}: {options:?}");
        }
        assert!(options.len() > 40, "{}", options.len());
        for (name, option) in options {
            let description = option["description"].as_str().unwrap().trim();
            let sentence = description.starts_with(char::is_uppercase) && description.ends_with('.');
            assert!(sentence, "{name}: {description}");
            assert!(option["example"] == true || option["readOnly"] == true, "{name} has no example");
            assert_eq!(option["fits"], true, "the example of {name} is not of its type");
        }
    });
}

/// Renders the option reference from the data of which a manual is made.
fn reference(options: &Value) -> String {
    let mut page =
        "# Options of the nix-darwin module\n\nMade from `modules/options.nix` and `modules/entries.nix`; \
                    `NIXVOL_OPTIONS=update cargo test nix::` makes it again.\n"
            .to_owned();
    for option in options.as_array().unwrap() {
        let text = |field: &str| option[field].as_str();
        let block = |title: &str, code: &str| {
            if code.contains('\n') {
                format!("- {title}:\n\n  ```nix\n{}\n  ```\n", indented(code))
            } else {
                format!("- {title}: `{code}`\n")
            }
        };
        let [name, description, kind] = ["name", "description", "type"].map(|field| text(field).unwrap());
        writeln!(page, "\n## `{name}`\n\n{}\n\n- type: {kind}", plain(description)).unwrap();
        match text("default") {
            _ if option["readOnly"] == true => page += "- read only\n",
            Some(default) => page += &block("default", default),
            None => page += "- must be given\n",
        }
        if let Some(example) = text("example") {
            page += &block("example", example);
        }
    }
    page
}

fn indented(code: &str) -> String {
    code.trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A description without the markup roles of Nixpkgs' manuals: `{option}`, `{file}`, `{command}`.
fn plain(description: &str) -> String {
    ["{option}", "{file}", "{command}"]
        .iter()
        .fold(description.trim().to_owned(), |text, role| text.replace(role, ""))
}

#[test]
fn the_option_reference_is_up_to_date() {
    let path = root().join("modules/options.md");
    let mut page = std::fs::read_to_string(&path).unwrap_or_default();
    with_darwin("{ }", "reference", |options| {
        let made = reference(&options);
        if std::env::var("NIXVOL_OPTIONS").is_ok_and(|value| value == "update") {
            std::fs::write(&path, &made).unwrap();
            page = made;
        } else {
            assert!(
                page == made,
                "modules/options.md is not of these options; hint: NIXVOL_OPTIONS=update cargo test nix::"
            );
        }
    });
    // Without nix-darwin: every option has a section that begins with its description.
    for (name, option) in pure("options").as_object().unwrap() {
        let title = name.replace("providers.", "providers.<name>.").replace("volumes.", "volumes.<name>.");
        let title = title.replace("macs.", "macs.<name>.");
        let title = title.replace("links.", "links.*.").replace("expect.", "expect.*.");
        let (_, part) = page
            .split_once(&format!("## `{title}`\n"))
            .unwrap_or_else(|| panic!("{title} is not in options.md"));
        let described = plain(option["description"].as_str().unwrap());
        let first = described.lines().next().unwrap();
        assert!(part.trim_start().starts_with(first), "{title}: {first}");
    }
}

#[test]
fn the_template_is_a_valid_system() {
    with_darwin("./templates/flake/configuration.nix", "toplevel", |_| ());
    with_darwin("./templates/flake/configuration.nix", "input", |input| {
        assert_eq!(input["volumes"].as_object().unwrap().len(), 14);
    });
}

#[test]
fn assertions_name_the_option_and_the_fix() {
    refused(
        "{ services.nixvol-net.enable = true; }",
        &["no provider is declared", r#"preset = "multi-cloud""#],
    );
    let module = |rest: &str| {
        format!(r#"{{ services.nixvol-net = {{ enable = true; preset = "multi-cloud"; {rest} }}; }}"#)
    };
    refused(
        &module(r#"volumes.etcd-1.provider = "asw";"#),
        &[
            r#"services.nixvol-net.volumes.etcd-1.provider is "asw""#,
            "not declared",
            r#"choose one of: "aws""#,
            "services.nixvol-net.volumes.etcd-1.enable = false",
        ],
    );
    let hosts = r#"environment.etc.hosts.text = "";"#;
    let with_hosts = |rest: &str| {
        format!("{{ {hosts} services.nixvol-net = {{ enable = true; preset = \"multi-cloud\"; {rest} }}; }}")
    };
    refused(&with_hosts(""), &["services.nixvol-net.hosts.enable", "environment.etc.hosts", "= false"]);
    with_darwin(&with_hosts("hosts.enable = false;"), "toplevel", |_| ());
    refused(
        &module(r#"links = [ { from = [ "aws" ]; to = [ "etcd-44" ]; } ];"#),
        &[r#"services.nixvol-net.links, entry 1: `to` names "etcd-44""#],
    );
    refused(
        &module(r#"volumes.etcd-2.enable = false; links = [ { from = [ "etcd-2" ]; to = [ "aws" ]; } ];"#),
        &[r#"`from` names "etcd-2", which is switched off by `enable`"#],
    );
}

/// The flake's outputs, with stand-ins for its inputs, and also with the real ones if their sources are available.
fn flakes(x86_darwin: &str) -> Vec<Value> {
    let mut arguments = vec![format!("x86Darwin = {};", json!(x86_darwin))];
    if let Some((nix_darwin, lib)) = sources() {
        arguments.push(format!("{} nixDarwin = {nix_darwin}; nixpkgsLib = {lib};", arguments[0]));
    }
    let outputs = |arguments: &String| evaluate(&format!("import ./tests/nix/flake.nix {{ {arguments} }}"));
    arguments.iter().map(outputs).collect::<Result<_, _>>().unwrap()
}

const SYSTEMS: [&str; 4] = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"];

/// The attribute path of every leaf of the outputs.
fn leaves(systems: &[&str]) -> BTreeSet<String> {
    let by_system = ["packages", "apps", "checks", "devShells", "formatter"];
    let mut leaves: BTreeSet<String> =
        ["darwinModules.default", "darwinModules.nixvol-net", "lib.snapshotCheck", "overlays.default"]
            .map(str::to_owned)
            .into();
    leaves.extend(["description", "path"].map(|leaf| format!("templates.default.{leaf}")));
    for (kind, system) in by_system.iter().flat_map(|kind| systems.iter().map(move |system| (*kind, *system)))
    {
        let names: &[&str] = match kind {
            "packages" => &[".default", ".nixvol-net"],
            "apps" => &[
                ".default.meta.description",
                ".default.program",
                ".default.type",
                ".nixvol-net.meta.description",
                ".nixvol-net.program",
                ".nixvol-net.type",
            ],
            // The toy Mac runs on Linux only, so the tests are a check there; a Mac's system can only be built on a
            // Mac.
            "checks" if system.ends_with("-linux") => &[".bundle", ".clippy", ".format", ".module", ".tests"],
            "checks" => &[".bundle", ".clippy", ".format", ".module", ".services", ".system"],
            "devShells" => &[".default"],
            _ => &[""],
        };
        leaves.extend(names.iter().map(|name| format!("{kind}.{system}{name}")));
    }
    leaves
}

#[test]
fn every_output_of_the_flake_evaluates() {
    for outputs in flakes("there") {
        let found: BTreeSet<String> = serde_json::from_value(outputs["leaves"].clone()).unwrap();
        assert_eq!(found, leaves(&SYSTEMS));
        assert_eq!(outputs["overlay"], "nixvol-net");
        assert!(outputs["program"].as_str().unwrap().ends_with("-nixvol-net/bin/nixvol-net"));
        let check = outputs["snapshot"].as_str().unwrap();
        assert!(check.starts_with("nixvol-net snapshot check --input /nix/store/"), "{check}");
        let template = ["checks.aarch64-darwin.network", "checks.x86_64-linux.network"];
        assert_eq!(outputs["template"], json!([template[0], template[1], "packages.aarch64-darwin.network"]));
    }
}

#[test]
fn embedded_files_are_in_the_source_of_the_package() {
    let mut count = 0;
    for file in files_below("generator/src") {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        for embedded in text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = root().join(&file).parent().unwrap().join(embedded).canonicalize().unwrap();
            let inside = ["generator", "templates"].iter().any(|part| path.starts_with(root().join(part)));
            assert!(inside, "{} embeds {embedded}, which modules/package.nix leaves out", file.display());
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn a_system_that_nixpkgs_drops_breaks_no_other() {
    let others: Vec<&str> = SYSTEMS.into_iter().filter(|system| *system != "x86_64-darwin").collect();
    for how in ["throws", "missing"] {
        for outputs in flakes(how) {
            let found: BTreeSet<String> = serde_json::from_value(outputs["leaves"].clone()).unwrap();
            assert_eq!(found, leaves(&others), "{how}");
        }
    }
}

#[test]
fn the_lock_file_matches_the_inputs() {
    let lock: Value = serde_json::from_str(include_str!("../flake.lock")).unwrap();
    let inputs = evaluate("(import ./flake.nix).inputs").unwrap();
    assert_eq!(lock["version"], 7);
    for (name, input) in inputs.as_object().unwrap() {
        let node = &lock["nodes"][name];
        let original = &node["original"];
        let mut url =
            format!("github:{}/{}", original["owner"].as_str().unwrap(), original["repo"].as_str().unwrap());
        if let Some(branch) = original["ref"].as_str() {
            url = format!("{url}/{branch}");
        }
        assert_eq!(input["url"], url);
        assert_eq!(lock["nodes"]["root"]["inputs"][name], *name);
        assert_eq!(node["locked"]["rev"].as_str().unwrap().len(), 40);
        assert!(node["locked"]["narHash"].as_str().unwrap().starts_with("sha256-"));
    }
    assert_eq!(inputs["nix-darwin"]["inputs"]["nixpkgs"]["follows"], "nixpkgs");
    assert_eq!(lock["nodes"]["nix-darwin"]["inputs"]["nixpkgs"], json!(["nixpkgs"]));
}

/// Two hosts from one file: each has its own providers, and a tunnel to the other.
#[test]
fn several_macs_share_one_file() {
    let module = |host: &str| {
        format!(
            r#"{{
                networking.hostName = "{host}";
                services.nixvol-net = {{
                    enable = true;
                    preset = "multi-cloud";
                    macs.studio = {{
                        providers = [ "aws" "azure" ];
                        endpoint = "studio.local:51820";
                        publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
                        address = "100.127.0.1";
                    }};
                    macs.mini = {{
                        providers = [ "gcp" "ibm" "digitalocean" ];
                        endpoint = "192.168.1.20:51820";
                        publicKey = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
                        address = "100.127.0.2";
                        listenPort = 51821;
                    }};
                }};
            }}"#
        )
    };
    let mut macs = Vec::new();
    for (host, mac, port, peer) in
        [("Studio", "studio", 51820, "100.127.0.2/32"), ("mini", "mini", 51821, "100.127.0.1/32")]
    {
        with_darwin(&module(host), "input", |input| {
            assert_eq!(input["mac"], mac);
            let bundle = rendered(&input);
            assert!(bundle.files["wireguard/nixvol.conf"].text.contains(peer));
            macs.push(bundle.files["pf/anchor.conf"].text.clone());
        });
        with_darwin(&module(host), "tunnel", |tunnel| {
            let tunnel = &tunnel["nixvol"];
            assert_eq!(tunnel["listenPort"], port);
            assert_eq!(tunnel["privateKeyFile"], "/etc/wireguard/nixvol.key");
            assert_eq!(tunnel["table"], Value::Null);
            assert_eq!(tunnel["peers"].as_array().unwrap().len(), 1);
            assert_eq!(tunnel["peers"][0]["allowedIPs"][0], peer);
        });
    }
    assert!(macs.is_empty() || macs[0] != macs[1]);
    // One Mac has no tunnel, whatever its name.
    let alone = r#"{ networking.hostName = "studio"; services.nixvol-net = { enable = true; preset = "multi-cloud"; }; }"#;
    with_darwin(alone, "tunnel", |tunnel| assert_eq!(tunnel, json!({})));
    with_darwin(alone, "input", |input| assert_eq!(input["mac"], Value::Null));
    // A host that is none of them fails the build, not the evaluation.
    with_darwin(&module("laptop"), "input", |input| {
        let rejected = nixvol_net::model::read(input.to_string().as_bytes()).unwrap_err();
        assert_eq!(rejected.problems[0].kind.code(), "E070");
    });
    // A switch restarts a tunnel whose configuration changed, before it starts the network.
    with_darwin(&module("mini"), "activate", |text| {
        let text = text.as_str().unwrap();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{text}"));
        let restart = at("launchctl kickstart -k system/org.nixos.wg-quick-nixvol");
        assert!(at("setting up launchd services") < restart);
        assert!(restart < at("manage-macos-networking.sh start --switch"));
    });
    with_darwin(alone, "activate", |text| assert!(!text.as_str().unwrap().contains("wg-quick")));
    let zeros =
        module("mini").replace("192.168.1.20:51820", "192.168.1.20:080").replace("listenPort = 51821;", "");
    with_darwin(&zeros, "tunnel", |tunnel| assert_eq!(tunnel["nixvol"]["listenPort"], 80));
    with_darwin(&zeros, "input", |input| {
        assert!(rendered(&input).files["wireguard/nixvol.conf"].text.contains("\nListenPort = 80\n"));
    });
    // An endpoint that is none is reported by the program, with its position, not by a function of Nixpkgs.
    for endpoint in ["192.168.1.20", "192.168.1.20:", "192.168.1.20:port", "192.168.1.20:0", "::1"] {
        let module =
            module("mini").replace("192.168.1.20:51820", endpoint).replace("listenPort = 51821;", "");
        let port = if endpoint == "::1" { json!(1) } else { Value::Null };
        with_darwin(&module, "tunnel", |tunnel| assert_eq!(tunnel["nixvol"]["listenPort"], port));
        with_darwin(&module, "toplevel", |_| ());
        with_darwin(&module, "input", |input| {
            let rejected = nixvol_net::model::read(input.to_string().as_bytes()).unwrap_err();
            assert_eq!(rejected.problems[0].kind.code(), "E074", "{endpoint}");
            assert!(rejected.problems[0].at.to_string().contains("macs.mini.endpoint"), "{endpoint}");
        });
    }
}
