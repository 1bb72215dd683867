//! The reviewed bundle (`snapshot`): a change is reported before it is accepted, and accepted as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Output;

use nixvol_net::diff::{ComparedSide, Diff, markdown};
use nixvol_net::plan::Plan;
use nixvol_net::render::bundle;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{declared, providers, rendered, root, run};

/// A repository in which a bundle may have been accepted.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A repository in which the fixture `restricted.json` was accepted.
    fn accepted() -> Self {
        let repository = Self::new();
        let output = repository.run("accept", "restricted.json", &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        repository
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("accepted").join(path)
    }

    /// Runs `snapshot` with a fixture.
    fn run(&self, action: &str, fixture: &str, more: &[&str]) -> Output {
        let input = root().join("tests/fixtures").join(fixture).to_string_lossy().into_owned();
        let directory = self.at("").to_string_lossy().trim_end_matches('/').to_owned();
        let arguments = ["snapshot", action, "--dir", &directory, "--input", &input];
        run(&[&arguments[..], more].concat(), "")
    }

    /// Every file below the accepted bundle, with its bytes and inode number.
    fn listing(&self) -> BTreeMap<PathBuf, (Vec<u8>, u64)> {
        let mut found = BTreeMap::new();
        let mut directories = vec![self.at("")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else {
                    let text = fs::read(entry.path()).unwrap();
                    found.insert(entry.path(), (text, entry.metadata().unwrap().ino()));
                }
            }
        }
        found
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn before_anything_is_accepted_the_check_says_what_to_do() {
    let repository = Repository::new();
    for _ in 0..2 {
        let output = repository.run("check", "restricted.json", &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        assert!(stderr(&output).contains("nothing was accepted yet"), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("hint: ") && stderr(&output).contains("`nixvol-net snapshot accept`")
        );
        // An empty directory is treated the same.
        let _ = fs::create_dir(repository.at(""));
    }
}

#[test]
fn the_accepted_bundle_is_the_rendered_one() {
    let repository = Repository::accepted();
    for (path, file) in rendered(&crate::support::fixture("restricted.json")).files {
        assert_eq!(fs::read_to_string(repository.at(&path)).unwrap(), file.text, "{path}");
    }
    let before = repository.listing();
    let checked = repository.run("check", "restricted.json", &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert!(stdout(&checked).starts_with("no difference: "));
    let again = repository.run("accept", "restricted.json", &[]);
    assert!(stdout(&again).contains("accepted already, "), "{}", stdout(&again));
    assert_eq!(repository.listing(), before, "nothing is written when nothing differs");
}

#[test]
fn a_change_is_reported_by_flows_and_then_by_lines() {
    let repository = Repository::accepted();
    let before = repository.listing();
    let checked = repository.run("check", "restricted-more.json", &[]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(repository.listing(), before, "a check writes nothing");
    let told = stdout(&checked);
    let at = |part: &str| told.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{told}"));
    assert_eq!(
        at("Flows\n+ opens every other provider -> gcp tcp 2379-2380\n    refused before, passed now: "),
        0
    );
    assert!(at("- closes azure -> the internet") < at("Providers, volumes and settings\n"));
    assert!(at("Providers, volumes and settings\n") < at("--- a/pf/anchor.conf\n+++ b/pf/anchor.conf\n@@"));
    let verdict = stderr(&checked);
    let lines: Vec<&str> = verdict.lines().collect();
    assert!(lines[0].starts_with("error: differs from what was accepted in "), "{verdict}");
    assert!(lines[0].contains(": 2 opened, 1 closed; "), "{verdict}");
    assert_eq!(lines[1], "  + opens every other provider -> gcp tcp 2379-2380");
    assert!(lines.last().unwrap().starts_with("hint: "), "{verdict}");

    let accepted = repository.run("accept", "restricted-more.json", &[]);
    assert_eq!(accepted.status.code(), Some(0));
    assert!(stdout(&accepted).starts_with("Flows\n+ opens every other provider"), "{}", stdout(&accepted));
    assert_eq!(repository.run("check", "restricted-more.json", &[]).status.code(), Some(0));
    assert_eq!(repository.run("check", "restricted.json", &[]).status.code(), Some(1));
}

#[test]
fn conditions_are_reviewed_like_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut input: Value =
        serde_json::from_slice(&fs::read(root().join("tests/fixtures/ways.json")).unwrap()).unwrap();
    input["links"][1]["conditions"]["latencyMs"] = 25.into();
    let slower = directory.path().join("slower.json");
    fs::write(&slower, input.to_string()).unwrap();
    let slower = slower.to_string_lossy();
    let repository = Repository::new();
    assert_eq!(repository.run("accept", "ways.json", &[]).status.code(), Some(0));
    assert_eq!(repository.run("check", "ways.json", &[]).status.code(), Some(0));
    let checked = repository.run("check", &slower, &[]);
    assert_eq!(checked.status.code(), Some(1));
    let there = "~ conditions aws but etcd-1, azure -> gcp: latency 10 ms -> 25 ms";
    let back = "~ conditions gcp -> every other provider: latency 10 ms -> 25 ms";
    assert!(stdout(&checked).contains(&format!("\nConditions\n{there}\n{back}\n")), "{}", stdout(&checked));
    let verdict = stderr(&checked);
    assert!(verdict.contains(": 2 with different conditions; "), "{verdict}");
    assert!(verdict.contains(&format!("\n  {there}\n  {back}\n")), "{verdict}");
    let accepted = repository.run("accept", &slower, &[]);
    assert!(stdout(&accepted).contains(there), "{}", stdout(&accepted));
    assert_eq!(repository.run("check", &slower, &[]).status.code(), Some(0));
}

#[test]
fn json_and_markdown_report_the_same() {
    let repository = Repository::accepted();
    let json = repository.run("check", "restricted-more.json", &["--format", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let record: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(record["same"], false);
    assert_eq!(record["acceptedViolations"], serde_json::json!([]));
    assert_eq!(record["difference"]["flows"][0]["change"], "opens");
    assert!(record["difference"]["files"][0]["unified"].is_string());

    let page = repository.run("check", "restricted-more.json", &["--format", "markdown"]);
    assert_eq!(page.status.code(), Some(1));
    let text = stdout(&page);
    assert!(text.starts_with("### Network: 2 opened, 1 closed\n"), "{text}");
    assert!(text.contains("<details><summary>Lines</summary>\n\n```diff\n--- a/"), "{text}");

    for (format, start) in [("json", "{\n"), ("markdown", "### Network: no difference\n")] {
        let same = repository.run("check", "restricted.json", &["--format", format]);
        assert_eq!(same.status.code(), Some(0), "{format}");
        assert!(stdout(&same).starts_with(start), "{}", stdout(&same));
    }
    let taken = repository.run("accept", "restricted-more.json", &["--format", "json"]);
    let record: Value = serde_json::from_slice(&taken.stdout).unwrap();
    assert_eq!((&record["changed"], &record["difference"]["same"]), (&true.into(), &false.into()));
}

/// The Markdown of a difference, including the changed lines of the files.
fn page(old: &Value, new: &Value) -> String {
    let (old, new) = (declared(old), declared(new));
    let (old_plan, new_plan) = (Plan::of(&old), Plan::of(&new));
    let [old_files, new_files] = [(&old, &old_plan), (&new, &new_plan)].map(|(declaration, plan)| {
        let files = bundle(declaration, plan).unwrap().files;
        files.into_iter().map(|(path, file)| (path, file.text)).collect()
    });
    let diff = Diff::of(
        ComparedSide { declaration: &old, plan: &old_plan, files: &old_files },
        ComparedSide { declaration: &new, plan: &new_plan, files: &new_files },
    );
    markdown::markdown(&diff, true)
}

#[test]
fn the_markdown_fits_a_pull_request_comment() {
    // GitHub limits a comment to 65,536 characters.
    let text = page(&providers(1), &crate::support::topologies().pop().unwrap().1);
    assert!((50_000..65_536).contains(&text.len()), "{}", text.len());
    assert!(text.contains(" more lines are left out here)\n```\n"), "{}", &text[text.len() - 200..]);
    assert!(!page(&providers(1), &providers(2)).contains("left out"));
}

#[test]
fn accepted_rules_that_deviate_from_the_declaration_are_reported() {
    let repository = Repository::accepted();
    let anchor = repository.at("pf/anchor.conf");
    let text = fs::read_to_string(&anchor).unwrap();
    let wider = text.replace(
        "block return quick inet from <nixvol> to <nixvol>",
        "pass quick inet from <nixvol> to <nixvol>",
    );
    assert_ne!(text, wider);
    fs::write(&anchor, wider).unwrap();
    let checked = repository.run("check", "restricted.json", &[]);
    assert_eq!(checked.status.code(), Some(1));
    let told = stderr(&checked);
    assert!(
        told.contains("pf/anchor.conf: not proven: ")
            && told.contains("note: as this version reads them, the accepted rules do not do"),
        "{told}"
    );
    let page = stdout(&repository.run("check", "restricted.json", &["--format", "markdown"]));
    assert!(
        page.contains("\n\n> **Note:** as this version reads them, the accepted rules do not do"),
        "{page}"
    );
    let json = repository.run("check", "restricted.json", &["--format", "json"]);
    let record: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(!record["acceptedViolations"].as_array().unwrap().is_empty());
}

#[test]
fn an_unreadable_accepted_bundle_can_be_replaced() {
    let repository = Repository::accepted();
    fs::write(repository.at("network.json"), r#"{ "version": 9 }"#).unwrap();
    let checked = repository.run("check", "restricted.json", &[]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(stderr(&checked).contains("hint: that is the accepted bundle"), "{}", stderr(&checked));
    let accepted = repository.run("accept", "restricted.json", &[]);
    assert_eq!(accepted.status.code(), Some(0));
    assert!(stderr(&accepted).contains("note: what was accepted before cannot be read"));
    assert_eq!(repository.run("check", "restricted.json", &[]).status.code(), Some(0));
}

#[test]
fn an_invalid_declaration_changes_nothing() {
    let repository = Repository::accepted();
    let before = repository.listing();
    for action in ["check", "accept"] {
        let output = repository.run(action, "overlap.json", &[]);
        assert_eq!(output.status.code(), Some(2), "{action}");
        assert!(stderr(&output).contains("error[E025]"), "{action}: {}", stderr(&output));
    }
    assert_eq!(repository.listing(), before);
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let repository = Repository::accepted();
    // The Finder's own files are ignored.
    fs::write(repository.at(".DS_Store"), "Bud1").unwrap();
    assert_eq!(repository.run("check", "restricted.json", &[]).status.code(), Some(0));
    assert_eq!(repository.run("accept", "restricted-more.json", &[]).status.code(), Some(0));

    fs::write(repository.at("notes.txt"), "mine").unwrap();
    let before = repository.listing();
    let refused = repository.run("accept", "restricted.json", &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("notes.txt"), "{}", stderr(&refused));
    assert_eq!(repository.listing(), before);
    let checked = repository.run("check", "restricted-more.json", &[]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(stdout(&checked).contains("- notes.txt"), "{}", stdout(&checked));
}
