//! What pf remembers from packet to packet.
//!
//! It is separate from what is loaded, so that a packet can be evaluated with empty memory, as the first packet ever.
//! Sees: states and counters. Never: what is loaded.

use std::collections::HashMap;

use super::address::Bits;
use super::fragments::Fragments;
use super::rule::RuleId;
use super::state::States;
use super::walk::Walks;
use crate::pf::syntax::Family;

/// What pf remembers from packet to packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub states: States,
    /// Fragments of incomplete datagrams.
    pub fragments: Fragments,
    /// The positions of pools that continue from packet to packet.
    pub cursors: HashMap<RuleId, Cursor>,
    /// Tracked sources: per rule, or global (`None`).
    pub sources: HashMap<SourceKey, Source>,
    pub walks: Walks,
    /// The state of the random sequence; `None` makes every choice the same.
    pub chance: Option<u64>,
}

impl Memory {
    /// Discards everything but the limits, which packets do not change.
    pub fn forget(&mut self) {
        let states = self.states.emptied();
        *self = Self { states, ..Self::default() };
    }

    /// The next random number (splitmix64), or `fixed` if there is no sequence.
    pub fn draw(&mut self, fixed: u32) -> u32 {
        let Some(seed) = &mut self.chance else { return fixed };
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(fixed)
    }
}

/// A source address tracked by one rule or globally.
pub(super) type SourceKey = (Option<RuleId>, Family, Bits);

/// A tracked source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub states: u32,
    /// The address that `sticky-address` has assigned to it.
    pub address: Option<Bits>,
}

/// The position of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// The index of the member.
    pub member: usize,
    /// The index of the block in the member's table. The kernel starts in the first block, but with an address
    /// outside it.
    pub block: Option<usize>,
    /// The next address.
    pub counter: Bits,
    /// Whether the pool has been used: before that, `block` counts as the first one.
    pub is_used: bool,
}
