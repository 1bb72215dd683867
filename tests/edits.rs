//! Edits of the user's Nix file: on a corpus of ways to write a configuration, and through the program. Nix itself
//! evaluates the results.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use nixvol_net::edit::{Change, EntryKind, Fields, ListOption, NixFile};
use nixvol_net::model::{self, Declaration};
use nixvol_net::place::Positions;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::nix::{evaluate, with_darwin};
use crate::support::{files_below, root, run};

/// The corpus: text of each file by its name.
pub fn corpus() -> BTreeMap<String, String> {
    let files = files_below("tests/nix/edits");
    let nix = |path: &&std::path::PathBuf| path.parent() == Some(Path::new("tests/nix/edits"));
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(root().join(path)).expect("a file of the corpus");
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), text)
    };
    let corpus: BTreeMap<String, String> = files.iter().filter(nix).map(read).collect();
    assert!(corpus.len() > 15);
    corpus
}

pub fn parse(text: &str) -> NixFile<'_> {
    NixFile::parse(text, &[]).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

/// The declaration without its source positions.
pub fn declaration(json: &Value) -> Declaration {
    let read = model::read(json.to_string().as_bytes());
    let declaration = read.unwrap_or_else(|rejected| panic!("{:#?}\n{json:#}", rejected.problems));
    Declaration { positions: Positions::default(), ..declaration }
}

/// Evaluates texts with Nix, all in one run.
pub fn by_nix(texts: &[String]) -> Vec<Value> {
    let whole: Vec<(String, Option<String>)> = texts.iter().map(|text| (text.clone(), None)).collect();
    by_nix_of(&whole)
}

/// Evaluates a text each for one of its configurations.
pub fn by_nix_of(texts: &[(String, Option<String>)]) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = String::new();
    for (index, (text, host)) in texts.iter().enumerate() {
        let path = directory.path().join(format!("{index}.nix"));
        fs::write(&path, text).expect("a file");
        let _ = match host {
            None => write!(files, " {}", path.display()),
            Some(host) => write!(files, " {{ file = {}; host = {host:?}; }}", path.display()),
        };
    }
    let values = evaluate(&format!("import ./tests/nix/edits.nix {{ files = [{files} ]; }}"));
    let values = values.unwrap_or_else(|error| panic!("{error}"));
    values.as_array().expect("a list").clone()
}

pub fn volume(name: &str, before: &Declaration) -> Change {
    let provider = before.providers.keys().next().expect("a provider").to_string();
    let fields: Fields = vec![
        ("provider", json!(provider)),
        ("address", json!(before.free_address(&provider))),
        ("localhost", json!(before.free_alias())),
    ];
    Change::Add { kind: EntryKind::Volume, name: name.to_owned(), fields }
}

pub fn provider(name: &str, before: &Declaration) -> Change {
    let network = before.free_network().expect("a network");
    let gateway = before.gateway_for(network).expect("a gateway").to_string();
    let fields = vec![("network", json!(network)), ("gateway", json!(gateway))];
    Change::Add { kind: EntryKind::Provider, name: name.to_owned(), fields }
}

pub fn link(before: &Declaration) -> Change {
    let ends: Vec<String> = before.providers.keys().take(2).map(ToString::to_string).collect();
    let fields = vec![
        ("from", json!([ends[0]])),
        ("to", json!([ends[1]])),
        ("protocol", json!("tcp")),
        ("ports", json!([443, "8000-8080"])),
    ];
    Change::AddItem { list: ListOption::Links, fields }
}

pub fn expectation(before: &Declaration) -> Change {
    let end = before.providers.keys().next().expect("a provider").to_string();
    let fields = vec![
        ("from", json!(["internet"])),
        ("to", json!([end, "any"])),
        ("passes", json!(false)),
        ("why", json!("no way in, \"ever\"")),
    ];
    Change::AddItem { list: ListOption::Expect, fields }
}

/// The additions that are tried on every file of the corpus.
pub fn additions(before: &Declaration) -> Vec<(&'static str, Change)> {
    vec![
        ("volume in front", volume("a-first", before)),
        ("volume in the middle", volume("etcd-9", before)),
        ("volume at the end", volume("zz-1", before)),
        ("provider", provider("hetzner-2", before)),
        ("link", link(before)),
        ("expectation", expectation(before)),
    ]
}

