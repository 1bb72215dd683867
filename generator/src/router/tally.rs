//! Packets and bytes by rule label, as pf counts them: those that a rule decided about, and those of the states that it
//! created.
//!
//! Never: which rule is for what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::pf::syntax::Direction;

/// The counters of the rules with one label, each as `[in, out]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets; one that the sender's device is to segment counts once.
    pub packets: [u64; 2],
    /// Bytes.
    pub bytes: [u64; 2],
}

/// The counters of all labels.
#[derive(Debug, Default)]
pub(super) struct Tallies(HashMap<Arc<str>, Tally>);

impl Tallies {
    pub fn count(&mut self, label: &Arc<str>, direction: Direction, length: usize) {
        let tally = match self.0.get_mut(label) {
            Some(tally) => tally,
            None => self.0.entry(Arc::clone(label)).or_default(),
        };
        let side = usize::from(direction == Direction::Out);
        tally.packets[side] += 1;
        tally.bytes[side] += length as u64;
    }

    pub fn sorted(&self) -> BTreeMap<String, Tally> {
        self.0.iter().map(|(label, tally)| (label.to_string(), *tally)).collect()
    }
}
