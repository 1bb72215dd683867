//! The content of the pictures, without positions: boxes, what is in them, and the links between them.

use std::collections::{BTreeMap, BTreeSet};

use super::KernelNames;
use crate::identity::{Identities, Identity, natural};
use crate::model::{Conditions, Endpoint, Link as Declared, Name, ProviderAttachment, VolumeAttachment};
use crate::plan::{Bridge, Pipe, Plan, PlannedVolume};

/// The content of a picture.
pub struct Scene {
    /// The providers, in natural order of names.
    pub groups: Vec<ProviderBox>,
    /// The localhost aliases and published ports.
    pub localhost: LocalhostBox,
    /// The providers that may reach the outside, in words.
    pub internet: String,
    /// The links, in order of their index.
    pub links: Vec<DrawnLink>,
    /// Whether some of them have conditions.
    pub conditions: bool,
    /// What is left out because nobody asked for it, in words.
    pub left: Option<String>,
}

/// What this Mac may do.
pub const MAC: &str = "opens to every volume";
/// What the outside may do.
pub const OUTSIDE: &str = "opens to no volume";
/// A note for pictures in which links have conditions.
pub const CONDITIONS: &str =
    "Conditions hold for whatever passes between their ends; a volume's before its provider's.";

/// A provider, drawn as a box.
pub struct ProviderBox {
    /// The name of the provider.
    pub name: String,
    /// The colour and shape of the provider.
    pub identity: Identity,
    /// The provider as an endpoint of links.
    pub end: Endpoint,
    /// The names of the bridge: logical, and kernel if known.
    pub bridge: String,
    /// The bridge's address.
    pub gateway: String,
    /// The provider's network.
    pub network: String,
    /// Whether it may reach the outside.
    pub internet: bool,
    /// Its volumes, in natural order of names.
    pub cells: Vec<VolumeCell>,
}

/// A volume.
pub struct VolumeCell {
    /// The volume as an endpoint of links.
    pub end: Endpoint,
    /// The names of the port that attaches it to the bridge, if it has one.
    pub port: Option<String>,
    /// The name of the volume.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Further facts, for which the picture has no room.
    pub note: String,
}

/// The localhost group.
pub struct LocalhostBox {
    /// Its logical name.
    pub bridge: String,
    /// The Mac's own alias in it.
    pub gateway: String,
    /// For each alias or published port: its address, where it leads, and the name of the volume.
    pub lines: Vec<(String, String, String)>,
}

/// A link.
pub struct DrawnLink {
    /// Its index in the list.
    pub index: usize,
    /// Its name: `links.0`.
    pub name: String,
    /// Its other properties, one string each; the first is protocol and ports.
    pub says: Vec<String>,
    /// Its endpoints in words: `aws, gcp -> lab`.
    pub ends: String,
    /// Whether it is bidirectional.
    pub both: bool,
    /// Whether its sources, and its destinations, include all of several providers.
    pub everywhere: [bool; 2],
    /// Its endpoints, and what each may do.
    pub taps: BTreeMap<Endpoint, LinkRole>,
}

/// What an endpoint may do according to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRole {
    /// Open connections.
    Opens,
    /// Be reached.
    Reached,
    /// Both.
    Both,
}

impl Scene {
    /// The scene of a plan, or of the part of it that is around some providers.
    pub fn of(plan: &Plan, kernel: &KernelNames, around: &[Name]) -> Self {
        let part = Excerpt::of(plan, around);
        let named = Named { plan, kernel, identities: Identities::of(plan) };
        let mut bridges: Vec<&Bridge> = plan.bridges.iter().collect();
        bridges.sort_by_key(|bridge| natural(bridge.provider.as_str()));
        let mut volumes: BTreeMap<&str, Vec<&PlannedVolume>> = BTreeMap::new();
        for volume in &plan.volumes {
            volumes.entry(volume.provider.as_str()).or_default().push(volume);
        }
        let provider = |bridge: &&Bridge| {
            let volumes = volumes.get_mut(bridge.provider.as_str()).map(std::mem::take).unwrap_or_default();
            named.provider(bridge, volumes)
        };
        let groups =
            bridges.iter().filter(|it| part.providers.contains(&it.provider)).map(provider).collect();
        let drawn =
            plan.links.iter().filter(|it| part.links.contains(&it.index)).map(|link| drawn(plan, link));
        let mut links: Vec<DrawnLink> = drawn.collect();
        links.sort_by_key(|link| link.index);
        Self {
            groups,
            localhost: localhost(plan, &part),
            internet: internet(&bridges),
            left: part.left(plan, around),
            links,
            conditions: !plan.pipes.is_empty(),
        }
    }

