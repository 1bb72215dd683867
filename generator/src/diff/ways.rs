//! The ways between classes that are like something else now: slower, lossier, narrower, or not any more.
//!
//! What counts is what a packet goes through, and not the pipe's number or how the links are cut: so each pair of classes
//! is asked on both sides, and the pairs that share a change are merged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::cover::{self, Rectangle, Relation};
use super::names::Names;
use super::objects::{FieldChange, Presence};
use super::space::{Class, Space};
use super::{Side, objects};
use crate::model::{Conditions, End, Name};
use crate::plan::Plan;

/// Ways whose conditions came, went or changed alike.
#[derive(Debug, Clone)]
pub struct WayChange {
    /// Who sends, in words.
    pub from: Vec<String>,
    /// Who receives, in words.
    pub to: Vec<String>,
    /// Whether the conditions are new.
    pub presence: Presence,
    /// What of them differs.
    pub fields: Vec<FieldChange>,
    /// A source and a destination between which it is so.
    pub witness: [Ipv4Addr; 2],
    space: Arc<Space>,
    rectangle: Rectangle,
}

impl WayChange {
    /// Whether this is said of packets from an address to an address.
    pub fn covers(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let [from, to] = [source, destination].map(|address| self.space.class(address));
        self.rectangle.from.binary_search(&from).is_ok()
            && self.rectangle.to.binary_search(&to).is_ok()
            && !self.space.within(from, to)
    }

    /// The ways in words: `aws, azure -> gcp`.
    pub fn ways(&self) -> String {
        format!("{} -> {}", self.from.join(", "), self.to.join(", "))
    }
}

/// What conditions say, in the order of their words.
const FIELDS: [&str; 3] = ["latency", "loss", "bandwidth"];

/// What a way is like, field by field; nothing where it is like any.
type Like = Vec<(&'static str, String)>;

/// What differs, by sender and receiver.
pub fn changes(old: Side, new: Side, space: &Arc<Space>, names: &Names) -> Vec<WayChange> {
    let [senders, receivers] = [true, false].map(|sends| {
        let ends = |(index, side): (usize, Side)| touched(side.plan, index, space, sends);
        [(0, old), (1, new)].into_iter().flat_map(ends).collect::<BTreeSet<Class>>()
    });
    let mut relations: BTreeMap<[Like; 2], Relation> = BTreeMap::new();
    for from in &senders {
        for to in receivers.iter().filter(|to| !space.within(*from, **to)) {
            let [source, destination] = [*from, *to].map(|class| space.facts(class).representative);
            let like = [old, new].map(|side| like(side.plan, source, destination));
            if like[0] != like[1] {
                relations.entry(like).or_default().entry(*from).or_default().push(*to);
            }
        }
    }
    let mut all = Vec::new();
    for (like, relation) in relations {
        let change = |rectangle| change(&like, rectangle, space, names);
        all.extend(cover::cover(space, &relation).into_iter().map(change));
    }
    all.sort_by(|a, b| (&a.from, &a.to, a.presence).cmp(&(&b.from, &b.to, b.presence)));
    all
}

/// The classes that some pipe of a side has packets from, or to.
fn touched(plan: &Plan, side: usize, space: &Space, sends: bool) -> BTreeSet<Class> {
    let mut providers: BTreeSet<&Name> = BTreeSet::new();
    let mut classes = BTreeSet::new();
    for end in plan.pipes.iter().flat_map(|pipe| if sends { &pipe.from } else { &pipe.to }) {
        match end {
            End::Provider(name) => {
                providers.insert(name);
            }
            End::Volume(name) => {
                classes.extend(plan.volume(name).map(|volume| space.class(volume.address)));
            }
        }
    }
    let of_provider =
        |class: &Class| space.facts(*class).owner[side].provider().is_some_and(|it| providers.contains(it));
    classes.extend(space.all().filter(of_provider));
    classes
}

fn like(plan: &Plan, source: Ipv4Addr, destination: Ipv4Addr) -> Like {
    let pipe = plan.policy.pipe_between(source, destination).and_then(|number| plan.pipe(number));
    pipe.map_or_else(Like::new, |pipe| fields(&pipe.conditions))
}

fn fields(conditions: &Conditions) -> Like {
    FIELDS.into_iter().zip(conditions.words()).filter_map(|(field, value)| Some((field, value?))).collect()
}

fn change(like: &[Like; 2], rectangle: Rectangle, space: &Arc<Space>, names: &Names) -> WayChange {
    let [old, new] = like;
    let presence = match (old.is_empty(), new.is_empty()) {
        (true, _) => Presence::Added,
        (_, true) => Presence::Removed,
        _ => Presence::Changed,
    };
    // What is no more is called as it was.
    let side = usize::from(presence != Presence::Removed);
    let pairs = rectangle.from.iter().flat_map(|from| rectangle.to.iter().map(move |to| [*from, *to]));
    let pair = pairs.into_iter().find(|[from, to]| !space.within(*from, *to));
    let pair = pair.expect("a rectangle holds more than pairs within a network");
    WayChange {
        from: names.set(&rectangle.from, &rectangle.to, side, "outside"),
        to: names.set(&rectangle.to, &rectangle.from, side, "outside"),
        presence,
        fields: objects::fields(&FIELDS, old, new),
        witness: pair.map(|class| space.facts(class).representative),
        space: Arc::clone(space),
        rectangle,
    }
}
