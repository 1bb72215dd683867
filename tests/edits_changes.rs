//! Renames and moves: on every way to write a configuration, and back again.

use std::fmt::Write;

use nixvol_net::edit::{Change, EntryKind, NixFile};
use nixvol_net::model;
use rnix::Root;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::edits::{assert_same, by_nix, corpus, declaration, golden, parse, program_on, refused, variants};

/// The tokens of a text.
fn tokens(text: &str) -> Vec<String> {
    let tokens =
        Root::parse(text).syntax().descendants_with_tokens().filter_map(rnix::NodeOrToken::into_token);
    tokens.map(|token| token.text().to_owned()).collect()
}

/// Asserts that an edit only replaced tokens as listed and left every other byte as it was.
#[track_caller]
fn only_replaces(text: &str, edited: &str, pairs: &[(&str, &str)]) {
    let (before, after) = (tokens(text), tokens(edited));
    assert_eq!(before.len(), after.len(), "from\n{text}\nto\n{edited}");
    for (old, new) in before.iter().zip(&after).filter(|(old, new)| old != new) {
        let fits =
            pairs.iter().any(|(from, to)| old.trim_matches('"') == *from && new.trim_matches('"') == *to);
        assert!(fits, "`{old}` became `{new}` in\n{edited}");
    }
}

fn names(json: &Value, kind: EntryKind) -> Vec<String> {
    json[kind.option()].as_object().expect("entries").keys().cloned().collect()
}

fn edit(text: &str, change: &Change) -> Result<String, String> {
    let file = parse(text);
    file.edited(change, &file.declared().json, None).map_err(|refused| refused.to_string())
}

#[test]
fn every_entry_of_every_style_can_be_renamed_and_back() {
    let (mut shown, mut texts, mut expected) = (String::new(), Vec::new(), Vec::new());
    for (name, text) in corpus() {
        let before = parse(&text).declared().json;
        for kind in [EntryKind::Volume, EntryKind::Provider] {
            for old in names(&before, kind) {
                let new = format!("{old}-new");
                let change = Change::Rename { kind, old: old.clone(), new: new.clone() };
                let what = format!("{name}: {} {old}", kind.word());
                for (index, text) in variants(&text).iter().enumerate() {
                    let edited = match edit(text, &change) {
                        Ok(edited) => edited,
                        Err(refused) => {
                            assert!(
                                name.starts_with("pres") && refused.contains("preset"),
                                "{what}: {refused}"
                            );
                            continue;
                        }
                    };
                    only_replaces(text, &edited, &[(&old, &new)]);
                    let back = Change::Rename { kind, old: new.clone(), new: old.clone() };
                    assert_eq!(edit(&edited, &back).as_ref(), Ok(text), "{what} and back, from\n{edited}");
                    if index == 0 {
                        let diff = TextDiff::from_lines(text, &edited);
                        let _ = write!(shown, "# {what}\n{}\n", diff.unified_diff().context_radius(0));
                    }
                    expected.push((what.clone(), change.applied(&before)));
                    texts.push(edited);
                }
            }
        }
    }
    assert!(texts.len() > 100, "{}", texts.len());
    for ((what, expected), by_nix) in expected.iter().zip(by_nix(&texts)) {
        assert_same(&by_nix, expected, what);
    }
    golden("renames", &shown);
}

