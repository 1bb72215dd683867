//! Several Macs in one file: which text belongs to which, and that an edit for one leaves the others unchanged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nixvol_net::edit::{Change, Choice, EntryKind, NixFile, Refused, Why};
use serde_json::{Value, json};

use crate::edits::{assert_same, by_nix_of, declaration, expectation, link, provider, refused, volume};
use crate::support::{files_below, root};

const HOSTS: [&str; 2] = ["studio", "mini"];

pub fn hosts() -> BTreeMap<String, String> {
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(root().join(path)).expect("a file");
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), text)
    };
    let files: BTreeMap<String, String> = files_below("tests/nix/edits/hosts").iter().map(read).collect();
    assert!(files.len() >= 5);
    files
}

fn chosen<'a>(text: &'a str, names: &[&str]) -> Result<NixFile<'a>, Refused> {
    let configurations = names.iter().map(|&name| name.to_owned()).collect();
    NixFile::parse(text, &[])?.choose(&Choice { configurations, line: None })
}

fn of(text: &str, host: &str) -> Value {
    chosen(text, &[host]).unwrap_or_else(|refused| panic!("{refused}\n{text}")).declared().json
}

#[test]
fn the_declaration_of_each_mac_agrees_with_nix() {
    let mut asked = Vec::new();
    for text in hosts().values() {
        asked.extend(HOSTS.map(|host| (text.clone(), Some(host.to_owned()))));
    }
    for ((text, host), by_nix) in asked.iter().zip(by_nix_of(&asked)) {
        let host = host.as_deref().expect("a host");
        let file = chosen(text, &[host]).unwrap_or_else(|refused| panic!("{refused}\n{text}"));
        assert_eq!(file.declared().unknown, [], "{host} of\n{text}");
        assert_same(&file.declared().json, &by_nix, host);
    }
}

/// The changes that are tried for each choice of Macs.
fn changes(before: &Value) -> Vec<Change> {
    let read = declaration(before);
    let mut changes = vec![volume("a-first", &read), provider("hetzner-2", &read), expectation(&read)];
    if read.providers.len() > 1 {
        changes.push(link(&read));
    }
    let volumes = before["volumes"].as_object().expect("volumes");
    for name in volumes.keys() {
        changes.push(Change::Remove { kind: EntryKind::Volume, name: name.clone() });
        let (old, new) = (name.clone(), "renamed-1".to_owned());
        changes.push(Change::Rename { kind: EntryKind::Volume, old, new });
        for provider in read.providers.keys() {
            if before["volumes"][name]["provider"] != json!(provider.as_str()) {
                let address = read.free_address(provider.as_str()).expect("an address").to_string();
                changes.push(Change::Move { name: name.clone(), provider: provider.to_string(), address });
            }
        }
    }
    for name in before["providers"].as_object().expect("providers").keys() {
        let (old, new) = (name.clone(), "cloud-9".to_owned());
        changes.push(Change::Rename { kind: EntryKind::Provider, old, new });
    }
    changes
}

#[test]
fn an_edit_for_one_mac_leaves_the_other_unchanged() {
    let (mut asked, mut expected, mut shared) = (Vec::new(), Vec::new(), 0);
    for (name, text) in hosts() {
        for names in [&HOSTS[..1], &HOSTS[1..], &HOSTS[..]] {
            let file = chosen(&text, names).unwrap_or_else(|refused| panic!("{name}: {refused}"));
            let before = file.declared().json;
            for change in changes(&before) {
                let what = format!("{name}: {names:?}: {change:?}");
                let edited = match file.edited(&change, &before, None) {
                    Ok(edited) => edited,
                    Err(refused) => {
                        // Refusals are only allowed for text that another Mac shares, or, with two Macs chosen, for
                        // text that only one of them has.
                        let is_shared = matches!(refused.why, Why::Shared { .. });
                        let is_one = matches!(refused.why, Why::NotShared { .. } | Why::Taken { .. });
                        assert!(is_shared || (names.len() == 2 && is_one), "{what}: {refused}");
                        shared += usize::from(is_shared);
                        continue;
                    }
                };
                for host in HOSTS {
                    let is_meant = names.contains(&host);
                    let was = of(&text, host);
                    let wanted = if is_meant { change.applied(&was) } else { was };
                    if nixvol_net::model::read(wanted.to_string().as_bytes()).is_err() {
                        continue;
                    }
                    expected.push((format!("{what}: {host}"), wanted));
                    asked.push((edited.clone(), Some(host.to_owned())));
                }
            }
        }
    }
    assert!(asked.len() > 100 && shared > 5, "{} edits, {shared} shared", asked.len());
    for ((what, wanted), by_nix) in expected.iter().zip(by_nix_of(&asked)) {
        assert_same(&by_nix, wanted, what);
    }
}

