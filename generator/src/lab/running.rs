//! A running lab: its namespaces, its declaration and its rules, and how the latter two are read.

use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};
use nixvol_net::loading::Interfaces;
use nixvol_net::model::{self, Declaration};
use nixvol_net::pf::ParseError;
use nixvol_net::plan::Plan;
use nixvol_net::router::{EGRESS, ExampleHosts, NodeId, UNDERLAY};

use super::pump::Shared;

/// A running lab.
pub struct Lab {
    /// What the packet loop works on.
    pub shared: Arc<Shared>,
    /// Network namespaces, by node.
    pub nets: Vec<File>,
    /// The user, PID and mount namespaces of the lab.
    pub own: [File; 3],
    /// The Macs, by name.
    pub macs: Vec<OneMac>,
    /// The one that the declaration calls this Mac.
    pub this: usize,
    /// The Mac that each node with a namespace is attached to.
    pub attached: Vec<usize>,
    /// The number of the lab and of its rules: another one for every start and every `apply`.
    pub generation: AtomicU64,
    /// The number for the next client that asks for one.
    pub owners: AtomicU64,
}

/// One of the Macs, as it was set up.
pub struct OneMac {
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
}

impl Lab {
    /// The Mac that the declaration calls this Mac.
    pub fn this(&self) -> &OneMac {
        &self.macs[self.this]
    }

    /// The Mac that a node is attached to.
    pub fn mac_of(&self, node: NodeId) -> usize {
        self.attached[node.0]
    }
}

impl OneMac {
    /// Its name, if there are several.
    pub fn name(&self) -> Option<&str> {
        self.plan.mesh.as_ref().map(|mesh| mesh.mac.as_str())
    }

    /// The interfaces for which the anchor is loaded.
    pub fn interfaces(&self) -> Interfaces {
        interfaces(&self.plan)
    }
}

/// The interfaces of a Mac of the lab: with several Macs also the one on the link between them.
pub fn interfaces(plan: &Plan) -> Interfaces {
    let link = plan.mesh.is_some().then_some(UNDERLAY);
    Interfaces::logical(plan, EGRESS).with_foreign(link)
}

/// The declaration and the rules that a Mac of the lab runs.
#[derive(Clone)]
pub struct Running {
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
