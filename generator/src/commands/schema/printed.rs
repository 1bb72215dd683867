//! What commands print, as types. Some commands serialize these types; the others build the same JSON themselves.

#![expect(dead_code, reason = "it describes what is printed")]

use std::collections::BTreeMap;

use nixvol_net::diagnostic::{Located, ProblemRecord as Problem};
use nixvol_net::diff::record::DiffRecord as Difference;
use nixvol_net::explain::{Explanation, Opening, Survey};
use nixvol_net::place::Place;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::commands::macs::AllMacs;
use crate::commands::prove::Violated;

#[derive(Serialize, JsonSchema)]
pub struct Render {
    /// The directory of the bundle.
    pub directory: String,
    /// Whether any file was written.
    pub changed: bool,
    /// The files of the bundle.
    pub files: Vec<String>,
    /// The number of rules proven.
    pub rules: usize,
    /// The number of packet classes of which an example was also run through the pf evaluator.
    pub classes: usize,
}

#[derive(JsonSchema)]
pub struct Verify {
    /// Whether rules, files and expectations are as declared.
    proven: bool,
    /// The number of rules proven.
    rules: Option<usize>,
    /// The number of packet classes of which an example was also run through the pf evaluator.
    classes: Option<usize>,
    /// The packets that the rules treat differently than declared.
    violations: Vec<Violated>,
    /// The files that differ from what would be rendered.
    files: Vec<DifferenceSchema>,
    /// The declared expectations, and whether each holds.
    expectations: Vec<ExpectationSchema>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Differs")]
pub struct DifferenceSchema {
    /// The path of the file inside the bundle.
    path: String,
    /// How it differs.
    message: String,
}

#[derive(JsonSchema)]
#[schemars(rename = "Expectation")]
pub struct ExpectationSchema {
    /// The path of the expectation in the input, such as `expect.0`.
    field: String,
    /// The place in the user's Nix source, if known.
    place: Option<Place>,
    /// The endpoints that open, by name.
    from: Vec<String>,
    /// The endpoints that they reach, by name.
    to: Vec<String>,
    protocol: Option<String>,
    ports: Option<String>,
    /// True if all of these flows must get through, false if none may.
    passes: bool,
    /// The declared reason; null if there is none.
    why: Option<String>,
    /// Whether the expectation holds.
    holds: bool,
    /// A flow that contradicts the expectation; absent if it holds.
    #[schemars(skip_serializing_if = "Option::is_none")]
    witness: Option<Witness>,
}

#[derive(JsonSchema)]
pub struct Witness {
    protocol: String,
    /// An address, or `mac`.
    source: String,
    /// The destination address.
    destination: String,
    /// The destination port; null if the protocol has none.
    port: Option<u16>,
    /// What happens to the flow.
    outcome: String,
    /// The reason for the outcome, in words.
    because: String,
    /// The values of the declaration that decide.
    declared: Vec<Located>,
    /// The rule that decides.
    rule: Option<String>,
    /// The `explain` command that shows the path of this flow.
    explain: String,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Test")]
pub enum TestSchema {
    /// The proof of this Mac.
    One(OneMacTest),
    /// The proof of all Macs that share the declaration, with `--all-macs`.
    All(AllMacs),
}

#[derive(JsonSchema)]
pub struct OneMacTest {
    /// Always true: this form is printed only after a proof.
    proven: bool,
    /// The number of rules proven.
    rules: usize,
    classes: usize,
    /// How much passes: by who opens the connections, then by who is reached.
    reach: BTreeMap<String, BTreeMap<String, CellSchema>>,
    /// The paths that have conditions.
    conditions: Vec<WaySchema>,
    expectations: Vec<ExpectationSchema>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Cell")]
pub struct CellSchema {
    /// `all`, `some` or `none`.
    reach: String,
    /// The services that pass; present if `reach` is `some`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    passes: Option<Vec<PassingSchema>>,
    /// Whether NAT translates the source; present for the destination `internet`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    nat: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Passing")]
pub struct PassingSchema {
    from: Vec<String>,
    to: Vec<String>,
    /// `tcp`, `udp`, `icmp` or `other`.
    protocol: String,
    /// The destination ports; null means every port.
    ports: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Way")]
pub struct WaySchema {
    /// The number of the dummynet pipe.
    pipe: u16,
    from: Vec<String>,
    to: Vec<String>,
    latency_ms: Option<u16>,
    /// The two regions, if the latency follows from their distance.
    regions: Option<Regions>,
    jitter_ms: Option<u16>,
    loss: Option<f64>,
    bandwidth_kbit: Option<u32>,
}

#[derive(JsonSchema)]
pub struct Regions {
    from: String,
    to: String,
    /// The distance between the regions in kilometres.
    km: f64,
}

#[derive(JsonSchema)]
#[schemars(rename = "Check")]
pub struct CheckSchema {
    /// The errors of the declaration; empty if it is valid.
    problems: Vec<Problem>,
    /// Values that are valid, but probably a mistake.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Problem>,
    /// The declared expectations, and whether each holds; only for a valid declaration.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    expectations: Vec<ExpectationSchema>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "it describes what is printed")]
#[schemars(rename = "Explain")]
pub enum ExplainSchema {
    /// The answer for one packet.
    One(One),
    /// The answers for several packets: for every service, or with `any` as an endpoint.
    Several(Survey),
    /// The answers of two Macs, for a packet from one to the other.
    Between(Between),
}

/// A packet from a provider on one Mac to one on another.
#[derive(JsonSchema)]
pub struct Between {
    /// Whether the packet and its reply pass on both Macs.
    passes: bool,
    /// The answers, of the sender's Mac first; the receiver's is absent if the packet never reaches it.
    macs: Vec<OnMac>,
}

/// The answer of one Mac.
#[derive(JsonSchema)]
pub struct OnMac {
    /// The name of the Mac.
    mac: String,
    explanation: Explanation,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct One {
    #[serde(flatten)]
    explanation: Explanation,
    /// What a client sees if the packet is blocked.
    client_sees: Option<String>,
    /// The link that would permit the packet.
    to_open: Option<Opening>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotCheck<'a> {
    /// The directory of the snapshot.
    pub directory: String,
    /// Whether the snapshot equals what would be rendered now.
    pub same: bool,
    /// The packets that the accepted rules treat differently than the accepted declaration says.
    pub accepted_violations: Vec<Violated>,
    /// The difference from the snapshot to what would be rendered now.
    pub difference: Difference<'a>,
}

#[derive(Serialize, JsonSchema)]
pub struct SnapshotAccept<'a> {
    /// The directory of the snapshot.
    pub directory: String,
    /// Whether any file of the snapshot changed.
    pub changed: bool,
    /// The difference from the former snapshot; null if there was none that could be read.
    pub difference: Option<Difference<'a>>,
}

#[derive(JsonSchema)]
pub struct Edit {
    /// The edited file.
    file: String,
    /// The edit, in words.
    change: String,
    /// Whether the file was written.
    written: bool,
    /// The lines of the file that the edit changes, as a diff.
    diff: String,
    /// What the edit opens and closes, for each configuration.
    effects: Vec<EffectSchema>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Effect")]
pub struct EffectSchema {
    /// The name of the configuration, if the file has several.
    configuration: Option<String>,
    /// The difference that the edit makes; null if it is not known.
    diff: Option<Difference<'static>>,
    /// Why the effect is not known.
    #[schemars(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Init")]
pub struct InitSchema {
    /// The file with the declaration.
    pub file: String,
    /// Whether the file was written.
    pub written: bool,
    /// The declaration, in the format that `nixvol-net schema` describes.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub input: Value,
    /// What was not converted from the files of other tools.
    pub left: Vec<LeftSchema>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Left")]
pub struct LeftSchema {
    /// The file of the other tool.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What was not converted.
    pub what: String,
    /// Why it was not converted, or what is there instead.
    pub why: String,
}

#[derive(Serialize, JsonSchema)]
pub struct PfCheck {
    /// Statements that pfctl would refuse.
    pub errors: Vec<AtLine>,
    pub notes: Vec<AtLine>,
}

#[derive(Serialize, JsonSchema)]
pub struct AtLine {
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    pub message: String,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Help")]
pub enum HelpSchema {
    /// One help page.
    Page(PageSchema),
    /// The table of all error codes.
    Table(TableSchema),
}

#[derive(JsonSchema)]
#[schemars(rename = "Page")]
pub struct PageSchema {
    topic: String,
    #[schemars(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    text: String,
}

#[derive(JsonSchema)]
#[schemars(rename = "Table")]
pub struct TableSchema {
    /// The error codes, each with its title.
    errors: Vec<Code>,
}

#[derive(JsonSchema)]
pub struct Code {
    code: String,
    title: String,
}

#[derive(Serialize, JsonSchema)]
pub struct PfPrint {
    /// The ruleset in canonical form, as `pfctl -nv` prints it; empty if the file has errors.
    pub lines: Vec<String>,
    pub errors: Vec<AtLine>,
    pub notes: Vec<AtLine>,
}
