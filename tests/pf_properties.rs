//! Laws of the pf reader: it never panics, and what it prints reads back as the same ruleset.
//!
//! `PF_INPUTS=N cargo test pf_properties` tries N inputs of each kind instead of the ordinary number.

use std::path::Path;

use nixvol_net::pf::{Environment, parse, print};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::pf_corpus::{environment, pairs};

fn runner(ordinary: u32) -> TestRunner {
    let inputs = std::env::var("PF_INPUTS").ok().and_then(|number| number.parse().ok());
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(inputs.unwrap_or(ordinary)) })
}

/// parse(print(parse(x))) == parse(x), where x is accepted at all.
fn law(text: &str, environment: &Environment) -> Result<bool, TestCaseError> {
    let Ok(ruleset) = parse(text, environment) else {
        return Ok(false);
    };
    let printed = print(&ruleset);
    let again = parse(&printed, environment).map_err(|errors| {
        TestCaseError::fail(format!("{text:?}\nprints {printed:?}\nrefused: {errors:?}"))
    })?;
    prop_assert_eq!(ruleset.without_places(), again.without_places(), "{:?} prints {:?}", text, printed);
    prop_assert_eq!(&print(&again), &printed);
    Ok(true)
}

/// Words, signs and line breaks of every kind that the grammar knows, and some that it does not.
#[rustfmt::skip]
const SOUP: &[&str] = &[
    "pass", "block", "in", "out", "log", "quick", "on", "from", "to", "all", "any", "port", "proto", "tcp", "udp",
    "icmp", "inet", "inet6", "keep", "state", "flags", "S/SA", "label", "\"x $nr\"", "tag", "tagged", "!", "{", "}",
    "(", ")", ",", "\n", "\n", "\n", "=", "<", ">", "><", "<>", "->", "/", "-", "nat", "rdr", "binat", "no", "scrub",
    "anchor", "nat-anchor", "dummynet", "dummynet-anchor", "scrub-anchor", "load", "table", "<t>", "const",
    "persist", "set", "skip", "timeout", "limit", "10.0.0.0/8", "1.2.3.4", "::1", "fe80::1%lo0", "lo0", "en0",
    "(en0:0)", "(lo0:network)", "22", "ssh", "1024:2048", "80:*", "0", "-1", "99999999999999999999", "user", "root",
    "group", "icmp-type", "echoreq", "code", "tos", "0x10", "probability", "50%", "rtable", "route-to", "dup-to",
    "round-robin", "static-port", "source-hash", "sticky-address", "extfilter", "ei", "pipe", "return", "return-rst",
    "return-icmp", "ttl", "fragment", "reassemble", "no-df", "min-ttl", "antispoof", "for", "include", "a", "$a",
    "a = \"{ 1.2.3.4, 5.6.7.8 }\"\n", "\"", "'", "\\", "\\\n", "#", "\0", "é", "max", "max-src-conn", "10/5",
    "overload", "flush", "if-bound", "altq", "queue", "os", "synproxy", "modulate",
];

fn soup() -> impl Strategy<Value = String> {
    let glue = select(&[" ", " ", " ", " ", "", "\n"][..]);
    vec((select(SOUP), glue), 0..40).prop_map(|words| {
        let mut text: String = words.into_iter().flat_map(|(word, glue)| [word, glue]).collect();
        text.push('\n');
        text
    })
}

/// Real rulesets: the corpus where it is, and our own.
fn seeds() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places =
        ["../shared/pf-corpus/accept", "../shared/pf-corpus/reject", "tests/pf/accept", "tests/pf/reject"];
    places.into_iter().flat_map(|place| pairs(&root.join(place))).map(|(_, input, _)| input).collect()
}

/// A few edits: (where, how many bytes go, what comes).
type Edits = Vec<(prop::sample::Index, usize, String)>;

