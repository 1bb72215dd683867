//! The format of a scenario.
//!
//! Never: what it means.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde_json::Value;

/// A scenario, and what came of it on Apple's stack.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name.
    pub id: String,
    /// What kind of rules it has; only told.
    #[serde(default)]
    pub shape: Option<String>,
    /// The main ruleset.
    pub main: String,
    /// The anchor, with the names of interfaces put in.
    pub anchor: String,
    /// Dummynet's pipes, by number.
    #[serde(default)]
    pub pipes: BTreeMap<String, Pipe>,
    /// The Mac.
    pub host: Host,
    /// VMs.
    pub guests: Vec<Guest>,
    /// Neighbours.
    pub lan: Vec<Ipv4Addr>,
    /// Who does what.
    pub act: Act,
    /// Every time that pf was asked.
    #[serde(default)]
    pub hooks: Vec<Value>,
    /// What left by the interface that leads outside.
    #[serde(default)]
    pub wire: Vec<Value>,
    /// What whoever did it got.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The source that the far end saw.
    #[serde(default)]
    pub server_saw: Option<String>,
    /// The hooks of what was sent again.
    #[serde(default)]
    pub later: Vec<Value>,
    /// What left of that.
    #[serde(default)]
    pub later_wire: Vec<Value>,
}

/// A pipe.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipe {
    /// How long it holds a packet, in milliseconds.
    #[serde(rename = "delayMs", default)]
    pub delay: u16,
    /// The share that it loses.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Its rate.
    #[serde(rename = "bandwidthKbit", default)]
    pub bandwidth: Option<u32>,
}

/// The Mac.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Whether it sends on what is not for itself.
    pub forwarding: bool,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Routes beside the connected ones: network and interface, or `default`, router and interface.
    pub routes: Vec<Vec<String>>,
}

/// An interface of the Mac.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<Ipv4Net>,
    /// Whether the sums of TCP and UDP are left to it; without a word, of lo0 and bridges.
    #[serde(default)]
    pub offloads: Option<bool>,
}

/// A VM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its bridge.
    pub on: String,
}

/// Who does what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// `mac`, `guest:ADDRESS`, `lan:ADDRESS` or `internet:ADDRESS`.
    pub at: String,
    /// The source that a socket is bound to, or that is in the packet.
    pub bind: Option<Ipv4Addr>,
    /// Where to.
    pub to: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The port, where there is one.
    pub port: Option<u16>,
    /// Whether someone listens there.
    pub listener: bool,
    /// How many bytes follow the header of UDP or ICMP.
    pub size: usize,
    /// The packet must not be cut.
    pub df: bool,
    /// The flags of a single segment; without them, a connection.
    pub flags: Option<String>,
    /// The type of an ICMP message that is not an echo request.
    #[serde(rename = "type", default)]
    pub kind: Option<u8>,
    /// Its code.
    #[serde(default)]
    pub code: Option<u8>,
    /// A TCP client of the Mac asks for ECN, as macOS does on its own interfaces.
    #[serde(default)]
    pub ecn: bool,
}
