//! Links as rectangles: sets of endpoints that may open connections to sets of endpoints.
//!
//! Users write links in pairs or as a mesh, overlapping or not. Each rectangle becomes one rule. Links are therefore
//! merged until their number grows with the endpoints rather than with pairs of them, and a rectangle that others cover
//! is dropped: each remaining one permits a flow that no other does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::Ipv4Net;

use super::objects::Bridge;
use crate::model::{Declaration, Endpoint, Link, Name, PortRange, PortSet, Protocol};

/// A rectangle: every endpoint of `from` may open connections to every endpoint of `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PermittedFlow {
    /// The sources: sorted, without volumes whose provider is in the list too.
    pub from: Vec<Endpoint>,
    /// The destinations, in the same form.
    pub to: Vec<Endpoint>,
    /// The protocol; `None` means any. With ports, it is tcp or udp.
    pub protocol: Option<Protocol>,
    /// The destination ports; `None` means all.
    pub ports: Option<PortSet>,
}

/// A flow of masquerading links to one provider: its source becomes that provider's gateway address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// The flow; all of `to` is in the receiving provider.
    pub flow: PermittedFlow,
    /// The receiving provider.
    pub provider: Name,
    /// Its network: traffic inside it keeps its source.
    pub network: Ipv4Net,
    /// Its gateway, the new source address.
    pub gateway: std::net::Ipv4Addr,
    /// Whether `from` includes endpoints in the receiving provider.
    pub from_inside: bool,
}

/// The permitted flows between providers.
pub fn flows(declaration: &Declaration) -> Vec<PermittedFlow> {
    let ends = Ends::of(declaration);
    let rectangles = declaration.links.iter().flat_map(|link| ends.rectangles(link)).collect();
    ends.flows(without_needless(&ends, merged(&ends, rectangles)))
}

