//! Paths whose conditions changed: latency, loss, bandwidth, or conditions added and removed.
//!
//! The conditions that a packet meets are compared, not the numbers of pipes or how links divide them.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::both::{Both, FROM, TO};
use super::objects::{FieldChange, ObjectFields, Presence, fields};
use super::sides::ComparedSide;
use super::words::FlowSide;
use crate::packets::Set;
use crate::plan::Plan;
use crate::reach::Opener;

/// Paths whose conditions were added, removed or changed in the same way.
#[derive(Debug, Clone)]
pub struct WayChange {
    /// The senders, in words.
    pub from: Vec<String>,
    /// The receivers, in words.
    pub to: Vec<String>,
    /// Whether the conditions are new, removed or changed.
    pub presence: Presence,
    /// The conditions that differ.
    pub fields: Vec<FieldChange>,
    /// A source and a destination of such a path.
    pub witness: [Ipv4Addr; 2],
    flows: Set,
}

impl WayChange {
    /// The paths in words: `aws, azure -> gcp`.
    pub fn ways(&self) -> String {
        format!("{} -> {}", self.from.join(", "), self.to.join(", "))
    }

    /// The flows on these paths.
    pub fn flows(&self) -> Set {
        self.flows
    }
}

/// The names of conditions, in the order of their words.
const FIELDS: [&str; 4] = ["latency", "jitter", "loss", "bandwidth"];

/// The paths whose conditions differ, by sender and receiver.
pub fn changes(old: ComparedSide, new: ComparedSide, both: &mut Both) -> Vec<WayChange> {
    let mut known: Vec<[ObjectFields; 2]> = vec![[ObjectFields::new(), ObjectFields::new()]];
    let pipes = both.reach.each_ref().map(|reach| reach.pipe);
    let mut number = |like: [ObjectFields; 2]| {
        if like[0] == like[1] {
            return 0;
        }
        let found = known.iter().position(|it| *it == like).unwrap_or_else(|| {
            known.push(like);
            known.len() - 1
        });
        u32::try_from(found).expect("fewer kinds of ways than pipes")
    };
    // Many paths have the same two pipes.
    let mut numbers: HashMap<[u32; 2], u32> = HashMap::new();
    let map = both.flows.join(pipes[0], pipes[1], &mut |a, b| {
        *numbers.entry([a, b]).or_insert_with(|| number([like(old.plan, a), like(new.plan, b)]))
    });
    let mac = both.flows.of_this_mac();
    let mut all = Vec::new();
    for (index, like) in (1..).zip(&known[1..]) {
        let set = both.flows.select(map, |number| number == index);
        let set = both.flows.minus(set, mac);
        for rectangle in both.rectangles(set) {
            all.push(change(both, like, (rectangle.from, rectangle.to, rectangle.flows)));
        }
    }
    all.sort_by(|a, b| (&a.from, &a.to, a.presence).cmp(&(&b.from, &b.to, b.presence)));
    all
}

/// The conditions of a path; no fields without conditions.
fn like(plan: &Plan, pipe: u32) -> ObjectFields {
    let pipe = u16::try_from(pipe).ok().and_then(|number| plan.pipe(number));
    pipe.map_or_else(ObjectFields::new, |pipe| FIELDS.into_iter().zip(pipe.conditions.words()).collect())
}

fn change(both: &mut Both, [old, new]: &[ObjectFields; 2], (from, to, flows): (Set, Set, Set)) -> WayChange {
    let presence = Presence::of(!old.is_empty(), !new.is_empty());
    // What no longer exists has its old name.
    let side = usize::from(presence != Presence::Removed);
    let end = |at, set, peers| FlowSide { at, set, peers: Some(peers), ignored: Set::NONE, side };
    let witness = both.witness(flows);
    let source = match witness.opener {
        Opener::Address(address) => address,
        Opener::ThisMac => unreachable!("ways are between providers"),
    };
    WayChange {
        from: both.words(&end(FROM, from, to)),
        to: both.words(&end(TO, to, from)),
        presence,
        fields: fields(old, new),
        witness: [source, witness.destination],
        flows,
    }
}
