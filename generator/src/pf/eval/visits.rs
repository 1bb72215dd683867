//! How many rules a walk can visit at most.
//!
//! It exists because anchors can call each other: two calls each are 2^64 visits on a stack of 64, and a walk that long
//! is abandoned. An index visits fewer rules, so it would be abandoned elsewhere, with another answer. Sees: lists of
//! rules and their calls. Never: packets, or what matches.

use super::rule::CompiledRule;

/// An upper bound of the steps of a walk over one list that begins in ruleset 0, with at most `depth` calls nested:
/// every rule, every call and every child of a wildcard call on the way is a step. `rules` gives the list of a ruleset,
/// `children` the rulesets that a wildcard call of it visits.
pub(super) fn most_visits<'a, C: Iterator<Item = usize> + 'a>(
    rulesets: usize,
    depth: usize,
    rules: impl Fn(usize) -> &'a [CompiledRule],
    children: impl Fn(usize) -> C,
) -> u64 {
    let own: Vec<u64> = (0..rulesets).map(|at| u64::try_from(rules(at).len()).unwrap_or(u64::MAX)).collect();
    let calls: Vec<Vec<usize>> = (0..rulesets)
        .map(|at| {
            let called = rules(at).iter().filter_map(CompiledRule::call).flat_map(|call| {
                let target = (!call.wildcard).then_some(call.ruleset);
                target.into_iter().chain(children(call.ruleset).filter(move |_| call.wildcard))
            });
            called.collect()
        })
        .collect();
    // What a ruleset costs if a walk may enter no, one, two … anchors below it.
    let mut costs = own.clone();
    for _ in 0..depth {
        let deeper = |at: usize| {
            let below = calls[at].iter().map(|&called| costs[called].saturating_add(1));
            below.fold(own[at], u64::saturating_add)
        };
        let next: Vec<u64> = (0..rulesets).map(deeper).collect();
        if next == costs {
            break;
        }
        costs = next;
    }
    costs.first().copied().unwrap_or(0)
}