#[test]
fn every_volume_of_every_style_can_move_and_back() {
    let (mut shown, mut texts, mut expected, mut added) = (String::new(), Vec::new(), Vec::new(), 0);
    for (name, text) in corpus() {
        let before = parse(&text).declared().json;
        let read = declaration(&before);
        for volume in names(&before, EntryKind::Volume) {
            let home = before["volumes"][&volume]["provider"].as_str().expect("a provider").to_owned();
            let Some(provider) = read.providers.keys().find(|it| it.as_str() != home) else { continue };
            let provider = provider.to_string();
            let address = read.free_address(&provider).expect("an address").to_string();
            let own = before["volumes"][&volume]["address"].as_str().expect("an address").to_owned();
            let change =
                Change::Move { name: volume.clone(), provider: provider.clone(), address: address.clone() };
            let what = format!("{name}: {volume}");
            for (index, text) in variants(&text).iter().enumerate() {
                let edited =
                    edit(text, &change).unwrap_or_else(|refused| panic!("{what}: {refused}\n{text}"));
                // A volume of the preset gets an overriding entry, which is an addition.
                if tokens(text).len() == tokens(&edited).len() {
                    let back =
                        Change::Move { name: volume.clone(), provider: home.clone(), address: own.clone() };
                    if text.contains(&format!("\"{own}\""))
                        && !text.contains("inherit ")
                        && name != "let-bound"
                    {
                        only_replaces(text, &edited, &[(&home, &provider), (&own, &address)]);
                        assert_eq!(edit(&edited, &back).as_ref(), Ok(text), "{what} and back");
                    }
                } else {
                    assert!(name.starts_with("pres"), "{what}: grew to\n{edited}");
                    added += 1;
                }
                if index == 0 {
                    let diff = TextDiff::from_lines(text, &edited);
                    let _ = write!(shown, "# {what}\n{}\n", diff.unified_diff().context_radius(1));
                }
                expected.push((what.clone(), change.applied(&before)));
                texts.push(edited);
            }
        }
    }
    assert!(texts.len() > 50 && added > 5, "{} moves, {added} over the preset", texts.len());
    for ((what, expected), by_nix) in expected.iter().zip(by_nix(&texts)) {
        if model::read(expected.to_string().as_bytes()).is_ok() {
            assert_same(&by_nix, expected, what);
        }
    }
    golden("moves", &shown);
}

const NET: &str = r#"{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;
  home = "aws";
  clouds = [ home "gcp" ];
in
{
  services.nixvol-net = {
    providers.aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
    providers.gcp = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
    # etcd-1 is the first
    volumes."etcd-1" = { provider = home; address = "10.0.1.2"; publish = [ ]; };
    volumes.etcd-2 = { provider = "gcp"; address = "10.1.1.2"; };
    links = [
      { from = clouds; to = [ "etcd-1" ]; protocol = "tcp"; ports = [ 2379 ]; } # etcd-1
      { from = [ "etcd-1" ]; to = lib.mkForce [ "etcd-2" ]; protocol = "icmp"; }
    ];
    expect = [ { from = [ "internet" ]; to = [ "etcd-1" "any" ]; passes = false; } ];
  };
  environment.etc."etcd".text = "${config.services.nixvol-net.volumes.etcd-1.address} ${cfg.volumes."etcd-1".address}";
}
"#;

#[test]
fn a_rename_reaches_every_mention() {
    let (output, after) = program_on(NET, &["rename", "volume", "etcd-1", "db"], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let wanted = NET
        .replace("volumes.\"etcd-1\" =", "volumes.\"db\" =")
        .replace("to = [ \"etcd-1\" ]", "to = [ \"db\" ]")
        .replace("from = [ \"etcd-1\" ]", "from = [ \"db\" ]")
        .replace("[ \"etcd-1\" \"any\" ]", "[ \"db\" \"any\" ]")
        .replace("volumes.etcd-1.address", "volumes.db.address")
        .replace("volumes.\"etcd-1\".address", "volumes.\"db\".address");
    assert_eq!(after, wanted);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(note, "note: `etcd-1` still stands on lines 11, 15 of mac.nix\n");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("mac.nix: renamed volume `etcd-1` to `db`\n\n"), "{said}");

    let (output, after) = program_on(NET, &["rename", "provider", "aws", "amazon"], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        after,
        NET.replace("home = \"aws\"", "home = \"amazon\"").replace("providers.aws", "providers.amazon")
    );
}

