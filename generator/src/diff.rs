//! The difference between two declarations: what opens and closes, for all packets, and what follows from it.
//!
//! A reviewer wants to know what a change lets in, not which lines moved. So the policies are compared, over
//! classes of packets that neither can tell apart, and the classes are merged back into the words of the
//! declaration: complete, since every class is compared or known to be the same; short, since what shares a change
//! is said once. Sees: place (to show text that is not ours), model, plan. Never: samples packets, or reads rules: the proof holds those against the policy.

mod cover;
mod files;
mod judge;
mod links;
pub mod markdown;
mod names;
mod objects;
pub mod record;
mod services;
mod space;
mod spots;
mod statement;
pub mod text;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::Declaration;
use crate::plan::Plan;
use cover::Relation;
pub use files::FileChange;
use judge::Judge;
use names::Names;
pub use objects::{FieldChange, ObjectChange, Presence};
pub use services::Services;
use space::{Class, Space};
pub use spots::Kind;
use spots::Seen;
use statement::Speaker;
pub use statement::{Change, Statement, Verb};
pub use ways::WayChange;

/// The files of a bundle: text by path.
pub type Files = BTreeMap<String, String>;

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What was declared.
    pub declaration: &'a Declaration,
    /// What follows from it.
    pub plan: &'a Plan,
    /// What is rendered from it.
    pub files: &'a Files,
}

/// All that differs between two sides.
#[derive(Debug, Clone)]
pub struct Diff {
    /// Packets whose verdict changed.
    pub flows: Vec<Statement>,
    /// Packets whose translation changed.
    pub translations: Vec<Statement>,
    /// Ways between ends that are like something else.
    pub conditions: Vec<WayChange>,
    /// What the manager makes, and where.
    pub objects: Vec<ObjectChange>,
    /// Files of the bundle.
    pub files: Vec<FileChange>,
}

impl Diff {
    /// Compares two sides.
    pub fn of(old: Side, new: Side) -> Self {
        let space = Arc::new(Space::of(old, new));
        let names = Names::of(old, new, &space);
        let (flows, translations) = statements(old, new, &space, &names);
        Self {
            flows,
            translations,
            conditions: ways::changes(old, new, &space, &names),
            objects: objects::changes(old, new),
            files: files::changes(old.files, new.files),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
            && self.translations.is_empty()
            && self.conditions.is_empty()
            && self.objects.is_empty()
            && self.files.is_empty()
    }

    /// How much opened and closed, in a few words.
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
        let translated = (translated > 0).then(|| format!("{translated} translated otherwise"));
        let conditions = self.conditions.len();
        let conditions = (conditions > 0).then(|| format!("{conditions} with other conditions"));
        let parts = [opened, closed, other, translated, conditions];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "no flow opened or closed".to_owned() } else { parts.join(", ") }
    }
}

/// What is said of verdicts, and of translations.
fn statements(old: Side, new: Side, space: &Arc<Space>, names: &Names) -> (Vec<Statement>, Vec<Statement>) {
    let mut judge = Judge::new(old, new, space);
    let mut relations: BTreeMap<usize, Relation> = BTreeMap::new();
    let candidates = Candidates::of(space, &judge);
    let mut partings: HashMap<[Vec<u32>; 2], BTreeSet<Class>> = HashMap::new();
    for from in space.all() {
        for to in candidates.row(from, space, &judge, &mut partings) {
            for turn in judge.turns(from, to).iter() {
                relations.entry(*turn).or_default().entry(from).or_default().push(to);
            }
        }
    }
    let speaker = Speaker::new(old, new, space, names);
    let (mut flows, mut translations) = (Vec::new(), Vec::new());
    for (number, relation) in relations {
        let turn = &judge.found[number];
        let statements = match turn.seen {
            Seen::Verdict => &mut flows,
            Seen::Translation => &mut translations,
        };
        statements.extend(cover::cover(space, &relation).into_iter().map(|it| speaker.statement(turn, it)));
    }
    for statements in [&mut flows, &mut translations] {
        statements.sort_by(|a: &Statement, b| a.order().cmp(&b.order()));
    }
    (flows, translations)
}

/// Which pairs can differ at all.
struct Candidates {
    /// Classes that became another kind of thing: they differ to and from anyone.
    moved: BTreeSet<Class>,
    /// Aliases that answer otherwise: they differ as destinations.
    republished: Vec<Class>,
    /// What lies outside on both sides: it differs from networks whose way outside changed.
    outside: Vec<Class>,
}

impl Candidates {
    fn of(space: &Space, judge: &Judge) -> Self {
        Self {
            moved: space.all().filter(|class| links::moved(space, *class)).collect(),
            republished: space.all().filter(|class| judge.publishes_otherwise(*class)).collect(),
            outside: space.all().filter(|class| space.is_outside(*class)).collect(),
        }
    }

    /// The destinations that a source may reach otherwise, in order.
    fn row(
        &self,
        from: Class,
        space: &Space,
        judge: &Judge,
        partings: &mut HashMap<[Vec<u32>; 2], BTreeSet<Class>>,
    ) -> BTreeSet<Class> {
        if self.moved.contains(&from) {
            return space.all().collect();
        }
        let [old, new] = &judge.links;
        let rows = [old.row(from).to_vec(), new.row(from).to_vec()];
        let parting = partings.entry(rows).or_insert_with_key(|[a, b]| links::parting((old, a), (new, b)));
        let mut row = parting.clone();
        row.extend(self.moved.iter().chain(&self.republished));
        if links::internet_changed(space, from) {
            row.extend(&self.outside);
        }
        row
    }
}
