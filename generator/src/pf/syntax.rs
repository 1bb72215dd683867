//! The structure of a parsed ruleset: what pfctl passes to the kernel.
//!
//! It exists so that evaluation and printing share one structure: macros are expanded, lists are multiplied out,
//! names of hosts and ports are resolved, and every rule has one address per side, one port and one protocol. What
//! matters only for the printed form (macros as written, the order of settings) is kept separately. Sees: nothing.
//! Never: text, or a decision about a packet.

mod action;
mod condition;
mod place;
mod pool;
mod ruleset;
mod setting;
mod state;

pub use action::{Action, Block, Dummynet, FragmentCache, Scrub};
pub use condition::{
    Address, Direction, Dynamic, Family, HostMatch, Icmp, IdMatch, Interface, NumberMatch, PortMatch, Tagged,
    TcpFlags, UNKNOWN_ID,
};
pub use place::Position;
pub use pool::{EndpointKind, Pool, PoolHost, PoolKind, Route, RouteKind};
pub use ruleset::{AnchorCall, LoadAnchor, Note, Rule, RuleLists, Ruleset};
pub use setting::{BlockPolicy, SetOption, Setting, SettingValue, Table, TableEntry, TableSource};
pub use state::{Log, Overload, SourceTrack, StateKind, StateOptions, StatePolicy};
