//! Scenarios recorded from Apple's own network stack, played through the lab's Mac, and the comparison of the two.
//!
//! A scenario is one packet and its answer on a fresh Mac: its rules, interfaces and routes, the machines on the
//! wires, and their actions. It exists because a lab is only as good as its Mac. No namespaces: bytes go in and out.
//! Sees: model and plan for what a pipe is, pf, wire, router. Never: a file, or a clock.

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

/// What came to be of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Played {
    /// The scenario's.
    pub id: String,
    /// Every time that pf was asked, for the first packet and its answer.
    pub hooks: Vec<Value>,
    /// What left by the interface that leads outside.
    pub wire: Vec<Value>,
    /// What whoever did it got.
    pub outcome: String,
    /// The source that the far end saw.
    pub server_saw: Option<String>,
    /// The hooks of what a TCP client of the Mac sent again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Value>,
    /// What left of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later_wire: Vec<Value>,
}

/// Plays a scenario.
///
/// # Errors
/// What is wrong with it, in words.
pub fn play(row: &Row) -> Result<Played, String> {
    stage::play(row)
}

/// Where a scenario came out otherwise than its file says: the name of the field, what it says, and what came to be.
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
