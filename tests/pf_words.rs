//! Short notations of packets and verdicts, so that a test states what pf does in one line.

use std::net::IpAddr;

use nixvol_net::pf::eval::{Machine, Outcome, Packet, PathVerdicts, Verdict};
use nixvol_net::pf::{Environment, parse};
use serde_json::{Value, json};

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A machine with a main ruleset and anchors, loaded in this order.
pub fn machine(main: &str, anchors: &[(&str, &str)]) -> Machine {
    let mut environment = Environment::default();
    environment.add_address("en0", address("192.0.2.10"), 24);
    let mut machine = Machine::new(environment.interfaces.clone());
    for (path, text) in [("", main)].iter().chain(anchors) {
        let text = format!("{text}\n");
        let ruleset = parse(&text, &environment).unwrap_or_else(|errors| panic!("{text}{errors:?}"));
        machine.load(path, &ruleset);
    }
    machine
}

/// Parses `in en0 tcp 10.0.0.1:40000 10.0.0.2:80 A` and the like; `in en0, out en1 …` is a path. The flags default to
/// S; further fields may follow as JSON.
pub fn packet(text: &str) -> Packet {
    let (text, more) = text.split_once('{').map_or((text, "{}".to_owned()), |(a, b)| (a, format!("{{{b}")));
    let mut value: Value = serde_json::from_str(&more).expect("more fields");
    // The hook is the first two words after the last comma.
    let start = text.rfind(", ").map_or(0, |comma| comma + 2);
    let end = start + text[start..].match_indices(' ').nth(1).expect("a place").0;
    let (places, rest) = text.split_at(end);
    let path: Vec<Vec<&str>> = places.split(", ").map(|place| place.split(' ').collect()).collect();
    match path.as_slice() {
        [place] => (value["dir"], value["if"]) = (json!(place[0]), json!(place[1])),
        path => value["path"] = json!(path),
    }
    let words: Vec<_> = rest.split_whitespace().collect();
    value["proto"] = json!(words[0]);
    for (word, address, port) in [(words[1], "src", "sport"), (words[2], "dst", "dport")] {
        let end = if matches!(words[0], "tcp" | "udp") { word.rsplit_once(':') } else { None };
        value[address] = json!(end.map_or(word, |(address, _)| address));
        if let Some((_, number)) = end {
            value[port] = json!(number.parse::<u16>().expect("a port"));
        }
    }
    if let Some(flags) = words.get(3) {
        value["flags"] = json!(flags);
    }
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `pass rule 1`, `block rule a/b#0`, `pass state 1`, `pass default`, followed by `: source > destination` if the
/// packet was changed.
fn words(verdict: &Verdict) -> String {
    let mut words = match (verdict.action, verdict.via) {
        (Outcome::Pass, via) => format!("pass {via:?}"),
        (Outcome::Block, via) => format!("block {via:?}"),
    }
    .to_lowercase();
    if let Some(rule) = &verdict.rule {
        words.push(' ');
        if !rule.anchor.is_empty() {
            words.push_str(&rule.anchor);
            words.push('#');
        }
        words.push_str(&rule.number.to_string());
    }
    if verdict.before != verdict.after {
        let value = serde_json::to_value(verdict).expect("a verdict");
        let out = &value["out"];
        let end = |address: &str, port: &str| {
            let address = out[address].as_str().unwrap_or_default().to_owned();
            out[port].as_u64().map_or(address.clone(), |port| format!("{address}:{port}"))
        };
        words = format!("{words}: {} > {}", end("src", "sport"), end("dst", "dport"));
    }
    words
}

pub fn answer_words(answer: &PathVerdicts) -> String {
    answer.verdicts().iter().map(words).collect::<Vec<_>>().join(", ")
}

/// Evaluates a sequence of packets and compares each verdict.
pub fn check(machine: &mut Machine, sequence: &[(&str, &str)]) {
    for (text, expected) in sequence {
        assert_eq!(answer_words(&machine.eval(&packet(text))), *expected, "{text}");
    }
}

pub fn check_main(main: &str, sequence: &[(&str, &str)]) {
    check(&mut machine(main, &[]), sequence);
}

/// A connection to the Mac's web server.
pub const WEB: &str = "in en0 tcp 10.0.0.1:40000 192.0.2.10:80";
