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

/// The fields of a declaration with several Macs, and of a guest, with a harmless value.
const OF_MACS: &[(&str, &str)] = &[
    ("/macs/mini/endpoint", "harmless.example:51820"),
    ("/macs/mini/publicKey", "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="),
    ("/macs/mini/address", "100.127.0.77"),
    ("/macs/mini/providers/0", "gcp"),
    ("/mac", "mini"),
    ("/volumes/node/guest/mac", "52:54:00:12:34:56"),
    ("/volumes/node/guest/interface", "eth77"),
    ("/volumes/node/guest/dns/0", "10.20.1.77"),
    ("/providers/aws/region", "us-east-1"),
    ("/expect/0/why", "harmless words"),
    ("/expect/0/from/0", "api"),
    ("/expect/0/protocol", "tcp"),
];

/// The declaration of several Macs with a value in a field.
fn on_macs(pointer: &str, value: &str) -> Value {
    let mut input = fixture("macs.json");
    input["macs"]["laptop"]["publicKey"] = json!("e0iDJ3g5qbkVyVgOWBJ9ZCnHkMKAmCXQBHd3eKvXe3o=");
    input["volumes"]["node"]["guest"] =
        json!({ "mac": "52:54:00:00:00:01", "interface": "eth0", "dns": ["10.20.1.1"] });
    input["providers"]["gcp"]["region"] = json!("us-east1");
    input["expect"] = json!([{ "from": ["api"], "to": ["db"], "protocol": "tcp", "ports": [5432], "passes": true, "why": "needed" }]);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    match input.pointer_mut(parent).expect("the parent of the field") {
        Value::Array(items) => items[field.parse::<usize>().expect("an index")] = json!(value),
        fields => fields[field] = json!(value),
    }
    input
}

/// Whether every line that differs differs by the value alone, in the escaping of its file.
fn stays_in_place(hostile: &Value, expected: &Value, value: &str, harmless: &str) -> Result<(), String> {
    let (hostile, expected) = (rendered(hostile), rendered(expected));
    if !hostile.files.keys().eq(expected.files.keys()) {
        return Err("other files".to_owned());
    }
    for (path, file) in &hostile.files {
        let before = &expected.files[path].text;
        // Lines may differ only where the harmless value stood, and only by the value in the file's own escaping.
        if before.split('\n').count() != file.text.split('\n').count() {
            return Err(format!("{path} has other lines"));
        }
        let pairs = before.split('\n').zip(file.text.split('\n'));
        for (before, after) in pairs.filter(|(before, after)| before != after) {
            if !written(path, value).iter().any(|value| before.replace(harmless, value) == after) {
                return Err(format!("{path}: {before:?} became {after:?}"));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::support::cases(1500))]

    #[test]
    fn a_hostile_value_is_refused_or_stays_in_its_place(field in proptest::sample::select(FIELDS), text in hostile(), rooted in any::<bool>()) {
        let (pointer, harmless) = field;
        let value = if rooted { format!("/{text}") } else { text };
        prop_assume!(!value.chars().all(|c| c.is_ascii_alphanumeric() || "./-".contains(c)));
        let Ok(_) = model::read(with(pointer, &value).to_string().as_bytes()) else { return Ok(()) };
        let placed = stays_in_place(&with(pointer, &value), &with(pointer, harmless), &value, harmless);
        prop_assert!(placed.is_ok(), "{:?}", placed);
    }

    #[test]
    fn so_is_one_of_several_macs_and_of_a_guest(field in proptest::sample::select(OF_MACS), text in hostile()) {
        let (pointer, harmless) = field;
        prop_assume!(!text.chars().all(|c| c.is_ascii_alphanumeric() || "./-".contains(c)));
        let hostile = on_macs(pointer, &text);
        let Ok(_) = model::read(hostile.to_string().as_bytes()) else { return Ok(()) };
        let placed = stays_in_place(&hostile, &on_macs(pointer, harmless), &text, harmless);
        prop_assert!(placed.is_ok(), "{}: {:?}", pointer, placed);
    }

    #[test]
    fn a_hostile_name_is_refused(text in hostile(), kind in 0..3) {
        let mut input = fixture(if kind == 2 { "macs.json" } else { "rich.json" });
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        prop_assume!(text.starts_with('-') || !text.chars().all(plain));
        if kind == 2 {
            input["macs"][&text] = json!({ "providers": [], "endpoint": "a:1", "address": "100.127.0.9",
                "publicKey": "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=" });
        } else if kind == 1 {
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
