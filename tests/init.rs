//! A first file: from flags, from answers on a terminal, and from what other tools describe. What is written evaluates, is
//! valid, can be edited, and is proven.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::nix::evaluate;
use crate::support::{has_tool, program, root, run};

fn init(directory: &Path, words: &[&str]) -> Output {
    let mut command = program();
    command.arg("init").args(words).current_dir(directory).stdin(Stdio::null());
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What Nix makes of a module, as the JSON of the input.
fn evaluated(module: &str) -> Value {
    let expression = format!(
        "let data = import ./modules/data.nix {{ lib = import ./tests/nix/lib; }}; in \
         data ({module}).services.nixvol-net"
    );
    evaluate(&expression).expect("the file evaluates")
}

/// The files of other tools.
const FILES: [&str; 9] = [
    "compose.yaml",
    "compose-parts.yaml",
    "kind.yaml",
    "kind-dual.yaml",
    "main.tf.json",
    "default.tf.json",
    "show.json",
    "plan.json",
    "terraform.tfstate",
];

#[test]
fn imported_files_become_declarations_that_are_proven() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut all = String::new();
    for name in FILES {
        let from = root().join("tests/import").join(name);
        fs::copy(&from, directory.path().join(name)).expect("a copy");
        let output = init(directory.path(), &["--from", name, "--out", &format!("{name}.nix")]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        let path = directory.path().join(format!("{name}.nix"));
        let written = fs::read_to_string(&path).expect("the file");
        writeln!(all, "== {name}\n{}{}\n{written}", text(&output.stderr), text(&output.stdout))
            .expect("a string");
        // Nix, the editor of Nix files and the JSON say the same.
        let value = evaluated(&written);
        let data = init(directory.path(), &["--from", name, "--dry-run", "--format", "json"]);
        let data: Value = serde_json::from_slice(&data.stdout).expect("JSON");
        let sorted = |value: &Value| -> Value { serde_json::from_str(&value.to_string()).expect("JSON") };
        assert_eq!(sorted(&value)["volumes"], data["input"]["volumes"], "{name}");
        assert_eq!(sorted(&value)["providers"], data["input"]["providers"], "{name}");
        for command in ["check", "test"] {
            let proven = run(&[command, "--input", "-"], &value.to_string());
            assert_eq!(proven.status.code(), Some(0), "{name}: {}", text(&proven.stderr));
        }
        let provider =
            value["providers"].as_object().and_then(|it| it.keys().next().cloned()).expect("a provider");
        let file = path.display().to_string();
        let added = run(&["add", "volume", "one-more", "--provider", &provider, "--file", &file], "");
        assert_eq!(added.status.code(), Some(0), "{name}: {}", text(&added.stderr));
        assert!(evaluated(&fs::read_to_string(&path).expect("the file"))["volumes"]["one-more"].is_object());
        // Every line that is told is a line of the file, in their order.
        let lines = fs::read_to_string(from).expect("the file").lines().count() as u64;
        let told: Vec<u64> = data["left"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it["line"].as_u64().expect("a line"))
            .collect();
        assert!(told.is_sorted() && told.iter().all(|line| (1..=lines).contains(line)), "{name}: {told:?}");
    }
    insta::with_settings!({ snapshot_path => "snapshots/init", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("drafts", all);
    });
}

#[test]
fn utf_16_of_powershell_is_read_and_binary_files_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(root().join("tests/import/plan.json")).expect("a file");
    let plain = fs::write(directory.path().join("plan.json"), &text);
    plain.expect("a file");
    let expected = init(directory.path(), &["--from", "plan.json", "--dry-run"]);
    for (mark, of) in [(0xfeff_u16, u16::to_le_bytes as fn(u16) -> [u8; 2]), (0xfeff, u16::to_be_bytes)] {
        let bytes: Vec<u8> = [mark].into_iter().chain(text.encode_utf16()).flat_map(of).collect();
        fs::write(directory.path().join("plan.json"), &bytes).expect("a file");
        let output = init(directory.path(), &["--from", "plan.json", "--dry-run"]);
        assert_eq!(output.status.code(), Some(0), "{}", self::text(&output.stderr));
        assert_eq!((output.stdout, output.stderr), (expected.stdout.clone(), expected.stderr.clone()));
        // Half a character is no text.
        fs::write(directory.path().join("half.json"), &bytes[..bytes.len() - 1]).expect("a file");
        let half = init(directory.path(), &["--from", "half.json", "--dry-run"]);
        assert_eq!(half.status.code(), Some(2));
        assert!(self::text(&half.stderr).contains("half.json is not text\nhint: "));
    }
}

