//! Wrong use of the command line: the message, the exit code, and nothing on standard output.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::examples::commands;
use crate::support::program;

/// Invalid command lines, each wrong in a different way; with `-` the standard input is empty.
const WRONG: &[&str] = &[
    // Flags and words.
    "frobnicate",
    "chek",
    "check extra",
    "check --inptu network.json",
    "check --input",
    "check --format yaml",
    "render",
    "render --out",
    "verify",
    "diff before.json",
    "explain etcd-1",
    "pf",
    "completions tcsh",
    "man pf evil",
    "man evil",
    "man check --out there",
    "help evil",
    // Files that do not exist or have another type.
    "check --input nowhere.json",
    "check --input directory",
    "check --input bundle",
    "check --input loop",
    "check --input empty",
    "check --input half.json",
    "check --input bytes.json",
    "check --input -",
    "render --input nowhere.json --out there",
    "render --input bytes.json --out there",
    "render --out file",
    "render --out loop",
    "render --out file/there",
    "test --input directory",
    "verify nowhere",
    "verify file",
    "verify directory",
    "verify loop",
    "diff nowhere bundle",
    "diff bundle directory",
    "diff bundle bytes.json",
    "diff - -",
    "explain etcd-1 nobody",
    "explain etcd-1 etcd-2:99999",
    "explain etcd-1 etcd-2 --protocol carrier-pigeon",
    "explain etcd-1 etcd-2 --egress wifi",
    "explain etcd-1 etcd-2 --ruleset nowhere",
    "explain etcd-1 etcd-2 --ruleset directory",
    "explain etcd-1 etcd-2 --input - --ruleset -",
    "pf check nowhere",
    "pf check directory",
    "pf check bytes.json",
    "pf check noise.conf",
    "pf check - -",
    "pf check -D egress file",
    "pf check --interface en0=10.0.0.1/99 file",
    "pf print nowhere",
    "pf eval -",
    "pf eval --anchor nixvol",
    "pf eval --anchor a=nowhere",
    "add volume x --provider aws --file nowhere",
    "add volume x --provider aws --file directory",
    "add volume x --provider aws --file bytes.json",
    "add volume x --provider aws --file empty",
    "add volume x --provider aws --file half.json",
    "add volume x --provider aws --file loop",
    "add volume x --provider aws --localhost home --file file",
    "add volume x --provider aws --as networking --file file",
    "add volume x --provider aws --file file --input half.json",
    "add link --from aws --file file",
    "remove link --file file",
    "remove link second --file file",
    "remove link 0 --from aws --to gcp --file file",
    "remove volume x --file file --input directory",
    "man --out file",
    "test --input far.json --live",
];

/// A directory with one file of each kind.
fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("directory")).expect("a directory");
    fs::write(path("file"), "").expect("a file");
    fs::write(path("empty"), " \n").expect("a file");
    fs::write(path("half.json"), "{\n  \"version\": 1,\n").expect("a file");
    fs::write(path("bytes.json"), b"{\n  \"version\": \xff1 }").expect("a file");
    fs::write(path("noise.conf"), b"pass \xff\n").expect("a file");
    let far = "{\"version\":1,\"base\":\"/nowhere\",\"providers\":{},\"volumes\":{}}";
    fs::write(path("far.json"), far).expect("a file");
    symlink("loop", path("loop")).expect("a link");
    let rendered = program().args(["render", "--out", "bundle"]).current_dir(directory.path()).output();
    assert!(rendered.expect("the program runs").status.success());
    directory
}

#[test]
fn every_mistake_is_reported_with_a_hint() {
    let place = place();
    let mut all = String::new();
    for line in WRONG {
        let output = program()
            .args(line.split(' '))
            .current_dir(place.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let error = String::from_utf8(output.stderr).expect("text");
        let code = output.status.code().expect("an exit code");
        writeln!(all, "$ nixvol-net {line}\n{error}=> {code}\n").expect("a string");
        // A readable ruleset with errors is an answer of `pf check`, and a failed probe comes after the proof.
        assert_eq!(
            code,
            if ["pf check bytes.json", "pf check noise.conf"].contains(line) { 1 } else { 2 },
            "{line}"
        );
        assert!(output.stdout.is_empty() || line.ends_with("--live"), "{line} printed");
        assert!(!error.contains("os error") && !error.contains("panicked"), "{error}");
        assert!(!place.path().join("there").exists(), "{line} wrote");
    }
    insta::with_settings!({ snapshot_path => "snapshots/problems", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("wrong-use", all);
    });
}

#[test]
fn every_command_refuses_an_unknown_flag() {
    for (words, _) in commands() {
        let output = program().args(&words).arg("--colour-of-the-cat").output().expect("the program runs");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{words:?}");
        assert!(error.starts_with("error: ") && error.contains("'--help'"), "{words:?}: {error}");
    }
}

#[test]
fn names_that_are_not_text_are_reported_without_a_panic() {
    let place = place();
    let name = std::ffi::OsStr::from_bytes(b"\xff.json");
    for (words, code) in [
        (&["check", "--input"][..], 2),
        (&["verify"], 2),
        (&["pf", "check"], 2),
        (&["diff", "bundle"], 2),
        (&["help"], 2),
        (&["explain", "etcd-1"], 2),
        (&[], 2),
    ] {
        let output = program().args(words).arg(name).current_dir(place.path()).output();
        assert_eq!(output.expect("the program runs").status.code(), Some(code), "{words:?}");
    }
    let output = program().args(["render", "--out"]).arg(name).current_dir(place.path()).output();
    assert_eq!(
        output.expect("the program runs").status.code(),
        Some(0),
        "a directory may be called anything"
    );
}

#[test]
fn a_byte_order_mark_is_reported() {
    let place = place();
    let path = place.path().join("mark.json");
    fs::write(&path, "\u{feff}{\"version\":1,\"providers\":{},\"volumes\":{}}").expect("a file");
    let output = program().args(["check", "--input"]).arg(&path).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("byte order mark"));
}

/// Commands that print, with their arguments.
const PRINTS: &[&str] = &[
    "check",
    "check --format json",
    "check --input bytes.json",
    "test",
    "render --out bundle",
    "verify bundle",
    "explain etcd-1 etcd-2",
    "diff bundle bundle",
    "pf check bytes.json",
    "pf print file",
    "schema",
    "completions bash",
    "man",
    "help",
    "help E012",
    "help errors",
    "help nothing",
    "--help",
];

#[test]
fn a_closed_pipe_causes_no_panic() {
    let place = place();
    let dead = || std::io::pipe().expect("a pipe").1;
    for line in PRINTS {
        let whole = told(place.path(), line, Stdio::null(), Stdio::null());
        assert_eq!(told(place.path(), line, dead().into(), dead().into()), whole, "{line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_never_a_panic() {
    let place = place();
    let full = || fs::File::create("/dev/full").expect("the device");
    for line in PRINTS.iter().filter(|line| **line != "--help") {
        let whole = told(place.path(), line, Stdio::null(), Stdio::null());
        let code = told(place.path(), line, full().into(), full().into());
        // A command that prints nothing on standard output cannot fail to write it.
        let prints = !line.contains("bytes.json") && !matches!(*line, "pf print file" | "help nothing");
        assert_eq!(code, if prints { Some(2) } else { whole }, "{line}");
    }
}

fn told(directory: &Path, line: &str, out: Stdio, error: Stdio) -> Option<i32> {
    let mut command: Command = program();
    command.args(line.split(' ')).current_dir(directory).stdin(Stdio::null()).stdout(out).stderr(error);
    command.status().expect("the program runs").code()
}
