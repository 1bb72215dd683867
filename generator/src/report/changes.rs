//! The differences from another bundle. Signs and words carry the information; colour only repeats it.

use serde::Serialize;

use crate::diff::{Diff, Presence, Statement, VolumeChange, text};
use crate::place::Harmless;
use crate::render::{DRAWING, PICTURE};

/// The number of changes shown at the top of the page.
const FIRST: usize = 3;

/// All differences.
#[derive(Serialize)]
pub struct Changes {
    /// The name of what the network is compared with.
    name: String,
    summary: String,
    /// `warning` if something opens, `calm` otherwise.
    tone: &'static str,
    /// The changes shown at the top of the page.
    first: Vec<Marked>,
    flows: Vec<Change>,
    translations: Vec<Change>,
    volumes: Vec<Volume>,
    conditions: Vec<Marked>,
    objects: Vec<Marked>,
    files: Vec<File>,
}

#[derive(Serialize)]
struct Change {
    headline: Marked,
    evidence: Vec<String>,
}

#[derive(Serialize)]
struct Volume {
    class: &'static str,
    headlines: Vec<String>,
    access: Vec<Marked>,
}

/// A line with the class of its sign: `more`, `less`, `other`, or empty without a sign.
#[derive(Serialize, Clone)]
struct Marked {
    class: &'static str,
    text: String,
}

#[derive(Serialize)]
struct File {
    headline: Marked,
    lines: Vec<Marked>,
}

impl Changes {
    /// The differences from what has this name.
    pub fn of(name: &str, diff: &Diff) -> Self {
        let statement = |statement: &Statement| Change {
            headline: Marked::of(text::headline(statement)),
            evidence: statement.changes.iter().map(text::evidence).collect(),
        };
        let flows: Vec<Change> = diff.flows.iter().map(statement).collect();
        let opens = flows.iter().any(|flow| flow.headline.class == "more");
        Self {
            name: Harmless(name).to_string(),
            summary: diff.summary(),
            tone: if opens { "warning" } else { "calm" },
            first: flows.iter().take(FIRST).map(|flow| flow.headline.clone()).collect(),
            flows,
            translations: diff.translations.iter().map(statement).collect(),
            volumes: diff.volumes.iter().map(volume).collect(),
            conditions: diff.conditions.iter().map(|way| Marked::of(text::way(way))).collect(),
            objects: diff.objects.iter().map(|object| Marked::of(text::object(object))).collect(),
            files: diff.files.iter().map(file).collect(),
        }
    }
}

fn volume(change: &VolumeChange) -> Volume {
    let headlines = text::turns(change);
    let access = change.access.iter().map(|access| Marked::of(text::gain(access)));
    Volume { class: Marked::class(&headlines[0]), access: access.collect(), headlines }
}

fn file(file: &crate::diff::FileChange) -> File {
    // If the file is wholly new or gone, its lines add nothing; the lines of a picture are of no use to a reader.
    let is_picture = [PICTURE, DRAWING].contains(&file.path.as_str());
    let lines = file.lines().filter(|_| file.presence == Presence::Changed && !is_picture);
    File {
        headline: Marked::of(text::file(file)),
        lines: lines.map(|line| Marked::of(line.replace('\t', "    "))).collect(),
    }
}

impl Marked {
    fn of(text: String) -> Self {
        Self { class: Self::class(&text), text }
    }

    fn class(text: &str) -> &'static str {
        match text.chars().next() {
            Some('+') => "more",
            Some('-') => "less",
            Some('~') => "other",
            _ => "",
        }
    }
}