#[test]
fn a_file_is_made_from_flags_and_nothing_is_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let words = ["--provider", "aws,gcp=10.9.0.0/16", "--volumes", "2", "--link-all"];
    let first = init(directory.path(), &words);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let path = directory.path().join("nixvol.nix");
    let written = fs::read_to_string(&path).expect("the file");
    let value = evaluated(&written);
    assert_eq!(value["providers"]["gcp"]["network"], "10.9.0.0/16");
    assert_eq!(value["volumes"].as_object().map(serde_json::Map::len), Some(4));
    assert_eq!(value["links"].as_array().map(Vec::len), Some(1));
    let again = init(directory.path(), &["--provider", "ibm"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("nixvol.nix is there already\nhint: "), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(&path).expect("the file"), written);
    let dry = init(directory.path(), &["--provider", "ibm", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&path).expect("the file"), written);
    let forced = init(directory.path(), &["--provider", "ibm", "--force"]);
    assert_eq!(forced.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&path).expect("the file"), text(&dry.stdout));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
}

#[test]
fn wrong_use_of_init_is_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| fs::write(directory.path().join(name), content).expect("a file");
    file("broken.yaml", "services:\n  a: [\n");
    file("other.yaml", "apiVersion: v1\nkind: Pod\n");
    file("empty.yaml", "");
    file("host.yaml", "services:\n  a:\n    network_mode: host\n");
    file(
        "circle.tf.json",
        r#"{ "resource": { "aws_subnet": { "a": { "vpc_id": "${aws_subnet.a.id}" } }, "aws_instance": { "b": { "subnet_id": "${aws_subnet.a.id}" } } } }"#,
    );
    let mut all = String::new();
    for words in [
        &[][..],
        &["--provider", "AWS"],
        &["--provider", "mac"],
        &["--provider", "aws,aws"],
        &["--provider", "aws=10.0.0.0"],
        &["--provider", "aws=10.0.0.0/8,gcp=10.1.0.0/16"],
        &["--provider", "aws", "--volumes", "101"],
        &["--from", "nowhere.yaml"],
        &["--from", "."],
        &["--from", "broken.yaml"],
        &["--from", "other.yaml"],
        &["--from", "empty.yaml"],
        &["--from", "host.yaml"],
        &["--from", "host.yaml", "--provider", "aws"],
        &["--provider", "aws", "--out", "nowhere/nixvol.nix"],
    ] {
        let output = init(directory.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stdout));
        assert!(output.stdout.is_empty() && !directory.path().join("nixvol.nix").exists(), "{words:?}");
        writeln!(all, "$ nixvol-net init {}\n{}", words.join(" "), text(&output.stderr)).expect("a string");
    }
    // References that lead in a circle lead nowhere, and end.
    let circle = init(directory.path(), &["--from", "circle.tf.json", "--dry-run"]);
    assert_eq!(circle.status.code(), Some(0));
    assert!(
        text(&circle.stderr).contains("aws_instance.b: its network is not in this file"),
        "{}",
        text(&circle.stderr)
    );
    insta::with_settings!({ snapshot_path => "snapshots/init", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("wrong-use", all);
    });
}

#[test]
fn init_asks_on_a_terminal() {
    if !has_tool("script", "no question was answered on a terminal") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let answered = |answers: &str| {
        let line = format!("{} init", env!("CARGO_BIN_EXE_nixvol-net"));
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), answers.as_bytes())
            .expect("answers");
        let output = child.wait_with_output().expect("script ends");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = answered("aws, gcp\n2\nmaybe\n");
    assert!(code == Some(2) && told.contains("neither yes nor no"), "{told}");
    assert!(!directory.path().join("nixvol.nix").exists());
    let (code, told) = answered("aws, gcp\n\nyes\n");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Providers, by name") && told.contains("valid, proven"), "{told}");
    let value = evaluated(&fs::read_to_string(directory.path().join("nixvol.nix")).expect("the file"));
    assert_eq!(value["volumes"].as_object().map(serde_json::Map::len), Some(2));
}
