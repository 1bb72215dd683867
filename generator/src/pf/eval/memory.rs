//! What pf remembers from packet to packet.
//!
//! It is separate from what is loaded, so that a packet can be evaluated as the first one ever seen, with empty
//! memory. Sees: states and counters. Never: what is loaded.

use std::collections::HashMap;

use super::address::Bits;
use super::fragments::Fragments;
use super::rule::RuleId;
use super::state::States;
use crate::pf::syntax::Family;

/// What pf remembers from packet to packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub states: States,
    /// Fragments whose datagrams are not whole yet.
    pub fragments: Fragments,
    /// Where each pool stands that does not start anew.
    pub cursors: HashMap<RuleId, Cursor>,
    /// Sources that are tracked: of one rule, or of all (`None`).
    pub sources: HashMap<SourceKey, Source>,
    /// See [`super::walk::Walk`].
    pub matched: Vec<bool>,
    /// Where a sequence of chances stands; without one all come out the same.
    pub chance: Option<u64>,
}

impl Memory {
    /// Forgets all but the limits, which are none of a packet's doing.
    pub fn forget(&mut self) {
        let states = self.states.emptied();
        *self = Self { states, ..Self::default() };
    }

    /// What the kernel takes a random number for (splitmix64), or `fixed`.
    pub fn draw(&mut self, fixed: u32) -> u32 {
        let Some(seed) = &mut self.chance else { return fixed };
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(fixed)
    }
}

/// A source, tracked for one rule or for all of them.
pub(super) type SourceKey = (Option<RuleId>, Family, Bits);

/// A tracked source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub states: u32,
    /// The address that `sticky-address` gives it.
    pub address: Option<Bits>,
}

/// Where a pool stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// The member.
    pub member: usize,
    /// The block inside the member's table. The kernel starts with the first one but with an address outside.
    pub block: Option<usize>,
    /// The next address.
    pub counter: Bits,
    /// The pool has been used: until then `block` is the first.
    pub is_used: bool,
}
