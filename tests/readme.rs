//! The README's promises: its commands run as written, and print what it shows.
//!
//! After a change of the program's words, `NIXVOL_README=update cargo test readme` writes them into it.

use std::path::Path;
use std::process::Command;

use crate::support::{has_lab, program, root};

const OPEN: &str = "```console\n";

/// The blocks that show a command with its output: where the text of each begins and ends.
fn blocks(readme: &str) -> Vec<(usize, usize)> {
    let starts = readme.match_indices(OPEN).map(|(at, _)| at + OPEN.len());
    starts.map(|start| (start, start + readme[start..].find("```").expect("a closed block"))).collect()
}

fn run(arguments: &str) -> String {
    let mut command = program();
    let here = Path::new(command.get_program()).parent().expect("a directory").to_owned();
    // What a command runs finds the program by its name.
    let path = std::env::join_paths(
        [here].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").expect("a PATH"))),
    );
    command.env("PATH", path.expect("a path")).args(arguments.split(' ')).current_dir(root());
    let output = command.output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).expect("text")
}

#[test]
fn what_it_shows_is_what_is_printed() {
    let path = root().join("README.md");
    let mut readme = std::fs::read_to_string(&path).expect("the README");
    let update = std::env::var("NIXVOL_README").is_ok_and(|value| value == "update");
    let count = blocks(&readme).len();
    assert!(count >= 4, "the README shows {count} commands");
    for index in 0..count {
        let (start, end) = blocks(&readme)[index];
        let block = readme[start..end].to_owned();
        let (command, _) = block.split_once('\n').expect("a command");
        let arguments = command.strip_prefix("$ nixvol-net ").expect("a command of ours");
        if arguments.starts_with("lab ") && !has_lab() {
            continue;
        }
        let expected = format!("{command}\n{}", run(arguments));
        if update {
            readme.replace_range(start..end, &expected);
        } else {
            assert_eq!(block, expected, "hint: NIXVOL_README=update cargo test readme");
        }
    }
    if update {
        std::fs::write(path, readme).expect("the README can be written");
    }
}

#[test]
fn its_first_command_renders_a_bundle() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let line = readme
        .lines()
        .find(|line| line.starts_with("cargo run --release -- render"))
        .expect("the first command");
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    let arguments =
        line.trim_start_matches("cargo run --release -- ").replace("/tmp/nixvol", &out.to_string_lossy());
    let output = program().args(arguments.split(' ')).output().expect("the program runs");
    assert!(output.status.success());
    assert!(out.join("pf/anchor.conf").is_file());
}

#[test]
fn its_second_command_is_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    assert!(readme.contains("```sh\ntests/run.sh\n```"));
    let checked =
        Command::new("bash").arg("-n").arg(root().join("tests/run.sh")).status().expect("bash runs");
    assert!(checked.success());
}
