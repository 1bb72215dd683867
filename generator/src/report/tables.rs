//! The tables: who may open connections to whom, links, paths with conditions, and all addresses and names.
//!
//! A cell shows only how much passes; the reasons are shown on request.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::answers::{AnswerTable, ServiceShare};
use crate::identity::{Identities, natural};
use crate::matrix::Matrix;
use crate::model::{AbsolutePath, Declaration, Endpoint, Name, ProviderAttachment, VolumeAttachment};
use crate::place::FieldPath;
use crate::plan::flows::words;
use crate::plan::{Pipe, Plan, PlannedVolume};

/// The limits above which a matrix is not drawn, because it would be unreadable: providers, and groups of volumes.
const MOST_PROVIDERS: usize = 100;
const MOST_GROUPS: usize = 100;
/// With more rows, cells show a sign instead of a word.
const MOST_WORDS: usize = 18;
/// With more rows, a matrix is omitted in print.
const MOST_PRINTED: usize = 60;

/// A matrix; empty if it would be too large.
#[derive(Serialize)]
pub struct MatrixTable {
    columns: Vec<Header>,
    rows: Vec<TableRow>,
    /// The number of rows if there are too many to draw, or the number that they exceed; otherwise 0.
    too_many: usize,
    /// Whether cells show a sign instead of a word.
    signs: bool,
    /// Whether it is omitted in print.
    long: bool,
}

impl MatrixTable {
    fn of(columns: Vec<Header>, rows: Vec<TableRow>) -> Self {
        let (signs, long) = (rows.len() > MOST_WORDS, rows.len() > MOST_PRINTED);
        Self { columns, rows, too_many: 0, signs, long }
    }

    fn too_many(rows: usize) -> Self {
        Self { too_many: rows, ..Self::of(Vec::new(), Vec::new()) }
    }
}

/// The header of a row or column.
#[derive(Serialize, Clone)]
struct Header {
    name: String,
    mark: String,
    colour: usize,
    /// `provider`, `volume` or `end`.
    kind: &'static str,
    /// Its identifier in the page's script.
    id: String,
    /// The members, if it is a group.
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
    /// `all`, `some` or `none`.
    class: &'static str,
}

impl Header {
    fn provider(identities: &Identities, name: &Name) -> Self {
        let identity = identities.provider(name);
        Self {
            name: name.to_string(),
            mark: identity.mark().to_string(),
            colour: identity.colour,
            kind: "provider",
            id: name.to_string(),
            members: Vec::new(),
        }
    }

    fn end(name: &str, id: &str) -> Self {
        Self {
            name: name.to_owned(),
            mark: String::new(),
            colour: 0,
            kind: "end",
            id: id.to_owned(),
            members: Vec::new(),
        }
    }

    fn group(identities: &Identities, group: &[&PlannedVolume]) -> Self {
        let first = group[0];
        let (name, members) = match group {
            [one] => (one.name.to_string(), Vec::new()),
            several => (
                format!("{} volumes of {}", several.len(), first.provider),
                several.iter().map(|volume| volume.name.to_string()).collect(),
            ),
        };
        Self {
            name,
            kind: "volume",
            id: first.name.to_string(),
            members,
            ..Self::provider(identities, &first.provider)
        }
    }
}

fn cell(word: &'static str) -> Cell {
    let class = match word {
        "all" | "NAT" => "all",
        "some" => "some",
        _ => "none",
    };
    Cell { word, class }
}

fn of_part(part: ServiceShare) -> Cell {
    cell(match part {
        ServiceShare::All => "all",
        ServiceShare::Some => "some",
        ServiceShare::None => "-",
    })
}

/// The matrix of providers, with this Mac and the outside.
pub fn providers(plan: &Plan, answers: &AnswerTable, identities: &Identities) -> MatrixTable {
    if plan.bridges.len() > MOST_PROVIDERS {
        return MatrixTable::too_many(plan.bridges.len());
    }
    let mut order: Vec<usize> = (0..plan.bridges.len()).collect();
    order.sort_by_key(|number| natural(plan.bridges[*number].provider.as_str()));
    let matrix = Matrix::of(plan);
    let matrix: Vec<_> = matrix.rows().collect();
    let own = |number: &usize| Header::provider(identities, &plan.bridges[*number].provider);
    let mut rows: Vec<TableRow> = Vec::new();
    for number in &order {
        let (from, reaches) = &matrix[*number];
        let internet = cell(if from.internet { "NAT" } else { "-" });
        let cells = order.iter().map(|to| cell(reaches[*to].word())).chain([internet, cell("all")]);
        rows.push(TableRow { header: own(number), cells: cells.collect() });
    }
    for (header, class) in [
        (Header::end("this Mac", "mac"), answers.own),
        (Header::end("internet", "internet"), answers.outside),
    ] {
        let cells = order.iter().map(|to| of_part(answers.part(class, answers.providers[*to]))).collect();
        rows.push(TableRow { header, cells });
    }
    let columns = order.iter().map(own);
    let others = [Header::end("internet", "internet"), Header::end("localhost", "localhost")];
    MatrixTable::of(columns.chain(others).collect(), rows)
}

