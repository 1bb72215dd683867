//! Conditions as dummynet pipes: one pipe for each path with conditions, and the packets that go through it.
//!
//! A link's conditions apply to the path between its endpoints, whatever the protocol and port. If several apply to a
//! packet, the narrower ones take precedence: a volume's over its provider's, first by sender, then by receiver.
//! Conditions of the same breadth are equal (the model ensures it), and the first apply.

use std::collections::BTreeSet;

use super::flows::words;
use super::objects::Bridge;
use crate::model::{Conditions, Declaration, Endpoint, LinkDirection, Name};

/// The number of the first pipe; lower numbers are left to other programs.
pub const FIRST: u16 = 20_000;

/// A pipe, shared by all packets from some endpoints to others.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipe {
    /// Its number, 20000 to 29999.
    pub number: u16,
    /// The sending endpoints.
    pub from: Vec<Endpoint>,
    /// The receiving endpoints.
    pub to: Vec<Endpoint>,
    /// The conditions of the path.
    pub conditions: Conditions,
}

/// Packets that go through a pipe. If several entries cover a packet, the last one applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steering {
    /// The sending endpoints: all are providers, or all are volumes.
    pub from: Vec<Endpoint>,
    /// The receiving endpoints, likewise.
    pub to: Vec<Endpoint>,
    /// The number of the pipe.
    pub pipe: u16,
}

impl Pipe {
    /// The path in words: `aws, azure -> etcd-3`.
    pub fn way(&self) -> String {
        self.describe(&[])
    }

    /// The path in words; all providers together are `every provider`.
    pub fn describe(&self, bridges: &[Bridge]) -> String {
        format!("{} -> {}", words(&self.from, bridges), words(&self.to, bridges))
    }
}

/// The pipes of a declaration, and which packets go through which.
#[derive(Debug, Clone, Default)]
pub struct Pipes {
    /// The pipes, by number.
    pub pipes: Vec<Pipe>,
    /// The packets of each pipe; broad paths before narrow ones.
    pub steering: Vec<Steering>,
    /// For each of [`Declaration::ways`], the number of its pipe; `None` if earlier ways of the same breadth cover all
    /// of its packets.
    pub numbers: Vec<Option<u16>>,
}

impl Pipes {
    /// Assigns pipes to the paths of a declaration.
    pub fn of(declaration: &Declaration) -> Self {
        let ways = declaration.ways();
        // By breadth: the rectangles that cover a packet which no earlier one does, each with the index of its way.
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
        let ends = |ends: &BTreeSet<Endpoint>| ends.iter().cloned().collect();
        let pipe = |(way, number): (&LinkDirection, &Option<u16>)| {
            Some(Pipe {
                number: (*number)?,
                from: ends(&trimmed(declaration, &way.from)),
                to: ends(&trimmed(declaration, &way.to)),
                conditions: way.conditions,
            })
        };
        let pipes = ways.iter().zip(&numbers).filter_map(pipe).collect();
        // The last entry that covers a packet applies, but within a breadth the first way takes precedence: reverse
        // them.
        let in_order = kept.into_iter().flat_map(|rectangles| rectangles.into_iter().rev());
        let steering = in_order.filter_map(|(rectangle, way)| {
            let Rectangle { from, to } = rectangle;
            Some(Steering { from: ends(&from), to: ends(&to), pipe: numbers[way]? })
        });
        let steering = steering.collect();
        Self { pipes, steering, numbers }
    }
}

/// A set of paths: all senders are of one kind (providers or volumes), and so are all receivers.
struct Rectangle {
    from: BTreeSet<Endpoint>,
    to: BTreeSet<Endpoint>,
}

impl Rectangle {
    fn holds(&self, from: &Endpoint, to: &Endpoint) -> bool {
        self.from.contains(from) && self.to.contains(to)
    }

    /// The part of it, as senders and receivers, that covers packets between providers which no other rectangle covers;
    /// `None` if nothing is left.
    fn without(self, others: &[(Self, usize)], declaration: &Declaration) -> Option<Self> {
        let is_new = |from: &Endpoint, to: &Endpoint| {
            declaration.provider_of(from) != declaration.provider_of(to)
                && !others.iter().any(|(other, _)| other.holds(from, to))
        };
        let sends = |from: &&Endpoint| self.to.iter().any(|to| is_new(from, to));
        let gets = |to: &&Endpoint| self.from.iter().any(|from| is_new(from, to));
        let from: BTreeSet<Endpoint> = self.from.iter().filter(sends).cloned().collect();
        let to = self.to.iter().filter(gets).cloned().collect();
        (!from.is_empty()).then_some(Self { from, to })
    }
}

/// A way split by breadth: provider to provider, provider to volume, volume to provider, volume to volume.
fn rectangles(declaration: &Declaration, way: &LinkDirection) -> [Rectangle; 4] {
    let is_volume = |end: &&Endpoint| match end {
        Endpoint::Volume(_) => true,
        Endpoint::Provider(_) => false,
    };
    let kind = |ends: &BTreeSet<Endpoint>, volumes: bool| -> BTreeSet<Endpoint> {
        ends.iter().filter(|end| is_volume(end) == volumes).cloned().collect()
    };
    let (from, to) = (trimmed(declaration, &way.from), trimmed(declaration, &way.to));
    [(false, false), (false, true), (true, false), (true, true)]
        .map(|(sender, receiver)| Rectangle { from: kind(&from, sender), to: kind(&to, receiver) })
}

/// The same endpoints without volumes whose provider is in the set too.
fn trimmed(declaration: &Declaration, ends: &BTreeSet<Endpoint>) -> BTreeSet<Endpoint> {
    let covered =
        |name: &Name| ends.contains(&Endpoint::Provider(declaration.volumes[name].provider.clone()));
    ends.iter().filter(|end| !matches!(end, Endpoint::Volume(name) if covered(name))).cloned().collect()
}
