//! The form of an explanation: both paths hop by hop, and the delay that pipes add.

use schemars::JsonSchema;
use serde::Serialize;

use super::end::{QuestionEndpoint, Service};
use super::hop::ExplainedHook;

/// The path of a packet and of its reply, hop by hop.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explanation {
    /// Whether both the packet and its reply get through.
    pub passes: bool,
    /// The verdict in words, with the hop that blocks, if any.
    pub verdict: String,
    /// The source.
    pub source: QuestionEndpoint,
    /// The destination.
    pub destination: QuestionEndpoint,
    /// The protocol and the destination port.
    pub service: Service,
    /// The hops of the packet, up to the one that blocks it.
    pub packet: Vec<ExplainedHook>,
    /// The hops of the reply; empty if the packet does not arrive.
    pub answer: Vec<ExplainedHook>,
    /// The delay that pipes add to a round trip; null if no pipe is on the path, or the round trip is not completed.
    pub added: Option<Added>,
    /// Why macOS itself does not deliver the packet, regardless of pf.
    pub refused: Option<String>,
    /// Differences between the rules and the declaration: a bug of this program, or with captured rules the effect of
    /// another program.
    pub disagreements: Vec<String>,
    /// Whether captured rules were evaluated.
    pub live: bool,
    /// Assumptions, and other facts of use to the reader.
    pub notes: Vec<String>,
    /// What cannot be known here.
    pub unknown: String,
}

/// The delay that pipes add, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// For the packet.
    pub there_ms: u32,
    /// For the reply.
    pub back_ms: u32,
    /// For both together.
    pub round_trip_ms: u32,
}

impl Added {
    pub(super) fn of(packet: &[ExplainedHook], answer: &[ExplainedHook]) -> Option<Self> {
        let is_met = packet.iter().chain(answer).any(|hop| !hop.pipes.is_empty());
        let [there_ms, back_ms] = [packet, answer].map(|hops| hops.iter().map(ExplainedHook::delay).sum());
        is_met.then_some(Self { there_ms, back_ms, round_trip_ms: there_ms + back_ms })
    }
}

impl Explanation {
    /// Whether rules and declaration agree. Not checked for captured rules, which may contain another program's.
    pub fn agrees(&self) -> bool {
        self.live || self.disagreements.is_empty()
    }
}
