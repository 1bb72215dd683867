//! What the lab prints, as types.

#![expect(dead_code, reason = "it describes what is printed")]

use std::net::Ipv4Addr;

use schemars::JsonSchema;

#[derive(JsonSchema)]
#[serde(untagged)]
pub enum LabStatus {
    /// No lab is up.
    Down(LabDown),
    /// A lab is up.
    Up(LabUp),
}

#[derive(JsonSchema)]
pub struct LabDown {
    /// Always false.
    up: bool,
}

#[derive(JsonSchema)]
pub struct LabUp {
    /// Always true.
    up: bool,
    /// The hosts of the lab.
    nodes: Vec<NodeSchema>,
    /// The Macs, if there are several.
    macs: Vec<LabMacSchema>,
    /// The number of loaded rules.
    rules: usize,
    /// The pipes for conditions of links.
    pipes: Vec<LabPipe>,
    /// The partitions and slow paths in force.
    faults: Vec<LabFaultSchema>,
    /// The number of entries in the state table.
    states: usize,
    /// The number of packets delivered.
    delivered: u64,
    blocked: u64,
    dropped: u64,
    /// The seconds since the lab came up.
    seconds: u64,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Node")]
pub struct NodeSchema {
    name: String,
    provider: Option<String>,
    addresses: Vec<String>,
    /// The Mac that it is attached to; null if there is one.
    mac: Option<String>,
    side: String,
    cut_from: Vec<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LabMac")]
pub struct LabMacSchema {
    name: String,
    /// Its address in the tunnel.
    address: Ipv4Addr,
    /// The address and port of its WireGuard on the link between the Macs.
    endpoint: String,
    /// The number of rules loaded on it.
    rules: usize,
    /// The number of entries in its state table.
    states: usize,
    /// The other Macs.
    peers: Vec<LabPeerSchema>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LabPeer")]
pub struct LabPeerSchema {
    name: String,
    /// The seconds since the last handshake; null before the first one.
    handshake_seconds: Option<u64>,
    /// The bytes of packets sent to it.
    sent: usize,
    /// The bytes of packets received from it.
    received: usize,
    /// The messages from it that WireGuard dropped.
    dropped: u64,
    /// Whether a fault cuts the link to it.
    cut: bool,
}

#[derive(JsonSchema)]
pub struct LabPipe {
    /// The number of the pipe.
    number: u16,
    /// The Mac that has it; null if there is one.
    mac: Option<String>,
    /// Its conditions, in words.
    conditions: String,
    /// The sources and destinations of the packets that go through it.
    way: String,
}

#[derive(JsonSchema)]
#[schemars(rename = "Fault")]
pub struct LabFaultSchema {
    action: String,
    from: String,
    to: Option<String>,
    conditions: Option<String>,
    seconds: Option<u64>,
}

/// The output of `lab test`.
#[derive(JsonSchema)]
pub struct LabTest {
    /// Whether every probe had the expected outcome.
    agrees: bool,
    /// The first probe that did not.
    difference: Option<LabDifferenceSchema>,
    /// The probes sent, each with its outcome.
    probes: Vec<LabProbeSchema>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Differs")]
pub struct LabDifferenceSchema {
    /// The packet: source, destination and service.
    packet: String,
    /// The expected outcome.
    expected: String,
    /// The outcome found.
    found: String,
    /// The explanation of the packet: that of `explain`, or the policy's where `explain` gives none.
    explanation: String,
    /// What pf decided on each packet at each hook.
    seen: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Probe")]
pub struct LabProbeSchema {
    /// The source: a volume, a provider's gateway, `mac`, `lan` or `internet`; with several Macs
    /// `macs.NAME`, `lan.NAME` or `internet.NAME`.
    from: String,
    /// The destination, named likewise.
    to: String,
    /// The source address.
    source: Ipv4Addr,
    /// The destination address.
    destination: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    protocol: String,
    /// The destination port; null for ICMP.
    port: Option<u16>,
    /// The size of the payload in bytes. Large datagrams are fragmented on their path.
    bytes: usize,
    /// The condition of the Mac during the probe.
    trial: TrialSchema,
    /// The expected outcome.
    expected: ProbeResultSchema,
    /// The outcome found.
    found: ProbeResultSchema,
}

#[derive(JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[schemars(rename = "Trial")]
pub enum TrialSchema {
    /// The network is as the manager sets it up.
    Whole,
    /// The source address is forged: it belongs to another host.
    Forged,
    /// The bridge of a provider is gone; the rules are still those that were loaded with it.
    BridgeGone { provider: String },
    /// The bridge of a provider is gone, and the manager has reloaded the remaining rules.
    BridgeGoneAndReloaded { provider: String },
    /// The tunnel to the other Macs is gone; the rules are still those that were loaded with it.
    TunnelGone,
    /// The tunnel to the other Macs is gone, and the manager has reloaded the rules.
    TunnelGoneAndReloaded,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Answer")]
pub enum ProbeResultSchema {
    /// A connection was established, or an answer came.
    Connected,
    /// An RST, or ICMP port unreachable.
    Refused,
    /// ICMP unreachable, other than for the port.
    Unreachable,
    /// No answer.
    Silence,
}
