//! A rule compiled for evaluation: names are numbers, addresses are tests.
//!
//! It exists so that a packet can be compared with thousands of rules without comparing strings, and so that
//! reasoning about all packets sees exactly what the evaluator sees. Sees: the syntax of one rule. Never: packets.

use std::sync::Arc;

use super::address::{Bits, Ranges, range_order};
use super::name::NameId;
use super::tables::{TableId, Tables};
use crate::pf::syntax::{Direction, Family, Pool, PortMatch, Rule};

/// A list of rules in a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleList {
    /// `scrub` rules.
    Scrub,
    /// `nat` rules.
    Nat,
    /// `rdr` rules.
    Rdr,
    /// `binat` rules.
    Binat,
    /// `pass` and `block` rules.
    Filter,
    /// `dummynet` and `no dummynet` rules.
    Dummynet,
}

impl RuleList {
    /// All lists.
    pub const ALL: [Self; 6] = [Self::Scrub, Self::Nat, Self::Rdr, Self::Binat, Self::Filter, Self::Dummynet];
}

/// A rule compiled for evaluation.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    pub(super) id: RuleId,
    pub(super) interface: Option<(NameId, bool)>,
    pub(super) direction: Option<Direction>,
    pub(super) family: Option<Family>,
    pub(super) protocol: Option<u8>,
    pub(super) source: HostTest,
    pub(super) destination: HostTest,
    pub(super) call: Option<Call>,
    pub(super) quick: bool,
    pub(super) tag: Option<NameId>,
    pub(super) tagged: Option<(NameId, bool)>,
    /// Where evaluation continues if a condition fails that the following rules share.
    pub(super) skip: Skip,
    pub(super) redirect: Option<Arc<CompiledPool>>,
    pub(super) route: Option<Arc<CompiledPool>>,
    pub(super) syntax: Arc<Rule>,
    pub(super) anchor: Arc<str>,
    pub(super) label: Option<Arc<str>>,
}

/// Identifies a rule among all rules ever loaded.
pub(super) type RuleId = u32;

/// The target of an anchor rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The index of the ruleset, see [`super::Loaded::ruleset`].
    pub ruleset: usize,
    /// Whether the rule calls the direct children of that ruleset instead of the ruleset itself.
    pub wildcard: bool,
}

/// pf's skip steps: the index of the first following rule that differs in a field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skip {
    pub source_port: usize,
    pub destination: usize,
    pub destination_port: usize,
}

/// The conditions of a rule on source or destination.
#[derive(Clone, Debug)]
pub struct HostTest {
    pub(super) not: bool,
    pub(super) test: AddressTest,
    pub(super) port: Option<PortMatch>,
}

/// A condition on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressTest {
    /// Always true.
    Any,
    /// The address is in a network.
    Net {
        /// The address family.
        family: Family,
        /// The network address.
        bits: Bits,
        /// The netmask.
        mask: Bits,
    },
    /// The address is in a range, by the kernel's peculiar byte order.
    Between {
        /// The address family.
        family: Family,
        /// The lower bound, in that order.
        low: Bits,
        /// The upper bound, in that order.
        high: Bits,
    },
    /// The address is in a table, or belongs to an interface.
    Table(TableId),
    /// Never true: `no-route` and `route`, because macOS finds a route to every address and has no route labels.
    Never,
    /// `urpf-failed`: for the same reason never true of a source, and always true of a destination.
    Urpf,
}

/// A compiled pool.
#[derive(Clone, Debug)]
pub(super) struct CompiledPool {
    pub members: Vec<Member>,
    pub syntax: Pool,
}

/// A compiled member of a pool.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub interface: Option<NameId>,
    pub target: Target,
}

/// The addresses of a pool member.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Net {
        bits: Bits,
        prefix: u8,
    },
    /// A table of a ruleset, from which only round-robin can choose.
    Table(TableId),
    /// The table of an interface's addresses.
    Dynamic(TableId),
    Nothing,
}

impl CompiledRule {
    /// The parsed rule, without the body of an anchor, which [`CompiledRule::call`] refers to.
    pub fn syntax(&self) -> &Rule {
        &self.syntax
    }

    /// The path of the ruleset that contains the rule; empty for the main ruleset.
    pub fn anchor(&self) -> &str {
        &self.anchor
    }

    /// The ruleset that an anchor rule calls.
    pub fn call(&self) -> Option<Call> {
        self.call
    }

    /// The conditions on the source.
    pub fn source(&self) -> &HostTest {
        &self.source
    }

    /// The conditions on the destination.
    pub fn destination(&self) -> &HostTest {
        &self.destination
    }

    /// Whether the rule applies to an interface. Names match exactly, there are no interface groups.
    pub(super) fn is_on(&self, interface: NameId) -> bool {
        self.interface.is_none_or(|(name, not)| (name == interface) != not)
    }
}

impl HostTest {
    /// The condition on the address, without `!`.
    pub fn test(&self) -> &AddressTest {
        &self.test
    }

    /// Whether `!` negates the condition on the address.
    pub fn is_negated(&self) -> bool {
        self.not
    }

    /// The condition on the port, if any.
    pub fn port(&self) -> Option<PortMatch> {
        self.port
    }

    /// All addresses of a family that the side matches, `!` included; `None` for a condition that ranges do not
    /// express well (`a - b`, which the kernel compares in an order of its own).
    pub fn addresses(&self, tables: &Tables, family: Family, is_source: bool) -> Option<Ranges> {
        let always = self.test == AddressTest::Any || (self.test == AddressTest::Urpf && !is_source);
        let ranges = match &self.test {
            _ if always => Ranges::all(family),
            AddressTest::Net { family: own, bits, mask } if *own == family => {
                // A contiguous mask: its number of ones is the prefix length.
                let prefix = u8::try_from(mask.count_ones()).unwrap_or(u8::MAX);
                Ranges::prefix(family, *bits, prefix)
            }
            AddressTest::Between { .. } => return None,
            AddressTest::Table(table) => tables.ranges(*table, family),
            _ => Ranges::none(),
        };
        Some(if self.not { ranges.complement(family) } else { ranges })
    }

    /// Whether an address matches, `!` included.
    pub(super) fn matches(&self, tables: &Tables, family: Family, bits: Bits, is_source: bool) -> bool {
        self.test.hits(tables, family, bits, is_source) != self.not
    }
}

impl AddressTest {
    pub(super) fn hits(&self, tables: &Tables, family: Family, bits: Bits, is_source: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Net { family: own, bits: net, mask } => *own == family && bits & mask == *net,
            Self::Between { family: own, low, high } => {
                let bits = range_order(family, bits);
                *own == family && *low <= bits && bits <= *high
            }
            Self::Table(table) => tables.matches(*table, family, bits),
            Self::Never => false,
            Self::Urpf => !is_source,
        }
    }
}