#[test]
fn without_a_choice_nothing_is_edited() {
    for (name, text) in hosts() {
        for arguments in [
            &["add", "volume", "etcd-9", "--provider", "aws"][..],
            &["add", "link", "--from", "aws", "--to", "gcp"],
            &["remove", "volume", "etcd-1"],
            &["rename", "volume", "etcd-1", "etcd-a"],
            &["move", "volume", "etcd-1", "--to", "gcp"],
        ] {
            let error = refused(&text, arguments, "");
            for words in [
                "the file declares 2 separate networks",
                "`--configuration studio`",
                "`--configuration mini`",
                "--at",
            ] {
                assert!(error.contains(words), "{name}: {arguments:?}: `{words}` is not in:\n{error}");
            }
        }
        let error = refused(&text, &["remove", "volume", "etcd-1", "--configuration", "minni"], "");
        assert!(
            error.contains("no configuration `minni`") && error.contains("`--configuration mini`"),
            "{error}"
        );
    }
}

#[test]
fn a_line_selects_the_mac_around_it() {
    let text = &hosts()["two"];
    let line = |words: &str| text.lines().position(|line| line.contains(words)).expect("a line") + 1;
    for (words, host) in [
        ("darwinConfigurations.studio", "studio"),
        ("# ours", "studio"),
        ("links = [", "studio"),
        ("darwinConfigurations.mini", "mini"),
        ("10.7.1.2", "mini"),
    ] {
        let choice = Choice { configurations: Vec::new(), line: Some(line(words)) };
        let file = NixFile::parse(text, &[]).and_then(|file| file.choose(&choice)).expect("a choice");
        let before = file.declared().json;
        assert_eq!(before, of(text, host), "{words}");
        let free = declaration(&before).free_address("aws").expect("an address").to_string();
        assert_eq!(free, if host == "mini" { "10.7.1.3" } else { "10.0.1.3" });
        let change = Change::Remove { kind: EntryKind::Volume, name: "etcd-1".to_owned() };
        let edited = file.edited(&change, &before, choice.line).expect("an edit");
        let other = if host == "mini" { "studio" } else { "mini" };
        assert_eq!(of(&edited, other), of(text, other));
        assert_eq!(of(&edited, host)["volumes"], json!({}));
    }
    let choice = Choice { configurations: Vec::new(), line: Some(2) };
    let refused = NixFile::parse(text, &[]).and_then(|file| file.choose(&choice)).err().expect("a refusal");
    assert!(refused.to_string().contains("line 2 is in none of the networks"), "{refused}");
}

#[test]
fn shared_text_is_changed_for_both_macs_or_not_at_all() {
    let text = &hosts()["shared"];
    let error = refused(text, &["remove", "volume", "etcd-1", "--configuration", "studio"], "");
    assert!(
        error.contains("belongs to `mini` too") && error.contains("`--configuration studio,mini`"),
        "{error}"
    );
    // Free in both networks: 10.1.1.2 is taken in one, 10.1.1.7 in the other.
    let (output, after) = crate::edits::program_on(
        text,
        &["add", "volume", "etcd-2", "--provider", "gcp", "--configuration", "studio,mini"],
        "",
    );
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for host in HOSTS {
        assert_eq!(of(&after, host)["volumes"]["etcd-2"]["address"], json!("10.1.1.3"), "{after}");
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("In studio, mini:\n"), "{said}");
    let input = of(text, "studio").to_string();
    let arguments = ["remove", "volume", "etcd-1", "--configuration", "studio,mini", "--input", "-"];
    assert!(refused(text, &arguments, &input).contains("the declaration of one configuration"));
}

/// The names of the configurations that a file declares.
fn names(text: &str) -> Vec<String> {
    let file = NixFile::parse(text, &[]).unwrap_or_else(|refused| panic!("{refused}\n{text}"));
    file.names().into_iter().map(str::to_owned).collect()
}

