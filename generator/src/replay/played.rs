//! Packets and verdicts in the format of a recorded scenario.
//!
//! Ephemeral ports are numbered in the order in which they appear: 49152, then 50001 and up. Never: what happens
//! next.

use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::row::RecordedScenario;
use crate::pf::eval::{ICMP, Outcome, TCP, Transport, UDP};
use crate::pf::syntax::Direction;
use crate::router::{Made, PacketTrace, Topology, TracedHook};
use crate::wire::{self, Datagram};

/// The number of the first ephemeral port.
const FIRST: u16 = 49_152;
/// The number of the second one; further ones follow.
const SECOND: u16 = 50_001;

/// The ephemeral ports, in order of appearance.
#[derive(Debug)]
pub struct Ports {
    chosen: Option<u16>,
    met: Vec<u16>,
}

impl Ports {
    /// All ports but `chosen` count as ephemeral.
    pub fn new(chosen: Option<u16>) -> Self {
        Self { chosen, met: Vec::new() }
    }

    fn told(&mut self, port: u16) -> u16 {
        if Some(port) == self.chosen || port == 0 {
            return port;
        }
        let at = self.met.iter().position(|met| *met == port).unwrap_or_else(|| {
            self.met.push(port);
            self.met.len() - 1
        });
        match u16::try_from(at) {
            Ok(0) => FIRST,
            Ok(at) => SECOND.saturating_add(at - 1),
            Err(_) => u16::MAX,
        }
    }

    /// Source and destination of a packet, with ports if it has them.
    fn ends(&mut self, datagram: &Datagram) -> [String; 2] {
        let (from, to) = (datagram.source(), datagram.destination());
        match datagram.packet.transport {
            Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination }
                if datagram.is_first =>
            {
                [format!("{from}:{}", self.told(source)), format!("{to}:{}", self.told(destination))]
            }
            _ => [from.to_string(), to.to_string()],
        }
    }
}

/// The name of a protocol; its number, if the format has none.
pub fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        other => other.to_string(),
    }
}

/// The record of a packet that left by an interface.
pub fn left(interface: &str, from: Ipv4Addr, to: Ipv4Addr, number: u8) -> Value {
    json!([interface, from, to, protocol(number)])
}

/// The evaluations of pf for these packets, in order.
pub fn hooks(stories: &[PacketTrace], topology: &Topology, ports: &mut Ports) -> Vec<Value> {
    let mut asked: Vec<(Duration, u64, Asked)> =
        stories.iter().flat_map(|story| &story.hops).flat_map(|hop| questions(hop, topology)).collect();
    asked.sort_by_key(|(at, number, _)| (*at, *number));
    asked.into_iter().map(|(_, _, asked)| asked.told(ports)).collect()
}

/// One evaluation of pf.
struct Asked<'a> {
    hop: &'a TracedHook,
    interface: &'a str,
    bytes: &'a [u8],
    verdict: &'static str,
    now: Option<&'a [u8]>,
    is_again: bool,
}

fn questions<'a>(hop: &'a TracedHook, topology: &'a Topology) -> Vec<(Duration, u64, Asked<'a>)> {
    let interface = topology.name(hop.over);
    let mut all = Vec::new();
    let (mut at, mut number, mut bytes) = (hop.at, hop.number, hop.bytes.as_slice());
    for (index, piped) in hop.pipes.iter().enumerate() {
        let asked = Asked { hop, interface, bytes, verdict: "held", now: None, is_again: index > 0 };
        all.push((at, number, asked));
        let Some(out) = piped.out else { return all };
        ((at, number), bytes) = (out, &piped.bytes);
    }
    let verdict = match &hop.made {
        Made::Judged(verdict) if verdict.scrubbed.held => "held",
        Made::Judged(verdict) if verdict.action == Outcome::Block => "block",
        Made::Judged(_) | Made::Own | Made::Swallowed => "pass",
    };
    let now = hop.now.as_deref().filter(|_| verdict == "pass");
    all.push((at, number, Asked { hop, interface, bytes, verdict, now, is_again: !hop.pipes.is_empty() }));
    all
}

impl Asked<'_> {
    fn told(&self, ports: &mut Ports) -> Value {
        let direction = match self.hop.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        // Cannot fail: the router has parsed every packet that pf saw.
        let Ok(datagram) = wire::read(self.bytes) else { return Value::Null };
        let [from, to] = ports.ends(&datagram);
        let mut more = Map::new();
        more.insert("protocol".to_owned(), protocol(datagram.packet.protocol()).into());
        match datagram.packet.transport {
            Transport::Tcp { segment, .. } if datagram.is_first => {
                more.insert("flags".to_owned(), segment.letters().into());
            }
            Transport::Icmp { kind, code, .. } if datagram.is_first => {
                more.insert("type".to_owned(), kind.into());
                more.insert("code".to_owned(), code.into());
            }
            _ => {}
        }
        if self.is_again {
            more.insert("from".to_owned(), "dummynet".into());
        }
        if let Some(part) = &datagram.packet.ip.part {
            more.insert("fragment".to_owned(), part.offset.into());
            more.insert("more".to_owned(), part.more.into());
        }
        if let Some(now) = self.now.and_then(|now| wire::read(now).ok()) {
            more.insert("now".to_owned(), json!(ports.ends(&now)));
        }
        json!([direction, self.interface, from, to, self.verdict, more])
    }
}

/// The result of a replayed scenario, in the format of the recorded one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Played {
    /// The id of the scenario.
    pub id: String,
    /// Every evaluation of pf for the first packet and its answer, in order.
    pub hooks: Vec<Value>,
    /// The packets that left by the egress interface.
    pub wire: Vec<Value>,
    /// What the sender of the first packet saw: `connected`, `refused`, `timeout`, the name of an errno, and so on.
    pub outcome: String,
    /// The source address that the receiver saw, if the packet arrived.
    pub server_saw: Option<String>,
    /// Evaluations of pf for retransmissions of a TCP client of the Mac, and their answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Value>,
    /// Retransmissions and their answers that left by the egress interface.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later_wire: Vec<Value>,
}

/// The fields in which a replay differs from the recording: the name, the recorded value and the replayed one.
pub fn differences(row: &RecordedScenario, played: &Played) -> Vec<(&'static str, Value, Value)> {
    let pairs = [
        ("hooks", json!(row.hooks), json!(played.hooks)),
        ("wire", json!(row.wire), json!(played.wire)),
        ("outcome", json!(row.outcome), json!(played.outcome)),
        ("server_saw", json!(row.server_saw), json!(played.server_saw)),
        ("later", json!(row.later), json!(played.later)),
        ("later_wire", json!(row.later_wire), json!(played.later_wire)),
    ];
    pairs.into_iter().filter(|(_, told, came)| told != came).collect()
}
