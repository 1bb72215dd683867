//! The trace of a packet: the hops where pf saw it, the verdicts, and the outcome.
//!
//! It is separate so that forwarding, delaying and observing packets do not depend on each other. Never: how any of
//! it is decided.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::topology::NodeId;
use crate::pf::eval::{Shaping, Verdict};
use crate::pf::syntax::{Block, Direction};
use crate::wire::Malformed;

/// An interface of the Mac. Bridges are numbered as the plan has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// lo0.
    Loopback,
    /// A bridge.
    Bridge(usize),
    /// The one that leads outside.
    Egress,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes to a node.
    Delivered(NodeId),
    /// It got no further.
    Stopped(Stop),
    /// It was none.
    Malformed(Malformed),
    /// A pipe lost it.
    Lost,
    /// A fault that slows the path between two nodes lost it.
    LostByFault,
    /// The path between two nodes is cut.
    Cut,
}

/// Why a packet got no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// pf blocks it, and may answer.
    Blocked {
        /// How.
        reply: Option<Block>,
    },
    /// pf keeps it until its datagram is whole.
    Held,
    /// pf drops what has IP options, unless a rule allows them.
    Options,
    /// It has passed too many routers.
    Expired,
    /// It is too long, and must not be cut.
    TooLong {
        /// The longest that gets through.
        mtu: u16,
    },
    /// macOS finds no way for it.
    Unreachable(&'static str),
    /// macOS drops it.
    Refused(&'static str),
    /// No one has its destination.
    Nobody,
}

impl Stop {
    /// The reason in words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Blocked { reply: None | Some(Block::Drop) } => "blocked silently",
            Self::Blocked { .. } => "blocked with an answer",
            Self::Held => "held by pf until its datagram is complete",
            Self::Options => "pf drops IP options",
            Self::Expired => "its TTL expired",
            Self::TooLong { .. } => "larger than the MTU, with don't-fragment set",
            Self::Unreachable(why) | Self::Refused(why) => why,
            Self::Nobody => "no host has the address",
        }
    }
}

/// A place where pf saw a packet, and what it made of it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// When pf was asked; before every pipe.
    pub at: Duration,
    /// Its number among all, in the order in which pf was asked.
    pub number: u64,
    /// Which way it went.
    pub direction: Direction,
    /// Over what.
    pub over: Over,
    /// What pf made of it.
    pub made: Made,
    /// The pipes that it came out of before, each with when pf was asked again.
    pub pipes: Vec<Piped>,
    /// The packet before pf.
    pub bytes: Vec<u8>,
    /// The packet behind pf, where it changed it.
    pub now: Option<Vec<u8>>,
}

/// What pf made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A rule, a state, or nothing decided.
    Judged(Verdict),
    /// It is pf's own RST, which passes without a rule.
    Own,
    /// The last of its pipes lost it, or is not there.
    Swallowed,
}

/// A pipe that held a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piped {
    /// The rule that sent it there, and which pipe.
    pub shaping: Shaping,
    /// When it came out, and pf was asked again, as the so many-th; not where it never did.
    pub out: Option<(Duration, u64)>,
    /// The packet as it came out, if someone watches.
    pub bytes: Vec<u8>,
}

/// What is written down about a packet on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// When it set out.
    pub at: Duration,
    /// Who sent it: the Mac itself, where it is an answer of its kernel.
    pub from: NodeId,
    /// Over what it came in, or would have gone out where pf was never asked.
    pub over: Over,
    /// Where it was to go.
    pub destination: Ipv4Addr,
    /// The packet as it was sent.
    pub bytes: Vec<u8>,
    /// Where pf saw it.
    pub hops: Vec<Hop>,
    /// What became of it.
    pub fate: Option<Fate>,
}