pub fn opposite(change: &Change, after: &Value) -> Change {
    match change {
        Change::Add { kind, name, .. } => Change::Remove { kind: *kind, name: name.clone() },
        Change::AddItem { list, fields } => {
            let fields: Value =
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let items = after[list.option()].as_array().expect("a list");
            let index = items.iter().position(|item| *item == fields).expect("the new one");
            Change::RemoveItem { list: *list, index }
        }
        other => other.clone(),
    }
}

/// Applies a change; returns the edited text, or why it is refused. Checks that every other byte is unchanged.
pub fn edited(text: &str, change: &Change) -> Result<String, String> {
    let file = parse(text);
    let edited = file.edited(change, &file.declared().json, None).map_err(|refused| refused.to_string())?;
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let reversed = |text: &str| text.bytes().rev().collect::<Vec<u8>>();
    let (head, tail) = (common(text, &edited), {
        let (a, b) = (reversed(text), reversed(&edited));
        a.iter().zip(&b).take_while(|(a, b)| a == b).count()
    });
    // The only text that may be replaced is white space between a pair of brackets.
    let lost = text.get(head..(text.len() - tail).max(head)).expect("text");
    assert!(lost.trim().is_empty(), "lost {lost:?} of\n{text}\n{edited}");
    Ok(edited)
}

/// Asserts that two declarations are equal, apart from positions.
#[track_caller]
pub fn assert_same(one: &Value, other: &Value, what: &str) {
    assert_eq!(declaration(one), declaration(other), "{what}");
}

/// The text with LF and with CRLF line endings.
pub fn variants(text: &str) -> [String; 2] {
    [text.to_owned(), text.replace('\n', "\r\n")]
}

#[test]
fn reading_without_nix_agrees_with_nix() {
    let corpus = corpus();
    let texts: Vec<String> = corpus.values().cloned().collect();
    for ((name, text), by_nix) in corpus.iter().zip(by_nix(&texts)) {
        let declared = parse(text).declared();
        assert_eq!(declared.unknown, [], "{name}");
        assert_eq!(declaration(&declared.json), declaration(&by_nix), "{name}");
    }
    // Also evaluated by the real module system, for modules that need nothing else.
    for name in [
        "dotted",
        "empty",
        "let-bound",
        "nested",
        "odd",
        "one-line",
        "preset",
        "preset-forced",
        "preset-override",
        "spaced",
        "tabs",
        "update",
    ] {
        with_darwin(&format!("./tests/nix/edits/{name}.nix"), "input", |input| {
            assert_eq!(declaration(&parse(&corpus[name]).declared().json), declaration(&input), "{name}");
        });
    }
}

#[test]
fn additions_to_every_style_can_be_undone() {
    let (mut shown, mut texts, mut expected) = (String::new(), Vec::new(), Vec::new());
    for (name, text) in corpus() {
        let before = parse(&text).declared().json;
        for (what, change) in additions(&declaration(&before)) {
            for (index, text) in variants(&text).iter().enumerate() {
                let new = match edited(text, &change) {
                    Ok(new) => new,
                    Err(refused) => {
                        let several = (what, &name[..]) == ("expectation", "preset-forced");
                        assert!(
                            several || (what, &name[..4]) == ("link", "pres"),
                            "{name}: {what}: {refused}"
                        );
                        continue;
                    }
                };
                assert_eq!(new.contains('\r'), index == 1 && text.contains('\n'), "{name}: {what}");
                assert!(!new.replace("\r\n", "").contains('\r'), "{name}: {what}");
                let back = opposite(&change, &parse(&new).declared().json);
                assert_eq!(edited_back(&new, &back), *text, "{name}: {what} and back, from\n{new}");
                if index == 0 {
                    let diff = TextDiff::from_lines(text, &new);
                    let diff = diff.unified_diff().context_radius(2).to_string();
                    let _ = write!(shown, "# {name}: {what}\n{diff}\n");
                }
                expected.push((format!("{name}: {what}"), change.applied(&before)));
                texts.push(new);
            }
        }
    }
    for ((what, expected), by_nix) in expected.iter().zip(by_nix(&texts)) {
        assert_same(&by_nix, expected, what);
    }
    golden("additions", &shown);
}

