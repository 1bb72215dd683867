//! The anchor: the rules that permit what the plan says.
//!
//! The number of rules grows with providers, flows and published ports; everything else is in tables. A rule without
//! effect is not written. Never: imports the pf reader, which is used to prove what is written here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{RenderError, engine};
use crate::loading::bridge_macro;
use crate::model::{Endpoint, Name, PortRange, PortSet, Protocol};
use crate::plan::{self, AddressRegion, Bridge, PermittedFlow, Plan, PlannedVolume};

/// The table of all providers' networks.
const ALL: &str = "nixvol";
/// The table of all providers' networks and 127.0.0.0/8: everything that is not outside.
const LOCAL: &str = "local";
/// The table of the networks that may reach the outside.
const INTERNET: &str = "internet";
/// The table of addresses that the Mac itself has.
const HERE: &str = "here";
/// The table of the other Macs' addresses in the tunnel.
const MACS: &str = "macs";
/// The maximum length of a table's name in pf (`PF_TABLE_NAME_SIZE` without the final NUL).
const LONGEST_TABLE: usize = 31;
/// The maximum length of a label in pf (`PF_RULE_LABEL_SIZE` without the final NUL).
const LONGEST_LABEL: usize = 63;
/// The loopback network.
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// How many table entries are written per line.
const ENTRIES_A_LINE: usize = 6;
/// How many endpoints a comment names at most.
const NAMES_IN_A_COMMENT: usize = 8;

#[derive(Serialize)]
struct Anchor {
    path: String,
    tables: Vec<Table>,
    /// Networks inside which traffic is not masqueraded.
    inside: Vec<String>,
    masquerades: Vec<Masquerade>,
    publishes: Vec<Publish>,
    pipes: Vec<Pipe>,
    steering: Vec<Steering>,
    /// Networks whose internal traffic a `dummynet` rule would otherwise match.
    unsteered: Vec<String>,
    providers: Vec<Provider>,
    flows: Vec<Rule>,
    /// The table of all networks, if there is one.
    all: Option<&'static str>,
    /// The table of networks with internet access, if there is one.
    internet: Option<&'static str>,
    /// The table of everything that is not outside.
    local: &'static str,
    /// The networks without internet access, if there are any.
    offline: Option<String>,
    /// The table of addresses that the Mac itself has.
    here: String,
    /// The rules for providers on other Macs, if there are any.
    mesh: Option<Mesh>,
    /// Whether there are several providers.
    several: bool,
    /// Whether refusals between providers need a rule that passes their ICMP errors; not if links already permit all
    /// ICMP.
    tells_by_icmp: bool,
}

#[derive(Serialize)]
struct Mesh {
    /// The networks of this Mac's providers.
    own: String,
    /// The networks of the others' providers.
    remote: String,
    /// The address of this Mac in the tunnel.
    address: String,
    /// The addresses of the other Macs.
    macs: String,
}

#[derive(Serialize)]
struct Table {
    name: String,
    rows: Vec<Vec<Entry>>,
}

/// An entry of a table, possibly negated: the longest matching prefix decides.
#[derive(Serialize, Clone)]
struct Entry {
    is_out: bool,
    prefix: String,
}

#[derive(Serialize)]
struct Provider {
    name: String,
    network: String,
    /// The macro for its bridge.
    bridge: String,
    /// The logical name of its bridge.
    logical: String,
}

#[derive(Serialize)]
struct Rule {
    protocol: Option<&'static str>,
    from: String,
    to: String,
    ports: Vec<String>,
    /// Whether it can match TCP, of which only a SYN opens a connection.
    is_tcp: bool,
    label: String,
}

#[derive(Serialize)]
struct Masquerade {
    protocol: Option<&'static str>,
    from: String,
    to: String,
    ports: Vec<String>,
    gateway: String,
}

#[derive(Serialize)]
struct Pipe {
    number: u16,
    from: Few,
    to: Few,
    /// In milliseconds.
    delay: Option<u16>,
    /// In percent.
    loss: Option<String>,
    /// In kilobits per second.
    bandwidth: Option<u32>,
}

/// The first few of some names, and the number of the others.
#[derive(Serialize)]
struct Few {
    names: String,
    more: usize,
}

#[derive(Serialize)]
struct Steering {
    from: String,
    to: String,
    /// The addresses of `to` that the Mac itself has.
    here: Option<String>,
    pipe: u16,
    /// Whether a later rule would also match some of its packets: of those going out, and of those coming in.
    is_followed: bool,
    is_followed_here: bool,
}

