//! Properties of the pf reader: it never panics, and what it prints parses as the same ruleset.
//!
//! `PF_INPUTS=N cargo test pf_properties` tries N inputs of each kind.

use std::path::Path;

use nixvol_net::pf::{Environment, Names, Ruleset, parse, print, print_dry_run};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::pf_corpus::{environment, environment_with, pairs};
use crate::pf_grammar::{Known, ruleset};

fn runner(ordinary: u32) -> TestRunner {
    let inputs = std::env::var("PF_INPUTS").ok().and_then(|number| number.parse().ok());
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(inputs.unwrap_or(ordinary)) })
}

/// What `pfctl -nv` preserves of a ruleset: only the last component of an anchor's path, no `load anchor`, and of a
/// probability, which it prints with six digits, only that there is one.
fn shown(ruleset: &Ruleset) -> Ruleset {
    fn cut(ruleset: &mut Ruleset) {
        ruleset.loads.clear();
        let rules = &mut ruleset.rules;
        let lists = [&mut rules.scrub, &mut rules.nat, &mut rules.rdr, &mut rules.binat];
        for rule in lists.into_iter().chain([&mut rules.filter, &mut rules.dummynet]).flatten() {
            rule.probability = u32::from(rule.probability != 0);
            if let Some(call) = &mut rule.anchor {
                let parts: Vec<&str> = call.name.split('/').collect();
                call.name = parts.last().copied().unwrap_or_default().to_owned();
                call.path.clear();
                call.wildcard = false;
                call.body.iter_mut().for_each(|body| cut(body));
            }
        }
    }
    let mut plain = ruleset.without_places();
    cut(&mut plain);
    plain
}

/// parse(print(parse(x))) == parse(x) for every accepted x; and the output in pfctl's form parses as what it shows, and
/// prints the same again. Returns whether x was accepted.
fn law(text: &str, environment: &Environment) -> Result<bool, TestCaseError> {
    let Ok(ruleset) = parse(text, environment) else {
        return Ok(false);
    };
    let names = environment.names;
    let printed = print(&ruleset, names);
    let again = parse(&printed, environment).map_err(|errors| {
        TestCaseError::fail(format!("{text:?}\nprints {printed:?}\nrefused: {errors:?}"))
    })?;
    let same = ruleset.without_places() == again.without_places();
    prop_assert!(same, "{text:?}\nprints, and reads as another, {printed:?}");
    prop_assert_eq!(&print(&again, names), &printed);
    let dry = print_dry_run(&ruleset, names);
    let again = parse(&dry, environment)
        .map_err(|errors| TestCaseError::fail(format!("{text:?}\nprints {dry:?}\nrefused: {errors:?}")))?;
    prop_assert!(shown(&ruleset) == shown(&again), "{text:?}\nprints, and reads as another, {dry:?}");
    prop_assert_eq!(&print_dry_run(&again, names), &dry);
    Ok(true)
}

/// Keywords, operators and line breaks of every kind in the grammar, and some that are not in it.
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

/// Real rulesets: the corpus, if it is present, and our own.
fn seeds() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places =
        ["../shared/pf-corpus/accept", "../shared/pf-corpus/reject", "tests/pf/accept", "tests/pf/reject"];
    places.into_iter().flat_map(|place| pairs(&root.join(place))).map(|(_, input, _)| input).collect()
}

/// A few edits: (position, number of bytes to remove, text to insert).
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
fn random_tokens_cause_no_panic() {
    let environment = environment();
    let run = |text: String| law(&text, &environment).map(drop);
    runner(50_000).run(&soup(), run).unwrap();
}

#[test]
fn random_bytes_cause_no_panic() {
    let environment = environment();
    let bytes = vec(any::<u8>(), 0..200).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    runner(10_000).run(&bytes, |text| law(&text, &environment).map(drop)).unwrap();
}

