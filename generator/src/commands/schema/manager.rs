//! What the manager prints with `--json`, as types; shared with `status` of this program where both print the same.

#![expect(dead_code, reason = "it describes what is printed")]

use std::net::Ipv4Addr;

use nixvol_net::status::{ProviderState, StatusFinding, VolumeState};
use schemars::JsonSchema;

/// The output of `status --json`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerStatus {
    /// The last requested state; null before the first start.
    wish: Option<Wish>,
    /// Whether the Mac is as requested.
    healthy: bool,
    /// The providers, sorted by name.
    providers: Vec<ProviderState>,
    /// The volumes, sorted by name.
    volumes: Vec<VolumeState>,
    /// The dummynet pipes, sorted by number.
    pipes: Vec<PipeSchema>,
    /// Partitions and slow paths that `partition` and `slow` created.
    faults: Vec<FaultSchema>,
    /// The state of pf, as far as it concerns this network.
    rules: RulesSchema,
    /// The state of the launchd job, and how its last run ended.
    job: String,
    /// The use of pf's state table; null if pf does not report it.
    states: Option<States>,
    /// Whether IP forwarding is on.
    forwarding: bool,
    /// The egress interfaces for which NAT rules are loaded.
    ways_out: Vec<String>,
    /// The egress interface of the default route.
    default_interface: Option<String>,
    /// The gateway of the default route, with its interface.
    default_route: Option<String>,
    /// A start that waits for its confirmation, or is still in progress.
    pending: Option<Pending>,
    /// Whether the installed bundle is the one in force.
    installed: bool,
    /// The tunnel to the other Macs; null if the declaration has none.
    mesh: Option<MeshSchema>,
    #[serde(flatten)]
    judged: Judged,
    /// Lines of a declaration that move every provider whose network collides to a free network.
    advice: Vec<String>,
    /// Information that needs no action.
    notes: Vec<String>,
}

/// The output of `plan --json`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerPlan {
    #[serde(flatten)]
    judged: Judged,
    /// Lines of a declaration that move every provider whose network collides to a free network.
    advice: Vec<String>,
    /// Information that needs no action.
    notes: Vec<String>,
    /// The dummynet pipes, sorted by number.
    pipes: Vec<PipeSchema>,
    /// The egress interfaces for which NAT rules are loaded.
    ways_out: Vec<String>,
    /// The egress interface of the default route.
    default_interface: Option<String>,
    /// A start that waits for its confirmation, or is still in progress.
    pending: Option<Pending>,
    /// Partitions and slow paths that `partition` and `slow` created.
    faults: Vec<FaultSchema>,
}

/// The output of `test --json`.
#[derive(JsonSchema)]
pub struct ManagerTest {
    /// Whether every probe had the expected outcome and the network is as declared.
    agrees: bool,
    /// The number of probes sent.
    tried: u32,
    /// The number of probes with an unexpected outcome, and of other findings.
    failed: u32,
    /// The number of probes skipped because a volume is not mounted.
    skipped: u32,
    #[serde(flatten)]
    judged: Judged,
    /// The probes sent, each with its outcome.
    probes: Vec<ProbeSchema>,
}

/// The fields that `status`, `plan` and `test` share.
#[derive(JsonSchema)]
pub struct Judged {
    /// Reasons why a start would be refused.
    refused: Vec<String>,
    /// Differences and conflicts that a start cannot repair.
    findings: Vec<StatusFinding>,
    /// The changes that a start would make, in order.
    changes: Vec<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    Up,
    Down,
}

/// The tunnel to the other Macs.
#[derive(JsonSchema)]
#[schemars(rename = "Mesh")]
pub struct MeshSchema {
    /// The address of this Mac in the tunnel.
    address: Ipv4Addr,
    /// The interface that has this address; null while there is none.
    interface: Option<String>,
    /// The other Macs, sorted by name.
    peers: Vec<PeerSchema>,
}

/// Another Mac.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Peer")]
pub struct PeerSchema {
    /// The name of the Mac.
    mac: String,
    /// Where WireGuard reaches it now, or, while that is not known, as declared.
    endpoint: String,
    /// Its address in the tunnel.
    address: Ipv4Addr,
    /// The networks of its providers.
    networks: Vec<String>,
    /// What is known of it.
    state: PeerStateSchema,
    /// The seconds since the last handshake; null if there was none, or WireGuard does not report it.
    last_handshake_seconds: Option<u64>,
}

