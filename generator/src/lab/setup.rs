//! The input of a lab: passed from the process that a user started to the one that plays the Mac.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What a lab is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The name of its socket.
    pub address: String,
    /// The declaration, as JSON.
    pub input: String,
    /// The text of the anchor.
    pub anchor: String,
    /// What the file of the anchor is called in messages.
    pub file: String,
    /// The lines of the bundle for /etc/hosts.
    pub hosts: String,
    /// What to do in it.
    pub task: Task,
}

/// What to do in a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Stay, until someone ends it.
    Stay,
    /// Run a command as this Mac, and end with it.
    Run(Vec<OsString>),
    /// Probe every flow, tell what was found, and end.
    Test {
        /// As JSON.
        json: bool,
    },
}
