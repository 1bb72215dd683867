//! A declaration under construction: what was found in a file, then given names and addresses that are valid here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::unusable::Left;
use crate::model::{FreeNetworks, Name, Protocol};
use crate::place::Quoted;

/// The prefix length of networks whose address the file does not give.
const PREFIX: u8 = 16;
/// The last byte of a localhost alias: 127.0.1.2 to 127.0.1.254.
const ALIASES: std::ops::RangeInclusive<u8> = 2..=254;

/// A declaration under construction. Names are those of the other tool until [`Draft::finish`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// The networks, in the order of the file.
    pub providers: Vec<DraftProvider>,
    /// The machines, in the order of the file.
    pub volumes: Vec<DraftVolume>,
    /// The permissions.
    pub links: Vec<DraftLink>,
    /// What was not converted.
    pub left: Vec<Left>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftProvider {
    /// The name of the network.
    pub name: String,
    /// The address of the network, and its line.
    pub network: Option<(Ipv4Net, usize)>,
    /// The address of the gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Whether its machines have no access to the outside.
    pub is_internal: bool,
    /// The line of the network.
    pub line: usize,
}

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftVolume {
    /// The name of the machine.
    pub name: String,
    /// The name of its network.
    pub provider: String,
    /// Its address, and the line of that.
    pub address: Option<(Ipv4Addr, usize)>,
    /// The TCP ports that it publishes.
    pub publish: BTreeSet<u16>,
    /// The line of the machine.
    pub line: usize,
}

/// A permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftLink {
    /// The names of those that may open connections.
    pub from: Vec<String>,
    /// The names of those that may be reached.
    pub to: Vec<String>,
    /// The protocol; `None` means every protocol.
    pub protocol: Option<Protocol>,
    /// The first and the last port; `None` means every port.
    pub ports: Option<(u16, u16)>,
    /// Whether either side may open connections.
    pub is_mutual: bool,
}

impl Draft {
    /// Records something that is not converted.
    pub fn leave(&mut self, line: usize, what: impl Into<String>, why: impl Into<String>) {
        self.left.push(Left { line, what: what.into(), why: why.into() });
    }

    /// Gives every network and machine a valid name, address and alias.
    pub fn finish(&mut self) {
        self.name_all();
        self.place_networks();
        self.place_volumes();
    }

    /// Gives everything a valid name: lower case, with hyphens, unique.
    fn name_all(&mut self) {
        let mut taken = BTreeSet::new();
        let mut told = Vec::new();
        let mut known: BTreeMap<(bool, String), String> = BTreeMap::new();
        let mut rename = |is_provider: bool, name: &mut String, line: usize| {
            let given = name.clone();
            *name = free_name(&given, &mut taken);
            if *name != given {
                told.push((line, given.clone(), format!("it is called `{name}` here")));
            }
            known.insert((is_provider, given), name.clone());
        };
        self.providers.iter_mut().for_each(|it| rename(true, &mut it.name, it.line));
        self.volumes.iter_mut().for_each(|it| rename(false, &mut it.name, it.line));
        for (line, what, why) in told {
            self.leave(line, Quoted(&what).to_string(), why);
        }
        let network = |name: &mut String| {
            if let Some(new) = known.get(&(true, name.clone())) {
                name.clone_from(new);
            }
        };
        self.volumes.iter_mut().for_each(|it| network(&mut it.provider));
        let end = |name: &mut String| {
            let found = known.get(&(false, name.clone())).or_else(|| known.get(&(true, name.clone())));
            if let Some(new) = found {
                name.clone_from(new);
            }
        };
        self.links.iter_mut().flat_map(|it| it.from.iter_mut().chain(&mut it.to)).for_each(end);
    }

