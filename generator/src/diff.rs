//! The difference between two declarations: what opens and closes, for all flows, and its consequences.
//!
//! A reviewer wants to know which flows a change permits, not which lines moved. So the functions of all flows of
//! the two plans, end to end ([`crate::reach`]), are compared, and the changed flows are decomposed into few
//! statements in the names of the declaration: complete, since the functions are exact; short, since flows with the
//! same change share a statement. Besides these flows by address, it shows what each new, removed, moved or renamed
//! volume gained and lost. Sees: place (to escape foreign text), model, plan, packets, reach. Never: samples flows,
//! or reads rules: the proof compares those with the policy.

mod both;
mod files;
pub mod markdown;
mod objects;
pub mod record;
mod rectangles;
mod sides;
mod statement;
pub mod text;
mod volumes;
mod ways;
mod words;

use crate::packets::Set;
use crate::reach::{Flow, Flows};
use both::Both;
pub use files::FileChange;
pub use objects::{FieldChange, ObjectChange, Presence};
pub use sides::{BundleFiles, ComparedSide};
pub use statement::{OutcomeChange, Statement, TranslationChange, Verb};
pub use volumes::{Access, VolumeChange, VolumeMove, VolumePlace};
pub use ways::WayChange;

/// All that differs between two sides.
#[derive(Debug, Clone)]
pub struct Diff {
    /// Flows with another outcome.
    pub flows: Vec<Statement>,
    /// Flows that pass on both sides, with other translations.
    pub translations: Vec<Statement>,
    /// Volumes that were added, removed, moved or renamed, and what they gained and lost.
    pub volumes: Vec<VolumeChange>,
    /// Paths with other conditions.
    pub conditions: Vec<WayChange>,
    /// The objects that the manager creates, and the places of its files.
    pub objects: Vec<ObjectChange>,
    /// The files of the bundle.
    pub files: Vec<FileChange>,
    space: Flows,
}

impl Diff {
    /// Compares the old side with the new one.
    pub fn of(old: ComparedSide, new: ComparedSide) -> Self {
        let mut both = Both::of(old, new);
        let [flows, translations] = statement::statements(&mut both);
        Self {
            flows,
            translations,
            volumes: volumes::changes(&mut both),
            conditions: ways::changes(old, new, &mut both),
            objects: objects::changes(old, new),
            files: files::changes(old.files, new.files),
            space: both.flows,
        }
    }

    /// Whether a set of flows, of a statement or a path, contains a flow.
    pub fn covers(&self, flows: Set, flow: &Flow) -> bool {
        self.space.holds(flows, flow)
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
            && self.translations.is_empty()
            && self.volumes.is_empty()
            && self.conditions.is_empty()
            && self.objects.is_empty()
            && self.files.is_empty()
    }

    /// The number of flows opened, closed and otherwise changed, in a few words.
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return "no difference".to_owned();
        }
        let count = |verbs: &[Verb], word: &str| {
            let count = self.flows.iter().filter(|statement| verbs.contains(&statement.verb)).count();
            (count > 0).then(|| format!("{count} {word}"))
        };
        let opened = count(&[Verb::Opens, Verb::Admits], "opened");
        let closed = count(&[Verb::Closes, Verb::Blocks], "closed");
        let other = count(&[Verb::Silences, Verb::Answers, Verb::Leaves], "otherwise");
        let translated = self.translations.len();
        let translated = (translated > 0).then(|| format!("{translated} translated differently"));
        let conditions = self.conditions.len();
        let conditions = (conditions > 0).then(|| format!("{conditions} with different conditions"));
        let volumes: usize = self.volumes.iter().map(|change| change.volumes.len()).sum();
        let volumes = (volumes > 0).then(|| {
            format!(
                "{volumes} volume{} added, removed, moved or renamed",
                if volumes == 1 { "" } else { "s" }
            )
        });
        let parts = [opened, closed, other, translated, volumes, conditions];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "no flow opened or closed".to_owned() } else { parts.join(", ") }
    }
}
