//! The data from which the page's script builds explanations: endpoints, answers, and a summary of the declaration.
//!
//! An explanation is built when the user asks for it, from the number of an outcome, the links that cover the flow and
//! the pipes on its path. Sets of endpoints are ranges of their numbers: providers first, then volumes, both sorted by
//! name.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::answers::{AnswerCell, AnswerRow, AnswerTable};
use super::rules::Lines;
use crate::identity::Identities;
use crate::model::{Declaration, Endpoint, Link, Name, PortSet, Protocol, VolumeAttachment};
use crate::place::FieldPath;
use crate::plan::policy::Translation;
use crate::plan::{PermittedFlow, Plan};
use crate::reach::{FlowOutcome, FlowVerdict, Reason};

/// The egress interface that the answers assume.
const EGRESS: &str = "en0";

/// All data of the page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageData<'a> {
    egress: &'static str,
    providers: Vec<Provider<'a>>,
    volumes: Vec<Volume<'a>>,
    loopback: usize,
    own: (usize, Ipv4Addr),
    outside: usize,
    internet: Ipv4Addr,
    lan: Ipv4Addr,
    /// For each class of sources, the index of its row.
    row_of: Vec<usize>,
    /// Rows of cells, as comma-separated `CELL` or `CELL*TIMES`.
    rows: Vec<String>,
    /// Cells: a flat list of spans (protocol, first port, last port, outcome), then the pipe there.
    cells: Vec<(Vec<u32>, u32)>,
    outcomes: Vec<Told>,
    links: Vec<Linked>,
    flows: Vec<Flowing>,
    pipes: Vec<Pipe>,
    steering: Vec<Steered>,
    publishes: Vec<(Ipv4Addr, u16, usize, Option<u32>)>,
    /// The line numbers of rules, by purpose.
    lines: &'a Lines,
    /// Places in the user's Nix source, by path.
    places: HashMap<String, String>,
}

/// A provider: name, mark, colour, class of its addresses that are not volumes, two such addresses if they exist,
/// gateway and its class, network, logical name of the bridge, whether it reaches the internet, and its addresses as
/// ranges. A range that is excluded from the provider follows the one that contains it.
#[derive(Serialize)]
struct Provider<'a>(
    &'a str,
    char,
    usize,
    usize,
    Option<Ipv4Addr>,
    Option<Ipv4Addr>,
    Ipv4Addr,
    usize,
    String,
    &'a str,
    bool,
    Vec<(u32, u32, bool)>,
);

/// A volume: name, number of its provider, address, class, whether it is a guest, alias, class of the alias.
#[derive(Serialize)]
struct Volume<'a>(&'a str, usize, Ipv4Addr, usize, bool, Option<Ipv4Addr>, Option<usize>);

/// An outcome: fate, reason, and address translation in words and by kind.
#[derive(Serialize)]
struct Told(&'static str, &'static str, Option<String>, Option<&'static str>);

/// A link: index, sources, destinations, protocol, ports, whether bidirectional, whether masqueraded, conditions, and
/// its description.
#[derive(Serialize)]
struct Linked(usize, String, String, Option<u8>, Option<Vec<(u16, u16)>>, bool, bool, Option<String>, String);

/// A rule derived from links: sources, destinations, protocol, ports, line.
#[derive(Serialize)]
struct Flowing(String, String, Option<u8>, Option<Vec<(u16, u16)>>, Option<u32>);

/// A pipe: number, index of its link, conditions, delay in milliseconds.
#[derive(Serialize)]
struct Pipe(u16, Option<usize>, String, u16);

/// A rule that sends packets into a pipe: sources, destinations, pipe, and its lines for packets going out and coming
/// in.
#[derive(Serialize)]
struct Steered(String, String, u16, u32, Option<u32>);

/// The numbers of endpoints.
struct Numbers<'a> {
    providers: HashMap<&'a Name, usize>,
    volumes: HashMap<&'a Name, usize>,
}

