//! The README's promises: every fenced block is tried, and commands print what it shows.
//!
//! After a change of the program's words, `NIXVOL_README=update cargo test readme` writes them into it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::examples::{World, commands};
use crate::network::Network;
use crate::nix::{evaluate, nix_instantiate, with_darwin};
use crate::support::{fixture, has_lab, program, root, run};

/// A fenced block: its language, and where its text stands.
struct Block {
    language: String,
    text: Range<usize>,
}

fn path() -> std::path::PathBuf {
    root().join("README.md")
}

fn readme() -> String {
    std::fs::read_to_string(path()).expect("the README")
}

fn blocks(readme: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(open) = readme[at..].find("\n```") {
        let fence = at + open + 4;
        let text = fence + readme[fence..].find('\n').expect("a line") + 1;
        let end = text + readme[text..].find("```").expect("a closed block");
        blocks.push(Block { language: readme[fence..text - 1].to_owned(), text: text..end });
        at = end + 3;
    }
    blocks
}

/// The texts of the blocks of a language.
fn texts<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let blocks = blocks(readme).into_iter().filter(|block| block.language == language);
    let texts: Vec<&str> = blocks.map(|block| &readme[block.text]).collect();
    assert!(!texts.is_empty(), "no block of {language}");
    texts
}

const MANAGER: &str = "sudo /opt/nix-volumes/networking/manage-macos-networking.sh ";

/// What a command of a `console` block prints. The manager runs on a toy Mac with the network up.
fn printed(command: &str) -> String {
    if let Some(arguments) = command.strip_prefix("nixvol-net ") {
        let output = program()
            .env("PATH", with_program())
            .args(arguments.split(' '))
            .current_dir(root())
            .output()
            .expect("the program runs");
        return String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    }
    let arguments = command.strip_prefix(MANAGER).unwrap_or_else(|| panic!("how is this run? {command}"));
    let network = Network::new(&fixture("restricted.json"));
    network.ok("start");
    network.ok(arguments)
}

/// Where commands are found by their names: what one of ours runs finds the program, too.
fn with_program() -> std::ffi::OsString {
    let here = Path::new(program().get_program()).parent().expect("a directory").to_owned();
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::join_paths([here].into_iter().chain(std::env::split_paths(&path))).expect("a path")
}

/// The text without the number of pf's token, which is another on each Mac.
fn steady(text: &str) -> String {
    let mut parts = text.split("; token ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "; token" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn what_it_shows_is_what_is_printed() {
    let mut readme = readme();
    let update = std::env::var("NIXVOL_README").is_ok_and(|value| value == "update");
    let is_console = |block: &Block| block.language == "console";
    let count = blocks(&readme).iter().filter(|block| is_console(block)).count();
    assert!(count >= 5, "the README shows {count} commands");
    for index in 0..count {
        let range =
            blocks(&readme).into_iter().filter(is_console).nth(index).expect("as many as before").text;
        let block = readme[range.clone()].to_owned();
        let (command, _) = block.split_once('\n').expect("a command");
        if command.starts_with("$ nixvol-net lab ") && !has_lab() {
            continue;
        }
        let expected = format!("{command}\n{}", printed(command.strip_prefix("$ ").expect("a command")));
        if update && steady(&block) != steady(&expected) {
            readme.replace_range(range, &expected);
        } else {
            assert_eq!(steady(&block), steady(&expected), "hint: NIXVOL_README=update cargo test readme");
        }
    }
    if update {
        std::fs::write(path(), readme).expect("the README can be written");
    }
}

#[test]
fn every_block_is_of_a_kind_that_is_tried() {
    let languages: BTreeSet<String> = blocks(&readme()).into_iter().map(|block| block.language).collect();
    let tried: BTreeSet<String> = ["console", "sh", "nix"].map(str::to_owned).into();
    assert_eq!(languages, tried);
}

#[test]
fn every_line_of_shell_does_what_it_says() {
    let readme = readme();
    for block in texts(&readme, "sh") {
        match block.trim_end() {
            line if line.starts_with("cargo run --release -- ") => runs_the_program(line),
            "tests/run.sh" => runs_the_tests(),
            "cargo bench" => measures(),
            _ => {
                let ran = World::new().run(block);
                assert_eq!(ran.code, 0, "{block}{}", ran.err);
            }
        }
    }
}

/// The command with the program of this build, and its directory elsewhere.
fn runs_the_program(line: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    let arguments =
        line.trim_start_matches("cargo run --release -- ").replace("/tmp/nixvol", &out.to_string_lossy());
    let output = program().args(arguments.split(' ')).output().expect("the program runs");
    assert!(output.status.success(), "{line}");
    assert!(out.join("pf/anchor.conf").is_file(), "{line}");
}

/// It runs this very test, so only that it can be run is looked at.
fn runs_the_tests() {
    use std::os::unix::fs::PermissionsExt;
    let script = root().join("tests/run.sh");
    let mode = std::fs::metadata(&script).expect("the script").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "it can be run");
    let text = std::fs::read_to_string(&script).expect("the script");
    assert!(text.lines().any(|line| line == "cargo test --locked"));
    assert!(Command::new("bash").arg("-n").arg(&script).status().expect("bash runs").success());
}

