//! Rectangles: the pairs of classes that share a change, as few sets of sources and destinations.
//!
//! Pairs within one network are in no relation and may lie in any rectangle, as a link's `from` and `to` may share
//! members: that is what makes one rectangle of a mesh.

use std::collections::{BTreeMap, HashMap};

use super::space::{Class, Space};

/// Every source with every destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rectangle {
    /// The sources, in order.
    pub from: Vec<Class>,
    /// The destinations, in order.
    pub to: Vec<Class>,
}

/// Destinations by source, both in order.
pub type Relation = BTreeMap<Class, Vec<Class>>;

/// Joining every group with every other is worth its cost up to so many.
const FEW: usize = 256;

/// The relation as rectangles: by rows or by columns, whichever are fewer.
pub fn cover(space: &Space, relation: &Relation) -> Vec<Rectangle> {
    let rows = by_rows(space, relation);
    if rows.len() < 2 {
        return rows;
    }
    let mut turned = Relation::new();
    for (from, to) in relation {
        for to in to {
            turned.entry(*to).or_default().push(*from);
        }
    }
    let columns = by_rows(space, &turned);
    if rows.len() <= columns.len() {
        return rows;
    }
    columns.into_iter().map(|Rectangle { from, to }| Rectangle { from: to, to: from }).collect()
}

fn by_rows(space: &Space, relation: &Relation) -> Vec<Rectangle> {
    let mut groups: BTreeMap<&Vec<Class>, Vec<Class>> = BTreeMap::new();
    for (from, to) in relation {
        groups.entry(to).or_default().push(*from);
    }
    let groups: Vec<Rectangle> =
        groups.into_iter().map(|(to, from)| Rectangle { from, to: to.clone() }).collect();
    let mut joined = meshes(space, groups);
    if joined.len() <= FEW {
        let mut result: Vec<Rectangle> = Vec::new();
        for group in joined {
            match result.iter_mut().find_map(|other| Some((join(space, other, &group)?, other))) {
                Some((both, other)) => *other = both,
                None => result.push(group),
            }
        }
        joined = result;
    }
    joined.sort();
    joined
}

/// Joins the rows of a mesh: with its own network added, each of them reaches the same.
fn meshes(space: &Space, groups: Vec<Rectangle>) -> Vec<Rectangle> {
    let mut by_home: HashMap<_, Vec<Class>> = HashMap::new();
    for class in union(groups.iter().map(|group| &group.to)) {
        if let Some(home) = space.home(class) {
            by_home.entry(home).or_default().push(class);
        }
    }
    let mut by_reach: BTreeMap<Vec<Class>, Vec<Rectangle>> = BTreeMap::new();
    let mut others = Vec::new();
    for group in groups {
        let home = space.home(group.from[0]);
        match home {
            Some(home) if group.from.iter().all(|from| space.home(*from) == Some(home)) => {
                let own = by_home.get(&home);
                let reach = union([&group.to].into_iter().chain(own));
                by_reach.entry(reach).or_default().push(group);
            }
            _ => others.push(group),
        }
    }
    let joined = by_reach.into_values().map(|members| Rectangle {
        from: union(members.iter().map(|group| &group.from)),
        to: union(members.iter().map(|group| &group.to)),
    });
    joined.chain(others).collect()
}

/// Both as one rectangle, if that adds nothing but pairs within a network.
fn join(space: &Space, a: &Rectangle, b: &Rectangle) -> Option<Rectangle> {
    let to = union([&a.to, &b.to]);
    let holds = |it: &Rectangle| {
        let mut extra = to.iter().filter(|class| it.to.binary_search(class).is_err());
        extra.all(|class| it.from.iter().all(|from| space.within(*from, *class)))
    };
    (holds(a) && holds(b)).then(|| Rectangle { from: union([&a.from, &b.from]), to: to.clone() })
}

/// The union of sets, in order.
fn union<'a>(sets: impl IntoIterator<Item = &'a Vec<Class>>) -> Vec<Class> {
    let mut all: Vec<Class> = sets.into_iter().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
