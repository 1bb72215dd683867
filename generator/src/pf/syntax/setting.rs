//! The statements of a file that are not rules: macros, options, tables.
//!
//! It exists because the kernel keeps these separate from the lists of rules. Sees: places. Never: the
//! fields of a rule.

use std::net::IpAddr;

use super::condition::Interface;
use super::place::Position;
use super::state::StatePolicy;

/// A macro, an option or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its position.
    pub place: Position,
    /// Its value.
    pub value: SettingValue,
}

/// The kinds of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// `name = "value"`, after expansion of macros in the value.
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
    /// `set hostid N`, in host byte order.
    HostId(u32),
    /// `set block-policy`; already applied to the rules.
    BlockPolicy(BlockPolicy),
    /// `set require-order`.
    RequireOrder(bool),
    /// `set fingerprints FILE`.
    Fingerprints(String),
    /// `set state-policy`; already applied to the rules.
    StatePolicy(StatePolicy),
    /// `set debug LEVEL`.
    Debug(String),
    /// `set skip on …`, one entry per interface.
    Skip(Interface),
}

/// What a plain `block` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPolicy {
    /// Drop silently.
    Drop,
    /// Answer with a RST for TCP, an ICMP unreachable for other protocols.
    Return,
}

/// The definition of a table.
#[allow(clippy::struct_excessive_bools)]
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
    /// Its address lists and files, in order. `{ }` is empty, with `initialised` set.
    pub sources: Vec<TableSource>,
    /// Whether the definition has an address list or a file, even an empty one.
    pub initialised: bool,
}

impl Table {
    /// All entries, including those from files.
    pub fn entries(&self) -> impl Iterator<Item = &TableEntry> {
        self.sources.iter().flat_map(|source| match source {
            TableSource::List(entries) | TableSource::File { entries, .. } => entries.iter(),
        })
    }
}

/// An address list or a file in the definition of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableSource {
    /// `{ … }`.
    List(Vec<TableEntry>),
    /// `file "…"`.
    File {
        /// The name, as written.
        path: String,
        /// The entries in the file.
        entries: Vec<TableEntry>,
    },
}

/// A prefix in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// Whether it is negated: addresses for which it is the longest matching prefix do not match the table.
    pub not: bool,
    /// The network address; bits beyond the prefix are zero.
    pub address: IpAddr,
    /// The prefix length: at most 32 or 128.
    pub prefix: u8,
}