const VOLUME: &str = r#"{ services.nixvol-net.volumes.a = { provider = "aws"; address = "10.0.1.2"; }; }"#;
const OTHER: &str = r#"{ services.nixvol-net.volumes.b = { provider = "aws"; address = "10.0.1.3"; }; }"#;

#[test]
fn configurations_are_found_in_every_form() {
    for (text, expected) in [
        // One Mac with modules in several places.
        ("{ outputs = _: { darwinConfigurations.mac = f { modules = [ @A @B ]; }; }; }", &["mac"][..]),
        ("let a = @A; in { darwinConfigurations.mac = f { modules = [ a @B ]; }; }", &["mac"]),
        (
            "{ self, ... }: { darwinModules.x = @A; darwinConfigurations.mac = f [ self.darwinModules.x @B ]; }",
            &["mac"],
        ),
        ("let host = \"mac\"; in { darwinConfigurations.${host} = f [ @A @B ]; }", &["mac"]),
        ("let host = \"mac\"; in { darwinConfigurations = { \"${host}\" = f [ @A @B ]; }; }", &["mac"]),
        (
            "{ self, ... }: { darwinModules.n = @A; \
             darwinConfigurations.x = let inherit (self.darwinModules) n; in f [ n @B ]; }",
            &["x"],
        ),
        // A module of another flake has the same name as one of this file.
        (
            "{ nv, ... }: { darwinModules.n = @A; darwinConfigurations.x = f [ nv.darwinModules.n @B ]; }",
            &["darwinModules.n", "x"],
        ),
        // A module that no configuration imports stands for itself.
        ("{ darwinModules.x = @A; darwinConfigurations.mac = f [ @B ]; }", &["darwinModules.x", "mac"]),
        (
            "{ flake.modules.darwin.x = @A; flake.modules.darwin.y = { ... }: @B; }",
            &["modules.darwin.x", "modules.darwin.y"],
        ),
        ("let a = @A; in { imports = [ a ]; config = @B; }", &[""]),
        ("{ imports = [ @A ]; home-manager.x = 1; } // @B", &[""]),
        // Two Macs.
        ("{ darwinConfigurations.x = f @A; darwinConfigurations.y = f @B; }", &["x", "y"]),
        ("{ darwinConfigurations = { x = f @A; } // { y = f @B; }; }", &["x", "y"]),
        ("let x = f @A; y = f @B; in { darwinConfigurations = { inherit x y; }; }", &["x", "y"]),
        (
            "let darwinConfigurations = { x = f @A; y = f @B; }; in { inherit darwinConfigurations; }",
            &["x", "y"],
        ),
        (
            "{ x = lib.darwinSystem { modules = [ @A ]; }; y = lib.darwinSystem { modules = [ @B ]; }; }",
            &["x", "y"],
        ),
        ("let mk = m: darwinSystem { modules = m; }; in { x = mk [ @A ]; y = mk [ @B ]; }", &["x", "y"]),
        (
            "let m = { a = @A; b = @B; }; in { darwinConfigurations = { x = f m.a; y = f m.b; }; }",
            &["x", "y"],
        ),
        (
            "let m = { a = @A; b = @B; }; in { darwinConfigurations = with m; { x = f a; y = f b; }; }",
            &["x", "y"],
        ),
        ("{ darwinConfigurations = mapAttrs f { x = @A; y = @B; }; }", &["x", "y"]),
        // One configuration reads from another without including its module.
        ("let x = f @A; in { darwinConfigurations = { inherit x; y = f [ @B x.config.z ]; }; }", &["x", "y"]),
        // Two configurations from the same text.
        (
            "{ darwinConfigurations = lib.genAttrs [ \"x\" \"y\" ] (name: f [ @A @B ]); }",
            &["darwinConfigurations"],
        ),
    ] {
        let text = text.replace("@A", VOLUME).replace("@B", OTHER);
        assert_eq!(names(&text), expected, "{text}");
    }
}

#[test]
fn every_file_of_this_test_has_both_hosts() {
    assert!(hosts().keys().all(|name| Path::new(name).extension().is_none()));
    for (name, text) in hosts() {
        let mut found = names(&text);
        found.sort();
        assert_eq!(found, ["mini", "studio"], "{name}");
    }
}
