//! Where a problem is: every place of it, in text and in SARIF, in the files that the user wrote.

use nixvol_net::diagnostic::Shown;
use nixvol_net::model;
use serde_json::{Value, json};

use crate::support::{default_input, run};

#[test]
fn every_place_of_a_problem_is_shown() {
    let mut input = default_input();
    input["providers"]["azure"]["network"] = json!("10.0.0.0/16");
    input["positions"] = json!({
        "providers.aws.network": { "file": "aws.nix", "line": 3, "column": 5 },
        "providers.azure": { "file": "azure.nix", "line": 1, "column": 1 },
    });
    let rejected = model::read(input.to_string().as_bytes()).expect_err("an overlap");
    let text_of = |file: &str| {
        (file == "aws.nix")
            .then(|| "{\n  providers.aws = {\n    network = \"10.0.0.0/16\";\n  };\n}\n".to_owned())
    };
    let shown = Shown { input: "-", positions: &rejected.positions, text_of: &text_of, colour: false };
    insta::with_settings!({ snapshot_path => "snapshots/problems", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("places", shown.text(&rejected.problems));
    });
}

/// SARIF's schema is not in this repository; set `NIXVOL_SARIF_SCHEMA` to its file to validate the log against it.
#[test]
fn problems_are_reported_in_sarif_with_every_place() {
    let check = |input: &str| {
        let output = run(&["check", "--format", "sarif", "--input", input], "");
        let log: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if let Some(schema) = std::env::var_os("NIXVOL_SARIF_SCHEMA") {
            let schema = std::fs::read_to_string(schema).expect("the schema");
            let mut schema: Value = serde_json::from_str(&schema).expect("JSON");
            // The schema's language patterns have a stray bracket, which strict validators reject.
            for part in ["run", "toolComponent"] {
                let language = &mut schema["definitions"][part]["properties"]["language"];
                language.as_object_mut().expect("a property").remove("pattern");
            }
            let schema = jsonschema::validator_for(&schema).expect("a schema");
            let errors: Vec<String> = schema.iter_errors(&log).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:#?}\n{log:#}");
        }
        (output.status.code(), log)
    };
    let (code, log) = check("generator/default.json");
    assert_eq!((code, &log["runs"][0]["results"]), (Some(0), &json!([])));

    let (code, log) = check("tests/fixtures/overlap.json");
    assert_eq!((code, &log["version"]), (Some(2), &json!("2.1.0")));
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 1);
    let place = |line: usize, from: usize, to: usize| {
        json!({
            "artifactLocation": { "uri": "tests/fixtures/overlap.nix" },
            "region": { "startLine": line, "startColumn": from, "endLine": line, "endColumn": to },
        })
    };
    assert_eq!(results[0]["ruleId"], "E025");
    assert_eq!(results[0]["locations"][0]["physicalLocation"], place(6, 15, 30));
    assert_eq!(
        results[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
        "services.nixvol-net.providers.azure.network"
    );
    let message = json!({ "text": "providers.aws.network takes part" });
    assert_eq!(
        results[0]["relatedLocations"],
        json!([{ "physicalLocation": place(2, 31, 44), "message": message }])
    );
    let rule = &log["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(rule["id"], "E025");
    let help = rule["help"]["markdown"].as_str().expect("a page");
    assert!(help.starts_with("# E025: ") && rule["shortDescription"]["text"].is_string(), "{rule}");

    // An input without any positions.
    let directory = tempfile::tempdir().expect("a directory");
    let bare = directory.path().join("bare.json");
    std::fs::write(&bare, "{}").expect("a file");
    let (_, log) = check(&bare.display().to_string());
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(3), "{log:#}");
}

#[test]
fn files_in_sarif_are_uri_references() {
    let mut input = default_input();
    input["volumes"]["etcd-1"]["address"] = json!("10.7.1.2");
    for (file, uri) in [
        ("my hosts/ä#1.nix", "my%20hosts/%C3%A4%231.nix"),
        ("/etc/nix-darwin/a b.nix", "file:///etc/nix-darwin/a%20b.nix"),
    ] {
        input["positions"] = json!({ "volumes.etcd-1.address": { "file": file, "line": 2, "column": 3 } });
        let rejected = model::read(input.to_string().as_bytes()).expect_err("a wrong address");
        let text_of = |name: &str| (name == file).then(|| "{\n  address = \"ö\";\n}\n".to_owned());
        let shown = Shown { input: "", positions: &rejected.positions, text_of: &text_of, colour: false };
        let log = shown.sarif(&rejected.problems, &[], &[]);
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], uri);
        let region = json!({ "startLine": 2, "startColumn": 13, "endLine": 2, "endColumn": 16 });
        assert_eq!(place["region"], region);
    }
}

