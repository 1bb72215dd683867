//! The anchor line by line, with the purpose of each rule and the values of the declaration that require it.
//!
//! A rule is identified by its label; rules of links, masquerades and published ports by their order, which is that of
//! the plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::identity::Identities;
use crate::model::{Declaration, Endpoint, Link, Name, PortSet, Protocol};
use crate::place::FieldPath;
use crate::plan::{PermittedFlow, Plan};

/// The line numbers of rules by purpose, to which the page's script links.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lines {
    /// By label, the first line of each.
    pub labels: BTreeMap<String, u32>,
    /// For each of the plan's flows.
    #[serde(skip)]
    pub links: Vec<Option<u32>>,
    /// For each of the plan's masquerades.
    pub masquerades: Vec<u32>,
    /// For each of the plan's published ports.
    #[serde(skip)]
    pub published: Vec<Option<u32>>,
    /// The rule that translates to the address of an egress interface.
    pub nat: Option<u32>,
    /// For each rule that sends packets into a pipe, in reverse order of the plan's steering: its line for packets
    /// going out, and for those coming in.
    #[serde(skip)]
    pub steering: Vec<(u32, Option<u32>)>,
}

/// A line of the anchor.
#[derive(Serialize)]
pub struct AnchorLine {
    number: u32,
    text: String,
    /// `comment`, `blank`, or empty for a rule.
    class: &'static str,
    /// The purpose, in words.
    words: String,
    declared: Vec<DeclaredLine>,
    /// The number of further values that require it.
    more: usize,
    /// The marks of the providers that it concerns, with their colours.
    marks: Vec<(char, usize)>,
    /// The providers and links that it concerns, separated by spaces.
    about: String,
}

/// A value of the declaration, in one line.
#[derive(Serialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclaredLine {
    path: String,
    says: String,
    place: String,
}

/// Limits for what is shown with a rule: values of the declaration, and marks.
const MOST: usize = 6;
const MOST_MARKS: usize = 12;

/// The purpose of a rule, and the values that require it.
#[derive(Default)]
struct Purpose {
    words: String,
    links: Vec<usize>,
    conditions: Option<usize>,
    providers: BTreeSet<Name>,
    field: &'static str,
    volume: Option<Name>,
}

/// The lines of an anchor, with the line numbers of its rules by purpose.
pub fn lines(
    declaration: &Declaration,
    plan: &Plan,
    identities: &Identities,
    anchor: &str,
) -> (Vec<AnchorLine>, Lines) {
    let mut reader = Reader::of(plan);
    let read: Vec<(u32, &str, Purpose)> = (1..)
        .zip(anchor.lines())
        .map(|(number, text)| (number, text, reader.purpose(number, text)))
        .collect();
    let found = reader.found;
    let teller = Teller { declaration, plan };
    let line = |(number, text, purpose): (u32, &str, Purpose)| {
        let mut declared = teller.declared(&purpose);
        let more = declared.len().saturating_sub(MOST);
        declared.truncate(MOST);
        let links = purpose.links.iter().chain(&purpose.conditions).map(|link| format!("links.{link}"));
        let providers = purpose.providers.iter().map(ToString::to_string);
        let marks = purpose.providers.iter().map(|name| identities.provider(name));
        let marks = marks.map(|identity| (identity.mark(), identity.colour));
        AnchorLine {
            number,
            text: text.to_owned(),
            class: match text.chars().next() {
                Some('#') => "comment",
                Some(_) => "",
                None => "blank",
            },
            words: purpose.words,
            declared,
            more,
            marks: marks.take(MOST_MARKS).collect(),
            about: links.chain(providers).collect::<Vec<_>>().join(" "),
        }
    };
    (read.into_iter().map(line).collect(), found)
}

/// The links behind each label of the rules of links.
pub fn links_by_label(plan: &Plan, anchor: &str) -> BTreeMap<String, Vec<usize>> {
    let mut reader = Reader::of(plan);
    let mut all = BTreeMap::new();
    for (number, text) in (1..).zip(anchor.lines()) {
        let links = reader.purpose(number, text).links;
        let label = text.split(" label \"").nth(1).map(|rest| rest.trim_end_matches('"'));
        if let Some(label) = label.filter(|label| label.starts_with("link:")) {
            all.insert(label.to_owned(), links);
        }
    }
    all
}

struct Reader<'a> {
    plan: &'a Plan,
    by_provider: HashMap<&'a Name, Vec<&'a Link>>,
    found: Lines,
}