pub fn edited_back(text: &str, change: &Change) -> String {
    let file = parse(text);
    file.edited(change, &file.declared().json, None).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

#[test]
fn every_entry_of_every_style_can_be_removed() {
    let (mut shown, mut texts, mut expected) = (String::new(), Vec::new(), Vec::new());
    for (name, text) in corpus() {
        let before = parse(&text).declared().json;
        let mut changes = Vec::new();
        for kind in [EntryKind::Volume, EntryKind::Provider] {
            let names = before[kind.option()].as_object().expect("entries").keys();
            changes.extend(names.map(|name| Change::Remove { kind, name: name.clone() }));
        }
        let links = before["links"].as_array().map_or(0, Vec::len);
        changes.extend((0..links).map(|index| Change::RemoveItem { list: ListOption::Links, index }));
        for change in changes {
            let after = change.applied(&before);
            for (index, text) in variants(&text).iter().enumerate() {
                let file = parse(text);
                let new = match file.edited(&change, &before, None) {
                    Ok(new) => new,
                    Err(refused) => {
                        assert!(name.starts_with("pres"), "{name}: {change:?}: {refused}");
                        continue;
                    }
                };
                if index == 0 {
                    let diff = TextDiff::from_lines(text, &new);
                    let _ = write!(
                        shown,
                        "# {name}: {}\n{}\n",
                        words(&change),
                        diff.unified_diff().context_radius(2)
                    );
                }
                // A result without providers, or whose links name removed entries, is no valid declaration to compare.
                if model::read(after.to_string().as_bytes()).is_ok() {
                    expected.push((format!("{name}: {}", words(&change)), declaration(&after)));
                    texts.push(new);
                }
            }
        }
    }
    for ((what, expected), by_nix) in expected.iter().zip(by_nix(&texts)) {
        assert_eq!(declaration(&by_nix), *expected, "{what}");
    }
    assert!(texts.len() > 20);
    golden("removals", &shown);
}

pub fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "snapshots/edits", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

fn words(change: &Change) -> String {
    match change {
        Change::Remove { kind, name } => format!("{} {name}", kind.word()),
        Change::RemoveItem { list, index } => format!("{}.{index}", list.option()),
        other => format!("{other:?}"),
    }
}

/// Runs the program on a temporary file with this text; returns its output, and the file's text afterwards.
pub fn program_on(text: &str, arguments: &[&str], input: &str) -> (std::process::Output, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mac.nix");
    fs::write(&path, text).expect("a file");
    let mut all: Vec<&str> = arguments.to_vec();
    let file = path.display().to_string();
    all.extend(["--file", &file]);
    let mut output = run(&all, input);
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&file, "mac.nix").into_bytes();
    (output.stdout, output.stderr) = (name(&output.stdout), name(&output.stderr));
    let left: Vec<_> = fs::read_dir(directory.path()).expect("a directory").collect();
    assert_eq!(left.len(), 1, "something was left beside the file");
    (output, fs::read_to_string(path).expect("the file"))
}

#[track_caller]
pub fn refused(text: &str, arguments: &[&str], input: &str) -> String {
    let (output, after) = program_on(text, arguments, input);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}\n{after}");
    assert!(output.stdout.is_empty());
    assert_eq!(after, text, "a refused edit changed the file");
    error
}

const ADD: [&str; 5] = ["add", "volume", "etcd-9", "--provider", "aws"];

#[test]
fn unsafe_edits_are_refused_with_what_to_write() {
    let mut shown = String::new();
    let whole = crate::support::default_input().to_string();
    for path in files_below("tests/nix/edits/refused") {
        let text = fs::read_to_string(root().join(&path)).expect("a file");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let add = ["add", "volume", "a-1", "--provider", "aws", "--address", "10.0.7.7", "--input", "-"];
        for arguments in [&ADD[..], &add, &["remove", "volume", "etcd-1", "--input", "-"]] {
            let told = refused(&text, arguments, &whole);
            let _ = write!(shown, "# {name}: {}\n{told}\n", arguments.join(" "));
        }
    }
    golden("refused", &shown);
}

