//! The effect of an edit: a comparison of the declarations before and after it.

use std::fmt::Write;

use anyhow::Result;
use nixvol_net::diff::{BundleFiles, ComparedSide, Diff, record, text};
use nixvol_net::model::Declaration;
use nixvol_net::plan::Plan;
use serde_json::{Value, json};

/// What an edit does to one declaration.
pub struct Effect {
    /// The configuration's name; empty if the file has only one.
    pub configuration: String,
    /// The difference; `None` if it is unknown, because the declaration before the edit does not pass `check`.
    pub diff: Option<Diff>,
}

/// The message for an effect that is unknown.
const UNKNOWN: &str =
    "what it opens and closes is unknown: the declaration before the edit does not pass `check`";

impl Effect {
    /// Compares the declarations before and after the edit. Files are not compared: they are rendered later.
    pub fn of(configuration: &str, before: Option<&Declaration>, after: &Declaration) -> Self {
        let none = BundleFiles::new();
        let diff = before.map(|before| {
            let (old, new) = (Plan::of(before), Plan::of(after));
            Diff::of(
                ComparedSide { declaration: before, plan: &old, files: &none },
                ComparedSide { declaration: after, plan: &new, files: &none },
            )
        });
        Self { configuration: configuration.to_owned(), diff }
    }
}

/// All effects as text. Configurations with the same effect share one paragraph.
pub fn told(effects: &[Effect], colour: bool) -> String {
    let mut told: Vec<(Vec<&str>, String)> = Vec::new();
    for effect in effects {
        let text = match &effect.diff {
            Some(diff) => text::text(diff, text::Style { colour, lines: false }),
            None => format!("{UNKNOWN}\n"),
        };
        match told.iter_mut().find(|(_, known)| *known == text) {
            Some((names, _)) => names.push(&effect.configuration),
            None => told.push((vec![&effect.configuration], text)),
        }
    }
    let mut out = String::new();
    for (names, text) in told {
        if effects.len() > 1 {
            let _ = writeln!(out, "\nIn {}:", names.join(", "));
        }
        let _ = write!(out, "\n{text}");
    }
    out
}

/// All effects as JSON.
pub fn records(effects: &[Effect]) -> Result<Value> {
    let record = |effect: &Effect| -> Result<Value> {
        let name = Some(&effect.configuration).filter(|name| !name.is_empty());
        Ok(match &effect.diff {
            Some(diff) => {
                json!({ "configuration": name, "diff": serde_json::to_value(record::DiffRecord::of(diff, false))? })
            }
            None => json!({ "configuration": name, "diff": null, "unknown": UNKNOWN }),
        })
    };
    effects.iter().map(record).collect()
}
