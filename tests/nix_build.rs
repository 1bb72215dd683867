//! What Nix builds for a user: the bundle, and the check of the accepted one. Really built, in a store of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{fixture, rendered, root, run};
use crate::tools::tool;

/// A Nix store, and a place for a user's files.
struct Store(TempDir);

impl Store {
    fn new() -> Self {
        let store = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(store.path("package/bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nixvol-net"), store.path("package/bin/nixvol-net"))
            .unwrap();
        // Nix finds its build hook relative to its installation path, which may not be accessible here.
        let nix = tool("nix").expect("nix is installed; hint: tests/run.sh installs what the tests need");
        std::os::unix::fs::symlink(nix, store.path("build-remote")).unwrap();
        store
    }

    fn path(&self, name: &str) -> String {
        // Nix refuses a store path that contains a symbolic link.
        self.0.path().canonicalize().unwrap().join(name).to_string_lossy().into_owned()
    }

    /// Builds an expression in which `it` is the derivations of `tests/nix/build.nix`.
    fn build(&self, expression: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        let it = format!(
            "import {}/tests/nix/build.nix {{ package = {}; path = {}; }}",
            root().display(),
            json!(self.path("package")),
            json!(path)
        );
        let mut command = Command::new("nix-build");
        command.args(["--no-out-link", "-E", &format!("let it = {it}; in {expression}")]);
        for (option, value) in [
            ("sandbox", "false"),
            ("build-users-group", ""),
            ("build-hook", self.path("build-remote").as_str()),
            ("substitute", "false"),
        ] {
            command.args(["--option", option, value]);
        }
        for (variable, directory) in
            [("STORE_DIR", "store"), ("STATE_DIR", "var"), ("LOG_DIR", "log"), ("CONF_DIR", "etc")]
        {
            command.env(format!("NIX_{variable}"), self.path(directory));
        }
        command.env("HOME", self.path("")).env("NIX_REMOTE", "").env_remove("NIX_CONFIG");
        command.output().expect("nix-build does not run; hint: install Nix (Debian's package is `nix-bin`)")
    }

    /// Builds the snapshot check of a fixture against the snapshot at a path.
    fn check(&self, input: &str, snapshot: &str) -> Output {
        let input =
            format!("builtins.fromJSON (builtins.readFile {}/tests/fixtures/{input})", root().display());
        self.build(&format!("it.snapshot {{ input = {input}; snapshot = {}; }}", self.path(snapshot)))
    }
}

impl Drop for Store {
    /// Store paths are read-only and could not be deleted.
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+w", &self.path("store")]).status();
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_bundle_is_the_rendered_one() {
    let store = Store::new();
    let input = format!("{}/tests/fixtures/restricted.json", root().display());
    let built = store.build(&format!("it.bundle (builtins.fromJSON (builtins.readFile {input}))"));
    assert!(built.status.success(), "{}", words(&built));
    let bundle = String::from_utf8(built.stdout).unwrap();
    for (path, file) in rendered(&fixture("restricted.json")).files {
        assert_eq!(fs::read_to_string(Path::new(bundle.trim()).join(&path)).unwrap(), file.text, "{path}");
    }
}

#[test]
fn the_bundle_of_an_invalid_declaration_is_not_built() {
    let store = Store::new();
    let built = store.build("it.bundle { version = 1; providers = { }; volumes.a = { provider = \"b\"; }; }");
    assert!(!built.status.success());
    assert!(words(&built).contains("error[E003]: volumes.a: `address` is missing"), "{}", words(&built));
}

#[test]
fn the_snapshot_check_compares_with_the_accepted_network() {
    let store = Store::new();
    // A name with characters that are special to a shell.
    let snapshot = "it's accepted";
    let missing = store.check("restricted.json", "nowhere");
    assert!(!missing.status.success());
    assert!(
        words(&missing).contains("`nowhere` is not there: nothing was accepted yet"),
        "{}",
        words(&missing)
    );

    let input = root().join("tests/fixtures/restricted.json").to_string_lossy().into_owned();
    let directory = store.path("accepted");
    let accepted = run(&["snapshot", "accept", "--dir", &directory, "--input", &input], "");
    assert!(accepted.status.success());
    fs::rename(&directory, store.path(snapshot)).unwrap();
    let named = format!("(/. + {})", json!(store.path(snapshot)));
    let same = store.build(&format!(
        "it.snapshot {{ input = builtins.fromJSON (builtins.readFile {input}); snapshot = {named}; }}"
    ));
    assert!(same.status.success(), "{}", words(&same));

    fs::rename(store.path(snapshot), &directory).unwrap();
    let other = store.check("restricted-more.json", "accepted");
    assert!(!other.status.success());
    let told = words(&other);
    let at = |part: &str| told.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{told}"));
    assert!(at("+ opens every other provider -> gcp tcp 2379-2380\n") < at("--- a/pf/anchor.conf"));
    assert!(at("--- a/pf/anchor.conf") < at("error: differs from what was accepted in"));
}