impl<'a> Reader<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut by_provider: HashMap<&Name, Vec<&Link>> = HashMap::new();
        for link in &plan.links {
            let ends = link.from.iter().chain(link.to.iter().filter(|_| link.bidirectional));
            let providers: BTreeSet<&Name> = ends.filter_map(|end| plan.provider_of(end)).collect();
            for provider in providers {
                by_provider.entry(provider).or_default().push(link);
            }
        }
        Self { plan, by_provider, found: Lines::default() }
    }

    fn purpose(&mut self, number: u32, text: &str) -> Purpose {
        let label = text.split(" label \"").nth(1).map(|rest| rest.trim_end_matches('"'));
        if let Some(label) = label {
            self.found.labels.entry(label.to_owned()).or_insert(number);
            return self.labelled(number, label);
        }
        let said = |words: &str| Purpose { words: words.to_owned(), ..Purpose::default() };
        let plan = self.plan;
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["scrub", ..] => said("puts fragments together before any other rule is asked"),
            ["no", "rdr", ..] => said("keeps redirections of other programs away from volumes"),
            ["no", "dummynet", ..] => {
                said("keeps what stays inside a provider, or has been through its own pipe, out of others")
            }
            ["no", "nat", ..] => said("excepts traffic inside a provider from the translations below"),
            ["nat", "on", ..] => {
                self.found.nat = Some(number);
                let online = plan.own_bridges().filter(|bridge| bridge.internet);
                Purpose {
                    words: "translates what leaves for the outside to the address of the interface"
                        .to_owned(),
                    providers: online.map(|bridge| bridge.provider.clone()).collect(),
                    field: "internet",
                    ..Purpose::default()
                }
            }
            ["nat", ..] => {
                let masquerade = plan.masquerades.get(self.found.masquerades.len());
                self.found.masquerades.push(number);
                let Some(masquerade) = masquerade else { return said("") };
                let mut links = self.links(&masquerade.flow);
                links.retain(|link| link.masquerade);
                self.of_links(
                    "gives what a link lets pass the receiver's gateway address",
                    &links,
                    &masquerade.flow,
                )
            }
            ["rdr", ..] => {
                let publish = plan.publishes.get(self.found.published.len());
                self.found.published.push(Some(number));
                let volume = publish.map(|publish| publish.volume.clone());
                let owner = volume.as_ref().and_then(|name| plan.volume(name)).map(|it| it.provider.clone());
                Purpose {
                    words: "leads a published port to its volume".to_owned(),
                    volume,
                    providers: owner.into_iter().collect(),
                    ..Purpose::default()
                }
            }
            ["dummynet", direction, .., pipe] => {
                let Ok(pipe) = pipe.parse() else { return said("") };
                match (*direction, self.found.steering.last_mut()) {
                    ("in", Some((_, into))) => *into = Some(number),
                    _ => self.found.steering.push((number, None)),
                }
                let ends = plan.pipe(pipe).into_iter().flat_map(|pipe| pipe.from.iter().chain(&pipe.to));
                Purpose {
                    words: "adds delay, loss or a limit".to_owned(),
                    conditions: plan.policy.link_of_pipe(pipe),
                    providers: ends.filter_map(|end| plan.provider_of(end)).cloned().collect(),
                    ..Purpose::default()
                }
            }
            _ => Purpose::default(),
        }
    }

    fn labelled(&mut self, number: u32, label: &str) -> Purpose {
        let plan = self.plan;
        let (kind, rest) = label.split_once(':').unwrap_or((label, ""));
        let all = |is_meant: fn(&crate::plan::Bridge) -> bool| {
            plan.bridges.iter().filter(|it| is_meant(it)).map(|it| it.provider.clone()).collect()
        };
        let one =
            || plan.bridges.iter().map(|it| &it.provider).filter(|it| it.as_str() == rest).cloned().collect();
        let (words, providers, field) = match kind {
            "link" => {
                let flow = plan.flows.get(self.found.links.len());
                self.found.links.push(Some(number));
                let Some(flow) = flow else { return Purpose::default() };
                let links = self.links(flow);
                return self.of_links("lets links pass", &links, flow);
            }
            "forged" if rest == "outside" => {
                ("drops what says that it comes from a volume and arrives where none is", BTreeSet::new(), "")
            }
            "forged" if rest == "here" => {
                ("drops what has an address of this Mac and arrives over a wire", BTreeSet::new(), "")
            }
            "forged" if rest == "elsewhere" && plan.mesh.is_some() => (
                "drops what volumes on other Macs send to anything but volumes on this Mac",
                BTreeSet::new(),
                "",
            ),
            "forged" if rest == "mesh" && plan.mesh.is_some() => {
                ("drops what arrives from another Mac and says that it is from this one", BTreeSet::new(), "")
            }
            "macs" => ("lets the other Macs themselves open to every volume", BTreeSet::new(), ""),
            "forged" => {
                ("drops what a guest sends with a source that is not its provider's", one(), "network")
            }
            "leak" => (
                "keeps what is meant for a volume on this Mac while a bridge or its route is absent",
                BTreeSet::new(),
                "",
            ),
            "localhost" => ("lets volumes and this Mac's loopback talk", BTreeSet::new(), ""),
            "within" => ("lets everything inside the provider pass", one(), "network"),
            "refusal" => {
                ("passes the RSTs and ICMP errors that tell a sender of a refusal", BTreeSet::new(), "")
            }
            "between" => ("refuses what no link covers", BTreeSet::new(), ""),
            "internet" => (
                "lets providers open connections to the outside",
                all(|it| it.is_here() && it.internet),
                "internet",
            ),
            "no-internet" => {
                ("refuses connections to the outside", all(|it| it.is_here() && !it.internet), "internet")
            }
            "this-mac" => ("lets this Mac open to every volume", BTreeSet::new(), ""),
            "outside" => ("drops what anybody outside opens to a volume", BTreeSet::new(), ""),
            _ => ("", BTreeSet::new(), ""),
        };
        Purpose { words: words.to_owned(), providers, field, ..Purpose::default() }
    }

    fn of_links(&self, words: &str, links: &[&Link], flow: &PermittedFlow) -> Purpose {
        let ends = flow.from.iter().chain(&flow.to);
        Purpose {
            words: words.to_owned(),
            links: links.iter().map(|link| link.index).collect(),
            providers: ends.filter_map(|end| self.plan.provider_of(end)).cloned().collect(),
            ..Purpose::default()
        }
    }

    /// The links that permit some of a flow.
    fn links(&self, flow: &PermittedFlow) -> Vec<&'a Link> {
        let providers: BTreeSet<&Name> =
            flow.from.iter().filter_map(|end| self.plan.provider_of(end)).collect();
        let candidates = providers.into_iter().flat_map(|it| self.by_provider.get(it).into_iter().flatten());
        let sides = [Side::of(self.plan, &flow.from), Side::of(self.plan, &flow.to)];
        let mut found: BTreeMap<usize, &Link> = BTreeMap::new();
        for link in candidates {
            if found.contains_key(&link.index) || !serves(link, flow.protocol, flow.ports.as_ref()) {
                continue;
            }
            let mut directions = link.directions();
            if directions.any(|(from, to)| sides[0].meets(self.plan, from) && sides[1].meets(self.plan, to)) {
                found.insert(link.index, link);
            }
        }
        found.into_values().collect()
    }
}

