//! What `serve` shows of a running network: its state at one moment, as data for the page and for scripts.
//!
//! The lab and the Mac are described in the same terms; what one of them does not know is null. Sees: plan, darwin,
//! status. Never: HTTP, or how the state was collected.

use std::collections::BTreeMap;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use crate::darwin;
use crate::status::{Capture, OnDemand, Status, StatusFinding};

/// The state of a network at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// What is observed.
    pub source: LiveSource,
    /// Identifies the declaration that the page was made from; the page loads itself again when it changes.
    pub page: String,
    /// Whether the network is up.
    pub up: bool,
    /// Why nothing is known, or what is awaited; null if the state is known.
    pub message: Option<String>,
    /// Whether the network is as declared; null if that is not checked.
    pub healthy: Option<bool>,
    /// What differs from the declaration.
    pub findings: Vec<StatusFinding>,
    /// The packets since the start, by fate; null if unknown.
    pub packets: Option<LivePackets>,
    /// The number of states of pf.
    pub states: Option<u64>,
    /// The number of states that pf can hold.
    pub states_limit: Option<u64>,
    /// The counters of rules by label; those of links start with `link:`.
    pub counters: Vec<LiveCounter>,
    /// The flows that have a state; null if unknown.
    pub flows: Option<Vec<LiveFlow>>,
    /// The number of flows that were left out of `flows`.
    pub more_flows: usize,
    /// The partitions and slow paths in force.
    pub faults: Vec<LiveFault>,
}

/// What is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LiveSource {
    /// The lab.
    Lab,
    /// This Mac, or a capture of one.
    Mac,
}

/// Numbers of packets by fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LivePackets {
    /// Delivered.
    pub delivered: u64,
    /// Blocked by a rule or a state.
    pub blocked: u64,
    /// Not delivered for any other reason, such as a partition.
    pub dropped: u64,
}

/// The counters of the rules with one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveCounter {
    /// The label.
    pub label: String,
    /// Packets that came in and went out, as pf sees them: what the Mac sends to itself counts as both.
    pub packets: [u64; 2],
    /// Bytes, likewise.
    pub bytes: [u64; 2],
}

/// Connections between two ends to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LiveFlow {
    /// Who opened them: a volume, `mac`, `lan`, `internet`, or an address.
    pub from: String,
    /// To whom.
    pub to: String,
    /// The service: `tcp 2379`, `icmp`.
    pub service: String,
    /// How many there are.
    pub connections: usize,
}

/// A partition or a slow path in force.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LiveFault {
    /// `partition` or `slow`.
    pub action: String,
    /// A volume or a provider.
    pub from: String,
    /// Another volume or provider; null means all others.
    pub to: Option<String>,
    /// The conditions of a slowed path, in words.
    pub conditions: Option<String>,
    /// Seconds until it ends; null if only healing ends it.
    pub seconds: Option<u64>,
}

impl Live {
    /// A network of which nothing is known.
    pub fn unknown(source: LiveSource, page: &str, message: String) -> Self {
        Self {
            source,
            page: page.to_owned(),
            up: false,
            message: Some(message),
            healthy: None,
            findings: Vec::new(),
            packets: None,
            states: None,
            states_limit: None,
            counters: Vec::new(),
            flows: None,
            more_flows: 0,
            faults: Vec::new(),
        }
    }

    /// The state of a Mac at a time, from a capture and its comparison with the plan.
    pub fn of_mac(page: &str, status: &Status, capture: &Capture, now: SystemTime) -> Self {
        let text = |file: &str| capture.get(file).map_or("", String::as_str);
        let held = darwin::states(text("pfctl-info"), text("pfctl-memory"));
        let up = status.wish == Some("up");
        let message = match status.wish {
            Some("up") => None,
            Some(_) => Some("the network was stopped".to_owned()),
            None => Some("the network was never started".to_owned()),
        };
        Self {
            up,
            message,
            healthy: Some(status.healthy),
            findings: status.findings.clone(),
            states: held.map(|(states, _)| states),
            states_limit: held.map(|(_, limit)| limit),
            counters: counters(&darwin::labels(text("pfctl-anchor-labels"))),
            faults: status
                .faults
                .iter()
                .filter(|fault| fault.state == "in force")
                .map(|it| fault(it, now))
                .collect(),
            ..Self::unknown(LiveSource::Mac, page, String::new())
        }
    }
}

fn counters(labels: &BTreeMap<String, darwin::LabelCounters>) -> Vec<LiveCounter> {
    let counter = |(label, counts): (&String, &darwin::LabelCounters)| LiveCounter {
        label: label.clone(),
        packets: counts.packets,
        bytes: counts.bytes,
    };
    labels.iter().map(counter).collect()
}

fn fault(fault: &OnDemand, now: SystemTime) -> LiveFault {
    let OnDemand { action, from, to, until, conditions, .. } = fault;
    let until = until.as_deref().and_then(|until| humantime::parse_rfc3339(until).ok());
    LiveFault {
        action: action.clone(),
        from: from.clone(),
        to: to.clone(),
        conditions: conditions.clone(),
        seconds: until.map(|until| until.duration_since(now).unwrap_or_default().as_secs()),
    }
}

/// A service in words, from an IP protocol number and a port.
pub fn service(protocol: u8, port: u16) -> String {
    let word = match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        _ => return format!("protocol {protocol}"),
    };
    if port == 0 { word.to_owned() } else { format!("{word} {port}") }
}
