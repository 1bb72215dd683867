//! What a rule keeps of a packet that it matches: a state with its options, and a log entry.

// The flags are independent of each other, as in the kernel.
#![allow(clippy::struct_excessive_bools)]

/// Whether a matching packet creates a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// No state: `no state`, `block`, and rules that cannot create one.
    #[default]
    None,
    /// `keep state`.
    Keep,
    /// `modulate state`.
    Modulate,
    /// `synproxy state`.
    Synproxy,
}

/// The options in parentheses after `keep state`. Zero means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `max`.
    pub max: u32,
    /// `no-sync`.
    pub no_sync: bool,
    /// `source-track`, explicit or implied.
    pub source_track: Option<SourceTrack>,
    /// `max-src-states`.
    pub max_src_states: u32,
    /// `max-src-conn`.
    pub max_src_conn: u32,
    /// `max-src-conn-rate LIMIT / SECONDS`.
    pub max_src_conn_rate: Option<(u32, u32)>,
    /// `max-src-nodes`.
    pub max_src_nodes: u32,
    /// `overload <table> flush global`.
    pub overload: Option<Overload>,
    /// `if-bound`, or the policy of `set state-policy`.
    pub policy: StatePolicy,
    /// `sloppy`.
    pub sloppy: bool,
    /// Timeouts by name (`tcp.first`, …) in seconds, in the kernel's order.
    pub timeouts: Vec<(&'static str, u32)>,
}

/// The scope of `source-track`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceTrack {
    /// One count for all rules.
    Global,
    /// A count per rule.
    Rule,
}

/// `overload <table> flush global`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overload {
    /// The table.
    pub table: String,
    /// `flush`.
    pub flush: bool,
    /// `flush global`.
    pub global: bool,
}

/// Whether states match on any interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatePolicy {
    /// They match on any interface.
    #[default]
    Floating,
    /// They match only on the interface where they were created.
    IfBound,
}

/// `log`, `log (all, user, to pflog0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Whether the rule logs.
    pub on: bool,
    /// Log every packet of the state, not only the first.
    pub all: bool,
    /// Log the owner of the socket as well.
    pub user: bool,
    /// The unit of the pflog interface.
    pub interface: u8,
}