#[test]
fn unsafe_renames_and_moves_are_refused() {
    for (arguments, words) in [
        (&["rename", "volume", "etcd-1", "etcd-2"][..], "volume `etcd-2` is already there"),
        (&["rename", "volume", "etcd-9", "x"], "did you mean `etcd-"),
        (&["rename", "volume", "etcd-1", "gcp"], "E011"),
        (&["rename", "volume", "etcd-1", "Etcd"], "E010"),
        (&["rename", "volume", "etcd-1", "localhost"], "E015"),
        (&["rename", "provider", "aws", "internet"], "E015"),
        (&["move", "volume", "etcd-1", "--to", "aws"], "belongs to provider `aws` already"),
        (&["move", "volume", "etcd-1", "--to", "gcpp"], "did you mean `gcp`?"),
        (&["move", "volume", "etcd-1", "--to", "gcp", "--address", "10.1.1.2"], "E043"),
        (&["move", "volume", "etcd-1", "--to", "gcp", "--address", "10.0.1.9"], "E041"),
        (&["move", "volume", "etcd-9", "--to", "gcp"], "there is no volume `etcd-9`"),
        (&["add", "volume", "mac", "--provider", "aws"], "E015"),
        (&["add", "provider", "lan"], "E015"),
        (&["add", "link", "--from", "aws", "--to", "gcp", "--loss", "2"], "E009"),
        (&["add", "expect", "--from", "aws", "--to", "gcp"], "--passes"),
        (&["add", "expect", "--from", "aws", "--to", "gcp", "--passes", "--refused"], "cannot be used with"),
        (&["remove", "expect", "3"], "only `expect.0` is declared"),
    ] {
        let error = refused(NET, arguments, "");
        assert!(error.contains(words), "{arguments:?}: `{words}` is not in:\n{error}");
    }
    // The name is also used for something other than the network.
    let used =
        NET.replace("environment.etc.\"etcd\"", "networking.hostName = home; environment.etc.\"etcd\"");
    let error = refused(&used, &["rename", "provider", "aws", "amazon"], "");
    assert!(error.contains("`home` is used here for something that is not a name"), "{error}");
    let made = NET.replace("to = [ \"etcd-1\" ]", "to = [ \"etcd-${\"1\"}\" ]");
    let error = refused(&made, &["rename", "volume", "etcd-1", "db"], "");
    assert!(error.contains("which only Nix can evaluate"), "{error}");
    // Another file also names the volume.
    let mut whole = NixFile::parse(NET, &[]).expect("a file").declared().json;
    whole["links"].as_array_mut().expect("links").push(json!({ "from": ["etcd-1"], "to": ["gcp"] }));
    let error = refused(NET, &["rename", "volume", "etcd-1", "db", "--input", "-"], &whole.to_string());
    assert!(error.contains("names volume `etcd-1` too, and is not written out in this file"), "{error}");
}

#[test]
fn an_edit_prints_what_it_opens_and_closes() {
    let plain = NET.replace("home;", "\"aws\";");
    let told = |arguments: &[&str]| {
        let (output, after) = program_on(&plain, arguments, "");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8_lossy(&output.stdout).into_owned(), after)
    };
    let link = ["add", "link", "--from", "etcd-2", "--to", "aws", "--protocol", "udp", "--port", "53"];
    let (said, after) =
        told(&[&link[..], &["--latency-ms", "40", "--loss", "0.01", "--bandwidth-kbit", "9000"]].concat());
    assert!(said.contains("Flows\n+ opens ") && said.contains(" udp 53\n"), "{said}");
    assert!(said.contains("Conditions\n+ conditions "), "{said}");
    assert!(
        after.contains("conditions = { bandwidthKbit = 9000; latencyMs = 40; loss = 0.01; };"),
        "{after}"
    );
    let (said, _) = told(&["move", "volume", "etcd-1", "--to", "gcp"]);
    assert!(said.contains("- closes ") && said.contains("~ volume etcd-1: provider aws -> gcp"), "{said}");
    let (said, after) = told(&[
        "add",
        "expect",
        "--from",
        "gcp",
        "--to",
        "etcd-1",
        "--ports",
        "22",
        "--protocol",
        "tcp",
        "--refused",
        "--why",
        "no ssh",
    ]);
    assert!(said.starts_with("mac.nix: added an expectation: from gcp, to etcd-1, protocol tcp, ports 22, passes false, why no ssh\n"), "{said}");
    assert_eq!(parse(&after).declared().json["expect"][1]["why"], json!("no ssh"));
    let (record, _) = told(&[&link[..], &["--dry-run", "--format", "json"]].concat());
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["effects"][0]["diff"]["flows"][0]["change"], json!("opens"), "{record:#}");
    // An invalid declaration has no flows to compare.
    let broken =
        plain.replace("[ \"etcd-1\" ]; protocol = \"tcp\"", "[ \"etcd-1\" \"lab\" ]; protocol = \"tcp\"");
    let (output, _) = program_on(
        &broken,
        &["add", "provider", "lab", "--network", "10.9.0.0/16", "--gateway", "10.9.1.1/24"],
        "",
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("what it opens and closes is unknown"), "{said}");
}