    /// What is to be said of links that there is no room for.
    pub fn no_room(count: usize) -> Option<String> {
        let links = match count {
            0 => return None,
            1 => "1 more link has".to_owned(),
            _ => format!("{count} more links have"),
        };
        Some(format!("{links} no room here: `nixvol-net graph --provider NAME` draws those of one."))
    }

    /// What stands above the list of the links.
    pub fn heading(&self) -> &'static str {
        if self.links.is_empty() { "Between providers nothing passes." } else { "Between providers:" }
    }
}

/// The part of a plan that is drawn.
pub struct Excerpt {
    /// Providers.
    pub providers: BTreeSet<Name>,
    /// Links, by their numbers.
    pub links: BTreeSet<usize>,
}

impl Excerpt {
    /// Links that name some providers or volumes of theirs, and whoever else those name; without providers, all.
    pub fn of(plan: &Plan, around: &[Name]) -> Self {
        let all = || plan.bridges.iter().map(|it| it.provider.clone());
        let ends = |link: &Declared| -> BTreeSet<Name> {
            link.from.iter().chain(&link.to).filter_map(|end| plan.provider_of(end)).cloned().collect()
        };
        if around.is_empty() {
            return Self {
                providers: all().collect(),
                links: plan.links.iter().map(|it| it.index).collect(),
            };
        }
        let meant = plan.links.iter().map(|link| (link.index, ends(link)));
        let meant: Vec<_> = meant.filter(|(_, ends)| around.iter().any(|name| ends.contains(name))).collect();
        let providers = meant.iter().flat_map(|(_, ends)| ends).chain(around).cloned().collect();
        Self { providers, links: meant.into_iter().map(|(index, _)| index).collect() }
    }

    /// What is left out, in words.
    fn left(&self, plan: &Plan, around: &[Name]) -> Option<String> {
        if around.is_empty() {
            return None;
        }
        let names: Vec<&str> = around.iter().map(Name::as_str).collect();
        let (drawn, all) = (self.links.len(), plan.links.len());
        Some(format!("Only links of {} are drawn: {drawn} of {all}.", names.join(", ")))
    }
}

impl DrawnLink {
    /// The link in one line, without its name: `aws -> azure, tcp 2379`.
    pub fn words(&self) -> String {
        format!("{}, {}", self.ends, self.says.join(", "))
    }
}

/// The providers that may reach the outside, in words.
fn internet(bridges: &[&Bridge]) -> String {
    let (with, without): (Vec<&Bridge>, Vec<&Bridge>) = bridges.iter().partition(|bridge| bridge.internet);
    let names = |all: &[&Bridge]| all.iter().map(|it| it.provider.as_str()).collect::<Vec<_>>().join(", ");
    match (with.len(), without.len()) {
        (_, 0) if bridges.is_empty() => "nobody".to_owned(),
        (1, 0) => names(&with),
        (_, 0) => "every provider".to_owned(),
        (0, _) => "no provider".to_owned(),
        (with_count, without_count) if without_count < with_count => {
            format!("every provider but {}", names(&without))
        }
        _ => names(&with),
    }
}

struct Named<'a> {
    plan: &'a Plan,
    kernel: &'a KernelNames,
    identities: Identities,
}