/// The flows that are masqueraded, by receiving provider.
pub fn masquerades(declaration: &Declaration) -> Vec<Masquerade> {
    if !declaration.links.iter().any(|link| link.masquerade) {
        return Vec::new();
    }
    let ends = Ends::of(declaration);
    let mut by_receiver: BTreeMap<u32, Vec<Rectangle>> = BTreeMap::new();
    for link in declaration.links.iter().filter(|link| link.masquerade) {
        for rectangle in ends.rectangles(link) {
            for receiver in
                rectangle.to.iter().map(|end| ends.provider[*end as usize]).collect::<BTreeSet<_>>()
            {
                // The Mac of the receiver masquerades.
                if !ends.here[receiver as usize] {
                    continue;
                }
                let inside = |end: &u32| ends.provider[*end as usize] == receiver;
                let to: Vec<u32> = rectangle.to.iter().copied().filter(inside).collect();
                // Traffic inside a provider is never masqueraded.
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
        let masquerade = move |flow: PermittedFlow| {
            let inside = |end: &Endpoint| match end {
                Endpoint::Provider(provider) => *provider == name,
                Endpoint::Volume(volume) => declaration.volumes[volume].provider == name,
            };
            let from_inside = flow.from.iter().any(inside);
            let (network, gateway) = (provider.network, provider.gateway.addr());
            Masquerade { flow, provider: name.clone(), network, gateway, from_inside }
        };
        flows.into_iter().map(masquerade).collect::<Vec<_>>()
    };
    by_receiver.into_iter().flat_map(of_receiver).collect()
}

/// Endpoints by index: providers before volumes, both sorted by name.
struct Ends {
    all: Vec<Endpoint>,
    /// For each endpoint, the index of its provider; a provider's is its own.
    provider: Vec<u32>,
    /// For each endpoint, whether it is on this Mac.
    here: Vec<bool>,
}

fn number_at(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 ends")
}

/// A set of endpoints by index, sorted.
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
        let providers = declaration.providers.keys().cloned().map(Endpoint::Provider);
        let volumes = declaration.volumes.keys().cloned().map(Endpoint::Volume);
        let all: Vec<Endpoint> = providers.chain(volumes).collect();
        let count = declaration.providers.len();
        let of_name = |name: &Name| all[..count].binary_search_by(|end| end.name().cmp(name));
        let own = (0..count).map(number_at);
        let of_volumes = declaration
            .volumes
            .values()
            .map(|volume| number_at(of_name(&volume.provider).expect("every volume's provider is declared")));
        let provider = own.chain(of_volumes).collect();
        let here = all.iter().map(|end| declaration.remote_mac(declaration.provider_of(end)).is_none());
        let here = here.collect();
        Self { all, provider, here }
    }

    fn number(&self, end: &Endpoint) -> u32 {
        number_at(self.all.binary_search(end).expect("every end is declared"))
    }

    fn set<'a>(&self, ends: impl IntoIterator<Item = &'a Endpoint>) -> EndSet {
        let mut numbers: EndSet = ends.into_iter().map(|end| self.number(end)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        // Providers come before volumes, and are in the list until the end.
        let providers = numbers.partition_point(|end| self.provider[*end as usize] == *end);
        let (providers, volumes) = numbers.split_at(providers);
        let is_covered = |end: &&u32| providers.binary_search(&self.provider[**end as usize]).is_ok();
        providers.iter().chain(volumes.iter().filter(|end| !is_covered(end))).copied().collect()
    }

    /// The rectangles of a link, one for each direction and protocol.
    fn rectangles(&self, link: &Link) -> Vec<Rectangle> {
        let Link { from, to, protocol, ports, bidirectional, masquerade: _, conditions: _, index: _ } = link;
        let (from, to) = (self.set(from), self.set(to));
        let protocols = match (*protocol, ports) {
            (None, Some(_)) => vec![Some(Protocol::Tcp), Some(Protocol::Udp)],
            (protocol, _) => vec![protocol],
        };
        let mut rectangles = Vec::new();
        for protocol in protocols {
            let ports = ports.clone();
            let forward = Rectangle { from: from.clone(), to: to.clone(), protocol, ports };
            if *bidirectional && from != to {
                rectangles.push(Rectangle { from: to.clone(), to: from.clone(), ..forward.clone() });
            }
            rectangles.push(forward);
        }
        rectangles
    }

    fn flows(&self, rectangles: Vec<Rectangle>) -> Vec<PermittedFlow> {
        let names = |set: EndSet| set.into_iter().map(|end| self.all[end as usize].clone()).collect();
        let flow = |Rectangle { from, to, protocol, ports }| PermittedFlow {
            from: names(from),
            to: names(to),
            protocol,
            ports,
        };
        let mut flows: Vec<PermittedFlow> = rectangles.into_iter().map(flow).collect();
        flows.sort();
        flows
    }

    /// Whether a packet between two endpoints is never seen on this Mac: between other Macs, or inside a provider.
    fn needs_no_flow(&self, from: u32, to: u32) -> bool {
        let [from_provider, to_provider] = [from, to].map(|end| self.provider[end as usize]);
        from_provider == to_provider || !self.here[from as usize] && !self.here[to as usize]
    }

    /// Whether `set` contains the endpoint or its provider.
    fn holds(&self, set: &[u32], end: u32) -> bool {
        set.binary_search(&end).is_ok() || set.binary_search(&self.provider[end as usize]).is_ok()
    }
}

/// Merges rectangles with the same endpoints, the same sources or the same destinations, and meshes written as pairs.
fn merged(ends: &Ends, rectangles: Vec<Rectangle>) -> Vec<Rectangle> {
    let rectangles = merged_by_ends(rectangles);
    // In a mesh written as pairs, each provider reaches all the others. A provider always reaches itself; adding it to
    // its own destinations makes the destinations of all providers equal.
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
    // The same sources and destinations: merge ports.
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
    // The same sources: merge destinations; then the reverse.
    let by_source = grouped(rectangles, |rectangle| &mut rectangle.to);
    grouped(by_source, |rectangle| &mut rectangle.from)
}

/// Merges rectangles that differ only in the set that `part` selects.
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
    let mut sets = sets.into_iter();
    let mut all = sets.next().unwrap_or_default();
    let own = all.len();
    all.extend(sets.flatten());
    if all.len() > own {
        all.sort_unstable();
        all.dedup();
    }
    all
}

/// Drops rectangles that the others cover together, one port range at a time.
fn without_needless(ends: &Ends, rectangles: Vec<Rectangle>) -> Vec<Rectangle> {
    let single: Vec<Rectangle> = rectangles.into_iter().flat_map(one_range_each).collect();
    let mut others = Others::of(single);
    for index in 0..others.single.len() {
        if let Some(rectangle) = others.single[index].take()
            && !others.cover(ends, &rectangle)
        {
            others.single[index] = Some(rectangle);
        }
    }
    merged_ports(others.single.into_iter().flatten())
}