#[test]
fn a_value_in_place_of_a_set_is_refused() {
    for text in [
        "{ services.nixvol-net = 5; }",
        "{ services.nixvol-net.volumes = \"x\"; }",
        "{ services.nixvol-net.volumes.a = [ ]; }",
        "{ services = { inherit nixvol-net; }; }",
    ] {
        let error = refused(text, &ADD, "");
        assert!(error.contains("cannot be determined from this file alone"), "{error}");
    }
}

#[test]
fn an_edit_that_does_not_pass_check_is_not_written() {
    let nested = &corpus()["nested"];
    let error =
        refused(nested, &["add", "volume", "x", "--provider", "hetzner", "--address", "10.0.1.2"], "");
    for words in [
        "E043",
        "`10.0.1.2` is taken by volume `etcd-1`",
        "mac.nix:26:",
        "`10.0.1.3` is free",
        "nothing was written",
    ] {
        assert!(error.contains(words), "`{words}` is not in:\n{error}");
    }
    for (arguments, words) in [
        (&["add", "volume", "Etcd", "--provider", "aws"][..], "E010"),
        (&["add", "volume", "x", "--provider", "aws", "--localhost", "10.0.0.1"], "E052"),
        (&["add", "volume", "x", "--provider", "aws", "--mount-point", "Volumes"], "E012"),
        (&["add", "volume", "x", "--provider", "awss"], "did you mean `aws`?"),
        (&["add", "volume", "etcd-1", "--provider", "aws"], "volume `etcd-1` is already there"),
        (&["add", "provider", "lab", "--network", "10.1.128.0/17"], "E025"),
        (&["add", "provider", "lab", "--network", "lan"], "not a network"),
        (&["add", "link", "--from", "aws", "--to", "nobody"], "E060"),
        (&["add", "link", "--from", "aws", "--to", "hetzner", "--port", "90-80"], "E063"),
        (&["remove", "volume", "etcd-1"], "links.1.to.0"),
        (&["remove", "volume", "etcd-3"], "did you mean `etcd-"),
        (&["remove", "provider", "aws"], "there is no provider \"aws\""),
        (&["remove", "link", "7"], "`links.0` to `links.1` are declared"),
        (&["remove", "link", "--from", "aws", "--to", "aws"], "no link has these ends"),
        (&["add", "volume", "x", "--provider", "aws", "--at", "2"], "nothing on line 2"),
    ] {
        let error = refused(nested, arguments, "");
        assert!(error.contains(words), "`{words}` is not in:\n{error}");
    }
}

#[test]
fn omitted_values_are_chosen_and_reported() {
    let nested = &corpus()["nested"];
    let done = |arguments: &[&str]| {
        let (output, after) = program_on(nested, arguments, "");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8_lossy(&output.stdout).into_owned(), after)
    };
    // The first line reports the edit; its effect on flows follows.
    let told = |arguments: &[&str]| {
        let (said, after) = done(arguments);
        let (first, effect) = said.split_once("\n\n").expect("an effect");
        assert!(effect.contains("Providers, volumes and settings\n") || effect.contains("Flows\n"), "{said}");
        (first.to_owned(), after)
    };
    let (said, after) = told(&ADD);
    assert_eq!(said, "mac.nix: added volume `etcd-9`: provider aws, address 10.1.1.3, localhost 127.0.1.2");
    assert!(after.contains("      etcd-9 = {\n        provider = \"aws\";\n"));

    let (diff, same) = done(&[&ADD[..], &["--dry-run"]].concat());
    assert_eq!(same, *nested, "a dry run wrote");
    assert!(diff.starts_with("--- mac.nix\n+++ mac.nix\n@@ "), "{diff}");
    assert!(diff.contains("\n+      etcd-9 = {\n"), "{diff}");

    let (record, _) = done(&[&ADD[..], &["--format", "json", "--publish", "80,443", "--dry-run"]].concat());
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!((&record["written"], &record["file"]), (&json!(false), &json!("mac.nix")));
    assert!(record["diff"].as_str().expect("a diff").contains("publish = [ 80 443 ];"), "{record:#}");

    let guest = told(&["add", "volume", "vm", "--provider", "aws", "--attachment", "guest"]).0;
    assert!(guest.ends_with("address 10.1.1.3, attachment guest"), "a guest needs no alias: {guest}");
    let bare = told(&["add", "volume", "vm", "--provider", "aws", "--localhost", "none"]).0;
    assert!(bare.ends_with("address 10.1.1.3"), "{bare}");

    let (said, _) = told(&["add", "provider", "lab", "--no-internet"]);
    assert_eq!(
        said,
        "mac.nix: added provider `lab`: network 10.2.0.0/16, gateway 10.2.1.1/24, internet false"
    );
    let (said, after) = told(&["remove", "link", "--to", "aws", "--from", "hetzner"]);
    assert_eq!((said.as_str(), after.contains("6443")), ("mac.nix: removed `links.0`", false));
}

