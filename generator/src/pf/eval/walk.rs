//! The walk over a list of rules and the anchors that it calls.
//!
//! It exists because the way the kernel enters and leaves anchors determines the meaning of `quick` there: the
//! bookkeeping is the kernel's, surprises included, rather than a recursion. Sees: loaded rulesets, and the addresses
//! that an index needs. Never: packets; the caller decides whether a rule matches.

use super::index::Toward;
use super::loaded::{BUDGET, DEPTH, Loaded};
use super::rule::{CompiledRule, RuleList};

/// The caller's judgement of a rule.
pub(super) enum Judgement {
    /// It does not match.
    Differs,
    /// It does not match, and neither do the rules before this index.
    SkipTo(usize),
    /// It matches.
    Matches,
}

/// What walks leave for those after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Walks {
    /// For each ruleset, whether a wildcard call has found a match among its children. The kernel stores this in the
    /// anchor, from packet to packet, and clears it only when the anchor is called.
    matched: Vec<bool>,
    /// Whether a walk was abandoned (see [`BUDGET`]), so that what it found is not what the kernel would find.
    pub is_abandoned: bool,
}

/// A walk over one list, starting in the main ruleset.
pub(super) struct Walk<'a, 'm> {
    loaded: &'a Loaded,
    list: RuleList,
    ruleset: usize,
    at: usize,
    frames: Vec<Frame<'a>>,
    walks: &'m mut Walks,
    budget: u32,
    toward: Option<Toward>,
    /// The last ruleset whose index was queried, and the result.
    candidates: Option<(usize, Option<[&'a [usize]; 2]>)>,
}

struct Frame<'a> {
    ruleset: usize,
    at: usize,
    /// For a wildcard call, the child being visited.
    child: Option<(&'a str, usize)>,
}

impl<'a, 'm> Walk<'a, 'm> {
    pub fn new(loaded: &'a Loaded, list: RuleList, walks: &'m mut Walks) -> Self {
        walks.matched.resize(loaded.count().max(walks.matched.len()), false);
        Self {
            loaded,
            list,
            ruleset: 0,
            at: 0,
            frames: Vec::new(),
            walks,
            budget: BUDGET,
            toward: None,
            candidates: None,
        }
    }

    /// Restricts the walk to rules that can match these addresses, according to the index.
    pub fn toward(self, toward: Toward) -> Self {
        Self { toward: Some(toward), ..self }
    }

    /// The first matching rule, as translation and normalization choose.
    pub fn first(mut self, mut judge: impl FnMut(&'a CompiledRule) -> Judgement) -> Option<&'a CompiledRule> {
        loop {
            let Some(rule) = self.current() else {
                if self.is_over() {
                    return None;
                }
                self.leave(None);
                continue;
            };
            match judge(rule) {
                Judgement::Differs => self.at += 1,
                Judgement::SkipTo(index) => self.at = index,
                Judgement::Matches if rule.call.is_none() => return Some(rule),
                Judgement::Matches => self.enter(rule, None),
            }
        }
    }

    /// The last matching rule, or the first matching `quick` one, as the filter chooses.
    pub fn last(self, judge: impl FnMut(&'a CompiledRule) -> Judgement) -> Option<&'a CompiledRule> {
        self.last_and_mark(judge).0
    }

    /// Like [`Self::last`], with a flag for whether the match still counts at the end, as dummynet chooses. A call
    /// clears the flag, and so does the end of a child in a wildcard call: a match there counts only if it is
    /// `quick`.
    pub fn last_and_mark(
        mut self,
        mut judge: impl FnMut(&'a CompiledRule) -> Judgement,
    ) -> (Option<&'a CompiledRule>, bool) {
        let mut found = None;
        let mut has_match = false;
        loop {
            let Some(rule) = self.current() else {
                if self.is_over() || self.leave(Some(&mut has_match)) {
                    return (found, has_match);
                }
                continue;
            };
            match judge(rule) {
                Judgement::Differs => self.at += 1,
                Judgement::SkipTo(index) => self.at = index,
                Judgement::Matches if rule.call.is_none() => {
                    has_match = true;
                    found = Some(rule);
                    if rule.quick {
                        return (found, has_match);
                    }
                    self.at += 1;
                }
                Judgement::Matches => self.enter(rule, Some(&mut has_match)),
            }
        }
    }

    fn current(&mut self) -> Option<&'a CompiledRule> {
        if let Some(candidates) = self.candidates() {
            let next =
                |list: &[usize]| list.get(list.partition_point(|candidate| *candidate < self.at)).copied();
            self.at = candidates.into_iter().filter_map(next).min().unwrap_or(usize::MAX);
        }
        let rule = self.rules(self.ruleset).get(self.at)?;
        self.budget = self.budget.checked_sub(1)?;
        Some(rule)
    }

    fn candidates(&mut self) -> Option<[&'a [usize]; 2]> {
        let toward = self.toward?;
        match self.candidates {
            Some((ruleset, candidates)) if ruleset == self.ruleset => candidates,
            _ => {
                let index = self.loaded.ruleset(self.ruleset).and_then(|ruleset| ruleset.index(self.list));
                let candidates = index.and_then(|index| index.candidates(&toward));
                self.candidates = Some((self.ruleset, candidates));
                candidates
            }
        }
    }

    fn rules(&self, ruleset: usize) -> &'a [CompiledRule] {
        self.loaded.ruleset(ruleset).map_or(&[], |ruleset| ruleset.rules(self.list))
    }

    /// Whether the walk ends where it found no rule: at the end of the main ruleset, or because it is abandoned.
    fn is_over(&mut self) -> bool {
        let is_at_end = self.frames.is_empty() && self.at >= self.rules(self.ruleset).len();
        self.walks.is_abandoned |= !is_at_end && self.budget == 0;
        is_at_end || self.budget == 0
    }

    fn enter(&mut self, rule: &'a CompiledRule, has_match: Option<&mut bool>) {
        let Some(call) = rule.call else { return };
        self.walks.matched[call.ruleset] = false;
        // A call clears the flag even if the stack is full.
        if let Some(has_match) = has_match {
            *has_match = false;
        }
        if self.frames.len() >= DEPTH {
            self.at += 1;
            return;
        }
        let target = self.loaded.ruleset(call.ruleset);
        let child = target.filter(|_| call.wildcard).and_then(|target| target.child_after(None));
        self.frames.push(Frame { ruleset: self.ruleset, at: self.at, child });
        match (call.wildcard, child) {
            (false, _) => (self.ruleset, self.at) = (call.ruleset, 0),
            (true, Some((_, index))) => (self.ruleset, self.at) = (index, 0),
            // There is no child: the next step finds no rule, and leaves again.
            (true, None) => self.at = usize::MAX,
        }
    }

    /// Continues after the end of a ruleset; true if the walk ends because a `quick` call matched.
    fn leave(&mut self, mut has_match: Option<&mut bool>) -> bool {
        let mut quick = false;
        while let Some(frame) = self.frames.last_mut() {
            let caller =
                &self.loaded.ruleset(frame.ruleset).map_or(&[][..], |set| set.rules(self.list))[frame.at];
            let Some(call) = caller.call else { return false };
            if let Some((path, index)) = frame.child {
                let child_matched = self.walks.matched[index];
                if child_matched || has_match.as_deref().is_some_and(|has_match| *has_match) {
                    self.walks.matched[call.ruleset] = true;
                    if let Some(has_match) = has_match.as_deref_mut() {
                        *has_match = false;
                    }
                }
                let parent = self.loaded.ruleset(call.ruleset);
                frame.child = parent.and_then(|parent| parent.child_after(Some(path)));
                if let Some((_, index)) = frame.child {
                    (self.ruleset, self.at) = (index, 0);
                    self.budget = self.budget.saturating_sub(1);
                    if self.rules(self.ruleset).is_empty() {
                        continue;
                    }
                    return quick;
                }
            }
            (self.ruleset, self.at) = (frame.ruleset, frame.at + 1);
            // If an outer call ends together with an inner one, the outer one's result overwrites that of the inner.
            if self.walks.matched[call.ruleset] || has_match.as_deref().is_some_and(|has_match| *has_match) {
                quick = caller.quick;
            }
            self.frames.pop();
            if self.at < self.rules(self.ruleset).len() {
                break;
            }
        }
        quick
    }
}