fn one_range_each(rectangle: Rectangle) -> Vec<Rectangle> {
    match &rectangle.ports {
        None => vec![rectangle],
        Some(ports) if ports.ranges().len() == 1 => vec![rectangle],
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

/// Rectangles that are tested for being covered by the others.
struct Others {
    /// `None` if a rectangle is redundant, or is the one being tested.
    single: Vec<Option<Rectangle>>,
    /// The indices of rectangles by source endpoint, and by destination endpoint.
    by_end: [HashMap<u32, Vec<usize>>; 2],
}

impl Others {
    fn of(single: Vec<Rectangle>) -> Self {
        let mut by_end = [HashMap::new(), HashMap::new()];
        for (index, rectangle) in single.iter().enumerate() {
            for (by_end, ends) in by_end.iter_mut().zip([&rectangle.from, &rectangle.to]) {
                for end in ends {
                    by_end.entry(*end).or_insert_with(Vec::new).push(index);
                }
            }
        }
        Self { single: single.into_iter().map(Some).collect(), by_end }
    }

    /// The rectangles that permit a flow from one endpoint to another.
    fn between(&self, ends: &Ends, from: u32, to: u32) -> impl Iterator<Item = &Rectangle> {
        let at = |side: usize, end: u32| -> [&[usize]; 2] {
            let of = |end: &u32| self.by_end[side].get(end).map_or(&[][..], Vec::as_slice);
            let own = ends.provider[end as usize];
            [of(&end), if own == end { &[] } else { of(&own) }]
        };
        // Search the side with fewer candidates.
        let sides = [at(0, from), at(1, to)];
        let counts = sides.map(|[of_end, of_provider]| of_end.len() + of_provider.len());
        let [few, more] = sides[usize::from(counts[1] < counts[0])];
        let all = few.iter().chain(more).filter_map(|index| self.single[*index].as_ref());
        let is_about = {
            let own = [ends.provider[from as usize], ends.provider[to as usize]];
            move |it: &&Rectangle| {
                let has = |set: &EndSet, end: u32, own: u32| {
                    set.binary_search(&end).is_ok() || set.binary_search(&own).is_ok()
                };
                has(&it.from, from, own[0]) && has(&it.to, to, own[1])
            }
        };
        all.filter(is_about)
    }

    /// Whether they permit everything that a rectangle permits between different providers, one of them on this Mac.
    fn cover(&self, ends: &Ends, rectangle: &Rectangle) -> bool {
        let is_of_protocol =
            |other: &&Rectangle| other.protocol.is_none() || other.protocol == rectangle.protocol;
        let covers_ports = |given: &PortSet| rectangle.ports.as_ref().is_some_and(|it| given.covers(it));
        // Usually a single rectangle covers all of it.
        let holds_all = |set: &EndSet, all: &EndSet| all.iter().all(|end| ends.holds(set, *end));
        if let (Some(from), Some(to)) = (rectangle.from.first(), rectangle.to.first())
            && self.between(ends, *from, *to).filter(is_of_protocol).any(|other| {
                other.ports.as_ref().is_none_or(covers_ports)
                    && holds_all(&other.from, &rectangle.from)
                    && holds_all(&other.to, &rectangle.to)
            })
        {
            return true;
        }
        let is_covered = |from: u32, to: u32| {
            let mut ranges = Vec::new();
            for other in self.between(ends, from, to).filter(is_of_protocol) {
                match &other.ports {
                    None => return true,
                    Some(ports) => ranges.extend(ports.ranges()),
                }
            }
            PortSet::new(ranges).as_ref().is_some_and(covers_ports)
        };
        rectangle.from.iter().all(|from| {
            rectangle.to.iter().all(|to| ends.needs_no_flow(*from, *to) || is_covered(*from, *to))
        })
    }
}

/// Endpoints in words: `aws, etcd-3`; all providers together are `every provider`.
pub fn words(ends: &[Endpoint], bridges: &[Bridge]) -> String {
    let is_provider =
        |(end, bridge): (&Endpoint, &Bridge)| *end == Endpoint::Provider(bridge.provider.clone());
    if ends.len() > 1 && ends.len() == bridges.len() && ends.iter().zip(bridges).all(is_provider) {
        return "every provider".to_owned();
    }
    ends.iter().map(|end| end.name().as_str()).collect::<Vec<_>>().join(", ")
}

impl PermittedFlow {
    /// The flow in words: `aws, azure -> gcp tcp 2379-2380`; all providers together are `every provider`.
    pub fn describe(&self, bridges: &[Bridge]) -> String {
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
