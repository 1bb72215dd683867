//! The README's promises: its commands run as written, and print what it shows.
//!
//! After a change of the program's words, `NIXVOL_README=update cargo test readme` writes them into it.

use std::process::Command;

use crate::support::{program, root};

const OPEN: &str = "```console\n";

/// The blocks that show a command with its output: where the text of each begins and ends.
fn blocks(readme: &str) -> Vec<(usize, usize)> {
    let starts = readme.match_indices(OPEN).map(|(at, _)| at + OPEN.len());
    starts.map(|start| (start, start + readme[start..].find("```").expect("a closed block"))).collect()
}

fn run(arguments: &str) -> String {
    let output = program().args(arguments.split(' ')).current_dir(root()).output().expect("the program runs");
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
fn its_pictures_are_drawn_by_the_program() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let pictures: Vec<&str> = readme
        .split("![")
        .skip(1)
        .filter_map(|rest| rest.split_once("](")?.1.split_once(')'))
        .map(|it| it.0)
        .collect();
    assert_eq!(pictures, ["tests/snapshots/default/topology-drawn.snap.svg"]);
    let shown = std::fs::read_to_string(root().join(pictures[0])).expect("a picture");
    assert_eq!(shown, run("graph --format svg"));
}

#[test]
fn its_second_command_is_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    assert!(readme.contains("```sh\ntests/run.sh\n```"));
    let checked =
        Command::new("bash").arg("-n").arg(root().join("tests/run.sh")).status().expect("bash runs");
    assert!(checked.success());
}
