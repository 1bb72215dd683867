//! The tables: permissions, and addresses. The meaning of each cell of a matrix is listed once below it.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use serde::Serialize;

use super::rules::Declared;
use super::services::{self, Part};
use crate::explain::every::{Every, Story};
use crate::matrix::Matrix;
use crate::model::{AbsolutePath, End, Name, ProviderAttachment, VolumeAttachment};
use crate::plan::flows::words;
use crate::plan::{Pipe, Plan, Volume};

/// The most rows that a matrix is drawn with: a page of more is for no reader.
const MOST: usize = 120;
/// The source port of examples, as `explain` has it.
const EPHEMERAL: u16 = 49_152;

/// A matrix.
#[derive(Serialize)]
pub struct Table {
    columns: Vec<Header>,
    rows: Vec<TableRow>,
    /// How many rows there would be, where they are too many.
    too_many: usize,
}

/// The end that a row or a column is about.
#[derive(Serialize, Clone)]
struct Header {
    name: String,
    address: Ipv4Addr,
    /// Those who are in it, where it is a group.
    members: Vec<String>,
}

#[derive(Serialize)]
struct TableRow {
    header: Header,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    word: &'static str,
    meaning: usize,
    /// `all`, `some` or `none`.
    class: &'static str,
}

/// What a cell says.
#[derive(Serialize)]
pub struct Meaning {
    number: usize,
    word: &'static str,
    /// The first pair that has it.
    pair: String,
    parts: Vec<Told>,
    /// Link rules that concern some volumes only.
    rules: Vec<String>,
}

/// The answer to some services.
#[derive(Serialize)]
struct Told {
    services: String,
    verdict: String,
    /// `passes` or `blocked`.
    class: &'static str,
    lines: Vec<u32>,
    because: Vec<String>,
    declared: Vec<Declared>,
    near: Vec<Declared>,
    /// The conditions of the path, there and back.
    pipes: Vec<String>,
    protocol: &'static str,
    port: String,
    example: String,
}

/// Meanings by number, each once.
pub struct Meanings<'a> {
    plan: &'a Plan,
    every: &'a Every,
    known: HashMap<(&'static str, u32, Vec<usize>), usize>,
    all: Vec<Meaning>,
}

/// An end of a matrix: its class, and what it is called.
struct Member {
    class: usize,
    header: Header,
}

impl<'a> Meanings<'a> {
    /// No meaning yet.
    pub fn of(plan: &'a Plan, every: &'a Every) -> Self {
        Self { plan, every, known: HashMap::new(), all: Vec::new() }
    }

    /// All of them.
    pub fn told(self) -> Vec<Meaning> {
        self.all
    }

    /// The number of what a cell says.
    fn number(&mut self, word: &'static str, from: &Member, to: &Member, flows: Vec<usize>) -> usize {
        let cell = self.every.rows[from.class][to.class];
        if let Some(number) = self.known.get(&(word, cell, flows.clone())) {
            return *number;
        }
        let number = self.all.len() + 1;
        let describe = |flow: &usize| self.plan.flows[*flow].describe(&self.plan.bridges);
        let meaning = Meaning {
            number,
            word,
            pair: format!("{} to {}", from.header.name, to.header.name),
            parts: self.parts(cell, from, to),
            rules: flows.iter().map(describe).collect(),
        };
        self.all.push(meaning);
        self.known.insert((word, cell, flows), number);
        number
    }