    /// Chooses private-use networks for those without one, and in place of overlapping or invalid ones.
    fn place_networks(&mut self) {
        let mut taken: Vec<Ipv4Net> = Vec::new();
        let mut told = Vec::new();
        for provider in &mut self.providers {
            let Some((network, line)) = provider.network else { continue };
            let overlap = taken.iter().any(|other| other.contains(&network) || network.contains(other));
            let why = if overlap {
                "it overlaps another network, which no two providers may: another is chosen"
            } else if network.prefix_len() > 29 || !is_usable(network) {
                "no provider can have it: another is chosen"
            } else {
                taken.push(network);
                continue;
            };
            told.push((line, network.to_string(), why));
            (provider.network, provider.gateway) = (None, None);
        }
        for (line, what, why) in told {
            self.leave(line, what, why);
        }
        let mut free = FreeNetworks::new(taken);
        for provider in &mut self.providers {
            let network = provider.network.map(|(network, _)| network).or_else(|| free.take(PREFIX));
            // Private-use space has more networks of this size than a file, so the fallback is not expected.
            let network = network.unwrap_or_else(|| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), PREFIX));
            provider.network = Some((network, provider.line));
            let first = Ipv4Addr::from(
                u32::from(network.network()) + if network.prefix_len() == PREFIX { 257 } else { 1 },
            );
            let inside = |it: &Ipv4Addr| {
                network.contains(it) && *it != network.network() && *it != network.broadcast()
            };
            provider.gateway = provider.gateway.filter(inside).or(Some(first));
        }
    }

    fn place_volumes(&mut self) {
        let mut told = Vec::new();
        let mut taken: BTreeSet<Ipv4Addr> = self.providers.iter().filter_map(|it| it.gateway).collect();
        let of: BTreeMap<String, DraftProvider> =
            self.providers.iter().map(|it| (it.name.clone(), it.clone())).collect();
        for volume in &mut self.volumes {
            let Some((address, line)) = volume.address else { continue };
            let provider = of.get(&volume.provider);
            let bridge = provider.and_then(bridge);
            let network = provider.and_then(|it| it.network).map(|(network, _)| network);
            let edges = [network, bridge].into_iter().flatten();
            let is_edge = edges.clone().any(|net| address == net.network() || address == net.broadcast());
            let is_inside = network.is_some_and(|network| network.contains(&address));
            if !is_inside || is_edge || !taken.insert(address) {
                told.push((
                    line,
                    address.to_string(),
                    "it is outside of its network here, or taken: another is chosen",
                ));
                volume.address = None;
            }
        }
        for volume in &mut self.volumes {
            let Some(provider) = of.get(&volume.provider).filter(|_| volume.address.is_none()) else {
                continue;
            };
            let (Some((network, _)), Some(gateway), Some(bridge)) =
                (provider.network, provider.gateway, bridge(provider))
            else {
                continue;
            };
            let last = u32::from(network.broadcast());
            let is_free = |it: &Ipv4Addr| {
                *it != bridge.broadcast()
                    && *it != network.broadcast()
                    && *it != bridge.network()
                    && !taken.contains(it)
            };
            let behind = (u32::from(gateway) + 1..last).chain(u32::from(network.network()) + 1..last);
            let found = behind.map(Ipv4Addr::from).find(is_free);
            volume.address = found.map(|address| (address, volume.line));
            taken.extend(found);
        }
        for (line, what, why) in told {
            self.leave(line, what, why);
        }
        let without: Vec<_> = self.volumes.iter().filter(|it| it.address.is_none()).cloned().collect();
        for volume in without {
            self.leave(
                volume.line,
                volume.name.clone(),
                "its network has no address left: it is not in the draft",
            );
        }
        self.volumes.retain(|it| it.address.is_some());
        let late: Vec<_> = self.volumes.iter().skip(ALIASES.count()).cloned().collect();
        for volume in late.into_iter().filter(|it| !it.publish.is_empty()) {
            self.leave(
                volume.line,
                volume.name,
                "no localhost alias is left for its ports: they are not published",
            );
        }
        let known: BTreeSet<String> =
            of.into_keys().chain(self.volumes.iter().map(|volume| volume.name.clone())).collect();
        for link in &mut self.links {
            link.from.retain(|end| known.contains(end));
            link.to.retain(|end| known.contains(end));
        }
        self.links.retain(|link| !link.from.is_empty() && !link.to.is_empty());
    }

    /// The declaration as input JSON.
    pub fn json(&self) -> Value {
        let provider = |it: &DraftProvider| {
            let mut value =
                json!({ "network": it.network.map(|(network, _)| network), "gateway": bridge(it) });
            if it.is_internal {
                value["internet"] = json!(false);
            }
            (it.name.clone(), value)
        };
        let mut aliases = ALIASES;
        let volume = |it: &DraftVolume| {
            let mut value =
                json!({ "provider": it.provider, "address": it.address.map(|(address, _)| address) });
            if let Some(alias) = aliases.next() {
                value["localhost"] = json!(format!("127.0.1.{alias}"));
                if !it.publish.is_empty() {
                    value["publish"] = json!(it.publish);
                }
            }
            (it.name.clone(), value)
        };
        json!({
            "version": 1,
            "providers": self.providers.iter().map(provider).collect::<BTreeMap<_, _>>(),
            "volumes": self.volumes.iter().map(volume).collect::<BTreeMap<_, _>>(),
            "links": self.links.iter().map(link).collect::<Vec<_>>(),
        })
    }

    /// The declaration as a Nix module. Names, addresses and ports contain nothing that would need escaping.
    pub fn nix(&self, heading: &[String]) -> String {
        let json = self.json();
        let mut out = String::new();
        for line in heading {
            let _ = writeln!(out, "# {line}");
        }
        out.push_str("{\n  services.nixvol-net = {\n    enable = true;\n\n");
        for (part, what) in [("providers", &json["providers"]), ("volumes", &json["volumes"])] {
            for (name, fields) in what.as_object().into_iter().flatten() {
                let _ = writeln!(out, "    {part}.{name} = {};", set(fields));
            }
            if what.as_object().is_some_and(|it| !it.is_empty()) {
                out.push('\n');
            }
        }
        out.push_str("    # Who may open connections to whom, between providers.\n");
        if self.links.is_empty() {
            out.push_str("    links = [ ];\n");
        } else {
            out.push_str("    links = [\n");
            for link in json["links"].as_array().into_iter().flatten() {
                let _ = writeln!(out, "      {}", set(link));
            }
            out.push_str("    ];\n");
        }
        out.push_str("  };\n}\n");
        out
    }
}

