//! The statements of a file that are not rules: macros, options, tables, anchors to load.
//!
//! It exists because the kernel keeps these separate from the lists of rules. Sees: places and rulesets. Never: a
//! rule's fields.

use std::net::IpAddr;

use super::{Interface, Place, Ruleset};

/// Something of a file that is not a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where it is.
    pub place: Place,
    /// What it says.
    pub value: SettingValue,
}

/// The three kinds of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// `name = "value"`, as written after expansion.
    Macro {
        /// The name.
        name: String,
        /// The text that replaces `$name`.
        value: String,
    },
    /// `set …`.
    Option(SetOption),
    /// `table <…>`.
    Table(Table),
}

/// One `set` statement; a braced list of timeouts or limits becomes several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOption {
    /// `set optimization NAME`.
    Optimization(String),
    /// `set timeout NAME SECONDS`.
    Timeout(&'static str, u32),
    /// `set limit NAME COUNT`.
    Limit(&'static str, u32),
    /// `set loginterface NAME`; `none` is `None`.
    LogInterface(Option<String>),
    /// `set hostid N`, in host order as written.
    HostId(u32),
    /// `set block-policy`; already folded into the rules.
    BlockPolicy(BlockPolicy),
    /// `set require-order`.
    RequireOrder(bool),
    /// `set fingerprints FILE`.
    Fingerprints(String),
    /// `set state-policy`; already folded into the rules.
    StatePolicy(StatePolicy),
    /// `set debug LEVEL`.
    Debug(String),
    /// `set skip on …`: one interface each.
    Skip(Interface),
}

/// What `block` does when the rule itself does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPolicy {
    /// Silence.
    Drop,
    /// A RST for tcp, an unreachable for the rest.
    Return,
}

/// Whether states follow packets to other interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatePolicy {
    /// They do.
    #[default]
    Floating,
    /// They do not.
    IfBound,
}

/// `load anchor NAME from FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadAnchor {
    /// Where it is.
    pub place: Place,
    /// The full path of the anchor.
    pub anchor: String,
    /// The file, as written.
    pub file: String,
    /// What the file holds, where the environment could read it.
    pub ruleset: Option<Box<Ruleset>>,
}

/// A table's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name, without the angle brackets.
    pub name: String,
    /// `const`.
    pub constant: bool,
    /// `persist`.
    pub persist: bool,
    /// `counters`.
    pub counters: bool,
    /// What fills it, in order. Empty with `initialised` is `{ }`.
    pub sources: Vec<TableSource>,
    /// True when the definition has an address list or a file, even an empty one.
    pub initialised: bool,
}

impl Table {
    /// Every entry, those of files included.
    pub fn entries(&self) -> impl Iterator<Item = &TableEntry> {
        self.sources.iter().flat_map(|source| match source {
            TableSource::List(entries) | TableSource::File { entries, .. } => entries.iter(),
        })
    }
}

/// One part of a table's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableSource {
    /// `{ … }`.
    List(Vec<TableEntry>),
    /// `file "…"`.
    File {
        /// The name, as written.
        path: String,
        /// What it holds.
        entries: Vec<TableEntry>,
    },
}

/// A prefix in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// `!`: the longest prefix decides, and this one says no.
    pub not: bool,
    /// The address, with the bits beyond the prefix cleared.
    pub address: IpAddr,
    /// The prefix length: 0 to 32 or 128.
    pub prefix: u8,
}
