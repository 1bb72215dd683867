//! The proof: for every packet, the rendered rules do what the policy says.
//!
//! The bytes of an anchor are read back by the reader of pf, which shares no code with their writer, and compared with
//! [`crate::plan::Policy`]. Nothing is sampled: both become functions of all packets, of every header field, on every
//! interface that exists or may appear, and the two are equal or there is a packet on which they differ.
//! Sees: plan, loading, packets, reach, pf. Never: render.

mod accept;
pub mod across;
mod judge;
pub mod outcome;
pub mod packet;
pub mod policy;
mod refutation;
pub mod rules;
mod world;

use crate::pf;
use crate::pf::eval::Machine;
use crate::plan::Plan;
pub use refutation::{
    Counterexample, ProofFinding, Refutation, RuleOutcome, Translated, Violation, WrongPipes,
};
pub use world::World;

/// What was proven, and how much it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The number of packets given to the evaluator and the policy: one for each region, each rule and each policy row.
    pub classes: usize,
    /// The number of rules that the kernel would hold.
    pub rules: usize,
    /// The number of diagram nodes that were made: a measure of the cost that does not depend on the machine.
    pub nodes: usize,
}

/// Proves that an anchor implements the plan's policy, for all packets.
///
/// # Errors
/// The differences found, or the statements that cannot be proven; the list may be truncated.
pub fn prove(plan: &Plan, anchor: &str) -> Result<Proof, Refutation> {
    let world = World::new(plan, anchor);
    let environment = world.environment();
    let ruleset = pf::parse(world.text(), &environment).map_err(|errors| {
        Refutation::Unreadable(errors.into_iter().map(|error| world.error_at_origin(error)).collect())
    })?;
    let refused = accept::refused(&ruleset, &world);
    if !refused.is_empty() {
        return Err(Refutation::Violations(refused));
    }
    let lists = &ruleset.rules;
    let mut machine = Machine::new(environment.interfaces);
    machine.load("", &ruleset);
    machine.index();
    let mut space = world.space(lists);
    let mut outcomes = outcome::Outcomes::default();
    let rules = rules::read(&mut space, lists, machine.loaded(), &world, &mut outcomes);
    let policy = policy::functions(&mut space, plan, &world, &mut outcomes);
    let judge = judge::Comparison::new((plan, &world, lists), space, (rules, policy, outcomes), machine);
    match judge.judge() {
        Ok((classes, nodes)) => Ok(Proof { classes, rules: world.count(lists), nodes }),
        Err(violations) => Err(Refutation::Violations(violations)),
    }
}
