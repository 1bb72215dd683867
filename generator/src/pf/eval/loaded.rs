//! Everything that is loaded: rulesets by path, tables, interfaces.
//!
//! It exists so that a decision reads one thing that does not change while packets are evaluated. Sees: rulesets as
//! they were read. Never: packets or states.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::index::Index;
use super::rule::{Call, CompiledRule, compile, link_skips};
use super::tables::Tables;
use crate::pf::environment::InterfaceInfo;
use crate::pf::syntax::{AnchorCall, Rule, Ruleset, SetOption, SettingValue};

/// How deep anchors can be nested: the kernel's stack.
pub(super) const DEPTH: usize = 64;

/// The number of a table.
pub type TableId = usize;

/// The number of a name: of an interface or a tag. 0 is no one's.
pub(super) type NameId = u32;

/// A name that no rule speaks of.
pub(super) const STRANGER: NameId = NameId::MAX;

/// The numbers of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(HashMap<String, NameId>);

impl Names {
    pub fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.0.get(name) {
            return *id;
        }
        let id = NameId::try_from(self.0.len() + 1).unwrap_or(STRANGER);
        self.0.insert(name.to_owned(), id);
        id
    }

    pub fn get(&self, name: &str) -> NameId {
        self.0.get(name).copied().unwrap_or(STRANGER)
    }
}

/// One of the lists of a ruleset that packets are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `scrub`.
    Scrub,
    /// `nat`.
    Nat,
    /// `rdr`.
    Rdr,
    /// `binat`.
    Binat,
    /// `pass` and `block`.
    Filter,
    /// `dummynet` and `no dummynet`.
    Dummynet,
}

impl List {
    /// Every list.
    pub const ALL: [Self; 6] = [Self::Scrub, Self::Nat, Self::Rdr, Self::Binat, Self::Filter, Self::Dummynet];
}

/// One loaded ruleset.
#[derive(Clone, Debug, Default)]
pub struct LoadedRuleset {
    path: Arc<str>,
    lists: [Vec<CompiledRule>; 6],
    /// Of the lists that have one.
    indexes: [Option<Index>; 6],
    /// By path, in the order of bytes: the order of a wildcard call.
    children: BTreeMap<Arc<str>, usize>,
}

impl LoadedRuleset {
    /// Its path; empty for the main one.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The rules of a list.
    pub fn rules(&self, list: List) -> &[CompiledRule] {
        &self.lists[list as usize]
    }

    pub(super) fn index(&self, list: List) -> Option<&Index> {
        self.indexes[list as usize].as_ref()
    }

    /// Its direct children, in the order in which a wildcard call visits them.
    pub fn children(&self) -> impl Iterator<Item = usize> + '_ {
        self.children.values().copied()
    }

    /// The first child, or the one behind `after`.
    pub(super) fn child_after(&self, after: Option<&str>) -> Option<(&str, usize)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (path, index) = self.children.range::<str, _>((from, Bound::Unbounded)).next()?;
        Some((path, *index))
    }
}

/// Everything that is loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    rulesets: Vec<LoadedRuleset>,
    by_path: HashMap<String, usize>,
    pub(super) tables: Tables,
    pub(super) names: Names,
    interfaces: Vec<InterfaceInfo>,
    skipped: HashSet<NameId>,
    rules_made: u32,
}

impl Loaded {
    /// A machine with these interfaces and an empty main ruleset.
    pub(super) fn new(interfaces: Vec<InterfaceInfo>) -> Self {
        Self {
            rulesets: vec![LoadedRuleset::default()],
            by_path: HashMap::from([(String::new(), 0)]),
            tables: Tables::default(),
            names: Names::default(),
            interfaces,
            skipped: HashSet::new(),
            rules_made: 0,
        }
    }

    /// A ruleset by its index; the main one has 0.
    pub fn ruleset(&self, index: usize) -> Option<&LoadedRuleset> {
        self.rulesets.get(index)
    }

    /// Every ruleset, the main one first.
    pub fn rulesets(&self) -> &[LoadedRuleset] {
        &self.rulesets
    }

