//! Files of two bundles, line by line.

use similar::{ChangeTag, TextDiff};

use super::objects::Presence;
use super::sides::BundleFiles;
use crate::place::is_hostile;

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Its path inside the bundle.
    pub path: String,
    /// Whether it is new, removed or changed.
    pub presence: Presence,
    /// The number of added lines.
    pub added: usize,
    /// The number of removed lines.
    pub removed: usize,
    /// The difference in the unified format of `diff -u` and `git apply`.
    pub unified: String,
}

impl FileChange {
    /// The lines of the unified difference. A bundle may have been tampered with, so characters that could affect the
    /// reader's terminal are shown as U+FFFD.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let safe = |c: char| if c != '\t' && is_hostile(c) { '\u{fffd}' } else { c };
        self.unified.lines().map(move |line| line.chars().map(safe).collect())
    }
}

/// The files that differ between two bundles, by path.
pub fn changes(old: &BundleFiles, new: &BundleFiles) -> Vec<FileChange> {
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().filter_map(|path| change(path, old.get(path), new.get(path))).collect()
}

fn change(path: &str, old: Option<&String>, new: Option<&String>) -> Option<FileChange> {
    if old == new {
        return None;
    }
    let text = |side: Option<&String>| side.cloned().unwrap_or_default();
    let (old_text, new_text) = (text(old), text(new));
    let diff = TextDiff::from_lines(&old_text, &new_text);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    let name = |side: &str, file: Option<&String>| match file {
        Some(_) => format!("{side}/{path}"),
        None => "/dev/null".to_owned(),
    };
    Some(FileChange {
        path: path.to_owned(),
        presence: Presence::of(old.is_some(), new.is_some()),
        added: count(ChangeTag::Insert),
        removed: count(ChangeTag::Delete),
        unified: diff.unified_diff().header(&name("a", old), &name("b", new)).to_string(),
    })
}