/// The gateway with the prefix length of its bridge.
fn bridge(provider: &DraftProvider) -> Option<Ipv4Net> {
    let (network, _) = provider.network?;
    Ipv4Net::new(provider.gateway?, network.prefix_len().max(24)).ok()
}

fn is_usable(network: Ipv4Net) -> bool {
    let first = network.network();
    network == network.trunc()
        && !(first.is_loopback() || first.is_multicast() || first.is_link_local() || first.octets()[0] == 0)
        && first.octets()[0] < 224
        && network.prefix_len() >= 8
}

fn link(link: &DraftLink) -> Value {
    let mut value = json!({ "from": link.from, "to": link.to });
    if let Some(protocol) = link.protocol {
        value["protocol"] = json!(protocol);
    }
    if let Some((first, last)) = link.ports {
        value["ports"] = if first == last { json!([first]) } else { json!([format!("{first}-{last}")]) };
    }
    if link.is_mutual {
        value["bidirectional"] = json!(true);
    }
    value
}

fn set(fields: &Value) -> String {
    const ORDER: [&str; 10] = [
        "network",
        "gateway",
        "internet",
        "provider",
        "address",
        "localhost",
        "publish",
        "from",
        "to",
        "protocol",
    ];
    let mut text = String::from("{ ");
    for name in ORDER.into_iter().chain(["ports", "bidirectional"]) {
        if let Some(found) = fields.get(name) {
            let _ = write!(text, "{name} = {}; ", value(found));
        }
    }
    text + "}"
}

fn value(found: &Value) -> String {
    match found {
        Value::Array(items) => format!("[ {} ]", items.iter().map(value).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// A valid name that is not taken; it is added to `taken`.
fn free_name(given: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = given.chars().map(plain).collect();
    let name: String = name.trim_matches('-').chars().take(Name::LONGEST).collect();
    let name = name.trim_end_matches('-');
    let name = if name.is_empty() { "unnamed" } else { name };
    let is_free = |name: &str| !taken.contains(name) && !Name::RESERVED.contains(&name);
    let mut free = name.to_owned();
    let mut number = 0;
    while !is_free(&free) {
        number += 1;
        let end = format!("-{number}");
        free = name.chars().take(Name::LONGEST - end.len()).collect::<String>() + &end;
    }
    taken.insert(free.clone());
    free
}
