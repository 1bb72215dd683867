//! Completions in the shells themselves, and manual pages in their readers.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::examples::commands;
use crate::support::{program, run};

fn printed(words: &[&str]) -> String {
    let output = program().args(words).output().expect("the program runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a tool that must succeed and print nothing on standard error; returns its output.
fn ok(program: &str, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(program)
        .args(words)
        .env("HOME", "/nonexistent")
        .env("PATH", path())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; hint: tests/run.sh installs what the tests need")
        });
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success() && complaint.is_empty(), "{program} {words:?}: {complaint}");
    String::from_utf8(stdout).expect("text")
}

/// The PATH on which shells find the program.
fn path() -> String {
    let here = Path::new(env!("CARGO_BIN_EXE_nixvol-net")).parent().expect("a directory");
    format!("{}:{}", here.display(), std::env::var("PATH").expect("a PATH"))
}

/// Writes the completions of a shell into a file; returns its path.
fn completions(directory: &Path, shell: &str) -> String {
    let path = directory.join(if shell == "zsh" { "_nixvol-net" } else { "nixvol-net" });
    fs::write(&path, printed(&["completions", shell])).expect("a file");
    path.display().to_string()
}

/// The names of the top-level commands.
fn names() -> Vec<String> {
    let mut names: Vec<String> =
        commands().into_iter().filter_map(|(words, _)| words.into_iter().next()).collect();
    names.dedup();
    assert!(names.len() > 9, "{names:?}");
    names
}

#[test]
fn every_shell_parses_its_completions() {
    let directory = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        ok(shell, &["-n", &completions(directory.path(), shell)]);
    }
}

#[test]
fn bash_completes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = completions(directory.path(), "bash");
    let complete = |words: &[&str]| {
        let script = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
             spec=$(complete -p nixvol-net); [[ $spec =~ -F\\ ([^ ]+) ]]; \
             \"${BASH_REMATCH[1]}\" nixvol-net \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\" 2>/dev/null; \
             printf '%s\\n' \"${COMPREPLY[@]}\"";
        let words = [&["--norc", "-c", script, &file], words].concat();
        ok("bash", &words).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let offered = complete(&["nixvol-net", ""]);
    for name in names() {
        assert!(offered.contains(&name), "{name} is not in {offered:?}");
    }
    assert_eq!(complete(&["nixvol-net", "che"]), ["check"]);
    assert_eq!(complete(&["nixvol-net", "pf", "ev"]), ["eval"]);
    assert_eq!(complete(&["nixvol-net", "diff", "--format", "mark"]), ["markdown"]);
    assert_eq!(complete(&["nixvol-net", "render", "--o"]), ["--out"]);
    assert_eq!(complete(&["nixvol-net", "help", "E02"]), ["E020", "E021", "E022", "E023", "E024", "E025"]);
}

#[test]
fn fish_completes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = completions(directory.path(), "fish");
    let complete = |line: &str| {
        let script = "source $argv[1]; complete -C $argv[2]";
        let text = ok("fish", &["--no-config", "-c", script, &file, line]);
        text.lines().map(|line| line.split('\t').next().expect("a word").to_owned()).collect::<Vec<_>>()
    };
    let offered = complete("nixvol-net ");
    for name in names() {
        assert!(offered.contains(&name), "{name} is not in {offered:?}");
    }
    assert_eq!(complete("nixvol-net che"), ["check"]);
    assert_eq!(complete("nixvol-net pf ev"), ["eval"]);
    assert_eq!(complete("nixvol-net diff --format mark"), ["markdown"]);
    assert_eq!(complete("nixvol-net render --o"), ["--out"]);
}

#[test]
fn zsh_finds_the_completions_by_their_name() {
    let directory = tempfile::tempdir().expect("a directory");
    completions(directory.path(), "zsh");
    let script = "fpath=($1 $fpath); autoload -U compinit; compinit -u -D; print $_comps[nixvol-net]; \
         autoload +X _nixvol-net; print ${+functions[_nixvol-net]}";
    let path = directory.path().display().to_string();
    assert_eq!(ok("zsh", &["-f", "-c", script, "zsh", &path]), "_nixvol-net\n1\n");
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("share/man1");
    assert_eq!(printed(&["man", "--out", &out.display().to_string()]), "");
    for (words, help) in commands() {
        let name = ["nixvol-net"].into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>();
        let path = out.join(format!("{}.1", name.join("-")));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let words: Vec<&str> = ["man"].into_iter().chain(words.iter().map(String::as_str)).collect();
        assert_eq!(printed(&words), page, "what is printed is what is written");

        // Every example of `--help` is in the page as a reader shows it.
        let file = path.display().to_string();
        let shown = ok("mandoc", &["-T", "ascii", "-O", "width=200", &file]);
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        let headings = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"].into_iter();
        for heading in headings.chain((!examples.is_empty()).then_some("EXAMPLES")) {
            assert!(page.contains(&format!(".SH {heading}\n")), "{}: {heading}", name.join(" "));
        }
        for example in examples.lines().map_while(|line| line.strip_prefix("  ")) {
            assert!(shown.contains(example.trim_end()), "{}: {example}\n{shown}", name.join(" "));
        }
    }
}

/// Complaints that are accepted: a date would make the output depend on the build time, and the library that writes the
/// value lists leaves an extra empty line.
const HARMLESS: &[&str] =
    &["WARNING: missing date", "skipping paragraph macro: br before sp", "macro: br after sp"];

#[test]
fn mandoc_finds_no_error_in_the_manual_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    printed(&["man", "--out", &directory.path().display().to_string()]);
    let mut pages: Vec<String> = fs::read_dir(directory.path())
        .expect("the pages")
        .map(|entry| entry.expect("a page").path().display().to_string())
        .collect();
    pages.sort();
    assert!(pages.len() > 12, "{pages:?}");
    let arguments: Vec<&str> =
        ["-T", "lint", "-W", "warning"].into_iter().chain(pages.iter().map(String::as_str)).collect();
    let output = Command::new("mandoc").args(arguments).output().expect("mandoc runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong: Vec<&str> =
        said.lines().filter(|line| !HARMLESS.iter().any(|harmless| line.contains(harmless))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_unknown_page_is_refused() {
    let output = run(&["man", "pf", "evil"], "");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: `nixvol-net pf` has no command \"evil\"\nhint: `nixvol-net pf --help` lists them\n"
    );
}
