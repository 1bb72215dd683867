//! Ranges of services in words: `tcp 2379-2380`, `everything`.

use crate::explain::every::{Cell, Span};
use crate::plan::policy::{ICMP, TCP, UDP};

/// Ports that everybody knows, for examples.
const FAMILIAR: [u16; 2] = [443, 53];

/// Which part of all services some spans are.
pub enum Part {
    /// All of them.
    All,
    /// Some of them.
    Some,
    /// None.
    None,
}

/// Which part of a cell passes.
pub fn passing(cell: &Cell, passes: impl Fn(u32) -> bool) -> Part {
    let count = cell.iter().filter(|span| passes(span.story)).count();
    match count {
        0 => Part::None,
        _ if count == cell.len() => Part::All,
        _ => Part::Some,
    }
}

/// The spans of a cell that have a story, in words.
pub fn words(cell: &Cell, story: u32) -> String {
    let spans: Vec<&Span> = cell.iter().filter(|span| span.story == story).collect();
    if spans.len() == cell.len() {
        return "everything".to_owned();
    }
    let of = |protocol: u8, name: &str| {
        let ranges: Vec<String> =
            spans.iter().filter(|span| span.protocol == protocol).map(|span| range(span)).collect();
        let ported = matches!(protocol, TCP | UDP);
        match ranges.as_slice() {
            [] => None,
            [all] if !ported || all == "1-65535" => Some(name.to_owned()),
            several => Some(format!("{name} {}", several.join(","))),
        }
    };
    let names = [(TCP, "tcp"), (UDP, "udp"), (ICMP, "icmp"), (50, "esp and ah"), (132, "other protocols")];
    names.into_iter().filter_map(|(protocol, name)| of(protocol, name)).collect::<Vec<_>>().join(", ")
}

fn range(span: &Span) -> String {
    if span.first == span.last { span.first.to_string() } else { format!("{}-{}", span.first, span.last) }
}

/// A packet of a span: its protocol, and its port if it has one.
pub fn example(span: &Span) -> (&'static str, Option<u16>) {
    let familiar = FAMILIAR.into_iter().find(|port| (span.first..=span.last).contains(port));
    let port = Some(familiar.unwrap_or(span.first));
    match span.protocol {
        TCP => ("tcp", port),
        UDP => ("udp", port),
        ICMP => ("icmp", None),
        50 => ("esp", None),
        _ => ("132", None),
    }
}