#[test]
fn a_partial_file_is_edited_with_the_whole_declaration_as_input() {
    let part = "{ lib, ... }: {\n  services.nixvol-net.volumes.etcd-1.publish = [ 2379 ];\n}\n";
    let whole = crate::support::default_input().to_string();
    let error = refused(part, &ADD, "");
    assert!(error.contains("only what mac.nix says was looked at") && error.contains("--input -"), "{error}");
    let (output, after) = program_on(part, &[&ADD[..], &["--input", "-"]].concat(), &whole);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(after.contains(
        "  services.nixvol-net.volumes.etcd-9 = {\n    provider = \"aws\";\n    address = \"10.0.1.3\";"
    ));
    // What other files declare is taken into account.
    let error = refused(part, &[&ADD[..], &["--input", "-", "--address", "10.0.2.2"]].concat(), &whole);
    assert!(
        error.contains("E043") && error.contains("`talos-control-plane-1`")
            || error.contains("volumes.talos-control-plane-1"),
        "{error}"
    );
    let error = refused(part, &["remove", "volume", "etcd-2", "--input", "-"], &whole);
    assert!(error.contains("volume `etcd-2` is declared in another file"), "{error}");

    // A file that is imported as the value of an option.
    let value = "{\n  etcd-1 = { provider = \"aws\"; address = \"10.0.1.2\"; };\n}\n";
    let arguments = [&ADD[..], &["--input", "-", "--as", "services.nixvol-net.volumes"]].concat();
    let (output, after) = program_on(value, &arguments, &whole);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(after.contains("\n  etcd-9 = { provider = \"aws\"; address = \"10.0.1.3\";"), "{after}");
}

#[test]
fn one_of_several_places_is_chosen_by_its_line() {
    let text = fs::read_to_string(root().join("tests/nix/edits/refused/several.nix")).expect("a file");
    let whole = crate::support::default_input().to_string();
    for (line, before) in [("7", "volumes.a = {"), ("15", "volumes.b = {")] {
        let arguments = [&ADD[..], &["--input", "-", "--at", line]].concat();
        let (output, after) = program_on(&text, &arguments, &whole);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let above = after.split("volumes.etcd-9").next().expect("text").trim_end();
        assert!(above.lines().rev().nth(1).expect("a line").contains(before), "{after}");
    }
}

#[test]
fn a_file_keeps_its_mode_and_its_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let directory = tempfile::tempdir().expect("a directory");
    let (real, link) = (directory.path().join("real.nix"), directory.path().join("link.nix"));
    fs::write(&real, &corpus()["nested"]).expect("a file");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("its mode");
    symlink("real.nix", &link).expect("a link");
    let link = link.display().to_string();
    let output = run(&[&ADD[..], &["--file", &link]].concat(), "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    assert_eq!(fs::metadata(&real).expect("the file").permissions().mode() & 0o7777, 0o640);
    assert!(fs::read_to_string(&real).expect("the file").contains("etcd-9"));

    fs::set_permissions(&real, fs::Permissions::from_mode(0o440)).expect("its mode");
    let output = run(&["remove", "volume", "etcd-9", "--file", &link], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("read-only"));
}
