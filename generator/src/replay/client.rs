//! What a client sees of the packet by which it opens something: an answer, a refusal at once or later, or nothing.
//!
//! It exists because `return` in a rule is no guarantee: whether its answer reaches the client depends on checksums,
//! flags and other rules. So it is played. Never: why.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::row::Act;
use super::stage::{Cast, seen};
use crate::plan::Plan;
use crate::router::{Rules, Side, Topology, Ways};

/// From here on a refusal is not one at once.
const LATE: Duration = Duration::from_secs(1);
/// The headers of a datagram.
const HEADERS: usize = 28;

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// The connection opens, or an answer comes.
    Answered,
    /// A refusal at once.
    Refused,
    /// A refusal after the second that macOS takes to try without ECN.
    RefusedLate,
    /// An error of macOS's own, by its name.
    Error(String),
    /// Nothing; a TCP client of the Mac gives up after 75 seconds.
    Silence {
        /// Whether it is one.
        gives_up: bool,
    },
}

impl Client {
    /// It in words.
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

/// Whose stack the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Its own: macOS's on the Mac, Linux's elsewhere.
    Own,
    /// Linux's, as everybody in a lab.
    Linux,
}

/// What is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// From which address,
    pub from: Ipv4Addr,
    /// to which.
    pub to: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'a str,
    /// The port, where there is one.
    pub port: Option<u16>,
    /// How many bytes a datagram carries; some few, where nothing is said.
    pub size: Option<usize>,
}

/// What whoever has an address of a network sees when it opens something, under rules. `None` where no host has
/// the address, or it is no protocol that is played.
pub fn client_sees(
    plan: &Plan,
    topology: Topology,
    rules: Rules,
    opened: &Opened,
    stack: Stack,
) -> Option<Client> {
    let Opened { from, to, protocol, port, size } = *opened;
    let doer = topology.owner(from)?;
    let is_mac = topology.node(doer).side == Side::Here;
    let is_xnu = is_mac && stack == Stack::Own;
    let mut ways = Ways::new(&plan.pipes);
    ways.ease();
    let size = if protocol == "tcp" { 0 } else { size.unwrap_or(20) };
    let is_cut = size > usize::from(topology.node(doer).mtu) - HEADERS;
    let act = Act {
        at: String::new(),
        bind: Some(from),
        to,
        protocol: protocol.to_owned(),
        port,
        listener: true,
        size,
        // Linux's sockets forbid to cut what they send whole; a lab's Mac does not.
        df: !is_mac && protocol == "udp" && !is_cut,
        flags: None,
        kind: None,
        code: None,
        ecn: is_xnu,
    };
    let (outcome, at) = seen(Cast { topology, doer, source: from }, rules, ways, &act).ok()?;
    Some(match outcome.as_str() {
        "connected" | "answered" => Client::Answered,
        "refused" if at >= LATE => Client::RefusedLate,
        "refused" | "ECONNREFUSED" => Client::Refused,
        "timeout" => Client::Silence { gives_up: is_xnu && protocol == "tcp" },
        other => Client::Error(other.to_owned()),
    })
}
