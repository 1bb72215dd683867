//! The verdict of pf on a packet.
//!
//! It exists so that a decision can be read by people, compared with a real kernel's, and reasoned about. Sees:
//! addresses and numbers of rules. Never: how the decision was made.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::pf::syntax::{Block, Dummynet};

/// The answer to a packet: one verdict, or one per hook of its path up to the first that blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathVerdicts {
    /// The verdict at a single hook.
    Single(Verdict),
    /// The verdicts along a path.
    Path {
        /// The final outcome.
        action: Outcome,
        /// The verdicts in order.
        hops: Vec<Verdict>,
    },
}

impl PathVerdicts {
    /// The final outcome.
    pub fn action(&self) -> Outcome {
        match self {
            Self::Single(verdict) => verdict.action,
            Self::Path { action, .. } => *action,
        }
    }

    /// The verdicts in order.
    pub fn verdicts(&self) -> &[Verdict] {
        match self {
            Self::Single(verdict) => std::slice::from_ref(verdict),
            Self::Path { hops, .. } => hops,
        }
    }

    /// Whether a state passes it, at every hook.
    pub fn is_passed_by_state(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.action == Outcome::Pass && verdict.via == Via::State)
    }

    /// Whether the outcome is what pf decides; it is not if the evaluation was abandoned.
    pub fn is_known(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.via != Via::Abandoned)
    }
}

impl Serialize for PathVerdicts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Single(verdict) => verdict.serialize(serializer),
            Self::Path { action, hops } => {
                let mut map = serializer.serialize_map(Some(2))?;
                if self.is_known() {
                    map.serialize_entry("action", action)?;
                } else {
                    map.serialize_entry("action", UNKNOWN)?;
                }
                map.serialize_entry("hops", hops)?;
                map.end()
            }
        }
    }
}

/// The action of a packet whose evaluation was abandoned.
const UNKNOWN: &str = "unknown";

/// Whether a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It passes.
    Pass,
    /// It is blocked.
    Block,
}

/// What determined the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A filter rule.
    Rule,
    /// A state, created by an earlier packet.
    State,
    /// The default: no filter rule matched, or a translation rule with `pass` skipped the filter.
    Default,
    /// `set skip`: pf does not evaluate packets on this interface.
    #[serde(rename = "skip-or-disabled")]
    Skip,
    /// Nothing: anchors call each other so often that the evaluation was abandoned after a million rules. A real pf has
    /// no such limit, so its verdict is not known. The outcome is `Block`, which the JSON form shows as `unknown`.
    Abandoned,
}

/// How the state table was involved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateUse {
    /// Not at all.
    None,
    /// The packet created a state.
    Created,
    /// The packet matched a state.
    Matched,
}

/// The list of a translation rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TranslationKind {
    /// `nat`.
    Nat,
    /// `rdr`.
    Rdr,
    /// `binat`.
    Binat,
}

/// A reference to a filter or dummynet rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// The number of the rule in its list, from 0.
    pub number: u32,
    /// The path of its ruleset; empty for the main ruleset.
    pub anchor: Arc<str>,
    /// The label of the rule, if it has one.
    pub label: Option<Arc<str>>,
}

/// A reference to a translation rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslationRef {
    /// The list that it is in.
    pub kind: TranslationKind,
    /// Its number in that list, from 0.
    pub number: u32,
    /// The path of its ruleset; empty for the main ruleset.
    pub anchor: Arc<str>,
}

/// A dummynet rule that matched a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaping {
    /// The rule.
    pub rule: RuleRef,
    /// The pipe or queue that it sends the packet into; `None` for `no dummynet`.
    pub into: Option<Dummynet>,
}

/// The addresses of a packet, with its ports or its ICMP identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The ports or the identifier.
    pub detail: Detail,
}

/// What distinguishes flows between the same two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Source and destination port of TCP or UDP.
    Ports(u16, u16),
    /// The identifier of ICMP.
    Id(u16),
    /// Nothing, for other protocols.
    None,
}

/// The decision of pf about a packet at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passes.
    pub action: Outcome,
    /// What determined the outcome.
    pub via: Via,
    /// The deciding rule. `None` by default, and also if a state blocks the packet.
    pub rule: Option<RuleRef>,
    /// How the state table was involved.
    pub state: StateUse,
    /// The translation rule of the packet or of its state. It need not have changed anything.
    pub translation: Option<TranslationRef>,
    /// The dummynet rules that matched before the decision, in order.
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
    /// It is held until its datagram is complete. The outcome of its verdict is `Block`, which the JSON form shows as
    /// `held`.
    pub held: bool,
    /// It was the last missing fragment, and continues as the reassembled datagram.
    pub whole: bool,
    /// `no-df` has cleared the don't-fragment bit.
    pub cleared_df: bool,
    /// `min-ttl` has raised the TTL to this value.
    pub raised_ttl: Option<u8>,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.via == Via::Abandoned {
            map.serialize_entry("action", UNKNOWN)?;
        } else if self.scrubbed.held {
            map.serialize_entry("action", "held")?;
        } else {
            map.serialize_entry("action", &self.action)?;
        }
        map.serialize_entry("via", &self.via)?;
        if self.via != Via::Skip && self.via != Via::Abandoned {
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
    /// The number of the pipe or queue; `None` for `no dummynet`.
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
    /// Source and destination. An ICMP identifier belongs to the source, since translation changes them together.
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

/// One side of a packet, with the JSON names of its address and port.
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
