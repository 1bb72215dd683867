//! The input of a lab, passed from the process that the user started to the one that plays the Mac.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What a lab is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The abstract address of its socket.
    pub address: String,
    /// The Macs, by name.
    pub macs: Vec<MacSetup>,
    /// The one that the declaration calls this Mac.
    pub this: usize,
    /// What to do in it.
    pub task: Task,
}

/// A Mac of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MacSetup {
    /// Its declaration, as JSON.
    pub input: String,
    /// The text of its anchor.
    pub anchor: String,
    /// The name of the anchor's file in messages.
    pub file: String,
    /// The content of `hosts` in its bundle.
    pub hosts: String,
}

/// The task of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Stay up until a request or a signal ends it.
    Stay,
    /// Run a command as the Mac itself, and end with it.
    Run(Vec<OsString>),
    /// Run the probes, print the result, and end.
    Test {
        /// Whether to print JSON.
        json: bool,
    },
}
