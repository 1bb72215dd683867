//! The snapshot in the user's repository: what was accepted, and what has come to differ.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{program, rendered, root};

/// Runs `snapshot` in a directory, on a fixture: exit code, standard output and standard error.
fn snapshot(at: &Path, what: &str, input: &str, more: &[&str]) -> (i32, String, String) {
    let input = root().join("tests/fixtures").join(input);
    let mut command = program();
    command.args(["snapshot", what, "--input"]).arg(input).args(more).current_dir(at);
    let output = command.output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("a code"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_snapshot_is_accepted_once_and_then_holds() {
    let here = tempfile::tempdir().expect("a directory");
    let here = here.path();
    let (code, out, error) = snapshot(here, "check", "restricted.json", &[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        error.contains("there is no snapshot in nixvol-snapshot\nhint: `nixvol-net snapshot accept`"),
        "{error}"
    );
    assert_eq!(fs::read_dir(here).expect("a directory").count(), 0, "a check wrote");

    let (code, out, error) = snapshot(here, "accept", "restricted.json", &[]);
    assert_eq!((code, out.as_str(), error.as_str()), (0, "nixvol-snapshot: accepted, 16 files\n", ""));
    let bundle = rendered(&crate::support::fixture("restricted.json"));
    for (path, file) in &bundle.files {
        let text = fs::read_to_string(here.join("nixvol-snapshot").join(path)).expect(path);
        assert_eq!(text, file.text, "{path}");
    }
    let (code, out, error) = snapshot(here, "check", "restricted.json", &[]);
    assert_eq!((code, out.as_str(), error.as_str()), (0, "nixvol-snapshot: up to date\n", ""));
    let again = snapshot(here, "accept", "restricted.json", &[]);
    assert_eq!((again.0, again.1.as_str()), (0, "nixvol-snapshot: as it was, 16 files\n"));
}

#[test]
fn a_change_fails_with_its_flows_before_its_lines_until_it_is_accepted() {
    let here = tempfile::tempdir().expect("a directory");
    let here = here.path();
    snapshot(here, "accept", "restricted.json", &["--dir", "net"]);
    let (code, out, error) = snapshot(here, "check", "restricted-more.json", &["--dir", "net"]);
    assert_eq!(code, 1);
    assert!(error.contains("net is not what the declaration renders\nhint: "), "{error}");
    let at = |words: &str| out.find(words).unwrap_or_else(|| panic!("`{words}` is not in:\n{out}"));
    let order = [
        at("+ opens every provider -> gcp tcp 2379-2380"),
        at("- closes azure -> the internet"),
        at("~ provider azure: internet NAT -> none"),
        at("~ pf/anchor.conf (+5 -5)"),
        at("--- a/pf/anchor.conf\n+++ b/pf/anchor.conf\n@@ "),
    ];
    assert!(order.is_sorted(), "{out}");

    let markdown = snapshot(here, "check", "restricted-more.json", &["--dir", "net", "--format", "markdown"]);
    assert_eq!(markdown.0, 1);
    assert!(markdown.1.starts_with("### Network: 2 opened, 1 closed"), "{}", markdown.1);
    assert!(markdown.1.contains("<summary>Lines</summary>"));
    let json = snapshot(here, "check", "restricted-more.json", &["--dir", "net", "--format", "json"]);
    let json: Value = serde_json::from_str(&json.1).expect("JSON");
    assert_eq!(json["flows"].as_array().map(Vec::len), Some(3), "{json:#}");

    let (code, out, _) = snapshot(here, "accept", "restricted-more.json", &["--dir", "net"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("+ opens every provider -> gcp") && out.ends_with("net: accepted, 16 files\n"),
        "{out}"
    );
    assert_eq!(snapshot(here, "check", "restricted-more.json", &["--dir", "net"]).0, 0);
    assert_eq!(snapshot(here, "check", "restricted.json", &["--dir", "net"]).0, 1);
}

#[test]
fn a_snapshot_that_was_changed_by_hand_differs() {
    let here = tempfile::tempdir().expect("a directory");
    let here = here.path();
    snapshot(here, "accept", "restricted.json", &[]);
    let anchor = here.join("nixvol-snapshot/pf/anchor.conf");
    let text = fs::read_to_string(&anchor).expect("the anchor");
    fs::write(&anchor, format!("pass quick all\n{text}")).expect("the anchor");
    let (code, out, _) = snapshot(here, "check", "restricted.json", &[]);
    assert_eq!(code, 1);
    assert!(out.contains("-pass quick all"), "{out}");
    assert_eq!(snapshot(here, "accept", "restricted.json", &[]).0, 0);
    assert_eq!(fs::read_to_string(&anchor).expect("the anchor"), text);
}

#[test]
fn what_is_not_ours_or_not_valid_is_never_replaced() {
    let here = tempfile::tempdir().expect("a directory");
    let here = here.path();
    fs::create_dir(here.join("nixvol-snapshot")).expect("a directory");
    fs::write(here.join("nixvol-snapshot/thesis.tex"), "years of work").expect("a file");
    let (code, _, error) = snapshot(here, "accept", "restricted.json", &[]);
    assert_eq!(code, 2);
    assert!(error.contains("thesis.tex"), "{error}");
    let (code, _, error) = snapshot(here, "check", "restricted.json", &[]);
    assert_eq!(code, 2);
    assert!(error.contains("without a network.json"), "{error}");

    let other = here.join("other");
    fs::create_dir(&other).expect("a directory");
    snapshot(&other, "accept", "restricted.json", &[]);
    let (code, _, error) = snapshot(&other, "accept", "overlap.json", &[]);
    assert_eq!(code, 2, "{error}");
    assert_eq!(
        snapshot(&other, "check", "restricted.json", &[]).0,
        0,
        "a declaration that is wrong was accepted"
    );

    // One that another version wrote, or a merge broke: said, and replaced when asked.
    fs::write(other.join("nixvol-snapshot/network.json"), "<<<<<<< HEAD\n").expect("a file");
    let (code, _, error) = snapshot(&other, "check", "restricted.json", &[]);
    assert_eq!(code, 2);
    assert!(error.contains("the snapshot itself is broken"), "{error}");
    assert_eq!(snapshot(&other, "accept", "restricted.json", &[]).0, 0);
    assert_eq!(snapshot(&other, "check", "restricted.json", &[]).0, 0);
}