/// The matrix of volumes, grouped by equal answers.
pub fn volumes(plan: &Plan, answers: &AnswerTable, identities: &Identities) -> MatrixTable {
    let Some(groups) = answers.groups(plan, MOST_GROUPS) else { return MatrixTable::too_many(MOST_GROUPS) };
    let header = |group: &Vec<usize>| {
        let volumes: Vec<&PlannedVolume> = group.iter().map(|number| &plan.volumes[*number]).collect();
        Header::group(identities, &volumes)
    };
    let class = |group: &Vec<usize>| answers.volumes[group[0]];
    let row = |from: &Vec<usize>| {
        let cells = groups.iter().map(|to| of_part(answers.part(class(from), class(to))));
        TableRow { header: header(from), cells: cells.collect() }
    };
    MatrixTable::of(groups.iter().map(header).collect(), groups.iter().map(row).collect())
}

/// A link in its table.
#[derive(Serialize)]
pub struct LinkLine {
    index: usize,
    ends: String,
    manner: String,
    place: String,
}

impl LinkLine {
    /// Whether its source place is known.
    pub fn is_placed(&self) -> bool {
        !self.place.is_empty()
    }
}

/// The links, in order of their index.
pub fn links(declaration: &Declaration, plan: &Plan) -> Vec<LinkLine> {
    let mut links: Vec<&crate::model::Link> = plan.links.iter().collect();
    links.sort_by_key(|link| link.index);
    let line = |link: &crate::model::Link| {
        let ends = |ends: &std::collections::BTreeSet<Endpoint>| {
            words(&ends.iter().cloned().collect::<Vec<_>>(), &plan.bridges)
        };
        let arrow = if link.bidirectional && link.from != link.to { "↔" } else { "→" };
        let place = declaration.positions.find(&FieldPath::of(&["links", &link.index.to_string()]));
        let manner: Vec<String> = link.manner().into_iter().filter(|word| word != "both ways").collect();
        LinkLine {
            index: link.index,
            ends: format!("{} {arrow} {}", ends(&link.from), ends(&link.to)),
            manner: manner.join(", "),
            place: place.map_or(String::new(), ToString::to_string),
        }
    };
    links.into_iter().map(line).collect()
}
/// A path that has conditions.
#[derive(Serialize)]
pub struct ConditionedPath {
    from: String,
    to: String,
    number: u16,
    latency: String,
    loss: String,
    bandwidth: String,
}

/// The paths that have conditions, in order of their pipes' numbers.
pub fn ways(plan: &Plan) -> Vec<ConditionedPath> {
    let way = |pipe: &Pipe| {
        let [from, to] = [&pipe.from, &pipe.to].map(|ends| words(ends, &plan.bridges));
        let [latency, jitter, loss, bandwidth] = pipe.conditions.words();
        let latency = [latency, jitter].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let [loss, bandwidth] = [loss, bandwidth].map(Option::unwrap_or_default);
        ConditionedPath { from, to, number: pipe.number, latency, loss, bandwidth }
    };
    plan.pipes.iter().map(way).collect()
}

/// A provider in the table of addresses.
#[derive(Serialize)]
pub struct ProviderRow {
    name: String,
    mark: char,
    colour: usize,
    network: String,
    gateway: String,
    bridge: String,
    internet: &'static str,
}

/// The addresses of all providers.
pub fn clouds(plan: &Plan, identities: &Identities) -> Vec<ProviderRow> {
    let cloud = |bridge: &crate::plan::Bridge| {
        let vmnet = if bridge.attachment == ProviderAttachment::Vmnet { " (vmnet)" } else { "" };
        let identity = identities.provider(&bridge.provider);
        ProviderRow {
            name: bridge.provider.to_string(),
            mark: identity.mark(),
            colour: identity.colour,
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
pub struct VolumeRow {
    name: String,
    provider: String,
    mark: char,
    colour: usize,
    address: Ipv4Addr,
    port: String,
    alias: String,
    published: String,
    names: String,
    served: &'static str,
    mount: String,
}

/// The addresses and names of all volumes.
pub fn rows(plan: &Plan, identities: &Identities) -> Vec<VolumeRow> {
    // Both are in the order of the volumes.
    let mut published = plan.publishes.iter().peekable();
    let row = |volume: &PlannedVolume| {
        let its = std::iter::from_fn(|| published.next_if(|publish| publish.volume == volume.name));
        let identity = identities.provider(&volume.provider);
        VolumeRow {
            name: volume.name.to_string(),
            provider: volume.provider.to_string(),
            mark: identity.mark(),
            colour: identity.colour,
            address: volume.address,
            port: volume.port.as_ref().map_or("none", Name::as_str).to_owned(),
            alias: volume.alias.map_or_else(|| "none".to_owned(), |alias| alias.to_string()),
            published: its.map(|it| it.port.to_string()).collect::<Vec<_>>().join(", "),
            names: volume.host_names().join(", "),
            served: match (volume.is_here(), volume.attachment) {
                (false, _) => "another Mac",
                (true, VolumeAttachment::Host) => "this Mac",
                (true, VolumeAttachment::Guest) => "a VM",
            },
            mount: volume.mount_point.as_ref().map_or("", AbsolutePath::as_str).to_owned(),
        }
    };
    plan.volumes.iter().map(row).collect()
}
