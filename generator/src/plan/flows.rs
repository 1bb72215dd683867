//! Links as rectangles: sets of endpoints that may send something to sets of endpoints.
//!
//! Links are what the user wrote, pairwise or as a mesh, overlapping or not. A rectangle becomes one rule, so links
//! are merged until their number grows with the endpoints and not with their pairs, and a rectangle that others
//! cover is left out: each one that is kept permits a flow that no other does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::Ipv4Net;

use crate::model::{Declaration, End, Link, Name, PortRange, PortSet, Protocol};

/// `from` may open connections to `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Who may open: sorted, no volume beside its own provider.
    pub from: Vec<End>,
    /// Who may be reached; the same.
    pub to: Vec<End>,
    /// The protocol, or every one. Where there are ports it is tcp or udp.
    pub protocol: Option<Protocol>,
    /// Destination ports, or every one.
    pub ports: Option<PortSet>,
}

/// Part of a link's traffic gets the gateway address of the provider that receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// The traffic; all of `to` belongs to the one provider.
    pub flow: Flow,
    /// The receiving provider.
    pub provider: Name,
    /// Its network: traffic inside it keeps its source.
    pub network: Ipv4Net,
    /// Its gateway, the new source.
    pub gateway: std::net::Ipv4Addr,
    /// Whether `from` has ends in the receiving provider.
    pub from_inside: bool,
}

/// What may pass between providers.
pub fn flows(declaration: &Declaration) -> Vec<Flow> {
    let ends = Ends::of(declaration);
    let rectangles = declaration.links.iter().flat_map(|link| ends.rectangles(link)).collect();
    ends.flows(without_needless(&ends, merged(&ends, rectangles)))
}

/// What of it is masqueraded.
pub fn masquerades(declaration: &Declaration) -> Vec<Masquerade> {
    let ends = Ends::of(declaration);
    let mut by_receiver: BTreeMap<u32, Vec<Rectangle>> = BTreeMap::new();
    for link in declaration.links.iter().filter(|link| link.masquerade) {
        for rectangle in ends.rectangles(link) {
            for receiver in
                rectangle.to.iter().map(|end| ends.provider[*end as usize]).collect::<BTreeSet<_>>()
            {
                let inside = |end: &u32| ends.provider[*end as usize] == receiver;
                let to: Vec<u32> = rectangle.to.iter().copied().filter(inside).collect();
                // A rectangle that never leaves its provider masquerades nothing.
                if !rectangle.from.iter().all(inside) {
                    by_receiver.entry(receiver).or_default().push(Rectangle { to, ..rectangle.clone() });
                }
            }
        }
    }
    let of_receiver = |(receiver, rectangles): (u32, Vec<Rectangle>)| {
        let name = ends.all[receiver as usize].name().clone();
        let provider = &declaration.providers[&name];
        let flows = ends.flows(without_needless(&ends, merged_by_ends(rectangles)));
        let masquerade = move |flow: Flow| {
            let inside = |end: &End| match end {
                End::Provider(provider) => *provider == name,
                End::Volume(volume) => declaration.volumes[volume].provider == name,
            };
            let from_inside = flow.from.iter().any(inside);
            let (network, gateway) = (provider.network, provider.gateway.addr());
            Masquerade { flow, provider: name.clone(), network, gateway, from_inside }
        };
        flows.into_iter().map(masquerade).collect::<Vec<_>>()
    };
    by_receiver.into_iter().flat_map(of_receiver).collect()
}

/// Ends by number: providers first, both sorted by name.
struct Ends {
    all: Vec<End>,
    number: HashMap<End, u32>,
    /// The number of each end's provider; a provider's is its own.
    provider: Vec<u32>,
}

/// A set of ends by number, sorted.
type EndSet = Vec<u32>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rectangle {
    from: EndSet,
    to: EndSet,
    protocol: Option<Protocol>,
    ports: Option<PortSet>,
}

impl Ends {
    fn of(declaration: &Declaration) -> Self {
        let providers = declaration.providers.keys().cloned().map(End::Provider);
        let volumes = declaration.volumes.keys().cloned().map(End::Volume);
        let all: Vec<End> = providers.chain(volumes).collect();
        let number: HashMap<End, u32> = (0..).zip(&all).map(|(number, end)| (end.clone(), number)).collect();
        let provider = |end: &End| match end {
            End::Provider(_) => number[end],
            End::Volume(name) => number[&End::Provider(declaration.volumes[name].provider.clone())],
        };
        let provider = all.iter().map(provider).collect();
        Self { all, number, provider }
    }

