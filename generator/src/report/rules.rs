//! The anchor line by line, each rule with its reasons: those of the packets that it decides.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::explain::every::{Every, Said};

/// A line of the anchor.
#[derive(Serialize)]
pub struct Line {
    number: u32,
    text: String,
    /// `comment`, or nothing.
    class: &'static str,
    reasons: Vec<Reason>,
    /// What is to be said of a rule without a reason.
    idle: &'static str,
}

/// Why the rule is there.
#[derive(Serialize)]
struct Reason {
    words: String,
    declared: Vec<Declared>,
    /// How many values of the declaration ask for it, where they are folded away.
    folded: usize,
}

/// A value of the declaration, in one line.
#[derive(Serialize)]
pub struct Declared {
    path: String,
    says: String,
    place: String,
}

/// Why a packet is sent into a pipe.
const CONDITIONS: &str = "conditions";
/// So many values are in sight.
const IN_SIGHT: usize = 3;

impl Declared {
    /// What is said of it.
    pub fn of(said: &Said) -> Self {
        let place = said.place.as_ref().map_or(String::new(), |place| format!(" ({place})"));
        Self { path: said.path.clone(), says: said.says.clone(), place }
    }
}

/// What a rule is for that no flow between the ends of the network meets, by its label.
fn purpose(rule: &str) -> &'static str {
    let label = rule.split("label \"").nth(1).unwrap_or_default().trim_end_matches('"');
    match label.split(':').next() {
        Some("forged") => "drops packets with a forged source",
        Some("leak") => "keeps what is meant for a volume on this Mac while a bridge or its route is absent",
        Some("refusal") => "passes the RSTs and ICMP errors that tell a sender of a refusal",
        Some("within") => "passes what stays inside the provider and is seen on its bridge",
        _ => "nothing that opens a connection gets here: it is for packets of no known connection",
    }
}

/// The lines of an anchor.
pub fn lines(anchor: &str, every: &Every) -> Vec<Line> {
    let mut reasons: BTreeMap<u32, BTreeMap<&str, BTreeSet<&Said>>> = BTreeMap::new();
    let scenes = || every.stories.iter().flat_map(|story| story.packet.iter().chain(&story.answer));
    for pipe in scenes().flat_map(|scene| &scene.pipes) {
        if let Some(line) = pipe.line {
            reasons.entry(line).or_default().entry(CONDITIONS).or_default().extend(&pipe.declared);
        }
    }
    for scene in scenes().filter(|scene| !scene.by_state) {
        let Some(words) = &scene.because else { continue };
        for line in [scene.line, scene.translation].into_iter().flatten() {
            reasons.entry(line).or_default().entry(words).or_default().extend(&scene.declared);
        }
    }
    let line = |(number, text): (u32, &str)| {
        let reason = |(words, declared): (&str, BTreeSet<&Said>)| Reason {
            words: words.to_owned(),
            folded: if declared.len() > IN_SIGHT { declared.len() } else { 0 },
            declared: declared.into_iter().map(Declared::of).collect(),
        };
        let reasons = reasons.remove(&number).unwrap_or_default();
        let idle = match text.split(' ').next() {
            Some("no") if text.starts_with("no dummynet ") => {
                "keeps what stays inside a provider, or has been through its own pipe, out of others"
            }
            Some("dummynet") if reasons.is_empty() => "another rule below has all its packets",
            Some("no") if text.starts_with("no rdr ") => {
                "keeps redirections of other programs away from volumes"
            }
            Some("no") => "excepts traffic from the translations below",
            Some("scrub") => "puts fragments together before any other rule is asked",
            Some("pass" | "block" | "nat" | "rdr") if reasons.is_empty() => purpose(text),
            _ => "",
        };
        let class = if text.starts_with('#') { "comment" } else { "" };
        Line {
            number,
            text: text.to_owned(),
            class,
            reasons: reasons.into_iter().map(reason).collect(),
            idle,
        }
    };
    (1..).zip(anchor.lines()).map(line).collect()
}
