//! `diff`: what is written around the words: witnesses, colours, the summary, and a comment that has to fit.

use std::net::Ipv4Addr;

use nixvol_net::diff::record::DiffRecord;
use nixvol_net::diff::{Diff, FieldChange, FileChange, ObjectChange, Presence, markdown, text};
use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::{Flow, Opener};
use serde_json::{Value, json};

use crate::diff::{diff, narrow};
use crate::support::providers;

fn flow(opener: Opener, protocol: u8, port: u16) -> String {
    text::flow(&Flow { opener, destination: Ipv4Addr::new(10, 2, 1, 2), protocol, port })
}

#[test]
fn a_flow_has_ports_only_where_its_protocol_does() {
    let volume = Opener::Address(Ipv4Addr::new(10, 0, 1, 2));
    assert_eq!(flow(volume, TCP, 2379), "tcp 10.0.1.2:40000 -> 10.2.1.2:2379");
    assert_eq!(flow(volume, UDP, 53), "udp 10.0.1.2:40000 -> 10.2.1.2:53");
    assert_eq!(flow(volume, ICMP, 0), "icmp 10.0.1.2 -> 10.2.1.2");
    assert_eq!(flow(volume, 47, 0), "protocol 47 10.0.1.2 -> 10.2.1.2");
    assert_eq!(flow(Opener::ThisMac, TCP, 80), "tcp this Mac -> 10.2.1.2:80");
    assert_eq!(flow(Opener::ThisMac, ICMP, 0), "icmp this Mac -> 10.2.1.2");
}

/// The witness of the only change between two declarations of which the second has this link.
fn witness(link: Value) -> Value {
    let mut new = providers(2);
    new["links"] = json!([link]);
    let diff = diff(&providers(2), &new);
    let record = serde_json::to_value(DiffRecord::of(&diff, false)).expect("JSON");
    record["flows"][0]["changes"][0]["witness"].clone()
}

#[test]
fn a_recorded_witness_has_ports_only_where_its_protocol_does() {
    assert_eq!(
        witness(json!({ "from": ["p0"], "to": ["p1"], "protocol": "udp", "ports": [53] })),
        json!({ "protocol": "udp", "source": "10.0.0.7", "sourcePort": 40000, "destination": "10.0.1.7", "port": 53 })
    );
    assert_eq!(
        witness(json!({ "from": ["p0"], "to": ["p1"], "protocol": "icmp" })),
        json!({ "protocol": "icmp", "source": "10.0.0.7", "destination": "10.0.1.7" })
    );
}

/// A difference in which a provider is new, so that there are statements of each sign.
fn added() -> Diff {
    diff(&providers(1), &providers(2))
}

/// No difference at all, to be filled.
fn none() -> Diff {
    diff(&providers(1), &providers(1))
}

fn file(presence: Presence, path: &str, unified: &str) -> FileChange {
    FileChange { path: path.to_owned(), presence, added: 1, removed: 1, unified: unified.to_owned() }
}

fn object(presence: Presence, name: &str) -> ObjectChange {
    let fields = vec![FieldChange { field: "port", old: Some("a".to_owned()), new: Some("b".to_owned()) }];
    ObjectChange { presence, kind: "volume", name: name.to_owned(), fields }
}

fn coloured(diff: &Diff) -> String {
    text::text(diff, text::Style { colour: true, lines: true })
}