    fn set<'a>(&self, ends: impl IntoIterator<Item = &'a End>) -> EndSet {
        let numbers: BTreeSet<u32> = ends.into_iter().map(|end| self.number[end]).collect();
        let covered = |end: &u32| {
            let provider = self.provider[*end as usize];
            provider != *end && numbers.contains(&provider)
        };
        numbers.iter().copied().filter(|end| !covered(end)).collect()
    }

    /// One direction and one protocol each.
    fn rectangles(&self, link: &Link) -> Vec<Rectangle> {
        let (from, to) = (self.set(&link.from), self.set(&link.to));
        let protocols = match (link.protocol, &link.ports) {
            (None, Some(_)) => vec![Some(Protocol::Tcp), Some(Protocol::Udp)],
            (protocol, _) => vec![protocol],
        };
        let mut rectangles = Vec::new();
        for protocol in protocols {
            let ports = link.ports.clone();
            let forward = Rectangle { from: from.clone(), to: to.clone(), protocol, ports };
            if link.bidirectional && from != to {
                rectangles.push(Rectangle { from: to.clone(), to: from.clone(), ..forward.clone() });
            }
            rectangles.push(forward);
        }
        rectangles
    }

    fn flows(&self, rectangles: Vec<Rectangle>) -> Vec<Flow> {
        let names = |set: EndSet| set.into_iter().map(|end| self.all[end as usize].clone()).collect();
        let flow = |Rectangle { from, to, protocol, ports }| Flow {
            from: names(from),
            to: names(to),
            protocol,
            ports,
        };
        let mut flows: Vec<Flow> = rectangles.into_iter().map(flow).collect();
        flows.sort();
        flows
    }

    /// Whether `set` has the end, or the provider of it.
    fn holds(&self, set: &[u32], end: u32) -> bool {
        set.binary_search(&end).is_ok() || set.binary_search(&self.provider[end as usize]).is_ok()
    }
}

/// Merges what has the same ends, the same sources or the same destinations, and meshes that were written as pairs.
fn merged(ends: &Ends, rectangles: Vec<Rectangle>) -> Vec<Rectangle> {
    let rectangles = merged_by_ends(rectangles);
    // A mesh written as pairs: each provider reaches all the others. A provider always reaches itself, so with
    // itself added the destinations of all of them become the same set.
    let closed = rectangles.into_iter().map(|rectangle| match rectangle.from.as_slice() {
        [end] => {
            let mut to = rectangle.to.clone();
            let own = ends.provider[*end as usize];
            if let Err(place) = to.binary_search(&own) {
                to.insert(place, own);
            }
            (Rectangle { to, ..rectangle.clone() }, Some(rectangle))
        }
        _ => (rectangle, None),
    });
    let mut meshes: BTreeMap<Rectangle, Vec<(EndSet, Option<Rectangle>)>> = BTreeMap::new();
    for (closed, original) in closed {
        let from = closed.from.clone();
        meshes.entry(Rectangle { from: EndSet::new(), ..closed }).or_default().push((from, original));
    }
    let mut result = Vec::new();
    for (key, members) in meshes {
        if let [(from, original)] = members.as_slice() {
            result.push(original.clone().unwrap_or(Rectangle { from: from.clone(), ..key }));
        } else {
            let from = union(members.into_iter().map(|(from, _)| from));
            result.push(Rectangle { from, ..key });
        }
    }
    result
}

fn merged_by_ends(rectangles: Vec<Rectangle>) -> Vec<Rectangle> {
    // The same ends: ports together.
    let mut by_ends: BTreeMap<Rectangle, Option<PortSet>> = BTreeMap::new();
    for mut rectangle in rectangles {
        let Some(ports) = rectangle.ports.take() else {
            by_ends.insert(rectangle, None);
            continue;
        };
        by_ends
            .entry(rectangle)
            .and_modify(|all| *all = all.take().map(|all| all.union(&ports)))
            .or_insert(Some(ports));
    }
    let rectangles = by_ends.into_iter().map(|(rectangle, ports)| Rectangle { ports, ..rectangle });
    // The same sources: destinations together; then reversed.
    let by_source = grouped(rectangles, |rectangle| &mut rectangle.to);
    grouped(by_source, |rectangle| &mut rectangle.from)
}

/// Joins the sets that `part` picks, of rectangles that are the same but for them.
fn grouped(
    rectangles: impl IntoIterator<Item = Rectangle>,
    part: fn(&mut Rectangle) -> &mut EndSet,
) -> Vec<Rectangle> {
    let mut groups: BTreeMap<Rectangle, Vec<EndSet>> = BTreeMap::new();
    for mut rectangle in rectangles {
        let set = std::mem::take(part(&mut rectangle));
        groups.entry(rectangle).or_default().push(set);
    }
    let join = |(mut rectangle, sets)| {
        *part(&mut rectangle) = union(sets);
        rectangle
    };
    groups.into_iter().map(join).collect()
}