    fn parts(&self, cell: u32, from: &Member, to: &Member) -> Vec<Told> {
        let cell = &self.every.cells[cell as usize];
        let mut stories: Vec<u32> = Vec::new();
        for span in cell {
            if !stories.contains(&span.story) {
                stories.push(span.story);
            }
        }
        let told = |number: &u32| {
            let story = &self.every.stories[*number as usize];
            let span = cell.iter().find(|span| span.story == *number).expect("a span of the story");
            let (protocol, port) = services::example(span);
            let example = match port {
                Some(port) => {
                    format!("{protocol} {}:{EPHEMERAL} -> {}:{port}", from.header.address, to.header.address)
                }
                None => format!("{protocol} {} -> {}", from.header.address, to.header.address),
            };
            Told {
                services: services::words(cell, *number),
                // A meaning is that of many pairs.
                verdict: story
                    .verdict
                    .replace("{from}", "the source's bridge")
                    .replace("{to}", "the destination's bridge"),
                class: if story.passes { "passes" } else { "blocked" },
                protocol,
                port: port.map(|port| port.to_string()).unwrap_or_default(),
                example,
                ..reasons(story)
            }
        };
        stories.iter().map(told).collect()
    }
}

/// The lines that decide, and what asked for them.
fn reasons(story: &Story) -> Told {
    let mut told = Told {
        services: String::new(),
        verdict: String::new(),
        class: "",
        lines: Vec::new(),
        because: Vec::new(),
        declared: Vec::new(),
        near: Vec::new(),
        pipes: Vec::new(),
        protocol: "",
        port: String::new(),
        example: String::new(),
    };
    let (mut declared, mut near) = (Vec::new(), Vec::new());
    for scene in &story.packet {
        told.lines.extend([scene.translation, scene.line].into_iter().flatten());
        told.because.extend(scene.because.clone());
        declared.extend(&scene.declared);
        near.extend(&scene.near);
    }
    for (way, scenes) in [("there", &story.packet), ("back", &story.answer)] {
        let pipes = scenes.iter().flat_map(|scene| &scene.pipes);
        told.pipes.extend(pipes.filter_map(|pipe| {
            let declared = pipe.declared.as_ref()?;
            Some(format!("{way} through pipe {}: {} ({})", pipe.number, declared.says, declared.path))
        }));
    }
    told.because.extend(story.refused.clone());
    told.lines.dedup();
    told.because.dedup();
    declared.dedup();
    near.dedup();
    told.declared = declared.into_iter().map(Declared::of).collect();
    told.near = near.into_iter().map(Declared::of).collect();
    told
}

/// Providers, with this Mac and the outside.
pub fn providers(plan: &Plan, every: &Every, meanings: &mut Meanings) -> Table {
    let member = |index: usize| -> Option<Member> {
        let bridge = &plan.bridges[index];
        let of_provider = || {
            plan.volumes.iter().zip(&every.volumes).filter(|(volume, _)| volume.provider == bridge.provider)
        };
        let name = bridge.provider.to_string();
        if let Some((class, address)) = every.strangers[index] {
            return Some(Member { class, header: Header { name, address, members: Vec::new() } });
        }
        let class = of_provider().next().map(|(_, class)| *class)?;
        Some(member(class, name, every))
    };
    let members: Vec<Member> = (0..plan.bridges.len()).filter_map(member).collect();
    if members.len() > MOST || members.len() < plan.bridges.len() {
        return Table { columns: Vec::new(), rows: Vec::new(), too_many: plan.bridges.len() };
    }
    let others = |class, name: &str| self::member(class, name.to_owned(), every);
    let (mac, outside) = (others(every.mac, "this Mac"), others(every.outside, "outside"));
    let (internet, localhost) = (others(every.outside, "internet"), others(every.loopback, "localhost"));
    let touching = Touching::of(plan);
    let matrix = Matrix::of(plan);
    let mut rows = Vec::new();
    for (from, (row, (bridge, reaches))) in members.iter().zip(matrix.rows().enumerate()) {
        let mut cells = Vec::new();
        for (column, (to, reach)) in members.iter().zip(reaches).enumerate() {
            let word = reach.word();
            let flows = touching.only_volumes(row, column);
            cells.push(Cell { word, meaning: meanings.number(word, from, to, flows), class: class(word) });
        }
        // What a VM sends to 127.0.0.0/8 macOS drops: this column is about what the Mac serves, if it serves something.
        let served = plan.volumes.iter().zip(&every.volumes).find(|(volume, _)| {
            volume.provider == bridge.provider && volume.attachment == VolumeAttachment::Host
        });
        let host = served.map(|(volume, class)| self::member(*class, volume.name.to_string(), every));
        cells.push(cell(from, &internet, meanings));
        cells.push(cell(host.as_ref().unwrap_or(from), &localhost, meanings));
        rows.push(TableRow { header: from.header.clone(), cells });
    }
    for from in [mac, outside] {
        let cells = members.iter().map(|to| cell(&from, to, meanings)).collect();
        rows.push(TableRow { header: from.header, cells });
    }
    let columns = members.iter().chain([&internet, &localhost]).map(|it| it.header.clone()).collect();
    Table { columns, rows, too_many: 0 }
}