#[test]
fn what_opens_warns_and_what_closes_is_calm() {
    let mut diff = added();
    diff.files.clear();
    let shown = coloured(&diff);
    for line in [
        "\u{1b}[1mFlows\u{1b}[0m",
        "\u{1b}[36m- closes p0 -> p1 (outside before) any protocol\u{1b}[0m",
        "    \u{1b}[2muntouched before, passed now: tcp 127.0.0.1:40000 -> 10.0.1.7:443\u{1b}[0m",
        "\u{1b}[33m+ now passes localhost, this Mac -> p1 (outside before) any protocol\u{1b}[0m",
        "\u{1b}[1m~ now answered p1 (outside before) -> p0 any protocol\u{1b}[0m",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let plain = text::text(&diff, text::Style::default());
    assert!(!plain.contains('\u{1b}'), "{plain}");
}

#[test]
fn objects_files_and_lines_have_the_colour_of_their_sign() {
    let mut diff = none();
    diff.objects =
        vec![object(Presence::Added, "x"), object(Presence::Removed, "y"), object(Presence::Changed, "z")];
    let unified = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n same\n-old\n+new\n";
    diff.files = vec![file(Presence::Changed, "f", unified)];
    assert_eq!(
        coloured(&diff),
        "\u{1b}[1mFlows\u{1b}[0m
  no flow opens or closes

\u{1b}[1mProviders, volumes and settings\u{1b}[0m
\u{1b}[32m+ volume x: port b\u{1b}[0m
\u{1b}[31m- volume y: port a\u{1b}[0m
\u{1b}[33m~ volume z: port a -> b\u{1b}[0m

\u{1b}[1mFiles\u{1b}[0m
\u{1b}[33m~ f (+1 -1)\u{1b}[0m

\u{1b}[1mLines\u{1b}[0m
\u{1b}[31m--- a/f\u{1b}[0m
\u{1b}[32m+++ b/f\u{1b}[0m
@@ -1 +1 @@
 same
\u{1b}[31m-old\u{1b}[0m
\u{1b}[32m+new\u{1b}[0m
"
    );
}

#[test]
fn a_line_of_a_file_cannot_control_the_terminal() {
    let file = file(Presence::Changed, "f", "+\tone\u{1b}[31m\n two\r\u{7}\n");
    let lines: Vec<String> = file.lines().collect();
    assert_eq!(lines, ["+\tone\u{fffd}[31m", " two\u{fffd}\u{fffd}"]);
}

/// A provider with one volume.
fn place(name: &str, address: &str) -> Value {
    let mut input = providers(1);
    input["volumes"][name] = json!({ "provider": "p0", "address": address });
    input
}

/// The narrow topology with another value of a field of its second link.
fn with(field: &str, value: Value) -> Diff {
    let mut new = narrow();
    new["links"][1][field] = value;
    diff(&narrow(), &new)
}

#[test]
fn each_part_alone_is_a_difference() {
    let only = |fill: &dyn Fn(&mut Diff)| {
        let mut diff = none();
        assert!(diff.is_empty());
        fill(&mut diff);
        assert!(!diff.is_empty());
        let shown = text::text(&diff, text::Style::default());
        let is_same = serde_json::to_value(DiffRecord::of(&diff, false)).expect("JSON")["same"].clone();
        assert_eq!(is_same, false, "{shown}");
        shown.lines().rfind(|line| !line.is_empty() && !line.starts_with(' ')).expect("a line").to_owned()
    };
    assert_eq!(
        only(&|diff| diff.flows = added().flows),
        "~ now answered p1 (outside before) -> p0 any protocol"
    );
    assert_eq!(
        only(&|diff| diff.translations = with("masquerade", json!(true)).translations),
        "+ masquerades etcd-1, etcd-2 -> etcd-1, etcd-2, etcd-3 tcp 2379-2380"
    );
    let renamed = |diff: &mut Diff| {
        diff.volumes = self::diff(&place("v", "10.0.0.9"), &place("w", "10.0.0.9")).volumes;
    };
    assert_eq!(only(&renamed), "~ renamed v to w (10.0.0.9 of p0)");
    let slow = |diff: &mut Diff| diff.conditions = with("conditions", json!({ "latencyMs": 5 })).conditions;
    assert!(only(&slow).starts_with("+ conditions etcd-1, etcd-2 -> "), "{}", only(&slow));
    assert_eq!(only(&|diff| diff.objects = vec![object(Presence::Added, "x")]), "+ volume x: port b");
    assert_eq!(only(&|diff| diff.files = vec![file(Presence::Removed, "f", "")]), "- f (+1 -1)");
}

#[test]
fn the_summary_counts_what_there_is() {
    assert_eq!(none().summary(), "no difference");
    let mut files = none();
    files.files = vec![file(Presence::Changed, "f", "")];
    assert_eq!(files.summary(), "no flow opened or closed");
    assert_eq!(added().summary(), "2 opened, 2 closed, 1 otherwise");
    assert_eq!(with("masquerade", json!(true)).summary(), "1 translated differently");
    assert_eq!(
        diff(&place("v", "10.0.0.9"), &place("w", "10.0.0.9")).summary(),
        "1 volume added, removed, moved or renamed"
    );
    assert_eq!(
        diff(&place("v", "10.0.0.9"), &place("w", "10.0.0.10")).summary(),
        "2 volumes added, removed, moved or renamed"
    );
}

/// The longest text that a comment may have, as the module says.
const LONGEST: usize = 60_000;

#[test]
fn a_comment_that_is_too_long_leaves_out_whole_lines_and_says_how_many() {
    let comment = |lines: &[String]| {
        let mut diff = none();
        diff.files = vec![file(Presence::Changed, "f", &lines.join("\n"))];
        (markdown::markdown(&diff, false).len(), markdown::markdown(&diff, true))
    };
    let (before, _) = comment(&[]);
    // A line takes its length and a line break.
    let fits = "x".repeat(LONGEST - before - 1);
    let (_, text) = comment(std::slice::from_ref(&fits));
    assert!(text.contains(&fits) && !text.contains("left out"));
    let (_, text) = comment(&[fits + "x"]);
    assert!(text.contains("```diff\n(1 more line is left out here)\n```"), "{text}");
    let half = "y".repeat((LONGEST - before) / 2);
    let (_, text) = comment(&[half.clone(), half.clone(), half.clone()]);
    assert!(text.contains(&format!("```diff\n{half}\n(2 more lines are left out here)\n```")));
}