impl<'a> Numbers<'a> {
    fn of(plan: &'a Plan) -> Self {
        let providers = plan.bridges.iter().enumerate().map(|(number, it)| (&it.provider, number)).collect();
        let first = plan.bridges.len();
        let volumes =
            plan.volumes.iter().enumerate().map(|(number, it)| (&it.name, first + number)).collect();
        Self { providers, volumes }
    }

    /// Endpoints as ranges of numbers, such as `0-4,7`.
    fn ranges<'e>(&self, ends: impl IntoIterator<Item = &'e Endpoint>) -> String {
        let number = |end: &Endpoint| match end {
            Endpoint::Provider(name) => self.providers.get(name).copied(),
            Endpoint::Volume(name) => self.volumes.get(name).copied(),
        };
        let mut numbers: Vec<usize> = ends.into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        let word = |(first, last): (usize, usize)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        ranges.into_iter().map(word).collect::<Vec<_>>().join(",")
    }
}

impl<'a> PageData<'a> {
    /// The data of a network.
    pub fn of(declaration: &Declaration, plan: &'a Plan, answers: &AnswerTable, lines: &'a Lines) -> Self {
        let numbers = Numbers::of(plan);
        let identities = Identities::of(plan);
        let provider = |number: usize| provider(plan, answers, &identities, number);
        let volume = |(number, it): (usize, &'a crate::plan::PlannedVolume)| {
            Volume(
                it.name.as_str(),
                numbers.providers.get(&it.provider).copied().unwrap_or_default(),
                it.address,
                answers.volumes[number],
                it.attachment == VolumeAttachment::Guest,
                it.alias,
                answers.aliases[number],
            )
        };
        let pipe = |it: &crate::plan::Pipe| {
            let link = plan.policy.link_of_pipe(it.number);
            Pipe(it.number, link, it.conditions.to_string(), it.conditions.delay())
        };
        let steered = |(it, (out, into)): (&crate::plan::Steering, &(u32, Option<u32>))| {
            Steered(numbers.ranges(&it.from), numbers.ranges(&it.to), it.pipe, *out, *into)
        };
        let publish = |(it, line): (&crate::plan::Publish, &Option<u32>)| {
            let volume = numbers.volumes.get(&it.volume).copied().unwrap_or_default();
            (it.alias, it.port, volume - plan.bridges.len(), *line)
        };
        let flow = |(flow, line): (&PermittedFlow, &Option<u32>)| {
            let ports = flow.ports.as_ref().map(ports);
            Flowing(
                numbers.ranges(&flow.from),
                numbers.ranges(&flow.to),
                flow.protocol.map(number),
                ports,
                *line,
            )
        };
        Self {
            egress: EGRESS,
            providers: (0..plan.bridges.len()).map(provider).collect(),
            volumes: plan.volumes.iter().enumerate().map(volume).collect(),
            loopback: answers.loopback,
            own: (answers.own, answers.examples.mac),
            outside: answers.outside,
            internet: answers.examples.internet,
            lan: answers.examples.lan,
            row_of: answers.row_of.clone(),
            rows: answers.rows.iter().map(row).collect(),
            cells: answers.cells.iter().map(cell).collect(),
            outcomes: answers.outcomes.iter().copied().map(told).collect(),
            links: plan.links.iter().map(|link| linked(plan, &numbers, link)).collect(),
            flows: plan.flows.iter().zip(&lines.links).map(flow).collect(),
            pipes: plan.pipes.iter().map(pipe).collect(),
            steering: plan.steering.iter().rev().zip(&lines.steering).map(steered).collect(),
            publishes: plan.publishes.iter().zip(&lines.published).map(publish).collect(),
            lines,
            places: places(declaration, plan),
        }
    }
}

