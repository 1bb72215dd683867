//! What the lab prints, as types.

#![expect(dead_code, reason = "it describes what is printed")]

use std::net::Ipv4Addr;

use schemars::JsonSchema;

#[derive(JsonSchema)]
#[serde(untagged)]
pub enum LabStatus {
    /// No lab is up.
    Down(LabDown),
    /// One is.
    Up(LabUp),
}

#[derive(JsonSchema)]
pub struct LabDown {
    /// False.
    up: bool,
}

#[derive(JsonSchema)]
pub struct LabUp {
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
pub struct Node {
    name: String,
    provider: Option<String>,
    addresses: Vec<String>,
    side: String,
    cut_from: Vec<String>,
}

#[derive(JsonSchema)]
pub struct LabPipe {
    number: u16,
    conditions: String,
    way: String,
}

#[derive(JsonSchema)]
pub struct Fault {
    action: String,
    from: String,
    to: Option<String>,
    conditions: Option<String>,
    seconds: Option<u64>,
}

/// `lab test`.
#[derive(JsonSchema)]
pub struct LabTest {
    /// Whether every probe met what was expected.
    agrees: bool,
    /// The first that did not.
    difference: Option<Differs>,
    probes: Vec<Probe>,
}

#[derive(JsonSchema)]
pub struct Differs {
    /// Who, whom, and what.
    packet: String,
    expected: String,
    found: String,
    /// What `explain`, or the policy where nothing is explained, says of the packet.
    explanation: String,
    /// What pf made of each packet in each place.
    seen: Vec<String>,
}

#[derive(JsonSchema)]
pub struct Probe {
    /// Who asks: a volume, a provider's gateway, `mac`, `lan` or `internet`.
    from: String,
    /// Who is asked.
    to: String,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    protocol: String,
    port: Option<u16>,
    /// How many bytes it carries. Large datagrams are cut on their way.
    bytes: usize,
    /// What the Mac is like meanwhile.
    trial: Trial,
    expected: Answer,
    found: Answer,
}

#[derive(JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Trial {
    /// As the manager makes it.
    Whole,
    /// The source is another's address.
    Forged,
    /// The bridge of a provider is gone, and the rules are as they were loaded with it.
    BridgeGone { provider: String },
    /// The same after the manager has loaded the rules that are left.
    BridgeGoneAndReloaded { provider: String },
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// A connection, or an answer.
    Connected,
    /// A RST, or the word that no one listens.
    Refused,
    /// The word that there is no way.
    Unreachable,
    /// Nothing.
    Silence,
}
