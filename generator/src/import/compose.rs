//! A Compose file: networks become providers, services become volumes; one in several networks is linked to the rest.

use std::collections::BTreeSet;

use super::draft::{Draft, DraftLink, DraftProvider, DraftVolume};
use super::node::{DocumentNode, NodeData};

/// The network of services that name none.
const DEFAULT: &str = "default";
/// The maximum number of replicas that become a volume each; with more, the service is one volume.
const MOST: usize = 9;
/// Service keys that concern the network and have no counterpart, with the reason.
const LEFT: [(&str, &str); 8] = [
    ("links", "names are those of the volumes: NAME.nixvol"),
    ("external_links", "it names a service of another project"),
    ("extra_hosts", "names are those of the volumes: NAME.nixvol"),
    ("dns", "a process of the Mac asks the Mac's name servers"),
    ("mac_address", "a volume that the Mac serves has none; for a VM, declare `guest.mac`"),
    ("cap_add", "rights in the container have no counterpart"),
    ("sysctls", "settings of the container's kernel have no counterpart"),
    ("hostname", "the name is NAME.nixvol"),
];

/// Keys of a service's network that have no counterpart, with the reason.
const LEFT_OF_NETWORK: [(&str, &str); 4] = [
    ("ipv6_address", "it is not an IPv4 address"),
    ("link_local_ips", "a volume has one address"),
    ("aliases", "names are those of the volumes: NAME.nixvol"),
    ("mac_address", "a volume that the Mac serves has none; for a VM, declare `guest.mac`"),
];
/// The maximum length of a chain of `extends`; a longer one is taken for a cycle.
const LONGEST: usize = 16;

/// Whether a document is part of a Compose file, which may consist of several.
pub fn is_part(document: &DocumentNode) -> bool {
    ["services", "networks", "include"].iter().any(|key| document.get(key).is_some())
        && document.get("resource").is_none()
}

/// The merged documents of a file; a later one overrides an earlier one.
pub fn joined(documents: Vec<DocumentNode>) -> DocumentNode {
    let mut documents = documents.into_iter().rev();
    let Some(last) = documents.next() else { return DocumentNode { line: 1, data: NodeData::Null } };
    documents.fold(last, |later, earlier| later.over(&earlier))
}

pub fn draft(file: &DocumentNode) -> Draft {
    let mut draft = Draft::default();
    if let Some(include) = file.get("include") {
        draft.leave(include.line, "include", "what it brings from elsewhere is not read");
    }
    let written = file.get("services").map_or(&[][..], DocumentNode::entries);
    let services: Vec<(String, DocumentNode)> = written
        .iter()
        .filter(|(_, service)| !service.is_empty())
        .map(|(name, service)| (name.clone(), extended(name, service, written, 0, &mut draft)))
        .collect();
    let services = services.as_slice();
    networks(file, services, &mut draft);
    for (name, service) in services {
        volume(name, service, &mut draft);
    }
    draft.finish();
    draft
}

/// A service merged with the one that it extends.
fn extended(
    name: &str,
    service: &DocumentNode,
    all: &[(String, DocumentNode)],
    depth: usize,
    draft: &mut Draft,
) -> DocumentNode {
    let Some(extends) = service.get("extends") else { return service.clone() };
    let (base, file) = match &extends.data {
        NodeData::Map(_) => (extends.text("service"), extends.get("file")),
        _ => (extends.as_text(), None),
    };
    let found = all.iter().find(|(known, _)| file.is_none() && Some(known.as_str()) == base);
    match found {
        Some((base, found)) if base != name && depth < LONGEST => {
            service.over(&extended(base, found, all, depth + 1, draft))
        }
        _ => {
            draft.leave(extends.line, format!("{name}.extends"), "what it brings from elsewhere is not read");
            service.clone()
        }
    }
}

