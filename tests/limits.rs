//! Inputs without bounds, and files that are not plain ones: each is reported. Nothing hangs, overflows the stack or fills
//! the memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nixvol_net::edit::{NixFile, Why};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{default_input, program, run};

/// A directory with a FIFO that nobody writes to. A test that opens it would hang; `timeout` ends the program before.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    directory
}

/// Runs the program in a directory, for 60 seconds and with 2 GB of address space at most.
fn bounded(directory: &Path, arguments: &str) -> Output {
    let program = program();
    let line = format!("ulimit -v 2000000; exec timeout 60 \"$0\" {arguments}");
    Command::new("sh")
        .args(["-c", &line])
        .arg(program.get_program())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A declaration with one mistake, whose position is in `file`.
fn with_position(file: &str) -> String {
    let mut input = default_input();
    input["providers"]["aws"]["gateway"] = json!("10.99.0.1/24");
    input["positions"] = json!({ "providers.aws.gateway": { "file": file, "line": 1, "column": 1 } });
    input.to_string()
}

#[test]
fn a_position_in_a_fifo_or_a_device_is_shown_without_its_text() {
    let directory = directory();
    for file in ["fifo", "/dev/zero", "."] {
        fs::write(directory.path().join("input.json"), with_position(file)).unwrap();
        let output = bounded(directory.path(), "check --input input.json");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{file}: {text}");
        assert!(text.starts_with("error[E030]: providers.aws.gateway: "), "{file}: {text}");
        assert!(text.contains(&format!("--> {file}:1:1\n")), "{file}: {text}");
    }
}

#[test]
fn a_file_without_an_end_is_refused() {
    let directory = directory();
    let endless = "error: /dev/zero has more than 256 MB, which nothing that is read here needs\n";
    for arguments in ["check --input /dev/zero", "pf check /dev/zero", "init --from /dev/zero"] {
        let output = bounded(directory.path(), arguments);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(2), endless), "{arguments}");
    }
}

#[test]
fn an_edit_takes_a_plain_file_only() {
    let directory = directory();
    let output = bounded(directory.path(), "add volume new --provider aws --file fifo");
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(2), "error: fifo is not a plain file\n")
    );
}

#[test]
fn a_ruleset_includes_plain_files_only() {
    let directory = directory();
    fs::write(directory.path().join("pf.conf"), "include \"fifo\"\n").unwrap();
    let output = bounded(directory.path(), "pf check pf.conf");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("pf.conf:1:9: ") && text.contains("fifo is not a plain file"), "{text}");
}

/// Nix expressions of unbounded depth: brackets, operators in a row (whose tree is as deep as the row is long), functions,
/// `with`, `let`, strings in strings.
fn deep(count: usize) -> Vec<(&'static str, String)> {
    let around = |open: &str, close: &str| format!("{}1{}", open.repeat(count), close.repeat(count));
    vec![
        ("brackets", around("[", "]")),
        ("sets", around("{ a = ", "; }")),
        ("parentheses", around("(", ")")),
        ("negations", around("!", "")),
        ("a sum", around("1 + ", "")),
        ("applications", around("f ", "")),
        ("functions", around("a: ", "")),
        ("with", around("with a; ", "")),
        ("let", around("let a = 1; in ", "")),
        ("conditions", around("if a then b else ", "")),
        ("strings", around("\"${", "}\"")),
    ]
}

fn module(expression: &str) -> String {
    format!(
        "{{\n  services.nixvol-net.providers.aws = {{ network = \"10.0.0.0/16\"; gateway = \"10.0.1.1/24\"; }};\n  other = {expression};\n}}\n"
    )
}