fn member(class: usize, name: String, every: &Every) -> Member {
    Member { class, header: Header { name, address: every.members[class], members: Vec::new() } }
}

/// A cell that says what the answers say.
fn cell(from: &Member, to: &Member, meanings: &mut Meanings) -> Cell {
    let every = meanings.every;
    let answers = &every.cells[every.rows[from.class][to.class] as usize];
    let story = |number: u32| &every.stories[number as usize];
    let translated =
        answers.iter().any(|span| story(span.story).packet.iter().any(|scene| scene.translation.is_some()));
    let word = match services::passing(answers, |number| story(number).passes) {
        Part::All if translated && to.class == every.outside => "NAT",
        Part::All => "all",
        Part::Some => "some",
        Part::None => "-",
    };
    Cell { word, meaning: meanings.number(word, from, to, Vec::new()), class: class(word) }
}

fn class(word: &str) -> &'static str {
    match word {
        "all" | "NAT" => "all",
        "some" => "some",
        _ => "none",
    }
}

/// Which link rules touch which pair of providers through volumes alone.
struct Touching {
    pairs: BTreeMap<(usize, usize), Vec<usize>>,
}

impl Touching {
    fn of(plan: &Plan) -> Self {
        let number = |name: &Name| plan.bridges.binary_search_by(|bridge| bridge.provider.cmp(name)).ok();
        let touched = |ends: &[End]| -> BTreeMap<usize, bool> {
            let mut touched = BTreeMap::new();
            for end in ends {
                let (provider, whole) = match end {
                    End::Provider(name) => (number(name), true),
                    End::Volume(name) => {
                        (plan.volume(name).and_then(|volume| number(&volume.provider)), false)
                    }
                };
                if let Some(provider) = provider {
                    *touched.entry(provider).or_insert(false) |= whole;
                }
            }
            touched
        };
        let mut pairs: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (flow, it) in plan.flows.iter().enumerate() {
            let (from, to) = (touched(&it.from), touched(&it.to));
            for (row, from_whole) in &from {
                for (column, to_whole) in to.iter().filter(|(column, _)| *column != row) {
                    if !(*from_whole && *to_whole) {
                        pairs.entry((*row, *column)).or_default().push(flow);
                    }
                }
            }
        }
        Self { pairs }
    }

    fn only_volumes(&self, row: usize, column: usize) -> Vec<usize> {
        self.pairs.get(&(row, column)).cloned().unwrap_or_default()
    }
}

