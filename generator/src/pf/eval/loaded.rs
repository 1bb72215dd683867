//! Everything that is loaded: rulesets by path, tables, interfaces.
//!
//! It exists so that a decision reads a single value that is constant while packets are evaluated. Sees: parsed
//! rulesets. Never: packets or states.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::compile::{compile, link_skips};
use super::index::Index;
use super::name::{NameId, NameIds};
use super::rule::{Call, CompiledRule, RuleList};
use super::tables::Tables;
use super::visits::most_visits;
use crate::pf::environment::InterfaceInfo;
use crate::pf::syntax::{AnchorCall, Rule, Ruleset, SetOption, SettingValue};

/// How deep anchors can be nested: the size of the kernel's stack.
pub(super) const DEPTH: usize = 64;

/// Most rules visited in one walk, after which it is abandoned. Without it, anchors that call each other could occupy a
/// packet almost forever: with a stack of 64, two calls each are 2^64 visits.
pub(super) const BUDGET: u32 = 1_000_000;

/// One loaded ruleset.
#[derive(Clone, Debug, Default)]
pub struct LoadedRuleset {
    path: Arc<str>,
    lists: [Vec<CompiledRule>; 6],
    /// The indexes of the lists, if they have one.
    indexes: [Option<Index>; 6],
    /// Child rulesets by path in byte order, which is the order of a wildcard call.
    children: BTreeMap<Arc<str>, usize>,
}

impl LoadedRuleset {
    /// The anchor path; empty for the main ruleset.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The rules of a list.
    pub fn rules(&self, list: RuleList) -> &[CompiledRule] {
        &self.lists[list as usize]
    }

    pub(super) fn index(&self, list: RuleList) -> Option<&Index> {
        self.indexes[list as usize].as_ref()
    }

    /// The indices of the direct children, in the order in which a wildcard call visits them.
    pub fn children(&self) -> impl Iterator<Item = usize> + '_ {
        self.children.values().copied()
    }

    /// The first child, or the one after the child `after`.
    pub(super) fn child_after(&self, after: Option<&str>) -> Option<(&str, usize)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (path, index) = self.children.range::<str, _>((from, Bound::Unbounded)).next()?;
        Some((path, *index))
    }
}

/// All rulesets, tables and interfaces.
#[derive(Clone, Debug)]
pub struct Loaded {
    rulesets: Vec<LoadedRuleset>,
    by_path: HashMap<String, usize>,
    pub(super) tables: Tables,
    pub(super) names: NameIds,
    interfaces: Vec<InterfaceInfo>,
    skipped: HashSet<NameId>,
    rules_made: u32,
}

impl Loaded {
    /// An empty main ruleset on a machine with these interfaces.
    pub(super) fn new(interfaces: Vec<InterfaceInfo>) -> Self {
        Self {
            rulesets: vec![LoadedRuleset::default()],
            by_path: HashMap::from([(String::new(), 0)]),
            tables: Tables::default(),
            names: NameIds::default(),
            interfaces,
            skipped: HashSet::new(),
            rules_made: 0,
        }
    }

    /// A ruleset by its index; 0 is the main ruleset.
    pub fn ruleset(&self, index: usize) -> Option<&LoadedRuleset> {
        self.rulesets.get(index)
    }

    /// All rulesets, the main ruleset first.
    pub fn rulesets(&self) -> &[LoadedRuleset] {
        &self.rulesets
    }

    /// The index of the ruleset at a path, if something was loaded there or a rule calls it.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.by_path.get(path.trim_start_matches('/')).copied()
    }

    /// All tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// All interfaces.
    pub fn interfaces(&self) -> &[InterfaceInfo] {
        &self.interfaces
    }

    pub(super) fn count(&self) -> usize {
        self.rulesets.len()
    }

    pub(super) fn is_skipped(&self, interface: NameId) -> bool {
        self.skipped.contains(&interface)
    }

    /// Replaces one list of the main ruleset.
    pub(super) fn replace(&mut self, list: RuleList, mut rules: Vec<CompiledRule>) {
        link_skips(&mut rules);
        self.rulesets[0].lists[list as usize] = rules;
        self.rulesets[0].indexes[list as usize] = None;
    }

    /// Indexes every list for which it pays off. The index depends on the contents of tables. If a walk could be
    /// abandoned (see [`BUDGET`]), no ruleset is indexed: an index would move the point where it is.
    pub(super) fn index(&mut self) {
        for list in RuleList::ALL {
            let all = &self.rulesets;
            let visits = most_visits(all.len(), DEPTH, |at| all[at].rules(list), |at| all[at].children());
            if visits >= u64::from(BUDGET) {
                continue;
            }
            for ruleset in &mut self.rulesets {
                let rules = &ruleset.lists[list as usize];
                ruleset.indexes[list as usize] = Index::new(list, rules, &self.tables);
            }
        }
    }

    /// Loads a ruleset at a path, replacing what was there.
    pub(super) fn load(&mut self, path: &str, ruleset: &Ruleset) {
        // A table that comes or goes can affect rules of other rulesets too.
        for ruleset in &mut self.rulesets {
            ruleset.indexes = Default::default();
        }
        let path = path.trim_matches('/');
        self.load_rules(path, ruleset, 0);
        for setting in &ruleset.settings {
            match &setting.value {
                SettingValue::Table(table) => self.tables.define(path, table),
                // `set skip` is global in whatever ruleset it appears.
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
        for (list, rules) in RuleList::ALL.into_iter().zip(lists) {
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
        compile(rule, self.rules_made, &path, call, &mut self.names, &mut self.tables)
    }

    /// The index of the ruleset at a path; it and its parents are created if missing.
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

/// The path that an anchor rule of the ruleset at `holder` calls, and whether it calls the children of that path.
///
/// In the main ruleset `*` alone is an ordinary name: the kernel looks for a trailing `/*`.
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
