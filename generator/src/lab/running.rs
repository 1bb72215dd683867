//! A running lab: its namespaces, its declaration and its rules, and how the latter two are read.

use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};
use nixvol_net::model::{self, Declaration};
use nixvol_net::pf::ParseError;
use nixvol_net::plan::Plan;
use nixvol_net::router::ExampleHosts;

use super::pump::Shared;

/// A running lab.
pub struct Lab {
    /// What the packet loop works on.
    pub shared: Arc<Shared>,
    /// Network namespaces, by node.
    pub nets: Vec<File>,
    /// The user, PID and mount namespaces of the lab.
    pub own: [File; 3],
    /// The declaration that the lab was started with.
    pub declaration: Declaration,
    /// The plan of that declaration.
    pub plan: Plan,
    /// Addresses of the hosts that are not volumes.
    pub cast: ExampleHosts,
    /// The name of the anchor's file in messages.
    pub file: String,
    /// The texts of the anchor since connections were last ended: an open one may have been permitted by any of them.
    pub loaded: Mutex<String>,
    /// What it runs now.
    pub source: Mutex<Running>,
    /// The number for the next client that asks for one.
    pub owners: AtomicU64,
}

/// The declaration and the rules that a lab runs.
#[derive(Clone)]
pub struct Running {
    /// Another number for every start and every `apply`.
    pub generation: u64,
    /// The declaration, as JSON.
    pub input: String,
    /// The text of the anchor.
    pub anchor: String,
}

/// Parses the declaration, which the process that started the lab has already checked.
pub fn declared(input: &str) -> Result<Declaration> {
    model::read(input.as_bytes())
        .map_err(|rejected| anyhow!("{} problems in the declaration", rejected.problems.len()))
}

/// Errors of pf, in the format of pfctl.
pub fn unreadable(file: &str, errors: &[ParseError]) -> String {
    let line = |error: &ParseError| format!("{file}:{}:{}: {}", error.line, error.column, error.message);
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}
