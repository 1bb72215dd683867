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

pub use client::{Client, Opened, Stack, client_sees};
pub use played::{Played, differences};
pub use row::{RecordedHost, RecordedInterface, RecordedPacket, RecordedScenario};
pub use stage::play;