#[derive(Serialize)]
struct Publish {
    alias: String,
    port: u16,
    address: String,
}

/// The text of the anchor.
pub fn anchor(plan: &Plan) -> Result<String, RenderError> {
    let mut sets = Sets::new(plan);
    let flows = plan.flows.iter().map(|flow| rule(&mut sets, flow)).collect();
    let masquerades = plan.masquerades.iter().map(|masquerade| Masquerade {
        protocol: masquerade.flow.protocol.map(Protocol::word),
        from: sets.reference(&masquerade.flow.from),
        to: sets.reference(&masquerade.flow.to),
        ports: ports(masquerade.flow.ports.as_ref()),
        gateway: masquerade.gateway.to_string(),
    });
    let masquerades = masquerades.collect();
    let mut inside: Vec<String> = Vec::new();
    for masquerade in plan.masquerades.iter().filter(|masquerade| masquerade.from_inside) {
        let network = sets.reference(&[Endpoint::Provider(masquerade.provider.clone())]);
        if !inside.contains(&network) {
            inside.push(network);
        }
    }
    let pipes = plan.pipes.iter().map(|pipe| Pipe {
        number: pipe.number,
        from: few(&pipe.from),
        to: few(&pipe.to),
        delay: pipe.conditions.latency_ms,
        loss: pipe.conditions.loss.map(|_| pipe.conditions.loss_percent()),
        bandwidth: pipe.conditions.bandwidth_kbit,
    });
    // The last entry that covers a packet applies, but of quick rules the first that matches: reverse them.
    let in_order: Vec<&plan::Steering> = plan.steering.iter().rev().collect();
    let followed = followed(plan, &in_order);
    let here = plan::Here::of(plan);
    let steering = in_order.iter().zip(followed).map(|(steering, followed)| Steering {
        from: sets.reference(&steering.from),
        to: sets.reference(&steering.to),
        here: sets.here(&steering.to, &here.addresses(&steering.to)),
        pipe: steering.pipe,
        is_followed: followed.out,
        is_followed_here: followed.here,
    });
    let steering = steering.collect();
    let publishes = plan.publishes.iter().map(|publish| Publish {
        alias: publish.alias.to_string(),
        port: publish.port,
        address: publish.address.to_string(),
    });
    let provider = |bridge: &Bridge| Provider {
        name: bridge.provider.to_string(),
        network: sets.reference(&[Endpoint::Provider(bridge.provider.clone())]),
        bridge: bridge_macro(bridge.provider.as_str()),
        logical: bridge.logical.to_string(),
    };
    let providers = plan.own_bridges().map(provider).collect();
    let offline = ends(plan, |bridge| bridge.is_here() && !bridge.internet);
    let unsteered = unsteered(plan).iter().map(|end| sets.reference(std::slice::from_ref(end))).collect();
    let anchor = Anchor {
        path: plan.anchor.to_string(),
        inside,
        masquerades,
        publishes: publishes.collect(),
        pipes: pipes.collect(),
        steering,
        unsteered,
        providers,
        flows,
        all: (!plan.bridges.is_empty()).then_some(ALL),
        local: LOCAL,
        internet: plan.own_bridges().any(|bridge| bridge.internet).then_some(INTERNET),
        offline: (!offline.is_empty()).then(|| sets.reference(&offline)),
        here: format!("<{HERE}>"),
        mesh: plan.mesh.as_ref().map(|it| mesh(&mut sets, plan, it)),
        several: plan.bridges.len() > 1,
        tells_by_icmp: plan.bridges.len() > 1 && !passes_all_icmp(plan),
        tables: sets.tables(plan),
    };
    engine::render("pf/anchor.conf", anchor)
}

/// The providers that satisfy a predicate, as endpoints.
fn ends(plan: &Plan, is_meant: impl Fn(&Bridge) -> bool) -> Vec<Endpoint> {
    let meant = plan.bridges.iter().filter(|bridge| is_meant(bridge));
    meant.map(|bridge| Endpoint::Provider(bridge.provider.clone())).collect()
}

