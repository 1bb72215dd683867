//! What a client sees of a packet that it opens something with: an answer, a refusal at once or later, or nothing.
//!
//! It exists because a rule that says `return` is no promise: whether its answer reaches whoever is refused is decided by
//! sums, flags and other rules. So it is played.
//! Never: why.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::row::Act;
use super::stage::{Cast, seen};
use crate::plan::Plan;
use crate::router::{self, Side, Source, Topology, Ways};

/// From here on a refusal is not one at once.
const LATE: Duration = Duration::from_secs(1);

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
                "refused after 1 s: macOS believes a neighbour's first RST only when it has asked without ECN"
                    .to_owned()
            }
            Self::Error(name) => format!("{name} at once"),
            Self::Silence { gives_up: true } => "75 s of silence, then a timeout".to_owned(),
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

/// What whoever has an address of a plan's network sees when it opens something, under an anchor. `None` where nobody has
/// the address, or it is no protocol that is played.
pub fn client_sees(
    plan: &Plan,
    cast: &router::Cast,
    rules: &Source,
    (from, to): (Ipv4Addr, Ipv4Addr),
    (protocol, port): (&str, Option<u16>),
    stack: Stack,
) -> Option<Client> {
    let topology = Topology::of(plan, cast);
    let doer = topology.owner(from)?;
    let is_mac = topology.node(doer).side == Side::Here;
    let is_xnu = is_mac && stack == Stack::Own;
    let mut ways = Ways::new(&plan.pipes);
    ways.ease();
    let act = Act {
        at: String::new(),
        bind: Some(from),
        to,
        protocol: protocol.to_owned(),
        port,
        listener: true,
        size: if protocol == "tcp" { 0 } else { 20 },
        // Linux's sockets forbid to cut what they send.
        df: !is_xnu && protocol == "udp",
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
