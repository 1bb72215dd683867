//! The protocol of a lab's socket: requests and replies, one line of JSON each.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::observe::Traffic;

/// A request to the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Report its state.
    Status,
    /// End the lab.
    Down,
    /// Pass the namespaces of a node, to run a command in them.
    Enter {
        /// The node's name.
        node: String,
    },
    /// Cut or slow the paths between two endpoints, or between one and all other volumes and providers.
    Fault(Asked),
    /// Assign a number to this client; faults made with it are withdrawn when the client disconnects.
    Own,
    /// End the faults between two endpoints, those that one endpoint has, or all.
    Heal {
        /// A volume or a provider; `None` ends all faults.
        one: Option<String>,
        /// Another volume or provider; `None` means whatever `one` is cut or slowed from.
        other: Option<String>,
    },
    /// Load other rules.
    Apply {
        /// The declaration that they were rendered from, as JSON.
        input: String,
        /// The text of the anchor.
        anchor: String,
        /// Connections to end: the networks of their source and destination.
        ends: Vec<(Ipv4Net, Ipv4Net)>,
        /// Whether `ends` accounts for all rules loaded before, so that [`Request::Loaded`] starts over with this
        /// anchor.
        kill: bool,
    },
    /// Report its state with its traffic.
    Observe,
    /// Report the declaration and the anchor that it runs.
    Source,
    /// Report the texts of the anchor by which open connections may have been permitted.
    Loaded {
        /// The Mac, if there are several.
        mac: Option<String>,
    },
    /// Send the packets of a node or a link as pcapng after the reply.
    Capture {
        /// A node, or a link as `links.0`.
        what: String,
    },
}

/// A fault to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// A volume or a provider.
    pub one: String,
    /// Another volume or provider; `None` for all other volumes and providers.
    pub other: Option<String>,
    /// Latency in milliseconds, loss between 0 and 1, bandwidth in kbit/s of a slowed path; `None` for a cut one.
    pub slow: Option<(Option<u16>, Option<f64>, Option<u32>)>,
    /// How long it lasts; `None` until it is healed.
    pub lasts: Option<Duration>,
    /// The number from [`Reply::Owner`], if the fault ends with that client's connection.
    pub owner: Option<u64>,
}

/// A reply of the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// The request was carried out.
    Done {
        /// What was done, or empty.
        message: String,
    },
    /// The request failed.
    Wrong {
        /// Why, and what to do.
        message: String,
    },
    /// The number assigned to the client.
    Owner(u64),
    /// The state of the lab.
    Status(Box<LabState>),
    /// The state of the lab with its traffic.
    Observed {
        /// Which lab this is, and which declaration it runs: another number after a restart or an `apply`.
        generation: u64,
        /// Its state.
        status: Box<LabState>,
        /// Its traffic.
        traffic: Traffic,
    },
    /// The declaration that the lab runs, as JSON, and its anchor.
    Source {
        /// As in [`Reply::Observed`].
        generation: u64,
        /// The declaration.
        input: String,
        /// The text of the anchor.
        anchor: String,
    },
    /// The texts of the anchor loaded since connections were last ended.
    Loaded {
        /// The texts, concatenated.
        text: String,
    },
}

/// The state of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabState {
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
    /// The Macs, if there are several.
    pub macs: Vec<MacStatus>,
    /// Number of rules in anchors.
    pub rules: usize,
    /// The pipes for conditions of links.
    pub pipes: Vec<PipeStatus>,
    /// The faults in force.
    pub faults: Vec<FaultStatus>,
    /// Number of states.
    pub states: usize,
    /// Number of packets delivered.
    pub delivered: u64,
    /// Number of packets blocked by a rule or a state.
    pub blocked: u64,
    /// Number of packets not delivered for any other reason.
    pub dropped: u64,
    /// Uptime in seconds.
    pub seconds: u64,
}

/// A pipe that rules send packets into.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipeStatus {
    /// The number of the dummynet pipe.
    pub number: u16,
    /// The Mac that has it, if there are several.
    pub mac: Option<String>,
    /// Its conditions, in words.
    pub conditions: String,
    /// The endpoints of its path: `aws -> azure`.
    pub way: String,
}

/// A fault in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultStatus {
    /// `partition` or `slow`.
    pub action: String,
    /// A volume, a provider, or a Mac as `macs.NAME`.
    pub from: String,
    /// Another one; `None` for all others.
    pub to: Option<String>,
    /// The conditions of a slowed path, in words.
    pub conditions: Option<String>,
    /// Seconds until it ends; `None` if only healing ends it.
    pub seconds: Option<u64>,
}

/// One of several Macs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MacStatus {
    /// Its name.
    pub name: String,
    /// Its address in the tunnel.
    pub address: Ipv4Addr,
    /// The address and port of its WireGuard on the link between the Macs.
    pub endpoint: String,
    /// Number of rules in its anchors.
    pub rules: usize,
    /// Number of its states.
    pub states: usize,
    /// The other Macs.
    pub peers: Vec<PeerStatus>,
}

/// Another Mac, as the WireGuard of a Mac knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Seconds since the last handshake; `None` before the first one.
    pub handshake_seconds: Option<u64>,
    /// Bytes of packets sent to it.
    pub sent: usize,
    /// Bytes of packets received from it.
    pub received: usize,
    /// Messages from it that WireGuard dropped: it could not open them, or their packet has a source that is not on it.
    pub dropped: u64,
    /// Whether a fault cuts the link to it.
    pub cut: bool,
}

/// A node of the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The volume's name, `mac`, `lan` or `internet`, or the provider of a host that is not a volume.
    pub name: String,
    /// Its provider, if any.
    pub provider: Option<String>,
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The Mac that it is attached to, if there are several.
    pub mac: Option<String>,
    /// Where it is attached: `mac`, `bridge` or `outside`.
    pub side: String,
    /// The nodes to which a fault cuts its path.
    pub cut_from: Vec<String>,
}
