//! What commands print, as types. Some commands print these; the others put the same together themselves.

#![expect(dead_code, reason = "it describes what is printed")]

use std::collections::BTreeMap;

use nixvol_net::diagnostic::{Located, Record as Problem};
use nixvol_net::diff::record::Record as Difference;
use nixvol_net::explain::{Explanation, Opening, Survey};
use nixvol_net::place::Place;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::commands::prove::Violated;

#[derive(Serialize, JsonSchema)]
pub struct Render {
    /// The bundle.
    pub directory: String,
    /// Whether anything was written.
    pub changed: bool,
    /// The files of the bundle.
    pub files: Vec<String>,
    /// How many rules were proven.
    pub rules: usize,
    /// How many classes of packets were also put through pf.
    pub classes: usize,
}

#[derive(JsonSchema)]
pub struct Verify {
    /// Whether rules, files and expectations are as declared.
    proven: bool,
    /// How many rules were proven.
    rules: Option<usize>,
    /// How many classes of packets were also put through pf.
    classes: Option<usize>,
    /// What the rules do otherwise.
    violations: Vec<Violated>,
    /// Files that are not what is rendered.
    files: Vec<Differs>,
    /// What was expected, and whether it holds.
    expectations: Vec<Expectation>,
}

#[derive(JsonSchema)]
pub struct Differs {
    /// The file's path inside the bundle.
    path: String,
    /// How it differs.
    message: String,
}

#[derive(JsonSchema)]
pub struct Expectation {
    /// Its path in the input: `expect.0`.
    field: String,
    /// Its place in the source.
    place: Option<Place>,
    from: Vec<String>,
    to: Vec<String>,
    protocol: Option<String>,
    ports: Option<String>,
    /// Whether all of it must pass, or none may.
    passes: bool,
    why: Option<String>,
    /// Whether it is so.
    holds: bool,
    /// A flow that is otherwise, where it does not hold.
    #[schemars(skip_serializing_if = "Option::is_none")]
    witness: Option<Witness>,
}

#[derive(JsonSchema)]
pub struct Witness {
    protocol: String,
    /// An address, or `mac`.
    source: String,
    destination: String,
    port: Option<u16>,
    /// What becomes of it.
    outcome: String,
    because: String,
    declared: Vec<Located>,
    /// The rule that decides.
    rule: Option<String>,
    /// The command that shows the way.
    explain: String,
}

#[derive(JsonSchema)]
pub struct Test {
    proven: bool,
    rules: usize,
    classes: usize,
    /// By who opens, then by who is reached.
    reach: BTreeMap<String, BTreeMap<String, Cell>>,
    /// The ways that have conditions.
    conditions: Vec<Way>,
    expectations: Vec<Expectation>,
}

#[derive(JsonSchema)]
pub struct Cell {
    /// `all`, `some` or `none`.
    reach: String,
    /// What passes, of `some`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    passes: Option<Vec<Passing>>,
    /// Whether addresses are translated, of `internet`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    nat: Option<bool>,
}

#[derive(JsonSchema)]
pub struct Passing {
    from: Vec<String>,
    to: Vec<String>,
    /// `tcp`, `udp`, `icmp`, or `other`.
    protocol: String,
    /// Null is every one.
    ports: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// The number of the pipe.
    pipe: u16,
    from: Vec<String>,
    to: Vec<String>,
    latency_ms: Option<u16>,
    /// The regions whose distance the latency is of.
    regions: Option<Regions>,
    jitter_ms: Option<u16>,
    loss: Option<f64>,
    bandwidth_kbit: Option<u32>,
}

#[derive(JsonSchema)]
pub struct Regions {
    from: String,
    to: String,
    /// The distance between them.
    km: f64,
}

#[derive(JsonSchema)]
pub struct Check {
    problems: Vec<Problem>,
    /// What is valid and worth a second thought.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Problem>,
    /// What was expected, where the declaration is valid.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    expectations: Vec<Expectation>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "it describes what is printed")]
pub enum Explain {
    /// One packet.
    One(One),
    /// Several: every service, or `any` as an end.
    Several(Survey),
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct One {
    #[serde(flatten)]
    explanation: Explanation,
    /// What whoever opens sees, where it is blocked.
    client_sees: Option<String>,
    /// What would open it.
    to_open: Option<Opening>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotCheck<'a> {
    pub directory: String,
    pub same: bool,
    /// What the accepted rules do otherwise than the accepted declaration says.
    pub accepted_violations: Vec<Violated>,
    pub difference: Difference<'a>,
}

#[derive(Serialize, JsonSchema)]
pub struct SnapshotAccept<'a> {
    pub directory: String,
    pub changed: bool,
    pub difference: Option<Difference<'a>>,
}

#[derive(JsonSchema)]
pub struct Edit {
    file: String,
    /// What is changed, in words.
    change: String,
    written: bool,
    /// The lines of the file that change.
    diff: String,
    effects: Vec<Effect>,
}

#[derive(JsonSchema)]
pub struct Effect {
    /// The configuration, where the file has several.
    configuration: Option<String>,
    diff: Option<Difference<'static>>,
    /// Why it is not known.
    #[schemars(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub struct Init {
    pub file: String,
    pub written: bool,
    /// The declaration, as `nixvol-net schema` describes it.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub input: Value,
    pub left: Vec<Left>,
}

#[derive(Serialize, JsonSchema)]
pub struct Left {
    pub file: String,
    pub line: usize,
    pub what: String,
    pub why: String,
}

#[derive(Serialize, JsonSchema)]
pub struct PfCheck {
    pub errors: Vec<AtLine>,
    pub notes: Vec<AtLine>,
}

#[derive(Serialize, JsonSchema)]
pub struct AtLine {
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub message: String,
}

#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Help {
    /// A page.
    Page(Page),
    /// The table of all codes.
    Table(Table),
}

#[derive(JsonSchema)]
pub struct Page {
    topic: String,
    #[schemars(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    text: String,
}

#[derive(JsonSchema)]
pub struct Table {
    errors: Vec<Code>,
}

#[derive(JsonSchema)]
pub struct Code {
    code: String,
    title: String,
}

#[derive(Serialize, JsonSchema)]
pub struct PfPrint {
    /// The ruleset in canonical form, as `pfctl -nv` prints it; none where it has errors.
    pub lines: Vec<String>,
    pub errors: Vec<AtLine>,
    pub notes: Vec<AtLine>,
}