    /// The index of the ruleset at a path, if something was loaded there or calls it.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.by_path.get(path.trim_start_matches('/')).copied()
    }

    /// All tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The interfaces.
    pub fn interfaces(&self) -> &[InterfaceInfo] {
        &self.interfaces
    }

    pub(super) fn count(&self) -> usize {
        self.rulesets.len()
    }

    pub(super) fn is_skipped(&self, interface: NameId) -> bool {
        self.skipped.contains(&interface)
    }

    /// Puts other rules in place of a list of the main ruleset.
    pub(super) fn replace(&mut self, list: List, mut rules: Vec<CompiledRule>) {
        link_skips(&mut rules);
        self.rulesets[0].lists[list as usize] = rules;
        self.rulesets[0].indexes[list as usize] = None;
    }

    /// Makes an index of every list that is worth one. What tables hold is part of it.
    pub(super) fn index(&mut self) {
        for ruleset in &mut self.rulesets {
            for list in List::ALL {
                let rules = &ruleset.lists[list as usize];
                ruleset.indexes[list as usize] = Index::new(list, rules, &self.tables);
            }
        }
    }

    /// Loads a ruleset at a path, in place of what was there.
    pub(super) fn load(&mut self, path: &str, ruleset: &Ruleset) {
        // A table that comes or goes can be another ruleset's too.
        for ruleset in &mut self.rulesets {
            ruleset.indexes = Default::default();
        }
        let path = path.trim_matches('/');
        self.load_rules(path, ruleset, 0);
        for setting in &ruleset.settings {
            match &setting.value {
                SettingValue::Table(table) => self.tables.define(path, table),
                // Global, wherever it stands.
                SettingValue::Option(SetOption::Skip(interface)) => {
                    let name = self.names.intern(&interface.name);
                    self.skipped.insert(name);
                }
                _ => {}
            }
        }
        for load in &ruleset.loads {
            if let Some(loaded) = &load.ruleset {
                self.load(&load.anchor, loaded);
            }
        }
        self.tables.refresh(&self.interfaces);
    }

    fn load_rules(&mut self, path: &str, ruleset: &Ruleset, depth: usize) {
        let at = self.find_or_create(path);
        self.tables.forget(path);
        let rules = &ruleset.rules;
        let lists = [&rules.scrub, &rules.nat, &rules.rdr, &rules.binat, &rules.filter, &rules.dummynet];
        for (list, rules) in List::ALL.into_iter().zip(lists) {
            let mut compiled = Vec::with_capacity(rules.len());
            for rule in rules {
                compiled.push(self.load_rule(at, rule, depth));
            }
            link_skips(&mut compiled);
            self.rulesets[at].lists[list as usize] = compiled;
        }
    }

    fn load_rule(&mut self, at: usize, rule: &Rule, depth: usize) -> CompiledRule {
        let path = Arc::clone(&self.rulesets[at].path);
        let call = rule.anchor.as_ref().map(|call| {
            let (target, wildcard) = resolve(&path, call);
            if let Some(body) = call.body.as_ref().filter(|_| depth < DEPTH) {
                self.load_rules(&target, body, depth + 1);
            }
            Call { ruleset: self.find_or_create(&target), wildcard }
        });
        self.rules_made = self.rules_made.wrapping_add(1);
        compile(rule, self.rules_made, &path, call, self)
    }

    /// The ruleset at a path, made together with its parents where it is missing.
    fn find_or_create(&mut self, path: &str) -> usize {
        let mut parent = 0;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for end in ends {
            let own = &path[..end];
            if let Some(&known) = self.by_path.get(own) {
                parent = known;
                continue;
            }
            let index = self.rulesets.len();
            let shared: Arc<str> = Arc::from(own);
            self.rulesets.push(LoadedRuleset { path: Arc::clone(&shared), ..LoadedRuleset::default() });
            self.by_path.insert(own.to_owned(), index);
            self.rulesets[parent].children.insert(shared, index);
            parent = index;
        }
        parent
    }
}

/// The path that an anchor rule of the ruleset at `holder` calls, and whether it calls the children there.
///
/// A `*` of its own in the main ruleset is a name like any other: the kernel looks for `/*` at the end.
fn resolve(holder: &str, call: &AnchorCall) -> (String, bool) {
    let path = if call.name.is_empty() {
        join(holder, &call.path)
    } else if let Some(absolute) = call.name.strip_prefix('/') {
        absolute.to_owned()
    } else {
        let (mut base, mut name) = (holder, call.name.as_str());
        while let Some(rest) = name.strip_prefix("../") {
            base = base.rsplit_once('/').map_or("", |(parent, _)| parent);
            name = rest;
        }
        join(base, name)
    };
    match path.strip_suffix("/*") {
        Some(parent) => (parent.to_owned(), true),
        None => (path, false),
    }
}

fn join(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") }
}
