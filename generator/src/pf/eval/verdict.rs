//! The verdict of pf on a packet.
//!
//! It exists so that a decision can be read by people, compared with a real kernel's and reasoned about. Sees:
//! addresses and numbers of rules. Never: how the decision was made.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::pf::syntax::{Block, Dummynet};

/// The answer to a packet: one verdict, or one for each hook of its path until one blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// One place, one verdict.
    Single(Verdict),
    /// A path.
    Path {
        /// The outcome of the packet in the end.
        action: Outcome,
        /// The verdicts, in order.
        hops: Vec<Verdict>,
    },
}

impl Answer {
    /// The outcome of the packet in the end.
    pub fn action(&self) -> Outcome {
        match self {
            Self::Single(verdict) => verdict.action,
            Self::Path { action, .. } => *action,
        }
    }

    /// The verdicts, in order.
    pub fn verdicts(&self) -> &[Verdict] {
        match self {
            Self::Single(verdict) => std::slice::from_ref(verdict),
            Self::Path { hops, .. } => hops,
        }
    }
}

/// Through, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Through.
    Pass,
    /// Not.
    Block,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A filter rule.
    Rule,
    /// A state, made by an earlier packet.
    State,
    /// Nothing: no filter rule matched, or a translation that skips the filter did.
    Default,
    /// `set skip`: pf never looked.
    #[serde(rename = "skip-or-disabled")]
    Skip,
}

/// What became of the state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateUse {
    /// Nothing.
    None,
    /// The packet made a state.
    Created,
    /// The packet belongs to a state.
    Matched,
}

/// Which list a translation rule is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TranslationKind {
    /// `nat`.
    Nat,
    /// `rdr`.
    Rdr,
    /// `binat`.
    Binat,
}

/// A filter rule by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// Its number inside its ruleset.
    pub number: u32,
    /// The path of that ruleset; empty for the main one.
    pub anchor: Arc<str>,
    /// Its label.
    pub label: Option<Arc<str>>,
}

/// A translation rule by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslationRef {
    /// Which list.
    pub kind: TranslationKind,
    /// Its number inside that list of its ruleset.
    pub number: u32,
    /// The path of that ruleset; empty for the main one.
    pub anchor: Arc<str>,
}

/// A dummynet rule that a packet meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaping {
    /// The rule.
    pub rule: RuleRef,
    /// What it sends the packet into; none where it says `no dummynet`.
    pub into: Option<Dummynet>,
}

/// The addresses of a packet, with the ports or the identifier where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Where from.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// What tells conversations between the two apart.
    pub detail: Detail,
}

/// What tells conversations between two addresses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// TCP and UDP.
    Ports(u16, u16),
    /// ICMP.
    Id(u16),
    /// The rest.
    None,
}

/// What pf makes of a packet in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Through, or not.
    pub action: Outcome,
    /// What decided.
    pub via: Via,
    /// The deciding rule. A packet that a state refuses has none, although it has a state.
    pub rule: Option<RuleRef>,
    /// What became of the state table.
    pub state: StateUse,
    /// The translation rule, the state's where there is one. It need not have changed anything.
    pub translation: Option<TranslationRef>,
    /// The dummynet rules that it met before all that, in order.
    pub shaping: Vec<Shaping>,
    /// The packet before pf.
    pub before: Form,
    /// The packet after pf.
    pub after: Form,
    /// How a blocking rule answers the sender; not part of the JSON form.
    pub reply: Option<Block>,
    /// What normalization has changed.
    pub scrubbed: Scrubbed,
}