/// Adds a provider for each network that the services use.
fn networks(file: &DocumentNode, services: &[(String, DocumentNode)], draft: &mut Draft) {
    let declared = file.get("networks").map_or(&[][..], DocumentNode::entries);
    let used: BTreeSet<String> = services
        .iter()
        .filter(|(_, it)| mode(it).is_none())
        .flat_map(|(_, it)| networks_of(it))
        .map(|(name, ..)| name)
        .collect();
    for (name, network) in declared {
        if !used.contains(name) {
            draft.leave(network.line, format!("networks.{name}"), "no service is in it");
            continue;
        }
        let driver = network.text("driver").filter(|driver| !["bridge", "overlay"].contains(driver));
        if let Some(driver) = driver {
            draft.leave(
                network.line,
                format!("driver: {driver}"),
                "a provider is a network of its own, with a gateway",
            );
        }
        if network.is("external") || network.at(&["external", "name"]).is_some() {
            draft.leave(
                network.line,
                format!("networks.{name}"),
                "it is made elsewhere: its network is chosen anew",
            );
        }
        let mut provider = DraftProvider {
            name: name.clone(),
            line: network.line,
            is_internal: network.is("internal"),
            ..DraftProvider::default()
        };
        for config in network.at(&["ipam", "config"]).map_or(&[][..], DocumentNode::items) {
            let Some(subnet) = config.get("subnet") else { continue };
            let text = subnet.as_text().unwrap_or_default();
            let given = |text: &str| defaults(text).unwrap_or_default();
            match given(text).parse() {
                Ok(parsed) if provider.network.is_none() => {
                    provider.network = Some((parsed, subnet.line));
                    provider.gateway = config.text("gateway").and_then(|gateway| given(gateway).parse().ok());
                }
                Ok(_) => draft.leave(subnet.line, text, "a provider has one network"),
                Err(_) => draft.leave(subnet.line, text, "it is not an IPv4 network"),
            }
        }
        draft.providers.push(provider);
    }
    for name in used {
        if !declared.iter().any(|(known, _)| *known == name) {
            if name != DEFAULT {
                let line = services.first().map_or(1, |(_, service)| service.line);
                draft.leave(
                    line,
                    format!("networks.{name}"),
                    "it is not declared in this file: its network is chosen",
                );
            }
            draft.providers.push(DraftProvider { name, line: 1, ..DraftProvider::default() });
        }
    }
}

/// The network mode of a service, unless it is the default bridge.
fn mode(service: &DocumentNode) -> Option<&DocumentNode> {
    service.get("network_mode").filter(|mode| mode.as_text().is_some_and(|mode| mode != "bridge"))
}

/// The networks of a service, with its address in each: name, address, line.
fn networks_of(service: &DocumentNode) -> Vec<(String, Option<String>, usize)> {
    let found: Vec<_> = match service.get("networks") {
        Some(DocumentNode { data: NodeData::Map(entries), .. }) => {
            let of = |(name, it): &(String, DocumentNode)| {
                let address = it.get("ipv4_address");
                (
                    name.clone(),
                    address.and_then(DocumentNode::as_text).map(str::to_owned),
                    address.map_or(it.line, |it| it.line),
                )
            };
            entries.iter().map(of).collect()
        }
        Some(list) => {
            list.items().iter().filter_map(|it| Some((it.as_text()?.to_owned(), None, it.line))).collect()
        }
        None => Vec::new(),
    };
    if found.is_empty() { vec![(DEFAULT.to_owned(), None, service.line)] } else { found }
}

fn volume(name: &str, service: &DocumentNode, draft: &mut Draft) {
    if let Some(mode) = mode(service) {
        let what = format!("network_mode: {}", mode.as_text().unwrap_or_default());
        draft.leave(mode.line, what, format!("`{name}` is in no network of its own, and is no volume"));
        return;
    }
    for (key, why) in LEFT {
        if let Some(found) = service.get(key) {
            draft.leave(found.line, format!("{name}.{key}"), why);
        }
    }
    for (network, place) in service.get("networks").map_or(&[][..], DocumentNode::entries) {
        for (key, why) in LEFT_OF_NETWORK {
            if let Some(found) = place.get(key) {
                draft.leave(found.line, format!("{name}: {key} in {network}"), why);
            }
        }
    }
    let networks = networks_of(service);
    let (home, address, line) = networks[0].clone();
    let address = address.and_then(|text| {
        let parsed = defaults(&text).and_then(|text| text.parse().ok());
        if parsed.is_none() {
            draft.leave(line, text, "it is not an IPv4 address");
        }
        parsed.map(|address| (address, line))
    });
    let publish = published(name, service, draft);
    let names = copies(name, service, draft);
    let others: Vec<String> = networks[1..].iter().map(|(network, ..)| network.clone()).collect();
    for (other, address, line) in &networks[1..] {
        let what = format!(
            "{name}: network {other}{}",
            address.as_ref().map_or_else(String::new, |it| format!(", {it}"))
        );
        draft.leave(
            *line,
            what,
            format!("a volume is in one network, here `{home}`: it is linked to `{other}` instead"),
        );
    }
    for copy in &names {
        draft.volumes.push(DraftVolume {
            name: copy.clone(),
            provider: home.clone(),
            address: address.filter(|_| names.len() == 1),
            publish: publish.clone(),
            line: service.line,
        });
    }
    if !others.is_empty() {
        draft.links.push(DraftLink { from: names, to: others, is_mutual: true, ..DraftLink::default() });
    }
}

