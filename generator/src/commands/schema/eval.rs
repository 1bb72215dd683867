//! The answers of `pf eval`, as types. It is the format in which the verdicts of a real pf were recorded.

#![expect(dead_code, reason = "it describes what is printed")]

use std::net::IpAddr;

use nixvol_net::pf::eval::{StateUse, TranslationKind, Via};
use schemars::JsonSchema;

/// The verdict on one packet.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Eval {
    /// For a packet with one hook.
    Single(VerdictSchema),
    /// For a packet with a `path` of hooks; evaluation ends at the first hook that blocks.
    Path(PathSchema),
}

#[derive(JsonSchema)]
#[schemars(rename = "Path")]
pub struct PathSchema {
    /// The final verdict.
    action: PathActionSchema,
    /// One verdict for each hook that evaluated the packet.
    hops: Vec<VerdictSchema>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Verdict")]
pub struct VerdictSchema {
    /// What pf does with the packet.
    action: ActionSchema,
    /// What decided.
    via: Via,
    /// The number of the deciding rule within its ruleset; -1 for none. Absent if pf did not evaluate the packet,
    /// or if the evaluation was abandoned.
    #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
    rule: Option<i64>,
    /// The anchor path of that ruleset; empty for the main ruleset.
    #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
    anchor: Option<String>,
    /// The label of the deciding rule.
    #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// What happened in the state table.
    #[schemars(with = "StateUse", skip_serializing_if = "Option::is_none")]
    state: Option<StateUse>,
    /// The translation rule that applied, or the one stored in the matched state. It need not have changed anything.
    #[schemars(with = "TranslationSchema", skip_serializing_if = "Option::is_none")]
    xlate_rule: Option<TranslationSchema>,
    /// The dummynet rules that the packet matches, in order.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    dummynet: Vec<ShapingSchema>,
    /// True if this fragment completed its datagram: from this hook on, the packet is the reassembled datagram.
    #[schemars(with = "bool", skip_serializing_if = "Option::is_none")]
    reassembled: Option<bool>,
    /// False if `no-df` cleared the don't-fragment bit.
    #[schemars(with = "bool", skip_serializing_if = "Option::is_none")]
    df: Option<bool>,
    /// The TTL, if `min-ttl` raised it.
    #[schemars(with = "u8", skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    /// The source after translation, if it changed.
    #[schemars(with = "SourceSchema", skip_serializing_if = "Option::is_none")]
    nat: Option<SourceSchema>,
    /// The destination after translation, if it changed.
    #[schemars(with = "Destination", skip_serializing_if = "Option::is_none")]
    rdr: Option<Destination>,
    /// The addresses and ports of the packet as it leaves pf.
    out: FormSchema,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Action")]
pub enum ActionSchema {
    Pass,
    Block,
    /// Held until the other fragments of its datagram arrive.
    Held,
    /// Not known: the evaluation was abandoned.
    Unknown,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PathAction")]
pub enum PathActionSchema {
    Pass,
    Block,
    /// Not known: the evaluation was abandoned.
    Unknown,
}

#[derive(JsonSchema)]
#[schemars(rename = "Translation")]
pub struct TranslationSchema {
    r#type: TranslationKind,
    /// The number of the rule among those of its kind in its ruleset.
    rule: u32,
    /// The anchor path of its ruleset; empty for the main ruleset.
    anchor: String,
}

/// A dummynet rule; one with neither pipe nor queue is a `no dummynet` rule.
#[derive(JsonSchema)]
#[schemars(rename = "Shaping")]
pub struct ShapingSchema {
    rule: u32,
    /// The anchor path of its ruleset; empty for the main ruleset.
    anchor: String,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    pipe: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    queue: Option<u16>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Source")]
pub struct SourceSchema {
    src: IpAddr,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    icmp_id: Option<u16>,
}

#[derive(JsonSchema)]
pub struct Destination {
    dst: IpAddr,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Form")]
pub struct FormSchema {
    src: IpAddr,
    dst: IpAddr,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    icmp_id: Option<u16>,
}