/// The errors of an input whose positions refer to a user's file and to the preset.
fn told_of(positions: &Value, text: &str, change: impl FnOnce(&mut Value)) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("user.nix");
    std::fs::write(&file, text).expect("a file");
    let mut input = default_input();
    change(&mut input);
    input["positions"] =
        serde_json::from_str(&positions.to_string().replace("user.nix", &file.display().to_string()))
            .expect("JSON");
    let output = run(&["check", "--input", "-"], &input.to_string());
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).replace(&file.display().to_string(), "user.nix")
}

#[test]
fn the_users_line_is_shown_before_the_presets() {
    let preset = "nixvol-net/modules/presets/multi-cloud.nix";
    let place = |file: &str, line: usize| json!({ "file": file, "line": line, "column": 3 });
    // azure comes after aws by name and address, so the overlap is found at the preset's definition.
    let positions = json!({
        "providers.aws.network": place("user.nix", 2),
        "providers.azure.network": place(preset, 29),
    });
    let text = "{\n  services.nixvol-net.providers.aws.network = \"10.1.0.0/16\";\n}\n";
    let told = told_of(&positions, text, |input| {
        input["providers"]["aws"] = json!({ "network": "10.1.0.0/16", "gateway": "10.1.1.1/24" });
    });
    let error = told.split("error[").find(|error| error.starts_with("E025")).expect("an overlap");
    let at = |part: &str| error.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{error}"));
    assert!(at("user.nix:2:") < at(preset), "{error}");
    assert!(error.contains("^^^^^^^^^^^^^"), "{error}");
}

/// The underlined source of the only error with this code: first the carets', then the dashes'.
fn underlined(told: &str, code: &str) -> Vec<String> {
    let error = told.split("error[").find(|error| error.starts_with(code)).expect(told);
    let lines: Vec<&str> = error.lines().collect();
    let marks = |line: &&str| line.contains('|') && line.trim_start_matches([' ', '|', '^', '-']).is_empty();
    let under = |(source, marks): (&str, &str)| {
        let columns = |c: char| c == '^' || c == '-';
        let first = marks.find(columns).expect("a mark");
        source[first..=marks.rfind(columns).expect("a mark")].to_owned()
    };
    let pairs = lines.windows(2).filter(|pair| marks(&pair[1]) && pair[1].contains(['^', '-']));
    pairs.map(|pair| under((pair[0], pair[1]))).collect()
}

#[test]
fn an_invalid_name_of_an_entry_is_underlined() {
    let at = |line: usize, column: usize| json!({ "file": "user.nix", "line": line, "column": column });
    let positions = json!({
        "volumes.Etcd": at(2, 3),
        "volumes.any": at(3, 3),
        "volumes.gcp": at(4, 3),
        "providers.gcp": at(5, 3),
        "providers.azure": at(6, 3),
        "providers.aws.bridge": at(7, 3),
        "localhost.bridge": at(8, 3),
    });
    let text = "{\n  volumes.Etcd.address = \"10.0.1.77\";\n  volumes.any = { provider = \"aws\"; };\n  \
                volumes.gcp = {\n  providers.gcp = { };\n  providers.azure = {\n  \
                providers.aws.bridge = \"bridge-azure\";\n  localhost.bridge = \"Lo\";\n}\n";
    let broken = |change: fn(&mut Value)| told_of(&positions, text, change);
    let told = broken(|input| {
        input["volumes"]["Etcd"] = json!({ "provider": "aws", "address": "10.0.1.77" });
    });
    assert_eq!(underlined(&told, "E010"), ["Etcd"], "{told}");
    let told = broken(|input| {
        input["volumes"]["any"] = json!({ "provider": "aws", "address": "10.0.1.77" });
    });
    assert_eq!(underlined(&told, "E015"), ["any"], "{told}");
    let told = broken(|input| {
        input["volumes"]["gcp"] = json!({ "provider": "aws", "address": "10.0.1.77" });
    });
    assert_eq!(underlined(&told, "E011"), ["gcp", "gcp"], "{told}");
    // A bridge's name is a value; the name it collides with may be derived from a provider's name.
    let told = broken(|input| input["providers"]["aws"]["bridge"] = json!("bridge-azure"));
    assert!(
        ["\"bridge-azure\"", "azure"]
            .iter()
            .all(|part| underlined(&told, "E011").contains(&(*part).to_owned())),
        "{told}"
    );
    let told = broken(|input| input["localhost"] = json!({ "bridge": "Lo" }));
    assert_eq!(underlined(&told, "E010"), ["\"Lo\""], "{told}");
}
