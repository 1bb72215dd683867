//! Hostile values, in every field and for every output language: each is refused, or stays within its place in every
//! file.

use std::io::Cursor;

use nixvol_net::model;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{fixture, rendered};

/// The fields that take a string, as JSON pointers with a harmless value.
const FIELDS: &[(&str, &str)] = &[
    ("/base", "/opt/harmless"),
    ("/stateDir", "/var/db/harmless"),
    ("/logFile", "/var/log/harmless.log"),
    ("/hostsFile", "/etc/harmless"),
    ("/anchor", "com.apple/harmless"),
    ("/providers/gcp/bridge", "bridge-harmless"),
    ("/providers/gcp/network", "10.21.0.0/16"),
    ("/providers/gcp/gateway", "10.21.0.1/16"),
    ("/providers/gcp/attachment", "bridge"),
    ("/volumes/db/mountPoint", "/Volumes/harmless"),
    ("/volumes/db/address", "10.21.7.9"),
    ("/volumes/db/localhost", "127.0.1.11"),
    ("/volumes/db/provider", "gcp"),
    ("/volumes/db/attachment", "host"),
    ("/localhost/bridge", "bridge-harmless"),
    ("/localhost/gateway", "127.0.1.1/25"),
    ("/links/0/protocol", "tcp"),
    ("/links/0/ports/0", "5432"),
    ("/links/0/from/0", "api"),
    ("/allowOverlap/0", "10.20.0.0/16"),
];

/// The declaration with a value in a field, or as a name.
fn with(pointer: &str, value: &str) -> Value {
    let mut input = fixture("rich.json");
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    match input.pointer_mut(parent).expect("the parent of the field") {
        Value::Array(items) => items[field.parse::<usize>().expect("an index")] = json!(value),
        fields => fields[field] = json!(value),
    }
    input
}

/// Fragments with a meaning to a shell, pf, XML, JSON, hosts files, templates, or a terminal.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "'",
            "\"",
            "`id`",
            "$(id)",
            "${IFS}",
            "\\",
            ";",
            "&",
            "|",
            "#",
            " ",
            "\t",
            "\n",
            "\r",
            "\0",
            "\u{1b}[2J",
            "!",
            "*",
            "</string>",
            "<true/>",
            "&amp;",
            "]]>",
            "<!--",
            "-->",
            "{{ base }}",
            "{% raw %}",
            "{# #}",
            "any",
            "pass quick all",
            "{ }",
            "<nixvol>",
            "$egress",
            "EOF",
            "END",
            "TABLE",
            "..",
            "/",
            "//",
            "/etc",
            "-rf",
            "%s",
            "\u{202e}",
            "\u{2028}",
            "é",
            "漢",
        ])
        .prop_map(str::to_owned),
        "[a-z0-9/-]{1,4}",
    ];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

/// The escaped forms in which a value may appear in the file of this path.
fn written(path: &str, value: &str) -> Vec<String> {
    let json = json!(value).to_string();
    let xml = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    match path.rsplit('.').next() {
        Some("sh") => vec![value.replace('\'', "'\\''"), value.to_owned()],
        Some("plist" | "svg") => vec![xml],
        Some("json") => vec![json[1..json.len() - 1].to_owned()],
        _ => vec![value.to_owned()],
    }
}

proptest! {
    #![proptest_config(crate::support::cases(1500))]

    #[test]
    fn a_hostile_value_is_refused_or_stays_in_its_place(field in proptest::sample::select(FIELDS), text in hostile(), rooted in any::<bool>()) {
        let (pointer, harmless) = field;
        let value = if rooted { format!("/{text}") } else { text };
        prop_assume!(!value.chars().all(|c| c.is_ascii_alphanumeric() || "./-".contains(c)));
        let Ok(_) = model::read(with(pointer, &value).to_string().as_bytes()) else { return Ok(()) };
        let (hostile, expected) = (rendered(&with(pointer, &value)), rendered(&with(pointer, harmless)));
        prop_assert!(hostile.files.keys().eq(expected.files.keys()));
        for (path, file) in &hostile.files {
            let before = &expected.files[path].text;
            // Lines may differ only where the harmless value stood, and only by the value in the file's own escaping.
            let pairs: Vec<(&str, &str)> = before.split('\n').zip(file.text.split('\n')).collect();
            prop_assert_eq!(before.split('\n').count(), file.text.split('\n').count(), "{} has other lines", path);
            for (before, after) in pairs.into_iter().filter(|(before, after)| before != after) {
                let placed = written(path, &value).iter().any(|value| before.replace(harmless, value) == after);
                prop_assert!(placed, "{}: {:?} became {:?}", path, before, after);
            }
        }
    }

    #[test]
    fn a_hostile_name_is_refused(text in hostile(), volume in any::<bool>()) {
        let mut input = fixture("rich.json");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        prop_assume!(text.starts_with('-') || !text.chars().all(plain));
        if volume {
            input["volumes"][&text] = json!({ "provider": "aws", "address": "10.20.9.9" });
        } else {
            input["providers"][&text] = json!({ "network": "10.99.0.0/16", "gateway": "10.99.0.1/24" });
        }
        let rejected = model::read(input.to_string().as_bytes()).expect_err("a hostile name");
        prop_assert!(rejected.problems.iter().any(|problem| problem.kind.code() == "E010"));
        // The error message cannot redraw the terminal.
        for problem in rejected.problems {
            let told = format!("{} {} {}", problem.at, problem.message(), problem.kind.hint().unwrap_or_default());
            prop_assert!(!told.chars().any(char::is_control), "{:?}", told);
        }
    }
}

#[test]
fn a_property_list_reader_reads_the_hostile_path_back() {
    let base = "/opt/<b>&amp; \"it's\" `id` $(id) ]]> é";
    let bundle = rendered(&with("/base", base));
    let text = &bundle.files["launchd/org.nix-volumes.networking.plist"].text;
    let list = plist::Value::from_reader_xml(Cursor::new(text)).expect("a property list");
    let arguments =
        list.as_dictionary().and_then(|job| job.get("ProgramArguments")?.as_array()).expect("arguments");
    let arguments: Vec<&str> = arguments.iter().filter_map(plist::Value::as_string).collect();
    assert_eq!(arguments, [&format!("{base}/networking/manage-macos-networking.sh"), "reconcile"]);
}
