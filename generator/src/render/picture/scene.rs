//! The content of a picture, before its layout: boxes, what is in them, and the rules that connect them.

use std::collections::BTreeMap;

use super::KernelNames;
use crate::model::{Conditions, End, ProviderAttachment, VolumeAttachment};
use crate::plan::{Bridge, Flow, Pipe, Plan, Volume};

/// Everything that is drawn.
pub struct Scene {
    /// Providers in natural order, then the localhost group.
    pub groups: Vec<Group>,
    /// Link rules, numbered from 1.
    pub links: Vec<Link>,
    /// Which traffic gets the gateway address of its receiver.
    pub masquerades: Vec<String>,
    /// Ways that have conditions, where no link rule says so.
    pub conditions: Vec<String>,
}

/// What is above them.
pub const CONDITIONS: &str = "With conditions, the narrower path first:";

/// A box.
pub struct Group {
    /// Its name.
    pub name: String,
    /// The end of link rules that it is; none for the localhost group.
    pub end: Option<End>,
    /// The bridge by its names.
    pub bridge: String,
    /// More about it, one fact a line.
    pub facts: Vec<String>,
    /// Volumes, or addresses of the localhost group.
    pub cells: Vec<Cell>,
}

/// A volume, or an address of the localhost group.
pub struct Cell {
    /// The end of link rules that it is.
    pub end: Option<End>,
    /// The port that joins it to the bridge.
    pub port: Option<String>,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What there is no room for.
    pub note: String,
}

/// A link rule: one set of ends may open connections to another.
pub struct Link {
    /// From 1.
    pub number: usize,
    /// The rule in words.
    pub words: String,
    /// Everyone it names, and what each may do.
    pub taps: BTreeMap<End, Manner>,
}

/// What an end may do by a link rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Open connections.
    Opens,
    /// Be reached.
    Reached,
    /// Both.
    Both,
}

impl Scene {
    /// The scene of a plan.
    pub fn of(plan: &Plan, kernel: &KernelNames) -> Self {
        let named = Named { kernel };
        let mut bridges: Vec<&Bridge> = plan.bridges.iter().collect();
        bridges.sort_by_key(|bridge| natural(bridge.provider.as_str()));
        let mut volumes: BTreeMap<&str, Vec<&Volume>> = BTreeMap::new();
        for volume in &plan.volumes {
            volumes.entry(volume.provider.as_str()).or_default().push(volume);
        }
        let provider = |bridge: &&Bridge| {
            let volumes = volumes.get_mut(bridge.provider.as_str()).map(std::mem::take).unwrap_or_default();
            named.provider(bridge, volumes)
        };
        let mut groups: Vec<Group> = bridges.iter().map(provider).collect();
        groups.push(localhost(plan));
        let masquerade =
            |it: &crate::plan::Masquerade| format!("{} as {}", it.flow.describe(&plan.bridges), it.gateway);
        let told = Told::of(plan);
        Self {
            groups,
            links: links(plan, &told),
            masquerades: plan.masquerades.iter().map(masquerade).collect(),
            conditions: told.others(plan),
        }
    }

    /// What is above the list of the rules.
    pub fn heading(&self) -> &'static str {
        if self.links.is_empty() { "Between providers nothing passes." } else { "Between providers:" }
    }
}

struct Named<'a> {
    kernel: &'a KernelNames,
}

impl Named<'_> {
    /// A logical name, with the kernel's after it where that is known.
    fn name(&self, logical: &str) -> String {
        match self.kernel.get(logical) {
            Some(kernel) => format!("{logical} = {kernel}"),
            None => logical.to_owned(),
        }
    }

    fn provider(&self, bridge: &Bridge, mut volumes: Vec<&Volume>) -> Group {
        let attachment = match bridge.attachment {
            ProviderAttachment::Bridge => "",
            ProviderAttachment::Vmnet => " (vmnet)",
        };
        let internet = if bridge.internet { "NAT to the internet" } else { "no internet" };
        volumes.sort_by_key(|volume| natural(volume.name.as_str()));
        Group {
            name: bridge.provider.to_string(),
            end: Some(End::Provider(bridge.provider.clone())),
            bridge: format!("{}{attachment}", self.name(bridge.logical.as_str())),
            facts: vec![
                format!("gateway {}", bridge.gateway),
                format!("network {}", bridge.network),
                internet.to_owned(),
            ],
            cells: volumes.into_iter().map(|volume| self.volume(volume)).collect(),
        }
    }

    fn volume(&self, volume: &Volume) -> Cell {
        let (mark, served) = match volume.attachment {
            VolumeAttachment::Host => ("", "served by this Mac"),
            VolumeAttachment::Guest => (" (VM)", "served by a VM"),
        };
        let mount = volume.mount_point.as_ref().map(|path| format!(", only while {path} is mounted"));
        Cell {
            end: Some(End::Volume(volume.name.clone())),
            port: volume.port.as_ref().map(|port| self.name(port.as_str())),
            name: volume.name.to_string(),
            address: format!("{}{mark}", volume.address),
            note: format!("{} of {}, {served}{}", volume.name, volume.provider, mount.unwrap_or_default()),
        }
    }
}