fn union(sets: impl IntoIterator<Item = EndSet>) -> EndSet {
    sets.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Leaves out what the others cover together, one range of ports at a time.
fn without_needless(ends: &Ends, rectangles: Vec<Rectangle>) -> Vec<Rectangle> {
    let mut single: Vec<Option<Rectangle>> =
        rectangles.into_iter().flat_map(one_range_each).map(Some).collect();
    let mut by_source: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, rectangle) in single.iter().enumerate() {
        for end in rectangle.iter().flat_map(|rectangle| &rectangle.from) {
            by_source.entry(*end).or_default().push(index);
        }
    }
    for index in 0..single.len() {
        if let Some(rectangle) = single[index].take()
            && !covered(ends, &rectangle, &single, &by_source)
        {
            single[index] = Some(rectangle);
        }
    }
    merged_ports(single.into_iter().flatten())
}

fn one_range_each(rectangle: Rectangle) -> Vec<Rectangle> {
    match &rectangle.ports {
        None => vec![rectangle],
        Some(ports) => {
            let one =
                |range: &PortRange| Rectangle { ports: PortSet::new(vec![*range]), ..rectangle.clone() };
            ports.ranges().iter().map(one).collect()
        }
    }
}

fn merged_ports(rectangles: impl Iterator<Item = Rectangle>) -> Vec<Rectangle> {
    let mut by_rest: BTreeMap<Rectangle, Vec<PortRange>> = BTreeMap::new();
    for mut rectangle in rectangles {
        let ports = rectangle.ports.take();
        by_rest.entry(rectangle).or_default().extend(ports.iter().flat_map(PortSet::ranges));
    }
    by_rest.into_iter().map(|(rest, ranges)| Rectangle { ports: PortSet::new(ranges), ..rest }).collect()
}

/// Whether the others let pass all that `rectangle` does between different providers.
fn covered(
    ends: &Ends,
    rectangle: &Rectangle,
    others: &[Option<Rectangle>],
    by_source: &HashMap<u32, Vec<usize>>,
) -> bool {
    rectangle.from.iter().all(|source| {
        let own = ends.provider[*source as usize];
        let at = |end: u32| by_source.get(&end).into_iter().flatten();
        let candidates: Vec<&Rectangle> = at(*source)
            .chain(at(own).filter(|_| own != *source))
            .filter_map(|index| others[*index].as_ref())
            .filter(|other| other.protocol.is_none() || other.protocol == rectangle.protocol)
            .collect();
        let pair = |destination: &u32| {
            if ends.provider[*destination as usize] == own {
                return true;
            }
            let mut ranges = Vec::new();
            for other in candidates.iter().filter(|other| ends.holds(&other.to, *destination)) {
                match &other.ports {
                    None => return true,
                    Some(ports) => ranges.extend(ports.ranges()),
                }
            }
            match (&rectangle.ports, PortSet::new(ranges)) {
                (Some(wanted), Some(given)) => given.covers(wanted),
                _ => false,
            }
        };
        rectangle.to.iter().all(pair)
    })
}

/// Ends in words: `aws, etcd-3`; all providers are `every provider`.
pub fn words(ends: &[End], bridges: &[super::Bridge]) -> String {
    let is_provider = |(end, bridge): (&End, &super::Bridge)| *end == End::Provider(bridge.provider.clone());
    if ends.len() > 1 && ends.len() == bridges.len() && ends.iter().zip(bridges).all(is_provider) {
        return "every provider".to_owned();
    }
    ends.iter().map(|end| end.name().as_str()).collect::<Vec<_>>().join(", ")
}

impl Flow {
    /// The flow in words: `aws, azure -> gcp tcp 2379-2380`; a set of all providers is `every provider`.
    pub fn describe(&self, bridges: &[super::Bridge]) -> String {
        format!("{} -> {} {}", words(&self.from, bridges), words(&self.to, bridges), self.service())
    }

    /// The protocol and ports in words: `tcp 2379-2380`, `any protocol`.
    pub fn service(&self) -> String {
        match (self.protocol, &self.ports) {
            (None, _) => "any protocol".to_owned(),
            (Some(protocol), None) => protocol.word().to_owned(),
            (Some(protocol), Some(ports)) => format!("{} {ports}", protocol.word()),
        }
    }
}