#[test]
fn nix_that_nests_too_deep_is_refused_where_it_does() {
    let directory = directory();
    for (what, expression) in deep(100_000) {
        let text = module(&expression);
        // In the 2 MB of a test's thread.
        let Err(refused) = NixFile::parse(&text, &[]) else { panic!("{what}: parsed") };
        assert_eq!(refused.why, Why::TooDeep, "{what}");
        if what != "brackets" && what != "a sum" {
            continue;
        }
        fs::write(directory.path().join("network.nix"), &text).unwrap();
        let output = bounded(directory.path(), "add volume new --provider aws --file network.nix");
        let said = stderr(&output);
        let said = said.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        let place = "error: the file nests too deep here to be edited\n --> network.nix:3:";
        assert!(said.starts_with(place), "{what}: {said}");
        assert_eq!(fs::read_to_string(directory.path().join("network.nix")).unwrap(), text, "{what}");

        let mut input: Value = serde_json::from_str(&with_position("network.nix")).unwrap();
        input["positions"]["providers.aws.gateway"]["line"] = json!(2);
        fs::write(directory.path().join("input.json"), input.to_string()).unwrap();
        let output = bounded(directory.path(), "check --input input.json");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains("--> network.nix:2:1\n"), "{what}: {said}");
    }
}

#[test]
fn nix_as_people_write_it_is_not_too_deep() {
    let directory = directory();
    let mut texts = deep(50);
    texts.push(("a list", format!("[ {} ]", "1 ".repeat(1_000))));
    texts.push(("a set", format!("{{ {} }}", "a.b = with c; d + 1; ".repeat(1_000))));
    texts.push(("arguments", format!("{{ {} ... }}: 1", "a, ".repeat(1_000))));
    texts.push(("a long string", format!("\"{}\"", "text ${a + b} text\n".repeat(1_000))));
    texts.push(("lists in a row", format!("{}[]", "[ 1 2 3 ] ++ ".repeat(200))));
    for (what, expression) in texts {
        // Duplicate names are for Nix to refuse, not for an edit elsewhere in the file.
        fs::write(directory.path().join("network.nix"), module(&expression)).unwrap();
        let output = bounded(directory.path(), "add volume new --provider aws --file network.nix");
        let text = stderr(&output);
        assert!(!text.contains("nests too deep"), "{what}: {}", &text[..text.len().min(300)]);
    }
}

#[test]
fn of_many_problems_a_hundred_are_shown_and_the_rest_counted() {
    let mut input = json!({ "version": 1, "providers": {}, "volumes": {} });
    for n in 0..5_000 {
        input["volumes"][format!("v{n}")] = json!({ "provider": "nowhere", "address": "10.0.0.x" });
    }
    let output = run(&["check", "--input", "-"], &input.to_string());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text.matches("\nerror[").count() + 1, 100);
    let rest = "\n9900 more not shown (4950 E021, 4950 E040); `check --format json` has all of them\n\
                \n10000 problems in the declaration; nothing was written\n";
    assert!(text.contains(rest), "{}", &text[text.len() - 400..]);
    let output = run(&["check", "--input", "-", "--format", "json"], &input.to_string());
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["problems"].as_array().unwrap().len(), 10_000);
}

#[test]
fn verify_reports_a_file_whose_mode_is_not_that_of_a_bundle() {
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("bundle");
    let out = bundle.to_str().unwrap();
    assert_eq!(run(&["render", "--out", out], &default_input().to_string()).status.code(), Some(0));
    let cases = [
        ("manage-macos-networking.sh", 0o755, None),
        ("manage-macos-networking.sh", 0o555, None),
        ("manage-macos-networking.sh", 0o775, None),
        ("manage-macos-networking.sh", 0o644, Some("must be executable")),
        ("manage-macos-networking.sh", 0o777, Some("must not be writable for everyone")),
        ("manage-macos-networking.sh", 0o4755, Some("must be neither setuid, setgid nor sticky")),
        ("manage-macos-networking.sh", 0o2755, Some("must be neither setuid, setgid nor sticky")),
        ("pf/anchor.conf", 0o755, Some("must not be executable")),
        ("pf/anchor.conf", 0o666, Some("must not be writable for everyone")),
    ];
    for (path, mode, wrong) in cases {
        let file = bundle.join(path);
        let before = fs::metadata(&file).unwrap().permissions();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let output = run(&["verify", out], "");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        match wrong {
            None => assert_eq!(output.status.code(), Some(0), "{path} {mode:o}: {text}"),
            Some(wrong) => {
                assert_eq!(output.status.code(), Some(1), "{path} {mode:o}: {text}");
                assert!(text.contains(&format!("{path}: {wrong}")), "{path} {mode:o}: {text}");
            }
        }
        fs::set_permissions(&file, before).unwrap();
    }
}