fn mesh(sets: &mut Sets, plan: &Plan, mesh: &plan::Tunnel) -> Mesh {
    let macs: Vec<Entry> = mesh.peers.iter().map(|peer| Entry::of(peer.address.into())).collect();
    let macs = if let [single] = macs.as_slice() {
        single.prefix.clone()
    } else {
        sets.used.insert(MACS.to_owned(), macs);
        format!("<{MACS}>")
    };
    Mesh {
        own: sets.reference(&ends(plan, Bridge::is_here)),
        remote: sets.reference(&ends(plan, |bridge| !bridge.is_here())),
        address: mesh.address.to_string(),
        macs,
    }
}

/// Whether links permit all ICMP from every provider to every other, as far as packets between them are seen here.
fn passes_all_icmp(plan: &Plan) -> bool {
    let carries =
        |flow: &&PermittedFlow| flow.ports.is_none() && matches!(flow.protocol, None | Some(Protocol::Icmp));
    let is_provider = |end: &&Endpoint| matches!(end, Endpoint::Provider(_));
    let mut to: BTreeMap<&Endpoint, Vec<&PermittedFlow>> = BTreeMap::new();
    for flow in plan.flows.iter().filter(carries) {
        for from in flow.from.iter().filter(is_provider) {
            to.entry(from).or_default().push(flow);
        }
    }
    plan.bridges.iter().all(|bridge| {
        let from = Endpoint::Provider(bridge.provider.clone());
        let flows = to.get(&from).map_or(&[][..], Vec::as_slice);
        // A shortcut: in a mesh, a single flow reaches all providers, and is found for each of them.
        let is_enough = |count: usize| count >= plan.bridges.len();
        let others = || flows.iter().flat_map(|flow| &flow.to).filter(is_provider).chain([&from]);
        flows.iter().any(|flow| is_enough(flow.to.len()) && flow.to.iter().all(|end| is_provider(&end))) || {
            let reached: BTreeSet<&Endpoint> = others().collect();
            let is_reached = |to: &Bridge| reached.contains(&Endpoint::Provider(to.provider.clone()));
            // What goes from one of the other Macs to another is never seen here.
            plan.bridges.iter().filter(|to| bridge.is_here() || to.is_here()).all(is_reached)
        }
    })
}

fn few(ends: &[Endpoint]) -> Few {
    let names: Vec<&str> = ends.iter().take(NAMES_IN_A_COMMENT).map(|end| end.name().as_str()).collect();
    Few { names: names.join(","), more: ends.len().saturating_sub(NAMES_IN_A_COMMENT) }
}

/// Whether a rule after that of a steering entry matches some of the same packets: going out, and coming in.
#[derive(Clone, Copy, Default)]
struct Followed {
    out: bool,
    here: bool,
}

/// Which steering entries, in the order of their rules, share packets with later ones. Each packet belongs to its first
/// entry; a provider stands for its addresses that are not volumes, including the gateway.
fn followed(plan: &Plan, in_order: &[&plan::Steering]) -> Vec<Followed> {
    let ends = || in_order.iter().flat_map(|it| it.from.iter().chain(&it.to));
    let volumes: BTreeSet<&Endpoint> = ends().filter(|end| matches!(end, Endpoint::Volume(_))).collect();
    let mut by_provider: BTreeMap<Option<&Name>, Vec<&Endpoint>> = BTreeMap::new();
    for volume in volumes {
        by_provider.entry(plan.provider_of(volume)).or_default().push(volume);
    }
    let whole = |end: &'_ Endpoint| -> Vec<Endpoint> {
        let of_provider =
            by_provider.get(&plan.provider_of(end)).filter(|_| matches!(end, Endpoint::Provider(_)));
        [end].into_iter().chain(of_provider.into_iter().flatten().copied()).cloned().collect()
    };
    let is_here = |end: &Endpoint| match end {
        Endpoint::Provider(name) => plan.own_bridges().any(|bridge| bridge.provider == *name),
        Endpoint::Volume(name) => plan.volume(name).is_some_and(PlannedVolume::is_served),
    };
    let mut by_sender: BTreeMap<Endpoint, Vec<usize>> = BTreeMap::new();
    for (number, steering) in in_order.iter().enumerate() {
        let senders: BTreeSet<Endpoint> = steering.from.iter().flat_map(whole).collect();
        for sender in senders {
            by_sender.entry(sender).or_default().push(number);
        }
    }
    let mut followed = vec![Followed::default(); in_order.len()];
    for (sender, numbers) in by_sender.iter().filter(|(_, numbers)| numbers.len() > 1) {
        let mut first: BTreeMap<Endpoint, usize> = BTreeMap::new();
        for number in numbers {
            let receivers: BTreeSet<Endpoint> = in_order[*number].to.iter().flat_map(whole).collect();
            for receiver in receivers {
                if plan.provider_of(&receiver) == plan.provider_of(sender) {
                    continue;
                }
                if let Some(first) = first.get(&receiver) {
                    followed[*first].out = true;
                    followed[*first].here |= is_here(&receiver);
                } else {
                    first.insert(receiver, *number);
                }
            }
        }
    }
    followed
}

