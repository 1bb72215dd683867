//! Scenarios recorded on Apple's own network stack, replayed on the lab's Mac, and the comparison of the two.
//!
//! A scenario is one packet and its answer on a fresh Mac: its rules, interfaces and routes, the hosts around it, and
//! what they do. It exists because a lab is only as good as its emulation of a Mac. No namespaces: bytes go in and
//! out. Sees: model and plan for the conditions of a pipe, pf, wire, router. Never: a file, or a clock.

mod client;
mod machines;
mod played;
mod row;
mod sockets;
mod stage;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

pub use client::{Client, Opened, Stack, client_sees};
pub use row::{Act, Host, Interface, Row};

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

/// Replays a scenario.
///
/// # Errors
/// What is invalid in it, in words.
pub fn play(row: &Row) -> Result<Played, String> {
    stage::play(row)
}

/// The fields in which a replay differs from the recording: the name, the recorded value and the replayed one.
pub fn differences(row: &Row, played: &Played) -> Vec<(&'static str, Value, Value)> {
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
