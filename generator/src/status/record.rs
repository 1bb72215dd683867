//! The record of a comparison, as `status` prints it: providers, volumes, pipes and findings.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Serialize;

use super::faults::OnDemand;

/// The state of the Mac, compared with the plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The last requested state, `up` or `down`; null if the network was never started.
    pub wish: Option<&'static str>,
    /// Whether the Mac is as requested.
    pub healthy: bool,
    /// The providers, sorted by name.
    pub providers: Vec<ProviderState>,
    /// The volumes, sorted by name.
    pub volumes: Vec<VolumeState>,
    /// The dummynet pipes, sorted by number. Each emulates the conditions of one path.
    pub pipes: Vec<PipeState>,
    /// Partitions and slow paths that the manager's `partition` and `slow` made, the latest first.
    pub faults: Vec<OnDemand>,
    /// The egress interfaces for which NAT rules are loaded.
    pub ways_out: Vec<String>,
    /// The egress interface of the default route.
    pub default_interface: Option<String>,
    /// Reasons why a start would be refused, if the network is down or was never started.
    pub refused: Vec<String>,
    /// Lines of a declaration that move every provider whose network collides to a free network.
    pub advice: Vec<String>,
    /// What differs from the declaration or conflicts with it. Empty if healthy, or never started.
    pub findings: Vec<StatusFinding>,
    /// Information that needs no action.
    pub notes: Vec<String>,
}

/// A provider on the Mac.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Provider")]
pub struct ProviderState {
    /// The name of the provider.
    pub name: String,
    /// The logical name of its bridge.
    pub bridge: String,
    /// The kernel name of its bridge, if the bridge exists.
    pub kernel: Option<String>,
    /// The address of the bridge, with the prefix length of its interface.
    #[schemars(with = "String")]
    pub gateway: Ipv4Net,
    /// The provider's network, which is routed to the bridge.
    #[schemars(with = "String")]
    pub network: Ipv4Net,
    /// `up`, `down`, `not as declared` or `waiting for vmnet`; `unknown` if the manager refuses to act, and so compares
    /// nothing.
    pub state: &'static str,
}

/// A volume on the Mac.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Placed")]
pub struct VolumeState {
    /// The name of the volume.
    pub name: String,
    /// The provider that it belongs to.
    pub provider: String,
    /// The logical name of its bridge port; null if it has none.
    pub port: Option<String>,
    /// The kernel name of that port, if the port exists.
    pub kernel: Option<String>,
    /// The volume's address.
    pub address: Ipv4Addr,
    /// Its alias on lo0, in the localhost group.
    pub localhost: Option<Ipv4Addr>,
    /// Its mount point; the addresses exist only while something is mounted there.
    pub mount_point: Option<String>,
    /// `up`, `down`, `not as declared`, `not mounted` or `ready for its guest`; `unknown` like that of a provider.
    pub state: &'static str,
}

/// A pipe of dummynet on the Mac.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Piped")]
pub struct PipeState {
    /// The number of the pipe.
    pub number: u16,
    /// The declared conditions, in words.
    pub conditions: String,
    /// The delay that the pipe adds to each packet, in milliseconds.
    pub latency_ms: u16,
    /// The share of packets that the pipe loses, from 0 to 1.
    pub loss: f64,
    /// The bandwidth in kilobits per second; null means no limit.
    pub bandwidth_kbit: Option<u32>,
    /// The sources and destinations of the packets that go through the pipe.
    pub way: String,
    /// `up`, `down`, `missing`, `not as declared`, `of another program`, or `unknown` if the capture does not show it.
    pub state: &'static str,
}

/// One difference or conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct StatusFinding {
    /// The subject: `provider aws`, `volume etcd-1`, `pipe 20000`, `localhost`, `rules`, `pf`, `forwarding`,
    /// `leftover`, `overlap`, `others`, `launchd`, `faults` or `look`.
    pub about: String,
    /// What is wrong.
    pub what: String,
}