fn localhost(plan: &Plan) -> Group {
    let alias = |volume: &Volume| {
        let alias = volume.alias?;
        let note = format!("{alias} is the localhost alias of {}", volume.name);
        let (name, address) = (alias.to_string(), volume.name.to_string());
        Some(Cell { end: None, port: None, name, address, note })
    };
    let publish = |it: &crate::plan::Publish| Cell {
        end: None,
        port: None,
        name: format!("{}:{}", it.alias, it.port),
        address: format!("-> {}", it.address),
        note: format!("{}:{} is published: tcp port {} of {}", it.alias, it.port, it.port, it.volume),
    };
    let mut cells: Vec<(std::net::Ipv4Addr, Cell)> =
        plan.volumes.iter().filter_map(|volume| Some((volume.alias?, alias(volume)?))).collect();
    cells.sort_by_key(|(alias, _)| *alias);
    Group {
        name: "localhost".to_owned(),
        end: None,
        bridge: plan.localhost.logical.to_string(),
        facts: vec![format!("gateway {}", plan.localhost.gateway), "aliases on lo0".to_owned()],
        cells: cells.into_iter().map(|(_, cell)| cell).chain(plan.publishes.iter().map(publish)).collect(),
    }
}

fn links(plan: &Plan, told: &Told) -> Vec<Link> {
    let link = |(number, (flow, conditions)): (usize, (&Flow, &Option<Conditions>))| {
        let mut taps: BTreeMap<End, Manner> =
            flow.from.iter().map(|end| (end.clone(), Manner::Opens)).collect();
        for end in &flow.to {
            taps.entry(end.clone()).and_modify(|manner| *manner = Manner::Both).or_insert(Manner::Reached);
        }
        let like = conditions.map_or(String::new(), |conditions| format!(", {conditions}"));
        Link { number, words: format!("{}{like}", flow.describe(&plan.bridges)), taps }
    };
    (1..).zip(plan.flows.iter().zip(&told.by_flow)).map(link).collect()
}

/// What link rules are like: a rule goes by protocol and port, and conditions do not, so that only a rule all of whose
/// packets are treated alike says it.
struct Told {
    by_flow: Vec<Option<Conditions>>,
    /// By pipe: whether every rule that it meets says it.
    is_told: Vec<bool>,
}

impl Told {
    fn of(plan: &Plan) -> Self {
        let mut is_told = vec![true; plan.pipes.len()];
        let mut is_met = vec![false; plan.pipes.len()];
        let mut by_flow = Vec::with_capacity(plan.flows.len());
        for flow in &plan.flows {
            let met = (0..).zip(&plan.pipes).filter(|(_, pipe)| meets(plan, pipe, flow));
            let met: Vec<usize> = met.map(|(number, _)| number).collect();
            let conditions = alike(plan, flow, &met);
            for pipe in met {
                is_met[pipe] = true;
                is_told[pipe] &= conditions.is_some();
            }
            by_flow.push(conditions);
        }
        is_told.iter_mut().zip(is_met).for_each(|(told, met)| *told &= met);
        Self { by_flow, is_told }
    }

    fn others(&self, plan: &Plan) -> Vec<String> {
        let others = plan.pipes.iter().zip(&self.is_told).filter(|(_, is_told)| !**is_told);
        others.map(|(pipe, _)| format!("{}: {}", pipe.describe(&plan.bridges), pipe.conditions)).collect()
    }
}

/// The conditions of all packets of a rule, if they are the same. `met` are the pipes that have some of them.
fn alike(plan: &Plan, flow: &Flow, met: &[usize]) -> Option<Conditions> {
    let breadth = |ends: &[End], end: &End| {
        let whole = plan.provider_of(end).is_some_and(|it| ends.contains(&End::Provider(it.clone())));
        if whole { Some(1) } else { ends.contains(end).then_some(0) }
    };
    let pairs = flow.from.iter().flat_map(|from| flow.to.iter().map(move |to| (from, to)));
    let mut found = None;
    for (from, to) in pairs.filter(|(from, to)| plan.provider_of(from) != plan.provider_of(to)) {
        let pipes = met.iter().map(|pipe| &plan.pipes[*pipe]);
        let (mut covering, mut partial) = (Vec::new(), Vec::new());
        for pipe in pipes {
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

/// Whether a pipe has some packets of a rule.
fn meets(plan: &Plan, pipe: &Pipe, flow: &Flow) -> bool {
    let mut senders = pipe.from.iter().filter(|end| touches(plan, &flow.from, end));
    let receivers: Vec<&End> = pipe.to.iter().filter(|end| touches(plan, &flow.to, end)).collect();
    senders.any(|from| receivers.iter().any(|to| plan.provider_of(from) != plan.provider_of(to)))
}

/// Whether some of an end are among others.
fn touches(plan: &Plan, ends: &[End], end: &End) -> bool {
    let is_broad = |a: &End, b: &End| matches!(a, End::Provider(name) if plan.provider_of(b) == Some(name));
    ends.iter().any(|other| other == end || is_broad(other, end) || is_broad(end, other))
}

/// What names are sorted by for people: `p2` before `p10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let mut parts: Vec<(u64, String)> = Vec::new();
    for part in name.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let word = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &part[..part.len() - word.len()];
        parts.push((digits.parse().unwrap_or(0), word.to_owned()));
    }
    parts.push((0, name.to_owned()));
    parts
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["p10", "p2", "p1", "aws", "p2-b", "p2-a", "b10c2", "b2c10"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["aws", "b2c10", "b10c2", "p1", "p2", "p2-a", "p2-b", "p10"]);
    }
}