/// Optimised builds take minutes, so only that there is something to measure is looked at.
fn measures() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let targets = metadata["packages"][0]["targets"].as_array().expect("targets");
    let benches: Vec<&Value> = targets.iter().filter(|target| target["kind"][0] == "bench").collect();
    assert!(!benches.is_empty());
    for bench in benches {
        assert!(Path::new(bench["src_path"].as_str().expect("a path")).is_file());
    }
}

#[test]
fn every_block_of_nix_evaluates() {
    let readme = readme();
    let mut modules = 0;
    for block in texts(&readme, "nix") {
        let is_module = block.contains("services.nixvol-net = {");
        let expression = if is_module { block.to_owned() } else { format!("{{ {block} }}") };
        let parsed = nix_instantiate(&["--parse", "-E", &expression]);
        let uses = String::from_utf8_lossy(&parsed.stderr).into_owned();
        // What a flake has in scope is the only thing that a part of one may lack.
        let is_known = |line: &str| ["nixvol-net", "nixpkgs", "self"].iter().any(|name| line.contains(name));
        let first = uses.lines().find(|line| line.contains("undefined variable"));
        assert!(parsed.status.success() || first.is_some_and(is_known), "{uses}");
        if is_module {
            modules += 1;
            is_a_network(block);
        }
    }
    assert!(modules > 0);
}

/// Evaluates a module over the preset that it names, and checks what comes out: by the data of the module alone, and
/// by nix-darwin's module system where that is at hand.
fn is_a_network(module: &str) {
    assert!(module.contains("preset = \"multi-cloud\";"));
    let merged = evaluate(&format!(
        "let
           data = import ./modules/data.nix {{ lib = import ./tests/nix/lib; }};
           merge = a: b: a // builtins.mapAttrs (name: value:
             if builtins.isAttrs value && a ? ${{name}} then merge a.${{name}} value else value) b;
         in data (merge (import ./tests/nix/pure.nix).preset ({module}).services.nixvol-net)"
    ));
    let input = merged.expect("the module evaluates");
    let check = |input: &Value| {
        let checked = run(&["check", "--input", "-"], &input.to_string());
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        String::from_utf8(checked.stdout).expect("text")
    };
    let told = check(&input);
    with_darwin(module, "input", |input| assert_eq!(check(&input), told));
}

#[test]
fn every_command_that_it_speaks_of_is_there() {
    let readme = readme();
    let known: BTreeSet<String> =
        commands().into_iter().filter_map(|(words, _)| words.into_iter().next()).collect();
    let mut spoken = 0;
    for rest in readme.split("`nixvol-net ").skip(1) {
        let command: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        if !command.is_empty() {
            spoken += 1;
            assert!(known.contains(&command), "there is no `nixvol-net {command}`");
        }
    }
    assert!(spoken > 3);
}

#[test]
fn its_pictures_are_drawn_by_the_program() {
    let readme = readme();
    let pictures: Vec<&str> = readme
        .split("![")
        .skip(1)
        .filter_map(|rest| rest.split_once("](")?.1.split_once(')'))
        .map(|it| it.0)
        .collect();
    assert_eq!(pictures, ["tests/snapshots/default/topology-drawn.snap.svg"]);
    let shown = std::fs::read_to_string(root().join(pictures[0])).expect("a picture");
    assert_eq!(shown, printed("nixvol-net graph --format svg"));
}