fn edited(mut text: String, edits: Edits) -> String {
    for (at, gone, new) in edits {
        let mut boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        boundaries.push(text.len());
        let from = at.index(boundaries.len());
        let to = (from + gone).min(boundaries.len() - 1);
        text.replace_range(boundaries[from]..boundaries[to], &new);
    }
    text
}

#[test]
fn no_soup_of_tokens_panics() {
    let environment = environment();
    let run = |text: String| law(&text, &environment).map(drop);
    runner(50_000).run(&soup(), run).unwrap();
}

#[test]
fn no_bytes_panic() {
    let environment = environment();
    let bytes = vec(any::<u8>(), 0..200).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    runner(10_000).run(&bytes, |text| law(&text, &environment).map(drop)).unwrap();
}

#[test]
fn no_edit_of_a_real_ruleset_panics() {
    let environment = environment();
    let new = prop_oneof![select(SOUP).prop_map(str::to_owned), Just(String::new()), ".{0,3}"];
    // Long rulesets are cut, so that many edits are tried.
    let seeds = seeds().into_iter().map(|text| text.chars().take(2000).collect()).collect::<Vec<String>>();
    let input = (select(seeds), vec((any::<prop::sample::Index>(), 0..6usize, new), 1..4));
    runner(10_000).run(&input, |(seed, edits)| law(&edited(seed, edits), &environment).map(drop)).unwrap();
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

/// Filter rules that are mostly right.
fn rule() -> impl Strategy<Value = String> {
    let head = one_of(&[
        "pass",
        "pass in",
        "pass out",
        "block",
        "block drop in",
        "block return",
        "block return-icmp(host-unr)",
        "block return-icmp(1, 2) out",
        "pass in log (all, to pflog3) quick",
        "block return-rst(ttl 9)",
        "nat",
        "nat pass log",
        "no nat",
        "rdr",
        "rdr pass",
        "no rdr",
        "binat",
        "scrub",
        "scrub in",
        "dummynet in",
        "no dummynet quick",
        "anchor \"a/b\" in",
        "anchor x",
        "nat-anchor \"n/*\"",
        "rdr-anchor r",
        "dummynet-anchor \"com.apple/*\"",
        "scrub-anchor s",
    ]);
    let interface = one_of(&["", "", "on en0", "on ! lo0", "on { en0 lo0 }", "on \"a b\""]);
    let route = one_of(&[
        "",
        "",
        "",
        "fastroute",
        "route-to en0",
        "reply-to (en0 10.0.0.1)",
        "dup-to { (en0 10.0.0.1) (en1 10.0.0.2) } round-robin",
        "route-to (en0 10.0.0.0/24) random sticky-address",
    ]);
    let family = one_of(&["", "", "inet", "inet6"]);
    let protocol =
        one_of(&["", "proto tcp", "proto tcp", "proto { tcp udp }", "proto icmp", "proto 99", "proto esp"]);
    let hosts = || {
        one_of(&[
            "any",
            "10.0.0.0/8",
            "! 10.1.2.3",
            "{ 1.2.3.4, ::1 }",
            "<t>",
            "! <t>",
            "(en0)",
            "(en0:network:0)/24",
            "(lo0:peer)",
            "lo0",
            "en0:network",
            "en0:broadcast",
            "self",
            "no-route",
            "0/0",
            "! 0/0",
            "::/0",
            "1.2.3.4 - 1.2.3.9",
            "route blue",
            "fe80::1%lo0",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "{ any 10/8 }",
            "10.1",
            "localhost",
        ])
    };
    let port = || {
        one_of(&[
            "",
            "",
            "port 22",
            "port != ssh",
            "port 1:9",
            "port 5 >< 9",
            "port { <= 7 > 99 }",
            "port 7 <> 9",
        ])
    };
    let options = vec(
        one_of(&[
            "flags S/SA",
            "flags any",
            "flags /SFR",
            "keep state",
            "no state",
            "modulate state",
            "synproxy state",
            "keep state (max 100, no-sync)",
            "keep state (source-track rule, max-src-nodes 5, tcp.first 9)",
            "keep state (max-src-conn-rate 3/9, overload <bad> flush global, if-bound)",
            "keep state (floating)",
            "label \"a \\\" b\"",
            "label \"$if $srcaddr $dstport $nr\"",
            "tag x",
            "tag \"a  b\"",
            "tag keep",
            "tagged a b",
            "! tagged \"12\"",
            "probability 33.3333%",
            "probability 0.0001",
            "rtable 3",
            "allow-opts",
            "fragment",
            "user root",
            "group { 5 >< 9, wheel }",
            "user unknown",
            "icmp-type echoreq code 0",
            "icmp6-type 39",
            "icmp-type { 39 unreach code 4 }",
            "tos lowdelay",
            "pipe 7",
            "queue 9",
            "no-df",
            "min-ttl 9",
            "fragment crop",
            "reassemble tcp",
            "random-id",
            "max-mss 99",
            "os \"Linux\"",
        ]),
        0..3,
    )
    .prop_map(|options| options.join(" "));
    let target = one_of(&[
        "",
        "",
        "",
        "-> 10.0.0.1",
        "-> (en0)",
        "-> (en0:0) extfilter ei",
        "-> lo0 port 99",
        "-> { 10.0.0.1 10.0.0.2 } port 5:9 sticky-address",
        "-> 10.0.0.0/8 source-hash abc",
        "-> 0.0.0.0/0 bitmask",
        "-> <t> round-robin",
        "-> en0 static-port",
        "-> 10.0.0.1 port 8000:*",
        "-> ::1",
    ]);
    let place = (hosts(), port(), hosts(), port())
        .prop_map(|(from, from_port, to, to_port)| format!("from {from} {from_port} to {to} {to_port}"));
    (head, interface, route, (family, protocol), place, options, target).prop_map(
        |(head, interface, route, (family, protocol), place, options, target)| {
            format!("{head} {interface} {route} {family} {protocol} {place} {options} {target}\n")
        },
    )
}

fn setting() -> impl Strategy<Value = String> {
    one_of(&[
        "set require-order no\n",
        "set state-policy if-bound\n",
        "set skip on { lo0 en0 }\n",
        "set skip on none\n",
        "set block-policy return\n",
        "set timeout { tcp.first 9, frag 7 }\n",
        "set limit states 9\n",
        "set hostid 9\n",
        "set debug loud\n",
        "set optimization aggressive\n",
        "set loginterface none\n",
        "set loginterface all\n",
        "set fingerprints \"/x\"\n",
        "m = \"a \\\" b\" 7\n",
        "table <t> persist { 10/8 !10.1/16 lo0 0/0 any }\n",
        "table <t> { any } { ::1 } const\n",
        "table <t> { }\n",
        "load anchor a from \"/b c\"\n",
        "anchor {\n pass\n anchor \"y/z\" in {\n block\n }\n}\n",
        "anchor on { en0 lo0 } {\n}\n",
        "antispoof for en0\n",
        "anchor e {\n}\n",
        "antispoof log quick for (en0) inet label x\n",
        "anchor on { en0 en1 } {\n pass in\n}\n",
        "anchor k on { en0 en1 } {\n pass in\n nat-anchor q\n}\n",
    ])
}

#[test]
fn what_is_printed_reads_the_same() {
    let environment = environment();
    let text = vec(prop_oneof![4 => rule(), 1 => setting()], 1..4)
        .prop_map(|rules| format!("set require-order no\n{}", rules.concat()));
    let accepted = std::cell::Cell::new(0u32);
    let run = |text: String| {
        accepted.set(accepted.get() + u32::from(law(&text, &environment)?));
        Ok(())
    };
    runner(30_000).run(&text, run).unwrap();
    assert!(accepted.get() > 1000, "only {} inputs were rulesets", accepted.get());
}