impl Named<'_> {
    /// A logical name, with the kernel name if it is known.
    fn name(&self, logical: &str) -> String {
        match self.kernel.get(logical) {
            Some(kernel) => format!("{logical} = {kernel}"),
            None => logical.to_owned(),
        }
    }

    fn provider(&self, bridge: &Bridge, mut volumes: Vec<&PlannedVolume>) -> ProviderBox {
        let attachment = match bridge.attachment {
            ProviderAttachment::Bridge => "",
            ProviderAttachment::Vmnet => " (vmnet)",
        };
        let mac = self.plan.mac_of(bridge).map_or(String::new(), |mac| format!(" on {mac}"));
        volumes.sort_by_key(|volume| natural(volume.name.as_str()));
        ProviderBox {
            name: bridge.provider.to_string(),
            identity: self.identities.provider(&bridge.provider),
            end: Endpoint::Provider(bridge.provider.clone()),
            bridge: format!("{}{attachment}{mac}", self.name(bridge.logical.as_str())),
            gateway: bridge.gateway.to_string(),
            network: bridge.network.to_string(),
            internet: bridge.internet,
            cells: volumes.into_iter().map(|volume| self.volume(volume)).collect(),
        }
    }

    fn volume(&self, volume: &PlannedVolume) -> VolumeCell {
        let (mark, served) = match volume.attachment {
            VolumeAttachment::Host if !volume.is_here() => ("", "served by another Mac"),
            VolumeAttachment::Host => ("", "served by this Mac"),
            VolumeAttachment::Guest => (" (VM)", "served by a VM"),
        };
        let mount = volume.mount_point.as_ref().map(|path| format!(", only while {path} is mounted"));
        VolumeCell {
            end: Endpoint::Volume(volume.name.clone()),
            port: volume.port.as_ref().map(|port| self.name(port.as_str())),
            name: volume.name.to_string(),
            address: format!("{}{mark}", volume.address),
            note: format!("{} of {}, {served}{}", volume.name, volume.provider, mount.unwrap_or_default()),
        }
    }
}

fn localhost(plan: &Plan, part: &Excerpt) -> LocalhostBox {
    let shown: BTreeMap<&Name, &PlannedVolume> = plan
        .volumes
        .iter()
        .filter(|it| part.providers.contains(&it.provider))
        .map(|it| (&it.name, it))
        .collect();
    let mut aliases: Vec<(std::net::Ipv4Addr, &PlannedVolume)> =
        shown.values().filter_map(|volume| Some((volume.alias?, *volume))).collect();
    aliases.sort_by_key(|(alias, _)| *alias);
    let alias = |(alias, volume): (std::net::Ipv4Addr, &PlannedVolume)| {
        let name = volume.name.to_string();
        (alias.to_string(), name.clone(), name)
    };
    let publish = |it: &crate::plan::Publish| {
        (format!("{}:{}", it.alias, it.port), format!("-> {}", it.address), it.volume.to_string())
    };
    LocalhostBox {
        bridge: plan.localhost.logical.to_string(),
        gateway: plan.localhost.gateway.to_string(),
        lines: aliases
            .into_iter()
            .map(alias)
            .chain(plan.publishes.iter().filter(|it| shown.contains_key(&it.volume)).map(publish))
            .collect(),
    }
}

