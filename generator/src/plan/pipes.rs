//! Conditions as pipes: the conditions of each path, and the packets that go through each pipe.
//!
//! A link's conditions apply to the path between its endpoints, whatever the protocol and port. If two apply to one
//! packet, the narrower takes precedence: a volume's before its provider's, and the sender's before the receiver's.
//! Those of the same breadth agree (the model ensures it), and the first applies.

use std::collections::BTreeSet;

use super::flows::words;
use crate::model::{Conditions, Declaration, End, Name, Way};

/// The number of the first pipe: below are those of others.
pub const FIRST: u16 = 20_000;

/// A pipe that packets go through on their way from some ends to others, one for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipe {
    /// Its number, 20000 to 29999.
    pub number: u16,
    /// From these ends,
    pub from: Vec<End>,
    /// to these ones,
    pub to: Vec<End>,
    /// it is like this.
    pub conditions: Conditions,
}

/// Which packets go through a pipe. Of several that cover a packet the last counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steering {
    /// From these ends, all providers or all volumes,
    pub from: Vec<End>,
    /// to these ones, the same,
    pub to: Vec<End>,
    /// through the pipe of this number.
    pub pipe: u16,
}

impl Pipe {
    /// The way in words: `aws, azure -> etcd-3`.
    pub fn way(&self) -> String {
        self.describe(&[])
    }

    /// The same, where a set of all providers is `every provider`.
    pub fn describe(&self, bridges: &[super::Bridge]) -> String {
        format!("{} -> {}", words(&self.from, bridges), words(&self.to, bridges))
    }
}

/// The pipes of a declaration, and in their order who goes through which. `numbers` has for each way the number of its
/// pipe, or none where others have all its packets.
#[derive(Debug, Clone, Default)]
pub struct Pipes {
    /// By number.
    pub pipes: Vec<Pipe>,
    /// The broad before the narrow.
    pub steering: Vec<Steering>,
    /// For each of [`Declaration::ways`], the number of its pipe.
    pub numbers: Vec<Option<u16>>,
}

impl Pipes {
    /// The pipes of a declaration.
    pub fn of(declaration: &Declaration) -> Self {
        let ways = declaration.ways();
        // By breadth, the rectangles that have a packet to themselves, each with its way.
        let mut kept: [Vec<(Rectangle, usize)>; 4] = Default::default();
        for (number, way) in ways.iter().enumerate() {
            for (breadth, rectangle) in (0..).zip(rectangles(declaration, way)) {
                if let Some(new) = rectangle.without(&kept[breadth], declaration) {
                    kept[breadth].push((new, number));
                }
            }
        }
        let used: BTreeSet<usize> = kept.iter().flatten().map(|(_, way)| *way).collect();
        let mut numbers = vec![None; ways.len()];
        for (number, way) in (FIRST..).zip(&used) {
            numbers[*way] = Some(number);
        }
        let ends = |ends: &BTreeSet<End>| ends.iter().cloned().collect();
        let pipe = |(way, number): (&Way, &Option<u16>)| {
            Some(Pipe {
                number: (*number)?,
                from: ends(&trimmed(declaration, &way.from)),
                to: ends(&trimmed(declaration, &way.to)),
                conditions: way.conditions,
            })
        };
        let pipes = ways.iter().zip(&numbers).filter_map(pipe).collect();
        // The last that covers a packet counts, and the first of a breadth has it.
        let in_order = kept.into_iter().flat_map(|rectangles| rectangles.into_iter().rev());
        let steering = in_order.filter_map(|(rectangle, way)| {
            let Rectangle { from, to } = rectangle;
            Some(Steering { from: ends(&from), to: ends(&to), pipe: numbers[way]? })
        });
        let steering = steering.collect();
        Self { pipes, steering, numbers }
    }
}

/// Ends of one kind that send to ends of one kind.
struct Rectangle {
    from: BTreeSet<End>,
    to: BTreeSet<End>,
}

impl Rectangle {
    fn holds(&self, from: &End, to: &End) -> bool {
        self.from.contains(from) && self.to.contains(to)
    }

    /// Its ends that send or get something through it from one provider to another that others have not. None where there
    /// is nothing left.
    fn without(self, others: &[(Self, usize)], declaration: &Declaration) -> Option<Self> {
        let is_new = |from: &End, to: &End| {
            declaration.provider_of(from) != declaration.provider_of(to)
                && !others.iter().any(|(other, _)| other.holds(from, to))
        };
        let sends = |from: &&End| self.to.iter().any(|to| is_new(from, to));
        let gets = |to: &&End| self.from.iter().any(|from| is_new(from, to));
        let from: BTreeSet<End> = self.from.iter().filter(sends).cloned().collect();
        let to = self.to.iter().filter(gets).cloned().collect();
        (!from.is_empty()).then_some(Self { from, to })
    }
}

/// A way by breadth: from provider to provider, from provider to volume, from volume to provider, from volume to volume.
fn rectangles(declaration: &Declaration, way: &Way) -> [Rectangle; 4] {
    let kind = |ends: &BTreeSet<End>, is_volume: bool| -> BTreeSet<End> {
        ends.iter().filter(|end| matches!(end, End::Volume(_)) == is_volume).cloned().collect()
    };
    let (from, to) = (trimmed(declaration, &way.from), trimmed(declaration, &way.to));
    [(false, false), (false, true), (true, false), (true, true)]
        .map(|(sender, receiver)| Rectangle { from: kind(&from, sender), to: kind(&to, receiver) })
}

/// The same ends without volumes that stand beside their own provider.
fn trimmed(declaration: &Declaration, ends: &BTreeSet<End>) -> BTreeSet<End> {
    let covered = |name: &Name| ends.contains(&End::Provider(declaration.volumes[name].provider.clone()));
    ends.iter().filter(|end| !matches!(end, End::Volume(name) if covered(name))).cloned().collect()
}