/// Volumes, those together that nothing distinguishes.
pub fn volumes(plan: &Plan, every: &Every, meanings: &mut Meanings) -> Table {
    let mut groups: Vec<(usize, Vec<&Volume>)> = Vec::new();
    let mut known: HashMap<usize, usize> = HashMap::new();
    for (volume, class) in plan.volumes.iter().zip(&every.volumes) {
        let group = *known.entry(*class).or_insert_with(|| {
            groups.push((*class, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(volume);
    }
    groups.sort_by(|(_, a), (_, b)| (&a[0].provider, &a[0].name).cmp(&(&b[0].provider, &b[0].name)));
    if groups.len() > MOST {
        return Table { columns: Vec::new(), rows: Vec::new(), too_many: groups.len() };
    }
    let member = |(class, volumes): &(usize, Vec<&Volume>)| {
        let name = match volumes.as_slice() {
            [one] => one.name.to_string(),
            several => format!("{} volumes of {}", several.len(), several[0].provider),
        };
        let several =
            volumes.iter().filter(|_| volumes.len() > 1).map(|volume| volume.name.to_string()).collect();
        Member { class: *class, header: Header { name, address: volumes[0].address, members: several } }
    };
    let members: Vec<Member> = groups.iter().map(member).collect();
    let mut rows = Vec::new();
    for from in &members {
        let cells = members.iter().map(|to| cell(from, to, meanings)).collect();
        rows.push(TableRow { header: from.header.clone(), cells });
    }
    Table { columns: members.into_iter().map(|it| it.header).collect(), rows, too_many: 0 }
}

/// A way that has conditions.
#[derive(Serialize)]
pub struct Way {
    from: String,
    to: String,
    number: u16,
    latency: String,
    loss: String,
    bandwidth: String,
}

/// The paths that have conditions, by the numbers of their pipes.
pub fn ways(plan: &Plan) -> Vec<Way> {
    let way = |pipe: &Pipe| {
        let [from, to] = [&pipe.from, &pipe.to].map(|ends| words(ends, &plan.bridges));
        let [latency, jitter, loss, bandwidth] = pipe.conditions.words();
        let latency = [latency, jitter].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let [loss, bandwidth] = [loss, bandwidth].map(Option::unwrap_or_default);
        Way { from, to, number: pipe.number, latency, loss, bandwidth }
    };
    plan.pipes.iter().map(way).collect()
}

/// A provider in the table of addresses.
#[derive(Serialize)]
pub struct Cloud {
    name: String,
    network: String,
    gateway: String,
    bridge: String,
    internet: &'static str,
}

/// The providers' addresses.
pub fn clouds(plan: &Plan) -> Vec<Cloud> {
    let cloud = |bridge: &crate::plan::Bridge| {
        let vmnet = if bridge.attachment == ProviderAttachment::Vmnet { " (vmnet)" } else { "" };
        Cloud {
            name: bridge.provider.to_string(),
            network: bridge.network.to_string(),
            gateway: bridge.gateway.to_string(),
            bridge: format!("{}{vmnet}", bridge.logical),
            internet: if bridge.internet { "NAT" } else { "none" },
        }
    };
    plan.bridges.iter().map(cloud).collect()
}

/// A volume in the table of addresses.
#[derive(Serialize)]
pub struct Row {
    name: String,
    provider: String,
    address: Ipv4Addr,
    port: String,
    alias: String,
    published: String,
    names: String,
    served: &'static str,
    mount: String,
}

/// The volumes' addresses and names.
pub fn rows(plan: &Plan) -> Vec<Row> {
    let row = |volume: &Volume| {
        let publishes = plan.publishes.iter().filter(|publish| publish.volume == volume.name);
        Row {
            name: volume.name.to_string(),
            provider: volume.provider.to_string(),
            address: volume.address,
            port: volume.port.as_ref().map_or("none", Name::as_str).to_owned(),
            alias: volume.alias.map_or_else(|| "none".to_owned(), |alias| alias.to_string()),
            published: publishes.map(|it| it.port.to_string()).collect::<Vec<_>>().join(", "),
            names: volume.host_names().join(", "),
            served: if volume.attachment == VolumeAttachment::Host { "this Mac" } else { "a VM" },
            mount: volume.mount_point.as_ref().map_or("", AbsolutePath::as_str).to_owned(),
        }
    };
    plan.volumes.iter().map(row).collect()
}
