//! The README and the guides of `help`: every code block is tested, and commands print what is shown.
//!
//! `NIXVOL_README=update cargo test readme` updates the files when the program's output changes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use nixvol_net::help::GUIDES;
use serde_json::Value;

use crate::examples::{World, commands};
use crate::network::Network;
use crate::nix::{evaluate, nix_instantiate, with_darwin};
use crate::support::{fixture, has_lab, has_namespaces, has_tool, program, root, run};
use crate::switch::{Disk, UNINSTALL};

/// A code block: its language, and the range of its text.
struct Block {
    language: String,
    text: Range<usize>,
}

/// A Markdown file and its text.
struct Paper {
    path: PathBuf,
    text: String,
}

/// The README, then the guides.
fn papers() -> Vec<Paper> {
    let guides = GUIDES.iter().map(|page| format!("generator/src/help/{}.md", page.topic));
    let paper = |name: String| {
        let path = root().join(&name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Paper { path, text }
    };
    ["README.md".to_owned()].into_iter().chain(guides).map(paper).collect()
}

fn readme() -> String {
    papers().swap_remove(0).text
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

/// The texts of all blocks in a language.
fn texts(language: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for Paper { path: _, text } in papers() {
        let blocks = blocks(&text).into_iter().filter(|block| block.language == language);
        texts.extend(blocks.map(|block| text[block.text].to_owned()));
    }
    assert!(!texts.is_empty(), "no block of {language}");
    texts
}

const MANAGER: &str = "sudo /opt/nix-volumes/networking/manage-macos-networking.sh ";

/// The output of a command of a `console` block. The manager runs on a toy Mac with the network up.
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

fn has_etcd() -> bool {
    has_tool("etcd", "no volume runs etcd") && has_tool("etcdctl", "etcd is not asked")
}

/// The PATH with the program's directory first.
pub fn with_program() -> std::ffi::OsString {
    let here = Path::new(program().get_program()).parent().expect("a directory").to_owned();
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::join_paths([here].into_iter().chain(std::env::split_paths(&path))).expect("a path")
}

/// The text without the number of pf's token, which differs on each Mac.
fn steady(text: &str) -> String {
    let mut parts = text.split("; token ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "; token" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn shown_output_is_the_real_output() {
    let update = std::env::var("NIXVOL_README").is_ok_and(|value| value == "update");
    let mut count = 0;
    for Paper { path, mut text } in papers() {
        let consoles =
            |text: &str| blocks(text).into_iter().filter(|it| it.language == "console").collect::<Vec<_>>();
        for index in 0..consoles(&text).len() {
            count += 1;
            let range = consoles(&text)[index].text.clone();
            let block = text[range.clone()].to_owned();
            let (command, _) = block.split_once('\n').expect("a command");
            let of_lab = command.starts_with("$ nixvol-net lab ");
            if of_lab && (!has_lab() || command.contains("etcd") && !has_etcd()) {
                continue;
            }
            let expected = format!("{command}\n{}", printed(command.strip_prefix("$ ").expect("a command")));
            if update && steady(&block) != steady(&expected) {
                text.replace_range(range, &expected);
            } else {
                let hint = format!("{}; hint: NIXVOL_README=update cargo test readme", path.display());
                assert_eq!(steady(&block), steady(&expected), "{hint}");
            }
        }
        if update {
            std::fs::write(path, text).expect("it can be written");
        }
    }
    assert!(count >= 10, "they show {count} commands");
}

#[test]
fn every_block_is_in_a_language_that_is_tested() {
    let papers = papers();
    let languages: BTreeSet<String> =
        papers.iter().flat_map(|paper| blocks(&paper.text)).map(|block| block.language).collect();
    let tried: BTreeSet<String> = ["console", "json", "nix", "sh", "toml"].map(str::to_owned).into();
    assert_eq!(languages, tried);
}

#[test]
fn the_readme_is_short() {
    let lines = readme().lines().count();
    assert!(lines <= 250, "the README has {lines} lines: the rest is for pages of `help`");
}

#[test]
fn every_json_block_is_a_valid_declaration() {
    for block in texts("json") {
        let checked = run(&["check", "--input", "-"], &block);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn every_scenario_is_valid() {
    for block in texts("toml") {
        if let Err(mistakes) = nixvol_net::scenario::read(&block) {
            panic!("{mistakes:?}\n{block}");
        }
    }
}

#[test]
fn every_line_of_shell_runs() {
    let migration = ["ifconfig -l\n", "sudo /opt/nix-volumes/networking/manage-macos-networking.sh plan"];
    for block in texts("sh") {
        match block.trim_end() {
            line if line.starts_with("cargo run --release -- ") => runs_the_program(line),
            "tests/run.sh" => runs_the_tests(),
            // The installation, the removal and the migration guide have tests of their own.
            text if text.starts_with("cargo build ") || text == format!("sudo {UNINSTALL}") => {}
            text if migration.iter().any(|start| text.starts_with(start)) => {}
            text if text.starts_with("nixvol-net run ") && !has_namespaces() => {}
            // So have etcd and its clients, which need each other.
            text if text.starts_with("etcd") => {}
            _ => {
                let ran = World::new().run(&block);
                assert_eq!(ran.code, 0, "{block}{}", ran.err);
            }
        }
    }
}

/// The block of the README that begins with this text.
fn block_of_the_readme(start: &str) -> String {
    let readme = readme();
    let mut found = blocks(&readme).into_iter().map(|block| &readme[block.text]);
    found.find(|text| text.starts_with(start)).unwrap_or_else(|| panic!("no block {start}")).to_owned()
}

#[test]
fn the_install_without_nix_starts_and_one_command_removes_it() {
    let Some(disk) = Disk::new() else { return };
    let before = disk.mac.kernel();
    let install = block_of_the_readme("cargo build --locked --release\n");
    let bin = Path::new(program().get_program()).parent().expect("a directory").to_owned();
    let checkout = "/Users/me/nixvol-net";
    let activate = "templates/activation/activate.sh";
    let text = std::fs::read_to_string(root().join(activate)).expect("the script");
    disk.write(&format!("{checkout}/{activate}"), &text, 0o644);
    disk.write(&format!("{checkout}/network.json"), &fixture("restricted.json").to_string(), 0o644);
    // cargo and sudo are stubs: the program is built already, and the test runs as root.
    let script = format!(
        "set -e; cargo() {{ test \"$1\" = build; }}; sudo() {{ \"$@\"; }}; cd {checkout}; \
         mkdir target; ln -s {} target/release; {install}",
        bin.display()
    );
    let ran = disk.enter(&["/bin/bash", "-c", &script]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let status = disk.enter(&[MANAGER.trim_start_matches("sudo ").trim_end(), "status"]);
    assert_eq!(status.code, 0, "{}{}", status.out, status.err);
    let remove = block_of_the_readme("sudo /opt/nix-volumes/uninstall.sh");
    let removed = disk.enter(&["/bin/bash", "-c", &format!("sudo() {{ \"$@\"; }}; {remove}")]);
    assert_eq!(removed.code, 0, "{}{}", removed.out, removed.err);
    disk.assert_clean(&before);
}

#[test]
fn etcd_runs_as_a_volume_and_is_reached() {
    if !has_lab() || !has_etcd() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("etcd-1").display().to_string();
    let etcd = block_of_the_readme("etcd --name etcd-1 ").replace("/tmp/etcd-1", &data);
    let clients = block_of_the_readme("etcdctl ");
    let (from_the_mac, from_a_volume) = clients.split_once('\n').expect("two commands");
    let script = directory.path().join("script");
    let text = format!(
        "set -eu\nexport ETCDCTL_API=3\n\
         nixvol-net lab exec etcd-1 -- {} >{data}.log 2>&1 &\n\
         for try in $(seq 30); do\n\
           if {from_the_mac}; then nixvol-net lab exec etcd-2 -- {from_a_volume}\nexit; fi; sleep 1\n\
         done\ncat {data}.log; exit 1\n",
        etcd.trim_end(),
    );
    std::fs::write(&script, text).expect("a script");
    let output = program()
        .args(["lab", "run", "--", "bash"])
        .arg(&script)
        .env("PATH", with_program())
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && told.contains("\"health\":\"true\""), "{told}");
}

/// Runs the command with this build of the program, and its output in a temporary directory.
fn runs_the_program(line: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    let arguments =
        line.trim_start_matches("cargo run --release -- ").replace("/tmp/nixvol", &out.to_string_lossy());
    let output = program().args(arguments.split(' ')).output().expect("the program runs");
    assert!(output.status.success(), "{line}");
    assert!(out.join("pf/anchor.conf").is_file(), "{line}");
}

/// The script runs this very test, so only check that it can be executed.
fn runs_the_tests() {
    use std::os::unix::fs::PermissionsExt;
    let script = root().join("tests/run.sh");
    let mode = std::fs::metadata(&script).expect("the script").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "it can be run");
    let text = std::fs::read_to_string(&script).expect("the script");
    assert!(text.lines().any(|line| line == "cargo test --locked"));
    assert!(Command::new("bash").arg("-n").arg(&script).status().expect("bash runs").success());
}

#[test]
fn every_block_of_nix_evaluates() {
    let mut modules = 0;
    for block in texts("nix") {
        let is_module = block.contains("services.nixvol-net = {");
        let expression = if is_module { block.clone() } else { format!("{{ {block} }}") };
        let parsed = nix_instantiate(&["--parse", "-E", &expression]);
        let uses = String::from_utf8_lossy(&parsed.stderr).into_owned();
        // Parts of a flake may use only the names that a flake has in scope.
        let is_known = |line: &str| ["nixvol-net", "nixpkgs", "self"].iter().any(|name| line.contains(name));
        let first = uses.lines().find(|line| line.contains("undefined variable"));
        assert!(parsed.status.success() || first.is_some_and(is_known), "{uses}");
        if is_module {
            modules += 1;
            is_a_network(&block);
        }
    }
    assert!(modules > 0);
}

/// Evaluates a module over the preset and checks the result, once with the module's data alone, and once with
/// nix-darwin's module system if it is available.
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
fn every_mentioned_command_and_topic_exists() {
    let text: String = papers().into_iter().map(|paper| paper.text).collect();
    let known: BTreeSet<String> =
        commands().into_iter().filter_map(|(words, _)| words.into_iter().next()).collect();
    let mut spoken = 0;
    for topic in text.split("`nixvol-net help ").skip(1) {
        let topic: String = topic.chars().take_while(char::is_ascii_alphanumeric).collect();
        let told = topic == "TOPIC" || topic == "errors" || nixvol_net::help::page(&topic).is_some();
        assert!(told, "there is no page {topic}");
    }
    for rest in text.split("`nixvol-net ").skip(1) {
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
    let [live, timeline, topology] = pictures.as_slice() else { panic!("{pictures:?}") };
    let shown = |path: &str| std::fs::read_to_string(root().join(path)).expect("a picture");
    assert_eq!(shown(topology), printed("nixvol-net graph --format svg"));
    assert_eq!(shown(timeline), printed("nixvol-net lab timeline tests/lab/etcd-timeline.jsonl"));
    // A photograph: `lab_etcd` takes one like it.
    let live = std::fs::read(root().join(live)).expect("a picture");
    assert!(live.starts_with(b"\x89PNG") && live.len() < 150_000, "{} bytes", live.len());
}
