//! What a rule does with a packet that it matches.

// The options of a scrub rule are independent of each other, as in the kernel.
#![allow(clippy::struct_excessive_bools)]

/// The action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `pass`, also for `anchor` calls.
    Pass,
    /// `block`.
    Block(Block),
    /// `scrub`.
    Scrub,
    /// `no scrub`.
    NoScrub,
    /// `nat`.
    Nat,
    /// `no nat`.
    NoNat,
    /// `rdr`.
    Rdr,
    /// `no rdr`.
    NoRdr,
    /// `binat`.
    Binat,
    /// `no binat`.
    NoBinat,
    /// `dummynet`.
    Dummynet,
    /// `no dummynet`.
    NoDummynet,
}

/// How a blocking rule answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// `block drop`.
    Drop,
    /// `block return`: a RST for TCP, an ICMP unreachable with these codes for other protocols.
    Return {
        /// ICMP type and code for IPv4.
        icmp: (u8, u8),
        /// ICMP type and code for IPv6.
        icmp6: (u8, u8),
    },
    /// `block return-rst`.
    ReturnRst {
        /// The TTL of the RST; 0 for the system default.
        ttl: u8,
    },
    /// `block return-icmp` or `return-icmp6`.
    ReturnIcmp {
        /// ICMP type and code for IPv4.
        icmp: (u8, u8),
        /// ICMP type and code for IPv6.
        icmp6: (u8, u8),
    },
}

/// The options of a scrub rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// `no-df`.
    pub no_df: bool,
    /// `random-id`.
    pub random_id: bool,
    /// `min-ttl`; 0 for none.
    pub min_ttl: u8,
    /// `max-mss`; 0 for none.
    pub max_mss: u16,
    /// `reassemble tcp`.
    pub reassemble_tcp: bool,
    /// `fragment …`.
    pub fragments: FragmentCache,
}

/// What a scrub rule does with fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FragmentCache {
    /// `fragment reassemble`, the default.
    #[default]
    Reassemble,
    /// `fragment crop`.
    Crop,
    /// `fragment drop-ovl`.
    DropOverlap,
}

/// The target of a dummynet rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dummynet {
    /// `pipe N`.
    Pipe(u16),
    /// `queue N`.
    Queue(u16),
}