/// The endpoints of one side of a flow.
struct Side<'a> {
    ends: BTreeSet<&'a Endpoint>,
    providers: BTreeSet<&'a Name>,
}

impl<'a> Side<'a> {
    fn of(plan: &'a Plan, ends: &'a [Endpoint]) -> Self {
        let providers = ends.iter().filter_map(|end| plan.provider_of(end)).collect();
        Self { ends: ends.iter().collect(), providers }
    }

    /// Whether a side of a link shares addresses with it.
    fn meets(&self, plan: &Plan, ends: &BTreeSet<Endpoint>) -> bool {
        ends.iter().any(|end| match end {
            Endpoint::Provider(name) => self.providers.contains(name),
            Endpoint::Volume(_) => {
                let whole = plan.provider_of(end).map(|name| Endpoint::Provider(name.clone()));
                self.ends.contains(end) || whole.is_some_and(|whole| self.ends.contains(&whole))
            }
        })
    }
}

/// Whether a link permits some of a service.
fn serves(link: &Link, protocol: Option<Protocol>, ports: Option<&PortSet>) -> bool {
    let is_ported = matches!(protocol, Some(Protocol::Tcp | Protocol::Udp));
    let by_protocol = link.protocol.is_none() || link.protocol == protocol;
    let by_ports = match (&link.ports, ports) {
        (None, _) => true,
        (Some(_), None) => is_ported,
        (Some(of), Some(ports)) => {
            of.ranges().iter().any(|a| ports.ranges().iter().any(|b| a.first <= b.last && b.first <= a.last))
        }
    };
    by_protocol && by_ports && (link.ports.is_none() || is_ported)
}

struct Teller<'a> {
    declaration: &'a Declaration,
    plan: &'a Plan,
}

impl Teller<'_> {
    fn at(&self, path: FieldPath, says: String) -> DeclaredLine {
        let place = self.declaration.positions.find(&path);
        let place = place.map_or(String::new(), |place| format!(" ({place})"));
        DeclaredLine { path: path.to_string(), says, place }
    }

    fn declared(&self, purpose: &Purpose) -> Vec<DeclaredLine> {
        let find = |index: &usize| self.plan.links.iter().find(|link| link.index == *index);
        let mut all = Vec::new();
        for link in purpose.links.iter().filter_map(find) {
            let path = FieldPath::of(&["links", &link.index.to_string()]);
            all.push(self.at(path, self.plan.describe(link)));
        }
        if let Some(link) = purpose.conditions.as_ref().and_then(find) {
            let path = FieldPath::of(&["links", &link.index.to_string(), "conditions"]);
            all.push(self.at(path, link.conditions.map_or(String::new(), |it| it.to_string())));
        }
        if let Some(volume) =
            purpose.volume.as_ref().and_then(|name| self.declaration.volumes.get_key_value(name))
        {
            let (name, volume) = volume;
            let ports = volume.publish.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            all.push(self.at(FieldPath::of(&["volumes", name.as_str(), "publish"]), ports));
        }
        if !purpose.field.is_empty() {
            for (name, provider) in
                purpose.providers.iter().filter_map(|it| self.declaration.providers.get_key_value(it))
            {
                let says = match purpose.field {
                    "internet" => provider.internet.to_string(),
                    _ => provider.network.to_string(),
                };
                all.push(self.at(FieldPath::of(&["providers", name.as_str(), purpose.field]), says));
            }
        }
        all
    }
}
