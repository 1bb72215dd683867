//! The path on macOS: the hooks at which pf sees a packet, and where macOS itself drops it.
//!
//! A packet between two endpoints of this Mac is seen on lo0, out and then in. A packet of a VM comes in on its
//! bridge and goes out on the interface by which it leaves. Never: what the rules do there.

use super::end::{Asked, At};
use super::question::Wrong;
use crate::loading::MESH;
use crate::model::{Protocol, ProviderAttachment};
use crate::plan::Plan;
use crate::plan::policy::{PolicyDirection, PolicyInterface};

/// A hook on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub direction: PolicyDirection,
    pub over: Over,
}

/// The interface of a hook. Bridges are given by their index in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Loopback,
    Bridge(usize),
    /// The tunnel to the other Macs.
    Mesh,
    Egress,
}

impl Over {
    /// The interface's name; for a bridge the logical one, since only a Mac knows the kernel name.
    pub fn name(self, plan: &Plan, asked: &Asked) -> String {
        match self {
            Self::Loopback => "lo0".to_owned(),
            Self::Bridge(bridge) => plan.bridges[bridge].logical.to_string(),
            Self::Mesh => MESH.to_owned(),
            Self::Egress => asked.egress.clone(),
        }
    }

    /// The kind of interface, as the policy distinguishes them.
    pub fn kind(self) -> PolicyInterface {
        match self {
            Self::Loopback => PolicyInterface::Loopback,
            Self::Bridge(bridge) => PolicyInterface::Bridge(bridge),
            Self::Mesh => PolicyInterface::Mesh,
            Self::Egress => PolicyInterface::Egress,
        }
    }
}

/// The path of a packet.
#[derive(Debug)]
pub(super) struct Way {
    pub steps: Vec<Step>,
    /// Why macOS does not deliver the packet after these hooks, regardless of pf.
    pub refused: Option<String>,
}

impl Way {
    /// The hooks of the reply: the same path in reverse.
    pub fn back(&self) -> Vec<Step> {
        let turn = |step: &Step| match step.direction {
            PolicyDirection::In => Step { direction: PolicyDirection::Out, ..*step },
            PolicyDirection::Out => Step { direction: PolicyDirection::In, ..*step },
        };
        self.steps.iter().rev().map(turn).collect()
    }

    /// Notes on the interfaces of the path.
    pub fn notes(&self, plan: &Plan, asked: &Asked) -> Vec<String> {
        let mut notes = Vec::new();
        let has = |wanted: fn(&Over) -> bool| self.steps.iter().any(|step| wanted(&step.over));
        if has(|over| matches!(over, Over::Bridge(_))) {
            notes.push("bridges are shown by their logical names; `status` knows the kernel's".to_owned());
        }
        if has(|over| *over == Over::Egress) {
            notes.push(format!(
                "{} with {} stands for the interface that leads outside",
                asked.egress, asked.egress_address
            ));
        }
        if let (At::Bridge(from), At::Bridge(to)) = (asked.source.at, asked.destination.at)
            && from == to
        {
            let bridge = &plan.bridges[from];
            let why = match bridge.attachment {
                ProviderAttachment::Vmnet => "vmnet may join its VMs on the bridge itself",
                ProviderAttachment::Bridge => "VMs configured as rendered send through the gateway",
            };
            notes.push(format!("{why}; pf never sees what a bridge forwards between its members"));
        }
        notes
    }
}

/// The path of the packet that a question is about.
pub(super) fn way(asked: &Asked) -> Result<Way, Wrong> {
    let (source, destination) = (asked.source.at, asked.destination.at);
    let step = |direction, over| Step { direction, over };
    let (out, into) = (|over| step(PolicyDirection::Out, over), |over| step(PolicyDirection::In, over));
    let through = |steps| Way { steps, refused: None };
    let lo0 = vec![out(Over::Loopback), into(Over::Loopback)];
    let way = match (source, destination) {
        (At::Outside, At::Outside) => {
            return Err(Wrong::new(
                format!(
                    "neither `{}` nor `{}` is in this network",
                    asked.source.name, asked.destination.name
                ),
                "one end must be a volume, a provider or this Mac",
            ));
        }
        (At::Outside | At::Bridge(_) | At::OtherMac(_), At::Loopback) => refused(
            Vec::new(),
            "an address of 127.0.0.0/8 is this Mac's own: macOS drops it on any interface but lo0, before pf",
        ),
        (At::Loopback, At::Bridge(_) | At::OtherMac(_) | At::Outside) => {
            refused(Vec::new(), "a source in 127.0.0.0/8 never leaves lo0: macOS refuses it (EADDRNOTAVAIL)")
        }
        (At::Gateway(_), At::Outside) => refused(
            Vec::new(),
            "a socket bound to a bridge's address has no route outside on macOS (EHOSTUNREACH)",
        ),
        (At::OtherMac(_), At::OtherMac(_)) => {
            refused(Vec::new(), "both are on other Macs: this Mac never sees it")
        }
        (At::OtherMac(_), At::Bridge(to)) => through(vec![into(Over::Mesh), out(Over::Bridge(to))]),
        (At::OtherMac(_), At::Outside) => through(vec![into(Over::Mesh), out(Over::Egress)]),
        (At::OtherMac(_), _) => through(vec![into(Over::Mesh)]),
        (At::Bridge(from), At::OtherMac(_)) => through(vec![into(Over::Bridge(from)), out(Over::Mesh)]),
        (At::Outside, At::OtherMac(_)) => through(vec![into(Over::Egress), out(Over::Mesh)]),
        (_, At::OtherMac(_)) => through(vec![out(Over::Mesh)]),
        (from, to) if from.is_here() && to.is_here() => through(lo0),
        (_, At::Bridge(to)) if source.is_here() => through(vec![out(Over::Bridge(to))]),
        (At::Bridge(from), At::Bridge(to)) => through(vec![into(Over::Bridge(from)), out(Over::Bridge(to))]),
        (At::Bridge(from), At::Outside) => through(vec![into(Over::Bridge(from)), out(Over::Egress)]),
        // A packet that comes in for an address of the Mac is delivered at once; it crosses no second interface.
        (At::Bridge(from), _) => through(vec![into(Over::Bridge(from))]),
        (At::Outside, At::Bridge(to)) => through(vec![into(Over::Egress), out(Over::Bridge(to))]),
        (At::Outside, _) => through(vec![into(Over::Egress)]),
        (_, _) => through(vec![out(Over::Egress)]),
    };
    Ok(way)
}

fn refused(steps: Vec<Step>, why: &str) -> Way {
    Way { steps, refused: Some(why.to_owned()) }
}

/// The protocol as a link names it, if a link can.
pub(super) fn link_protocol(number: u8) -> Option<Protocol> {
    match number {
        crate::plan::policy::TCP => Some(Protocol::Tcp),
        crate::plan::policy::UDP => Some(Protocol::Udp),
        crate::plan::policy::ICMP => Some(Protocol::Icmp),
        _ => None,
    }
}