fn drawn(plan: &Plan, link: &Declared) -> DrawnLink {
    let both = link.bidirectional && link.from != link.to;
    let mut taps: BTreeMap<Endpoint, LinkRole> =
        link.from.iter().map(|end| (end.clone(), LinkRole::Opens)).collect();
    for end in &link.to {
        taps.entry(end.clone()).and_modify(|manner| *manner = LinkRole::Both).or_insert(LinkRole::Reached);
    }
    if both {
        for manner in taps.values_mut() {
            *manner = LinkRole::Both;
        }
    }
    let all: BTreeSet<Endpoint> =
        plan.bridges.iter().map(|it| Endpoint::Provider(it.provider.clone())).collect();
    let mut says = link.manner();
    // Conditions depend on endpoints only, so those of another link can apply to this link's packets.
    says.extend(link.conditions.is_none().then(|| alike(plan, link)).flatten().map(|like| like.to_string()));
    // The distance between two regions is the same in both directions: show it once.
    let derived = plan.pipes.iter().filter(|pipe| {
        plan.policy.link_of_pipe(pipe.number) == Some(link.index)
            && pipe.conditions.span.is_some_and(|span| span.from <= span.to)
    });
    says.extend(derived.filter_map(|pipe| pipe.conditions.words().into_iter().next().flatten()));
    let ends = |ends: &BTreeSet<Endpoint>| {
        crate::plan::flows::words(&ends.iter().cloned().collect::<Vec<_>>(), &plan.bridges)
    };
    DrawnLink {
        index: link.index,
        name: format!("links.{}", link.index),
        says,
        ends: format!("{} -> {}", ends(&link.from), ends(&link.to)),
        both,
        everywhere: [&link.from, &link.to].map(|ends| all.len() > 1 && all.is_subset(ends)),
        taps,
    }
}

/// The conditions of all packets of a link, if they are equal.
fn alike(plan: &Plan, link: &Declared) -> Option<Conditions> {
    if plan.pipes.is_empty() {
        return None;
    }
    let mut found = None;
    for (from, to) in link.directions() {
        let (from, to): (Vec<Endpoint>, Vec<Endpoint>) =
            (from.iter().cloned().collect(), to.iter().cloned().collect());
        let conditions = alike_one_way(plan, &from, &to)?;
        if found.is_some_and(|it| it != conditions) {
            return None;
        }
        found = Some(conditions);
    }
    found
}

fn alike_one_way(plan: &Plan, senders: &[Endpoint], receivers: &[Endpoint]) -> Option<Conditions> {
    let met: Vec<&Pipe> = plan.pipes.iter().filter(|pipe| meets(plan, pipe, senders, receivers)).collect();
    let breadth = |ends: &[Endpoint], end: &Endpoint| {
        let whole = plan.provider_of(end).is_some_and(|it| ends.contains(&Endpoint::Provider(it.clone())));
        if whole { Some(1) } else { ends.contains(end).then_some(0) }
    };
    let pairs = senders.iter().flat_map(|from| receivers.iter().map(move |to| (from, to)));
    let mut found = None;
    for (from, to) in pairs.filter(|(from, to)| plan.provider_of(from) != plan.provider_of(to)) {
        let (mut covering, mut partial) = (Vec::new(), Vec::new());
        for pipe in &met {
            match breadth(&pipe.from, from).zip(breadth(&pipe.to, to)) {
                Some(breadth) => covering.push((breadth, pipe.conditions)),
                None if touches(plan, &pipe.from, from) && touches(plan, &pipe.to, to) => {
                    partial.push(pipe.conditions);
                }
                None => {}
            }
        }
        let (_, conditions) = covering.into_iter().min_by_key(|(breadth, _)| *breadth)?;
        if partial.iter().any(|other| *other != conditions) || found.is_some_and(|it| it != conditions) {
            return None;
        }
        found = Some(conditions);
    }
    found
}

/// Whether a pipe has packets from some of these senders to some of these receivers.
fn meets(plan: &Plan, pipe: &Pipe, senders: &[Endpoint], receivers: &[Endpoint]) -> bool {
    let mut senders = pipe.from.iter().filter(|end| touches(plan, senders, end));
    let receivers: Vec<&Endpoint> = pipe.to.iter().filter(|end| touches(plan, receivers, end)).collect();
    senders.any(|from| receivers.iter().any(|to| plan.provider_of(from) != plan.provider_of(to)))
}

/// Whether an endpoint shares addresses with one of these.
fn touches(plan: &Plan, ends: &[Endpoint], end: &Endpoint) -> bool {
    let is_broad = |a: &Endpoint, b: &Endpoint| matches!(a, Endpoint::Provider(name) if plan.provider_of(b) == Some(name));
    ends.iter().any(|other| other == end || is_broad(other, end) || is_broad(end, other))
}
