//! What the manager prints with `--json`, as types. What `status` of this program has too is of the same types.

#![expect(dead_code, reason = "it describes what is printed")]

use std::net::Ipv4Addr;

use nixvol_net::status::{Finding, Placed, Provider};
use schemars::JsonSchema;

/// `status --json`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerStatus {
    /// What was requested last; null before the first start.
    wish: Option<Wish>,
    /// It is as requested.
    healthy: bool,
    providers: Vec<Provider>,
    volumes: Vec<Placed>,
    pipes: Vec<Pipe>,
    /// What is cut or slow between two ends on demand.
    faults: Vec<Fault>,
    rules: Rules,
    /// launchd's job: its state and how it ended last.
    job: String,
    /// pf's table of states; null where pf does not tell.
    states: Option<States>,
    /// Whether the Mac forwards packets.
    forwarding: bool,
    ways_out: Vec<String>,
    default_interface: Option<String>,
    /// The gateway of the default route with its interface.
    default_route: Option<String>,
    /// A start that waits for its confirmation, or is at work.
    pending: Option<Pending>,
    /// Whether the installed bundle is the one that is in force.
    installed: bool,
    #[serde(flatten)]
    judged: Judged,
    advice: Vec<String>,
    notes: Vec<String>,
}

/// `plan --json`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerPlan {
    #[serde(flatten)]
    judged: Judged,
    /// The lines of a declaration that moves every provider whose network somebody else has to one that is free.
    advice: Vec<String>,
    /// What is worth knowing and harms nothing.
    notes: Vec<String>,
    pipes: Vec<Pipe>,
    /// The interfaces that packets leave by, which NAT is loaded for.
    ways_out: Vec<String>,
    /// The one of them that the default route takes.
    default_interface: Option<String>,
    pending: Option<Pending>,
    faults: Vec<Fault>,
}

/// `test --json`.
#[derive(JsonSchema)]
pub struct ManagerTest {
    /// Whether every probe met what was expected, and the network is as declared.
    agrees: bool,
    /// How many probes there were.
    tried: u32,
    /// How many met something else, and what else is wrong.
    failed: u32,
    /// How many probes were left out because a volume is not mounted.
    skipped: u32,
    #[serde(flatten)]
    judged: Judged,
    probes: Vec<Probe>,
}

/// What all three have.
#[derive(JsonSchema)]
pub struct Judged {
    /// Why a start would be refused.
    refused: Vec<String>,
    /// What is not as it should be, and cannot be mended by a start.
    findings: Vec<Finding>,
    /// What a start would do, in order.
    changes: Vec<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    Up,
    Down,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pipe {
    number: u16,
    /// The delay that it adds to each packet, in milliseconds.
    latency_ms: u16,
    /// The share of packets that it loses: 0 to 1.
    loss: f64,
    /// Its bandwidth in kilobits a second; null is no limit.
    bandwidth_kbit: Option<u32>,
    /// Who sends to whom through it.
    way: String,
    /// `up`, `down`, `missing`, `not as declared` or `of another program`.
    state: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    anchor: String,
    /// Whether there are rules of ours in it.
    loaded: bool,
    /// Whether the main ruleset calls the anchor for each kind of rules.
    called: Called,
    /// Whether pf skips lo0, so that no rule is in force between volumes of this Mac.
    skips_loopback: bool,
    /// Our token that keeps pf enabled.
    token: Option<String>,
}

#[derive(JsonSchema)]
pub struct Called {
    nat: bool,
    rdr: bool,
    filter: bool,
    /// Null where no link has conditions.
    dummynet: Option<bool>,
}

#[derive(JsonSchema)]
pub struct States {
    entries: u64,
    limit: Option<u64>,
}

/// A fault that was made by `partition` or `slow`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    action: FaultAction,
    /// A provider or a volume.
    from: String,
    /// The other endpoint; a fault is the same in both directions.
    to: String,
    /// Until when it lasts, as `2026-01-31T12:00:00Z`; null until it is healed, a stop or a restart.
    until: Option<String>,
    /// `in force`, `not in force` or `over`.
    state: String,
    /// Those of a slowed path, in words; null for a partition, as are the fields that follow.
    conditions: Option<String>,
    /// Added delay in each direction, in milliseconds.
    latency_ms: Option<u16>,
    /// The share of packets that is lost in each direction: 0 to 1.
    loss: Option<f64>,
    /// The bandwidth of each direction in kilobits a second; null is no limit.
    bandwidth_kbit: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FaultAction {
    Partition,
    Slow,
}

#[derive(JsonSchema)]
pub struct Pending {
    /// Until when it waits, as `2026-01-31T12:00:00Z`; null where it is at work.
    until: Option<String>,
    /// For how many seconds in all.
    seconds: u64,
}

#[derive(JsonSchema)]
pub struct Probe {
    from: String,
    source: Ipv4Addr,
    to: String,
    destination: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    protocol: String,
    port: Option<u16>,
    expected: Expected,
    found: Found,
    /// What `found` follows from.
    why: String,
    /// Whether what was found was expected.
    agrees: bool,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    Pass,
    Block,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    Pass,
    Block,
    /// No answer, and no rule of ours blocked it.
    Lost,
}
