//! What a client sees after the first packet of a flow: an answer, a refusal at once or later, or nothing.
//!
//! It exists because `return` in a rule does not guarantee a refusal: whether the answer reaches the client depends
//! on checksums, flags and other rules, so it is simulated. Never: why.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::row::RecordedPacket;
use super::stage::{ReplayHosts, seen};
use crate::plan::Plan;
use crate::router::{NodeAttachment, RouterRules, Topology, Ways};

/// From this delay on a refusal counts as late.
const LATE: Duration = Duration::from_secs(1);
/// Length of the headers of a datagram.
const HEADERS: usize = 28;

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// The connection opens, or a reply comes.
    Answered,
    /// A refusal at once.
    Refused,
    /// A refusal of the retry without ECN, which macOS sends after one second.
    RefusedLate,
    /// An error from macOS itself, by the name of its errno, or `unreachable:CODE` for an ICMP error to another host.
    Error(String),
    /// Nothing.
    Silence {
        /// Whether the client is TCP on the Mac, which gives up after 75 seconds.
        gives_up: bool,
    },
}

impl Client {
    /// The result in words.
    pub fn words(&self) -> String {
        match self {
            Self::Answered => "an answer".to_owned(),
            Self::Refused => "refused at once".to_owned(),
            Self::RefusedLate => {
                "refused after 1 s: macOS ignores the first RST of a local peer if the SYN asked for ECN"
                    .to_owned()
            }
            Self::Error(name) => format!("{name} at once"),
            Self::Silence { gives_up: true } => "no answer, then a timeout after 75 s".to_owned(),
            Self::Silence { gives_up: false } => "silence".to_owned(),
        }
    }
}

/// The network stack of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// The host's real one: macOS's on the Mac, Linux's elsewhere.
    Own,
    /// Linux's, which all nodes of a lab have.
    Linux,
}

/// The flow to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The source address.
    pub from: Ipv4Addr,
    /// The destination address.
    pub to: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'a str,
    /// The destination port of TCP or UDP.
    pub port: Option<u16>,
    /// Payload bytes of a datagram; `None` for a small one.
    pub size: Option<usize>,
}

/// What a client at `opened.from` sees when it opens a flow under these rules. `None` if no node has that address, or
/// the protocol cannot be replayed.
pub fn client_sees(
    plan: &Plan,
    topology: Topology,
    rules: RouterRules,
    opened: &Opened,
    stack: Stack,
) -> Option<Client> {
    let Opened { from, to, protocol, port, size } = *opened;
    let doer = topology.owner(from)?;
    let is_mac = topology.node(doer).side == NodeAttachment::Here;
    let is_xnu = is_mac && stack == Stack::Own;
    let mut ways = Ways::new(&plan.pipes);
    ways.ease();
    let size = if protocol == "tcp" { 0 } else { size.unwrap_or(20) };
    let is_cut = size > usize::from(topology.node(doer).mtu) - HEADERS;
    let act = RecordedPacket {
        at: String::new(),
        bind: Some(from),
        to,
        protocol: protocol.to_owned(),
        port,
        listener: true,
        size,
        // Linux sets the don't-fragment bit on datagrams that fit the MTU; a lab's Mac does not.
        df: !is_mac && protocol == "udp" && !is_cut,
        flags: None,
        kind: None,
        code: None,
        ecn: is_xnu,
    };
    let (outcome, at) = seen(ReplayHosts { topology, doer, source: from }, rules, ways, &act).ok()?;
    Some(match outcome.as_str() {
        "connected" | "answered" => Client::Answered,
        "refused" if at >= LATE => Client::RefusedLate,
        "refused" | "ECONNREFUSED" => Client::Refused,
        "timeout" => Client::Silence { gives_up: is_xnu && protocol == "tcp" },
        other => Client::Error(other.to_owned()),
    })
}
