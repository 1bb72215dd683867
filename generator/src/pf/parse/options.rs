//! The options of a filter rule as they are read, before they are checked together.
//!
//! It exists because options come in any order, and those of a state are read with the others. Sees: syntax. Never:
//! tokens.

use crate::pf::syntax::{Action, Icmp, IdMatch, Overload, Rule, StateKind, StatePolicy, TcpFlags};

/// Options of a filter rule; those without a list are in `rule`.
pub(super) struct Options {
    pub rule: Rule,
    pub users: Vec<IdMatch>,
    pub groups: Vec<IdMatch>,
    pub icmp: Vec<(u8, Icmp)>,
    pub flags: Option<TcpFlags>,
    pub tos: bool,
    /// The kind of state, `no state` included, with its options in parentheses.
    pub state: Option<(StateKind, Vec<StateOption>)>,
    pub label: bool,
}

impl Options {
    pub fn new(action: Action) -> Self {
        Self {
            rule: Rule::new(action),
            users: Vec::new(),
            groups: Vec::new(),
            icmp: Vec::new(),
            flags: None,
            tos: false,
            state: None,
            label: false,
        }
    }
}

/// `source-track`, with or without an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    Plain,
    Global,
    Rule,
}

/// One option in `keep state (…)`.
pub(super) enum StateOption {
    Max(u32),
    NoSync,
    SourceTrack(Track),
    MaxSrcStates(u32),
    MaxSrcConn(u32),
    MaxSrcConnRate(u32, u32),
    MaxSrcNodes(u32),
    Overload(Overload),
    Policy(StatePolicy),
    Timeout(&'static str, u32),
}