/// What normalization has changed in a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// It is held until its datagram is complete, and got no further: its verdict says `block`, in JSON `held`.
    pub held: bool,
    /// It was the last missing part: from here on it is the whole datagram.
    pub whole: bool,
    /// `no-df` has taken the flag that forbids to cut it.
    pub cleared_df: bool,
    /// `min-ttl` has raised its time to live to this.
    pub raised_ttl: Option<u8>,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.scrubbed.held {
            map.serialize_entry("action", "held")?;
        } else {
            map.serialize_entry("action", &self.action)?;
        }
        map.serialize_entry("via", &self.via)?;
        if self.via != Via::Skip {
            map.serialize_entry("rule", &self.rule.as_ref().map_or(-1, |rule| i64::from(rule.number)))?;
            map.serialize_entry("anchor", self.rule.as_ref().map_or("", |rule| &*rule.anchor))?;
            if let Some(label) = self.rule.as_ref().and_then(|rule| rule.label.as_deref()) {
                map.serialize_entry("label", label)?;
            }
            map.serialize_entry("state", &self.state)?;
        }
        if let Some(translation) = &self.translation {
            map.serialize_entry("xlate_rule", translation)?;
        }
        if !self.shaping.is_empty() {
            map.serialize_entry("dummynet", &self.shaping)?;
        }
        let Scrubbed { held: _, whole, cleared_df, raised_ttl } = self.scrubbed;
        if whole {
            map.serialize_entry("reassembled", &true)?;
        }
        if cleared_df {
            map.serialize_entry("df", &false)?;
        }
        if let Some(ttl) = raised_ttl {
            map.serialize_entry("ttl", &ttl)?;
        }
        let (before, after) = (&self.before, &self.after);
        let (source_before, destination_before) = before.sides();
        let (source_after, destination_after) = after.sides();
        if source_before != source_after {
            map.serialize_entry("nat", &Side("src", "sport", source_after))?;
        }
        if destination_before != destination_after {
            map.serialize_entry("rdr", &Side("dst", "dport", destination_after))?;
        }
        map.serialize_entry("out", after)?;
        map.end()
    }
}

impl Serialize for TranslationRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("type", &self.kind)?;
        map.serialize_entry("rule", &self.number)?;
        map.serialize_entry("anchor", &*self.anchor)?;
        map.end()
    }
}

impl Shaping {
    /// The number of the pipe or queue that it sends the packet into.
    pub fn number(&self) -> Option<u16> {
        match self.into {
            Some(Dummynet::Pipe(number) | Dummynet::Queue(number)) => Some(number),
            None => None,
        }
    }
}

impl Serialize for Shaping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rule", &self.rule.number)?;
        map.serialize_entry("anchor", &*self.rule.anchor)?;
        match self.into {
            Some(Dummynet::Pipe(number)) => map.serialize_entry("pipe", &number)?,
            Some(Dummynet::Queue(number)) => map.serialize_entry("queue", &number)?,
            None => {}
        }
        map.end()
    }
}

impl Form {
    /// The source and the destination; an identifier belongs to the source, which translation changes it with.
    fn sides(&self) -> ((IpAddr, Detail), (IpAddr, Detail)) {
        let (source, destination) = match self.detail {
            Detail::Ports(source, destination) => {
                (Detail::Ports(source, source), Detail::Ports(destination, destination))
            }
            Detail::Id(id) => (Detail::Id(id), Detail::None),
            Detail::None => (Detail::None, Detail::None),
        };
        ((self.source, source), (self.destination, destination))
    }
}

/// One side of a packet, with the names of its address and its port.
struct Side(&'static str, &'static str, (IpAddr, Detail));

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(address_name, port_name, (address, detail)) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(address_name, address)?;
        match detail {
            Detail::Ports(port, _) => map.serialize_entry(port_name, port)?,
            Detail::Id(id) => map.serialize_entry("icmp_id", id)?,
            Detail::None => {}
        }
        map.end()
    }
}

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("src", &self.source)?;
        map.serialize_entry("dst", &self.destination)?;
        match self.detail {
            Detail::Ports(source, destination) => {
                map.serialize_entry("sport", &source)?;
                map.serialize_entry("dport", &destination)?;
            }
            Detail::Id(id) => map.serialize_entry("icmp_id", &id)?,
            Detail::None => {}
        }
        map.end()
    }
}