/// The names of the volumes of a service: one for each replica, up to [`MOST`].
fn copies(name: &str, service: &DocumentNode, draft: &mut Draft) -> Vec<String> {
    let replicas = service.at(&["deploy", "replicas"]).or_else(|| service.get("scale"));
    let count: usize =
        replicas.and_then(DocumentNode::as_text).and_then(|text| text.parse().ok()).unwrap_or(1);
    if let Some(replicas) = replicas.filter(|_| count > MOST) {
        draft.leave(replicas.line, format!("{count} replicas"), format!("`{name}` is one volume here"));
    }
    if (2..=MOST).contains(&count) {
        (1..=count).map(|n| format!("{name}-{n}")).collect()
    } else {
        vec![name.to_owned()]
    }
}

/// The TCP ports that a service publishes. Here a published port has the same number inside and outside.
fn published(name: &str, service: &DocumentNode, draft: &mut Draft) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for item in service.get("ports").map_or(&[][..], DocumentNode::items) {
        let (text, found) = match &item.data {
            NodeData::Map(_) => long(item),
            _ => short(item.as_text().unwrap_or_default()),
        };
        let what = format!("{name}: port {text}");
        let Some(Port { inside, outside, protocol, address }) = found else {
            draft.leave(item.line, what, "only Compose can say which port that is");
            continue;
        };
        if protocol != "tcp" {
            draft.leave(item.line, what, "TCP alone is published on a localhost alias");
            continue;
        }
        if let Some(outside) = outside.filter(|outside| *outside != inside) {
            let why = format!(
                "it answers at {} on the volume's localhost alias, not at {}",
                range(inside),
                range(outside)
            );
            draft.leave(item.line, what.clone(), why);
        }
        if address.is_some_and(|address| address != "127.0.0.1") {
            draft.leave(
                item.line,
                what,
                "it answers on the localhost alias of the volume, on no other address of the Mac",
            );
        }
        ports.extend(inside.0..=inside.1);
    }
    ports
}

/// A published port: the range inside, the range outside, the protocol, and the address of the host.
struct Port {
    inside: (u16, u16),
    outside: Option<(u16, u16)>,
    protocol: String,
    address: Option<String>,
}

fn range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Parses `[[ADDRESS:]OUTSIDE:]INSIDE[/PROTOCOL]`.
fn short(text: &str) -> (String, Option<Port>) {
    let Some(plain) = defaults(text) else { return (text.to_owned(), None) };
    let (ports, protocol) = plain.rsplit_once('/').unwrap_or((&plain, "tcp"));
    let (rest, inside) = ports.rsplit_once(':').map_or((None, ports), |(rest, inside)| (Some(rest), inside));
    let (address, outside) = match rest.map(|rest| rest.rsplit_once(':').ok_or(rest)) {
        None => (None, None),
        Some(Err(outside)) => (None, Some(outside)),
        Some(Ok((address, outside))) => (Some(address.to_owned()), Some(outside).filter(|it| !it.is_empty())),
    };
    let port = || {
        let outside = match outside {
            Some(outside) => Some(numbers(outside)?),
            None => None,
        };
        Some(Port { inside: numbers(inside)?, outside, protocol: protocol.to_owned(), address })
    };
    (text.to_owned(), port())
}

fn long(item: &DocumentNode) -> (String, Option<Port>) {
    let target = item.text("target").unwrap_or_default();
    let outside = item.text("published").and_then(|text| numbers(&defaults(text)?));
    let port = numbers(target).map(|inside| Port {
        inside,
        outside,
        protocol: item.text("protocol").unwrap_or("tcp").to_owned(),
        address: item.text("host_ip").map(str::to_owned),
    });
    (target.to_owned(), port)
}

/// The first and the last port of a range.
fn numbers(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    // Larger ranges are not lists of services.
    (first > 0 && first <= last && last - first < 256).then_some((first, last))
}

/// Replaces variables by their defaults: `${PORT:-80}` becomes 80. `None` if one has no default.
fn defaults(text: &str) -> Option<String> {
    let Some((before, rest)) = text.split_once("${") else {
        return (!text.contains('$')).then(|| text.to_owned());
    };
    let (variable, after) = rest.split_once('}')?;
    let (_, default) = variable.split_once(":-").or_else(|| variable.split_once('-'))?;
    Some(format!("{before}{default}{}", defaults(after)?))
}