/// The providers that a steering entry has on both sides, as a whole or by volumes.
fn unsteered(plan: &Plan) -> Vec<Endpoint> {
    let both = |it: &plan::Steering| {
        let to = named(plan, &it.to);
        named(plan, &it.from).into_iter().filter(|name| to.contains(name)).cloned().collect::<Vec<_>>()
    };
    let covered: BTreeSet<Name> = plan.steering.iter().flat_map(both).collect();
    covered.into_iter().map(Endpoint::Provider).collect()
}

/// The providers that endpoints are, or belong to.
fn named<'a>(plan: &'a Plan, ends: &'a [Endpoint]) -> BTreeSet<&'a Name> {
    ends.iter().filter_map(|end| plan.provider_of(end)).collect()
}

fn rule(sets: &mut Sets, flow: &PermittedFlow) -> Rule {
    let ports = ports(flow.ports.as_ref());
    Rule {
        protocol: flow.protocol.map(Protocol::word),
        from: sets.reference(&flow.from),
        to: sets.reference(&flow.to),
        // A connection may only be opened by a SYN, so that a link stays unidirectional.
        is_tcp: matches!(flow.protocol, None | Some(Protocol::Tcp)),
        label: label(sets, flow),
        ports,
    }
}

fn ports(ports: Option<&PortSet>) -> Vec<String> {
    let range = |range: &PortRange| {
        if range.first == range.last {
            range.first.to_string()
        } else {
            format!("{}:{}", range.first, range.last)
        }
    };
    ports.map(PortSet::ranges).unwrap_or_default().iter().map(range).collect()
}

/// The label by which counters are distinguished: `link:aws:azure,gcp:tcp:2379-2380`. If that is too long, table names
/// replace the endpoints, and if necessary a hash replaces everything but the protocol.
fn label(sets: &Sets, flow: &PermittedFlow) -> String {
    let protocol = flow.protocol.map_or("any", Protocol::word);
    let ports = flow.ports.as_ref().map_or(String::new(), |ports| format!(":{ports}"));
    let service = format!("{protocol}{ports}");
    let names = |ends: &[Endpoint]| ends.iter().map(|end| end.name().as_str()).collect::<Vec<_>>().join(",");
    let full = format!("link:{}:{}:{service}", names(&flow.from), names(&flow.to));
    let by_set = format!("link:{}:{}:{service}", sets.name(&flow.from), sets.name(&flow.to));
    let short = [full, by_set].into_iter().find(|label| label.len() <= LONGEST_LABEL);
    short.unwrap_or_else(|| {
        format!("link:{:016x}:{protocol}", digest(&[names(&flow.from), names(&flow.to), service]))
    })
}

/// Sets of endpoints as pf refers to them: a single address or network directly, several by a table.
struct Sets {
    /// The table entries of each endpoint. The longest prefix that contains an address decides.
    entries: BTreeMap<Endpoint, Vec<Entry>>,
    /// The tables that rules refer to, by name.
    used: BTreeMap<String, Vec<Entry>>,
    providers: Vec<Endpoint>,
}

impl Sets {
    fn new(plan: &Plan) -> Self {
        let provider = |bridge: &Bridge| Endpoint::Provider(bridge.provider.clone());
        let providers = plan.bridges.iter().map(|bridge| (provider(bridge), region(&bridge.region)));
        let volume = |volume: &PlannedVolume| {
            (Endpoint::Volume(volume.name.clone()), vec![Entry::of(volume.address.into())])
        };
        Self {
            entries: providers.chain(plan.volumes.iter().map(volume)).collect(),
            used: BTreeMap::new(),
            providers: plan.bridges.iter().map(provider).collect(),
        }
    }

    /// The notation of a set in a rule: an address, or a table, which is recorded as used.
    fn reference(&mut self, ends: &[Endpoint]) -> String {
        let entries: Vec<Entry> = ends.iter().flat_map(|end| self.entries[end].clone()).collect();
        if let [single] = entries.as_slice() {
            return single.prefix.clone();
        }
        let name = self.name(ends);
        if name != ALL {
            self.used.insert(name.clone(), entries);
        }
        format!("<{name}>")
    }

