//! What is probed, and with which result: services, probes and differences.

use std::fmt;
use std::net::Ipv4Addr;

use nixvol_net::model::Protocol;
use nixvol_net::router::NodeId;
use serde::Serialize;

/// A port that only links without ports cover.
pub const ANY_PORT: u16 = 40_004;
/// Payload bytes of a small probe.
pub const SMALL: usize = 14;
/// Payload bytes of a probe that exceeds the MTU of Ethernet.
pub const BIG: usize = 4000;

/// A protocol, with a destination port for TCP and UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbedService {
    pub protocol: Protocol,
    pub port: u16,
}

impl fmt::Display for ProbedService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Icmp => f.write_str("icmp"),
            protocol => write!(f, "{} {}", protocol.word(), self.port),
        }
    }
}

/// The state of the Mac during a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trial {
    /// As the manager configures it.
    #[default]
    Whole,
    /// The bridge of a provider is gone, but the rules loaded with it are still in force.
    BridgeGone(String),
    /// The bridge of a provider is gone, and the manager has reloaded the rules without it.
    BridgeGoneAndReloaded(String),
    /// The tunnel to the other Macs is gone, but the rules loaded with it are still in force.
    TunnelGone,
    /// The tunnel is gone, and the manager has reloaded the rules without it.
    TunnelGoneAndReloaded,
    /// As the manager configures it, but the probe has a forged source address.
    Forged,
}

/// One probe and its result.
#[derive(Debug, Clone)]
pub struct Probe {
    pub trial: Trial,
    pub from: NodeId,
    pub to: NodeId,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub service: ProbedService,
    /// Payload bytes of a datagram.
    pub size: usize,
    pub expected: ProbeResult,
    pub found: ProbeResult,
}

impl Probe {
    /// Whether its datagrams are fragmented.
    pub fn is_big(&self) -> bool {
        self.size > SMALL
    }
}

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeResult {
    /// The connection opened, or a reply came.
    Connected,
    /// A RST, or ICMP port unreachable.
    Refused,
    /// Any other error, such as ICMP host unreachable.
    Unreachable,
    /// No answer at all.
    Silence,
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Silence => "silence",
        })
    }
}

/// A probe with an unexpected result, and the packets seen.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The probe: source, destination and service.
    pub packet: String,
    /// Where the expectation comes from: `explain`, or the policy if nothing is explained.
    #[serde(skip)]
    pub by: &'static str,
    /// The expected result.
    pub expected: String,
    /// The actual result.
    pub found: String,
    /// The verdict of the explanation, or the rule of the policy if nothing is explained.
    pub explanation: String,
    /// Each packet at each hook, with the decision of pf.
    pub seen: Vec<String>,
}