#[test]
fn edits_of_real_rulesets_cause_no_panic() {
    let environment = environment();
    let new = prop_oneof![select(SOUP).prop_map(str::to_owned), Just(String::new()), ".{0,3}"];
    // Long rulesets are truncated, so that more edits can be tried.
    let seeds = seeds().into_iter().map(|text| text.chars().take(2000).collect()).collect::<Vec<String>>();
    let input = (select(seeds), vec((any::<prop::sample::Index>(), 0..6usize, new), 1..4));
    runner(10_000).run(&input, |(seed, edits)| law(&edited(seed, edits), &environment).map(drop)).unwrap();
}

const SYSTEMS: [Names; 2] = [Names::MacOs, Names::OpenBsd];

#[test]
fn printed_rulesets_parse_the_same() {
    for names in SYSTEMS {
        let environment = environment_with(names);
        let accepted = std::cell::Cell::new(0u32);
        let run = |text: String| {
            accepted.set(accepted.get() + u32::from(law(&text, &environment)?));
            Ok(())
        };
        runner(20_000).run(&ruleset(&Known::of(names)), run).unwrap();
        assert!(accepted.get() > 1000, "only {} inputs were rulesets", accepted.get());
    }
}

/// Checks the property for a text that must be accepted.
fn holds(text: &str, environment: &Environment) {
    let errors = parse(text, environment).err();
    assert!(errors.is_none(), "{text}{errors:?}");
    law(text, environment).unwrap_or_else(|error| panic!("{error}"));
}

/// Every number and every name of the tables: what is printed for it parses as the same.
#[test]
fn every_port_protocol_and_name_round_trips() {
    for names in SYSTEMS {
        let environment = environment_with(names);
        // Below 10,000 most ports have names.
        let ports = (0..10_000).chain((10_000..=65_535).step_by(61)).chain([26_740, 65_535]);
        let of = |port| format!("pass proto {{ tcp udp }} from any to any port {port}\n");
        holds(&ports.map(of).collect::<String>(), &environment);
        let protocols = (1..=255).map(|number| format!("pass proto {number}\n"));
        holds(&protocols.collect::<String>(), &environment);
        let known = Known::of(names);
        assert!(known.services.len() > 200 && known.protocols.len() > 100, "{}", known.services.len());
        for (list, before) in [
            (&known.services, "pass proto { tcp udp } from any to any port"),
            (&known.users, "pass user"),
            (&known.groups, "block group"),
        ] {
            let of = |name: &String| format!("{before} \"{name}\"\n");
            holds(&list.iter().map(of).collect::<String>(), &environment);
        }
        for name in &known.protocols {
            let is_ip = matches!(name.to_ascii_lowercase().as_str(), "ip" | "hopopt");
            let text = format!("pass proto \"{name}\"\n");
            assert_eq!(parse(&text, &environment).is_err(), is_ip, "{text}");
            law(&text, &environment).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn every_flag_and_type_round_trips() {
    let environment = environment();
    let letters = |bits: u8| -> String {
        let letters = "FSRPAUEW".char_indices();
        letters.filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, letter)| letter).collect()
    };
    let flags = (1..=255u8).flat_map(|mask| (0..=mask).map(move |set| (set, mask)));
    let flags = flags.filter(|(set, mask)| set & mask == *set);
    let of = |(set, mask)| format!("block proto tcp flags {}/{}\n", letters(set), letters(mask));
    holds(&flags.map(of).collect::<String>(), &environment);
    let types = (0..=255).flat_map(|kind| (0..17).map(move |code| (kind, code)));
    let of = |(kind, code)| {
        format!(
            "block inet proto icmp icmp-type {kind} code {code}\n\
             block inet6 proto icmp6 icmp6-type {kind} code {code}\n"
        )
    };
    holds(&types.map(of).collect::<String>(), &environment);
    let codes = (1..=255).map(|code| format!("block return-icmp({code}, {code}) tos {code}\n"));
    holds(&codes.collect::<String>(), &environment);
}