    /// The notation of a set's addresses that the Mac itself has; `None` if there are none.
    fn here(&mut self, ends: &[Endpoint], addresses: &[Ipv4Addr]) -> Option<String> {
        let entries: Vec<Entry> = addresses.iter().map(|it| Entry::of((*it).into())).collect();
        match entries.as_slice() {
            [] => None,
            [single] => Some(single.prefix.clone()),
            _ => {
                let name = set_name(ends, "here.", "here.");
                self.used.insert(name.clone(), entries);
                Some(format!("<{name}>"))
            }
        }
    }

    /// The name of a set. It depends only on the members, so that other links do not change it.
    fn name(&self, ends: &[Endpoint]) -> String {
        if ends.len() > 1 && ends.iter().eq(&self.providers) {
            return ALL.to_owned();
        }
        let plain = if ends.len() > 1 { "" } else { "net." };
        set_name(ends, plain, "set.")
    }

    /// The tables to declare: all networks, those with internet access, those that rules refer to, and the Mac's own
    /// addresses.
    fn tables(self, plan: &Plan) -> Vec<Table> {
        let networks = |wanted: fn(&Bridge) -> bool| -> Vec<Entry> {
            let wanted = plan.bridges.iter().filter(|bridge| wanted(bridge));
            wanted.flat_map(|bridge| region(&bridge.region)).collect()
        };
        let all = networks(|_| true);
        let local = all.iter().cloned().chain([Entry::of(LOOPBACK)]).collect();
        let internet = networks(|bridge| bridge.is_here() && bridge.internet);
        let table = |(name, entries): (String, Vec<Entry>)| Table {
            name,
            rows: entries.chunks(ENTRIES_A_LINE).map(<[Entry]>::to_vec).collect(),
        };
        let general = [(ALL, all), (INTERNET, internet), (LOCAL, local)];
        let general = general.map(|(name, entries)| (name.to_owned(), entries)).into_iter();
        let general = general.take(if plan.bridges.is_empty() { 0 } else { 3 });
        let mut tables: Vec<Table> =
            general.chain(self.used).filter(|(_, entries)| !entries.is_empty()).map(table).collect();
        tables.extend((!plan.bridges.is_empty()).then(|| here(plan)));
        tables
    }
}

/// The table of addresses that the Mac itself has. Each provider starts a new line, so that a new volume changes no
/// other provider's lines.
fn here(plan: &Plan) -> Table {
    let mut by_provider: BTreeMap<&Name, Vec<Entry>> = BTreeMap::new();
    for bridge in plan.own_bridges() {
        by_provider.entry(&bridge.provider).or_default().push(Entry::of(bridge.gateway.addr().into()));
    }
    for volume in plan.volumes.iter().filter(|volume| volume.is_served()) {
        by_provider.entry(&volume.provider).or_default().push(Entry::of(volume.address.into()));
    }
    let rows = by_provider
        .into_values()
        .flat_map(|entries| entries.chunks(ENTRIES_A_LINE).map(<[Entry]>::to_vec).collect::<Vec<_>>());
    Table { name: HERE.to_owned(), rows: rows.collect() }
}

/// The addresses of a provider as table entries.
fn region(region: &AddressRegion) -> Vec<Entry> {
    region.prefixes().map(|(prefix, is_out)| Entry { is_out, prefix: address(prefix) }).collect()
}

impl Entry {
    fn of(prefix: Ipv4Net) -> Self {
        Self { is_out: false, prefix: address(prefix) }
    }
}

/// The table name for a set: the members' names after `plain`, or if that is too long, a hash of them after `short`.
fn set_name(ends: &[Endpoint], plain: &str, short: &str) -> String {
    let names: Vec<String> = ends.iter().map(|end| end.name().to_string()).collect();
    let joined = format!("{plain}{}", names.join("_"));
    if joined.len() <= LONGEST_TABLE { joined } else { format!("{short}{:016x}", digest(&names)) }
}

/// A network in CIDR notation, or a single address without its /32.
fn address(network: Ipv4Net) -> String {
    if network.prefix_len() == 32 { network.addr().to_string() } else { network.to_string() }
}

/// The FNV-1a hash, 64 bits: a short name for a long list, not a protection against collisions made on purpose.
fn digest(parts: &[String]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
