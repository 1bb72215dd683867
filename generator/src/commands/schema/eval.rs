//! The answers of `pf eval`, as types: the form in which recorded verdicts of a real pf are.

#![expect(dead_code, reason = "it describes what is printed")]

use std::net::IpAddr;

use schemars::JsonSchema;

/// An answer to a packet.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Eval {
    /// Of one hook.
    Single(Verdict),
    /// Of several, until one blocks.
    Path(Path),
}

#[derive(JsonSchema)]
pub struct Path {
    /// What becomes of the packet in the end.
    action: Passing,
    /// One for each hook.
    hops: Vec<Verdict>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Passing {
    Pass,
    Block,
}

#[derive(JsonSchema)]
pub struct Verdict {
    action: Action,
    via: Via,
    /// The number of the deciding rule inside its ruleset; -1 is none. Absent where pf never looked.
    #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
    rule: Option<i64>,
    /// The path of that ruleset; empty is the main one.
    #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
    anchor: Option<String>,
    #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// What became of the state table.
    #[schemars(with = "State", skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// The translation rule, the state's where there is one. It need not have changed anything.
    #[schemars(with = "Translation", skip_serializing_if = "Option::is_none")]
    xlate_rule: Option<Translation>,
    /// The dummynet rules that the packet meets, in order.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    dummynet: Vec<Shaping>,
    /// True where it was the last missing fragment: from here on it is the whole datagram.
    #[schemars(with = "bool", skip_serializing_if = "Option::is_none")]
    reassembled: Option<bool>,
    /// False where `no-df` has cleared the flag that forbids to cut it.
    #[schemars(with = "bool", skip_serializing_if = "Option::is_none")]
    df: Option<bool>,
    /// What `min-ttl` has raised its time to live to.
    #[schemars(with = "u8", skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    /// The source after translation, where it changed.
    #[schemars(with = "Source", skip_serializing_if = "Option::is_none")]
    nat: Option<Source>,
    /// The destination after translation, where it changed.
    #[schemars(with = "Destination", skip_serializing_if = "Option::is_none")]
    rdr: Option<Destination>,
    /// The packet after pf.
    out: Form,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Pass,
    Block,
    /// Until the other fragments of its datagram are there.
    Held,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A filter rule.
    Rule,
    /// A state, which an earlier packet created.
    State,
    /// Nothing: no filter rule matched, or a translation that skips the filter did.
    Default,
    /// `set skip`: pf never looked.
    #[serde(rename = "skip-or-disabled")]
    Skip,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    None,
    Created,
    Matched,
}

#[derive(JsonSchema)]
pub struct Translation {
    r#type: Kind,
    /// Its number among the rules of its kind in its ruleset.
    rule: u32,
    anchor: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Nat,
    Rdr,
    Binat,
}

/// A dummynet rule; with neither pipe nor queue it says `no dummynet`.
#[derive(JsonSchema)]
pub struct Shaping {
    rule: u32,
    anchor: String,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    pipe: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    queue: Option<u16>,
}

#[derive(JsonSchema)]
pub struct Source {
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
pub struct Form {
    src: IpAddr,
    dst: IpAddr,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
    #[schemars(with = "u16", skip_serializing_if = "Option::is_none")]
    icmp_id: Option<u16>,
}