fn provider<'a>(
    plan: &'a Plan,
    answers: &AnswerTable,
    identities: &Identities,
    number: usize,
) -> Provider<'a> {
    let bridge = &plan.bridges[number];
    let identity = identities.provider(&bridge.provider);
    let first = answers.examples.strangers[number];
    let second = answers.examples.others[number];
    let region = bridge
        .region
        .prefixes()
        .map(|(prefix, is_out)| (u32::from(prefix.network()), u32::from(prefix.broadcast()), is_out));
    Provider(
        bridge.provider.as_str(),
        identity.mark(),
        identity.colour,
        answers.providers[number],
        first,
        second,
        bridge.gateway.addr(),
        answers.gateways[number],
        bridge.network.to_string(),
        bridge.logical.as_str(),
        bridge.internet,
        region.collect(),
    )
}

fn cell(cell: &AnswerCell) -> (Vec<u32>, u32) {
    let span = |span: &super::answers::ServiceSpan| {
        [span.protocol.into(), span.first.into(), span.last.into(), span.outcome]
    };
    (cell.spans.iter().flat_map(span).collect(), cell.pipe)
}

fn told(outcome: FlowOutcome) -> Told {
    let (fate, translation) = match outcome.fate {
        FlowVerdict::Passes(translation) => ("passes", translation),
        FlowVerdict::Refused => ("refused", None),
        FlowVerdict::Dropped => ("dropped", None),
        FlowVerdict::Untouched => ("untouched", None),
    };
    let reason = match outcome.reason {
        Reason::Within => "within",
        Reason::Links => "links",
        Reason::NoLink => "noLink",
        Reason::Internet => "internet",
        Reason::NoInternet => "noInternet",
        Reason::Localhost => "localhost",
        Reason::ThisMac => "thisMac",
        Reason::Outside => "outside",
        Reason::NotOurs => "notOurs",
    };
    let kind = |translation: &Translation| match translation {
        Translation::EgressSource => "nat",
        Translation::GatewaySource(_) => "masquerade",
        Translation::Published(_) => "published",
    };
    Told(fate, reason, translation.map(|it| it.to_string()), translation.as_ref().map(kind))
}

/// The protocol number.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => crate::plan::policy::TCP,
        Protocol::Udp => crate::plan::policy::UDP,
        Protocol::Icmp => crate::plan::policy::ICMP,
    }
}

fn ports(ports: &PortSet) -> Vec<(u16, u16)> {
    ports.ranges().iter().map(|range| (range.first, range.last)).collect()
}

fn linked(plan: &Plan, numbers: &Numbers, link: &Link) -> Linked {
    let Link { from, to, protocol, ports: of, bidirectional, masquerade, conditions, index } = link;
    Linked(
        *index,
        numbers.ranges(from),
        numbers.ranges(to),
        protocol.map(number),
        of.as_ref().map(ports),
        *bidirectional && from != to,
        *masquerade,
        conditions.map(|conditions| conditions.to_string()),
        plan.describe(link),
    )
}

/// The places, in the user's Nix source, of values that explanations refer to.
fn places(declaration: &Declaration, plan: &Plan) -> HashMap<String, String> {
    let mut paths: Vec<FieldPath> = Vec::new();
    for link in &plan.links {
        let index = link.index.to_string();
        paths.push(FieldPath::of(&["links", &index]));
        if link.conditions.is_some() {
            paths.push(FieldPath::of(&["links", &index, "conditions"]));
        }
    }
    for bridge in &plan.bridges {
        paths.extend(
            ["network", "internet"]
                .map(|field| FieldPath::of(&["providers", bridge.provider.as_str(), field])),
        );
    }
    for publish in &plan.publishes {
        paths.push(FieldPath::of(&["volumes", publish.volume.as_str(), "publish"]));
    }
    let place = |path: FieldPath| Some((path.to_string(), declaration.positions.find(&path)?.to_string()));
    paths.into_iter().filter_map(place).collect()
}

fn row(row: &AnswerRow) -> String {
    let mut before = 0;
    let run = |(cell, behind): &(u32, usize)| {
        let times = behind - std::mem::replace(&mut before, *behind);
        if times == 1 { cell.to_string() } else { format!("{cell}*{times}") }
    };
    row.iter().map(run).collect::<Vec<_>>().join(",")
}
