//! The format of a recorded scenario.
//!
//! Never: what it means.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde_json::Value;

/// A scenario, and its result on Apple's stack.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedScenario {
    /// The name of the scenario.
    pub id: String,
    /// The kind of its rules; informative only.
    #[serde(default)]
    pub shape: Option<String>,
    /// The text of the main ruleset.
    pub main: String,
    /// The text of the anchor, with interface names filled in.
    pub anchor: String,
    /// Dummynet pipes by number.
    #[serde(default)]
    pub pipes: BTreeMap<String, RecordedPipe>,
    /// The Mac.
    pub host: RecordedHost,
    /// The VMs.
    pub guests: Vec<RecordedGuest>,
    /// Addresses of hosts on the LAN.
    pub lan: Vec<Ipv4Addr>,
    /// The packet that starts the scenario, and who sends it.
    pub act: RecordedPacket,
    /// Every evaluation of pf for the first packet and its answer, in order.
    #[serde(default)]
    pub hooks: Vec<Value>,
    /// The packets that left by the egress interface.
    #[serde(default)]
    pub wire: Vec<Value>,
    /// What the sender saw.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The source address that the receiver saw.
    #[serde(default)]
    pub server_saw: Option<String>,
    /// Evaluations of pf for retransmissions.
    #[serde(default)]
    pub later: Vec<Value>,
    /// Retransmissions that left by the egress interface.
    #[serde(default)]
    pub later_wire: Vec<Value>,
}

/// The conditions of a dummynet pipe.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedPipe {
    /// Delay in milliseconds.
    #[serde(rename = "delayMs", default)]
    pub delay: u16,
    /// Loss, between 0 and 1.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Bandwidth in kbit/s.
    #[serde(rename = "bandwidthKbit", default)]
    pub bandwidth: Option<u32>,
}

/// The Mac's network configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedHost {
    /// Whether IP forwarding is on.
    pub forwarding: bool,
    /// Its interfaces.
    pub interfaces: Vec<RecordedInterface>,
    /// Routes apart from connected ones: `[NETWORK, INTERFACE]`, or `["default", GATEWAY, INTERFACE]`.
    pub routes: Vec<Vec<String>>,
}

/// An interface of the Mac.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInterface {
    /// The name, such as `lo0`.
    pub name: String,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<Ipv4Net>,
    /// Whether TCP and UDP checksums are left to the hardware; by default so for lo0 and bridges.
    #[serde(default)]
    pub offloads: Option<bool>,
}

/// A VM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedGuest {
    /// Its address.
    pub address: Ipv4Addr,
    /// The name of its bridge.
    pub on: String,
}

/// The packet that starts a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedPacket {
    /// The sender: `mac`, `guest:ADDRESS`, `lan:ADDRESS` or `internet:ADDRESS`.
    pub at: String,
    /// The source address: of a socket on the Mac the one that it is bound to, otherwise that of the packet.
    pub bind: Option<Ipv4Addr>,
    /// The destination address.
    pub to: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The destination port of TCP or UDP.
    pub port: Option<u16>,
    /// Whether a process of the Mac listens at the destination.
    pub listener: bool,
    /// Payload bytes after the UDP or ICMP header.
    pub size: usize,
    /// Whether the don't-fragment bit is set.
    pub df: bool,
    /// TCP flags of a single segment; `None` to open a connection.
    pub flags: Option<String>,
    /// The type of an ICMP message other than an echo request.
    #[serde(rename = "type", default)]
    pub kind: Option<u8>,
    /// The code of that ICMP message.
    #[serde(default)]
    pub code: Option<u8>,
    /// Whether a TCP client of the Mac asks for ECN, as macOS does by default on its own interfaces.
    #[serde(default)]
    pub ecn: bool,
}
