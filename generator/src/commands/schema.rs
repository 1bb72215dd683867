//! `schema`: what the input is made of, and what commands print as JSON.
//!
//! What a command prints is described by types: the library's own where it prints those, and here for what commands put
//! together. `tests/schema.rs` holds every output against its schema, so that neither changes alone.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::diagnostic::{Located, Record as Problem};
use nixvol_net::diff::record::Record as Difference;
use nixvol_net::explain::{Explanation, Opening, Survey};
use nixvol_net::input;
use nixvol_net::place::Place;
use nixvol_net::status::Status;
use schemars::{JsonSchema, Schema, schema_for};
use serde_json::{Value, json};

use super::{DATA, print};
use crate::cli::papers;

/// Runs `schema`.
pub fn run(arguments: &papers::Schema) -> Result<ExitCode> {
    let command = arguments.command.join(" ");
    if command.is_empty() {
        print(&format!("{:#}\n", serde_json::to_value(input::schema())?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((_, make)) = KNOWN.iter().find(|(known, _)| *known == command) else {
        let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
        bail!(
            "there is no schema of `{}`\nhint: there is one of {}",
            super::pf::harmless(&command),
            known.join(", ")
        )
    };
    let schema = versioned(&command, serde_json::to_value(make())?);
    print(&format!("{schema:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a schema.
type Make = fn() -> Schema;

/// The commands that print JSON, with what each prints beside its version.
const KNOWN: &[(&str, Make)] = &[
    ("render", || schema_for!(Render)),
    ("verify", || schema_for!(Verify)),
    ("test", || schema_for!(Test)),
    ("check", || schema_for!(Check)),
    ("explain", || schema_for!(Explain)),
    ("diff", || schema_for!(Difference)),
    ("snapshot check", || schema_for!(SnapshotCheck)),
    ("snapshot accept", || schema_for!(SnapshotAccept)),
    ("graph", || schema_for!(Graph)),
    ("add", || schema_for!(Edit)),
    ("remove", || schema_for!(Edit)),
    ("rename", || schema_for!(Edit)),
    ("move", || schema_for!(Edit)),
    ("init", || schema_for!(Init)),
    ("status", || schema_for!(Status)),
    ("pf check", || schema_for!(PfCheck)),
    ("pf print", || schema_for!(PfPrint)),
    ("lab status", || schema_for!(LabStatus)),
    ("help", || schema_for!(Help)),
];

/// A schema with the version that every output has.
fn versioned(command: &str, mut schema: Value) -> Value {
    let version = json!({ "description": "The version of this output.", "const": DATA });
    let name = format!("nixvol-net {command} --format json, version {DATA}");
    schema["title"] = name.into();
    // Of several forms each has it.
    let count = schema["anyOf"].as_array().map_or(0, Vec::len);
    if count == 0 {
        add(&mut schema, &version);
        return schema;
    }
    let defs = schema["$defs"].clone();
    for form in schema["anyOf"].as_array_mut().into_iter().flatten() {
        let meant =
            form["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")).map(|name| defs[name].clone());
        if let Some(meant) = meant {
            *form = meant;
        }
        add(form, &version);
    }
    schema
}

fn add(schema: &mut Value, version: &Value) {
    schema["properties"]["version"] = version.clone();
    if let Some(required) = schema["required"].as_array_mut() {
        required.push("version".into());
    } else {
        schema["required"] = json!(["version"]);
    }
    // What is not described is not printed.
    schema["additionalProperties"] = json!(false);
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Render {
    /// The bundle.
    directory: String,
    /// Whether anything was written.
    changed: bool,
    /// The files of the bundle.
    files: Vec<String>,
    /// How many rules were proven.
    rules: usize,
    /// How many classes of packets were also put through pf.
    classes: usize,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Verify {
    /// Whether rules, files and expectations are as declared.
    proven: bool,
    /// How many rules were proven.
    rules: Option<usize>,
    /// How many classes of packets were also put through pf.
    classes: Option<usize>,
    /// What the rules do otherwise.
    violations: Vec<Violation>,
    /// Files that are not what is rendered.
    files: Vec<Differs>,
    /// What was expected, and whether it holds.
    expectations: Vec<Expectation>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Violation {
    /// What is wrong.
    message: String,
    /// The line of the ruleset.
    line: Option<u32>,
    /// The column, where the ruleset cannot be read.
    column: Option<u32>,
    /// The rule.
    rule: Option<String>,
    /// What was declared.
    expected: Option<Value>,
    /// What the rules do.
    found: Option<Value>,
    /// A packet, in the form that `pf eval` reads.
    packet: Option<Value>,
    /// Where it was declared.
    declared: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Differs {
    /// The file's path inside the bundle.
    path: String,
    /// How it differs.
    message: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Expectation {
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
    #[schemars(default)]
    witness: Option<Witness>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Witness {
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
#[expect(dead_code, reason = "it describes what is printed")]
struct Test {
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
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Cell {
    /// `all`, `some` or `none`.
    reach: String,
    /// What passes, of `some`.
    #[schemars(default)]
    passes: Option<Vec<Passing>>,
    /// Whether addresses are translated, of `internet`.
    #[schemars(default)]
    nat: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Passing {
    from: Vec<String>,
    to: Vec<String>,
    /// `tcp`, `udp`, `icmp`, or `other`.
    protocol: String,
    /// Null is every one.
    ports: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Way {
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
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Regions {
    from: String,
    to: String,
    /// The distance between them.
    km: f64,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Check {
    problems: Vec<Problem>,
    /// What is valid and worth a second thought.
    #[schemars(default)]
    warnings: Vec<Problem>,
    /// What was expected, where the declaration is valid.
    #[schemars(default)]
    expectations: Vec<Expectation>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, clippy::large_enum_variant, reason = "it describes what is printed")]
enum Explain {
    /// One packet.
    One(One),
    /// Several: every service, or `any` as an end.
    Several(Survey),
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is printed")]
struct One {
    #[serde(flatten)]
    explanation: Explanation,
    /// What whoever opens sees, where it is blocked.
    client_sees: Option<String>,
    /// What would open it.
    to_open: Option<Opening>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is printed")]
struct SnapshotCheck {
    directory: String,
    same: bool,
    /// What the accepted rules do otherwise than the accepted declaration says.
    accepted_violations: Vec<Violation>,
    difference: Difference<'static>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct SnapshotAccept {
    directory: String,
    changed: bool,
    difference: Option<Difference<'static>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Graph {
    providers: Vec<DrawnProvider>,
    volumes: Vec<DrawnVolume>,
    links: Vec<DrawnLink>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct DrawnProvider {
    name: String,
    /// The logical name of its bridge.
    bridge: String,
    /// The kernel's, where a capture tells it.
    kernel: Option<String>,
    gateway: String,
    network: String,
    attachment: String,
    internet: bool,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct DrawnVolume {
    name: String,
    provider: String,
    address: String,
    localhost: Option<String>,
    attachment: String,
    /// The logical name of its port.
    port: Option<String>,
    kernel: Option<String>,
    mount_point: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct DrawnLink {
    /// As every command names it: `links.0`.
    link: String,
    from: Vec<String>,
    to: Vec<String>,
    protocol: Option<String>,
    ports: Option<String>,
    bidirectional: bool,
    masquerade: bool,
    /// In words: `40 ms, 1% lost`.
    conditions: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Edit {
    file: String,
    /// What is changed, in words.
    change: String,
    written: bool,
    /// The lines of the file that change.
    diff: String,
    effects: Vec<Effect>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Effect {
    /// The configuration, where the file has several.
    configuration: Option<String>,
    diff: Option<Difference<'static>>,
    /// Why it is not known.
    #[schemars(default)]
    unknown: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Init {
    file: String,
    written: bool,
    /// The declaration, as `nixvol-net schema` describes it.
    input: BTreeMap<String, Value>,
    left: Vec<Left>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Left {
    file: String,
    line: usize,
    what: String,
    why: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct PfCheck {
    errors: Vec<AtLine>,
    notes: Vec<AtLine>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct AtLine {
    file: String,
    line: u32,
    column: u32,
    message: String,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is printed")]
enum Help {
    /// A page.
    Page(Page),
    /// The table of all codes.
    Table(Table),
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Page {
    topic: String,
    #[schemars(default)]
    title: Option<String>,
    text: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Table {
    errors: Vec<Code>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Code {
    code: String,
    title: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct PfPrint {
    /// The ruleset in canonical form, as `pfctl -nv` prints it; none where it has errors.
    lines: Vec<String>,
    errors: Vec<AtLine>,
    notes: Vec<AtLine>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is printed")]
enum LabStatus {
    /// No lab is up.
    Down(LabDown),
    /// One is.
    Up(LabUp),
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct LabDown {
    /// False.
    up: bool,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is printed")]
struct LabUp {
    /// True.
    up: bool,
    nodes: Vec<Node>,
    /// How many rules are loaded.
    rules: usize,
    pipes: Vec<LabPipe>,
    faults: Vec<Fault>,
    /// How many states live.
    states: usize,
    /// Packets.
    delivered: u64,
    blocked: u64,
    dropped: u64,
    /// Since it is up.
    seconds: u64,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Node {
    name: String,
    provider: Option<String>,
    addresses: Vec<String>,
    side: String,
    cut_from: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct LabPipe {
    number: u16,
    conditions: String,
    way: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is printed")]
struct Fault {
    action: String,
    from: String,
    to: Option<String>,
    conditions: Option<String>,
    seconds: Option<u64>,
}