/// The state of another Mac, as this one sees it. None of them makes this Mac unhealthy.
#[derive(JsonSchema)]
#[schemars(rename = "PeerState")]
pub enum PeerStateSchema {
    /// The network is not to be up, and there is no tunnel.
    #[serde(rename = "down")]
    Down,
    /// There is no tunnel.
    #[serde(rename = "waiting for the mesh")]
    Waiting,
    /// WireGuard does not answer.
    #[serde(rename = "unknown")]
    Unknown,
    /// The tunnel has no peer with its public key: the tunnel is not as declared.
    #[serde(rename = "not in the tunnel")]
    Stranger,
    /// The two have not reached each other yet.
    #[serde(rename = "no handshake yet")]
    New,
    /// The last handshake is at most three minutes old.
    #[serde(rename = "connected")]
    Connected,
    /// The last handshake is older.
    #[serde(rename = "away")]
    Away,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Pipe")]
pub struct PipeSchema {
    /// The number of the pipe.
    number: u16,
    /// The delay that the pipe adds to each packet, in milliseconds.
    latency_ms: u16,
    /// The share of packets that the pipe loses, from 0 to 1.
    loss: f64,
    /// The bandwidth in kilobits per second; null means no limit.
    bandwidth_kbit: Option<u32>,
    /// The sources and destinations of the packets that go through the pipe.
    way: String,
    /// `up`, `down`, `missing`, `not as declared` or `of another program`.
    state: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Rules")]
pub struct RulesSchema {
    /// The path of this program's anchor.
    anchor: String,
    /// Whether the anchor holds rules of this program.
    loaded: bool,
    /// Whether the main ruleset calls the anchor, for each kind of rule.
    called: Called,
    /// Whether pf skips lo0 (`set skip`), so that no rule applies between volumes that this Mac serves.
    skips_loopback: bool,
    /// The token by which the manager keeps pf enabled.
    token: Option<String>,
}

#[derive(JsonSchema)]
pub struct Called {
    nat: bool,
    rdr: bool,
    filter: bool,
    /// Null if no link has conditions.
    dummynet: Option<bool>,
}

#[derive(JsonSchema)]
pub struct States {
    /// The number of entries.
    entries: u64,
    /// The maximum number of entries; null if it is not known.
    limit: Option<u64>,
}

/// A partition or a slow path, created at run time by `partition` or `slow`.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Fault")]
pub struct FaultSchema {
    /// The command that created it.
    action: FaultAction,
    /// A provider or a volume.
    from: String,
    /// Another; null means all other providers and volumes.
    to: Option<String>,
    /// The deadline, as `2026-01-31T12:00:00Z`; null if the fault lasts until `heal`, a stop or a restart.
    until: Option<String>,
    /// `in force`, `not in force` or `over`.
    state: String,
    /// The conditions of a slow path, in words; null for a partition, as are the fields that follow.
    conditions: Option<String>,
    /// The added delay in each direction, in milliseconds.
    latency_ms: Option<u16>,
    /// The share of packets that is lost in each direction, from 0 to 1.
    loss: Option<f64>,
    /// The bandwidth of each direction in kilobits per second; null means no limit.
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
    /// The deadline for `confirm`, as `2026-01-31T12:00:00Z`; null while the start is in progress.
    until: Option<String>,
    /// The length of the whole confirmation period, in seconds.
    seconds: u64,
}

#[derive(JsonSchema)]
#[schemars(rename = "Probe")]
pub struct ProbeSchema {
    /// The name of the source.
    from: String,
    /// The source address.
    source: Ipv4Addr,
    /// The name of the destination.
    to: String,
    /// The destination address.
    destination: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    protocol: String,
    /// The destination port; null for ICMP.
    port: Option<u16>,
    /// The verdict of the policy.
    expected: Expected,
    /// The outcome.
    found: FoundSchema,
    /// The evidence for `found`.
    why: String,
    /// Whether the probe had the expected outcome.
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
#[schemars(rename = "Found")]
pub enum FoundSchema {
    Pass,
    Block,
    /// No answer came, although no rule of this program blocked the packet.
    Lost,
}
