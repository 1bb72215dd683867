//! Terraform, as `terraform show -json` prints a state or a plan, or as a configuration in JSON: networks of clouds are
//! providers, machines are volumes, peerings are links.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::draft::{Draft, Link, Provider, Volume};
use super::node::Node;

/// Networks, and where their range stands.
const NETWORKS: [(&str, &str); 8] = [
    ("aws_vpc", "cidr_block"),
    ("google_compute_subnetwork", "ip_cidr_range"),
    ("azurerm_virtual_network", "address_space"),
    ("digitalocean_vpc", "ip_range"),
    ("hcloud_network", "ip_range"),
    ("ibm_is_subnet", "ipv4_cidr_block"),
    ("oci_core_vcn", "cidr_block"),
    ("scaleway_vpc_private_network", "ipv4_subnet"),
];
/// Machines, and where their address and their network stand; the latter by the keys that may name it.
const MACHINES: [(&str, &[&str], &[&str]); 8] = [
    ("aws_instance", &["private_ip"], &["subnet_id"]),
    ("google_compute_instance", &["network_interface", "network_ip"], &["network_interface", "subnetwork"]),
    ("azurerm_linux_virtual_machine", &["private_ip_address"], &["network_interface_ids"]),
    ("azurerm_windows_virtual_machine", &["private_ip_address"], &["network_interface_ids"]),
    ("digitalocean_droplet", &["ipv4_address_private"], &["vpc_uuid"]),
    ("hcloud_server", &["network", "ip"], &["network", "network_id"]),
    (
        "ibm_is_instance",
        &["primary_network_interface", "primary_ipv4_address"],
        &["primary_network_interface", "subnet"],
    ),
    ("oci_core_instance", &["private_ip"], &["subnet_id"]),
];
/// What joins two networks, and the keys of both.
const PEERINGS: [(&str, &str, &str); 3] = [
    ("aws_vpc_peering_connection", "vpc_id", "peer_vpc_id"),
    ("azurerm_virtual_network_peering", "virtual_network_name", "remote_virtual_network_id"),
    ("google_compute_network_peering", "network", "peer_network"),
];
/// What lies between a machine and its network, and the key that leads on.
const BETWEEN: [(&str, &[&str]); 3] = [
    ("aws_subnet", &["vpc_id"]),
    ("azurerm_subnet", &["virtual_network_name"]),
    ("azurerm_network_interface", &["ip_configuration", "subnet_id"]),
];
/// What says who may reach whom inside a cloud.
const RULES: [&str; 9] = [
    "aws_security_group",
    "aws_security_group_rule",
    "aws_vpc_security_group_ingress_rule",
    "aws_network_acl",
    "google_compute_firewall",
    "azurerm_network_security_group",
    "azurerm_network_security_rule",
    "digitalocean_firewall",
    "hcloud_firewall",
];

/// A resource: its type, its name, and what it is.
struct Resource<'a> {
    kind: &'a str,
    name: String,
    values: &'a Node,
    line: usize,
}

pub fn draft(file: &Node) -> Draft {
    let mut resources = Vec::new();
    for key in ["values", "planned_values"] {
        if let Some(root) = file.at(&[key, "root_module"]) {
            shown(root, &mut resources);
        }
    }
    for kinds in file.get("resource").map_or(&[][..], Node::items) {
        for (kind, named) in kinds.entries() {
            for (name, values) in named.entries() {
                // A block that may be repeated is a list of one.
                let values = values.items().first().unwrap_or(values);
                resources.push(Resource { kind, name: name.clone(), values, line: values.line });
            }
        }
    }
    let mut draft = Draft::default();
    for it in &resources {
        network(it, &mut draft);
    }
    for it in &resources {
        machine(it, &resources, &mut draft);
    }
    for it in &resources {
        peering(it, &resources, &mut draft);
    }
    for rule in resources.iter().filter(|it| RULES.contains(&it.kind)) {
        let what = format!("{}.{}", rule.kind, rule.name);
        draft.leave(
            rule.line,
            what,
            "inside a provider everything passes; between providers write a link for what it permits",
        );
    }
    draft.finish();
    draft
}

/// The resources of a module and of those below it.
fn shown<'a>(module: &'a Node, resources: &mut Vec<Resource<'a>>) {
    for resource in module.get("resources").map_or(&[][..], Node::items) {
        let (Some(kind), Some(values)) = (resource.text("type"), resource.get("values")) else { continue };
        if resource.text("mode").is_some_and(|mode| mode != "managed") {
            continue;
        }
        let index = resource.text("index").map_or_else(String::new, |index| format!("-{index}"));
        let name = resource.text("name").unwrap_or(kind).to_owned() + &index;
        resources.push(Resource { kind, name, values, line: resource.line });
    }
    for child in module.get("child_modules").map_or(&[][..], Node::items) {
        shown(child, resources);
    }
}

/// The first text below keys, through lists.
fn text<'a>(node: &'a Node, keys: &[&str]) -> Option<(&'a str, usize)> {
    let Some((key, rest)) = keys.split_first() else {
        let node = node.items().first()?;
        return Some((node.as_text()?, node.line));
    };
    node.items().iter().find_map(|item| text(item.get(key)?, rest))
}

/// What people call it: the tag or the name, else the name in the configuration.
fn called(resource: &Resource) -> String {
    let named = text(resource.values, &["tags", "Name"]).or_else(|| text(resource.values, &["name"]));
    let plain = named.map(|(name, _)| name).filter(|name| !name.contains("${") && !name.is_empty());
    plain.unwrap_or(&resource.name).to_owned()
}

fn network(resource: &Resource, draft: &mut Draft) {
    let Some((_, key)) = NETWORKS.iter().find(|(kind, _)| *kind == resource.kind) else { return };
    let range = text(resource.values, &[key]);
    let parsed = range.and_then(|(text, line)| Some((text.parse::<Ipv4Net>().ok()?.trunc(), line)));
    if parsed.is_none() {
        let what =
            range.map_or_else(|| format!("{}.{}", resource.kind, resource.name), |(text, _)| text.to_owned());
        let line = range.map_or(resource.line, |(_, line)| line);
        draft.leave(line, what, "it is not an IPv4 network that stands here: one is chosen");
    }
    draft.providers.push(Provider {
        name: name_of(resource),
        network: parsed,
        line: resource.line,
        ..Provider::default()
    });
}

/// The name of a provider: that of the resource, with its kind where two have the same.
fn name_of(resource: &Resource) -> String {
    let cloud = resource.kind.split('_').next().unwrap_or_default();
    let cloud = match cloud {
        "google" => "gcp",
        "azurerm" => "azure",
        other => other,
    };
    let name = called(resource);
    if name.contains(cloud) { name } else { format!("{cloud}-{name}") }
}

fn machine(resource: &Resource, all: &[Resource], draft: &mut Draft) {
    let Some((_, at, within)) = MACHINES.iter().find(|(kind, ..)| *kind == resource.kind) else { return };
    let address =
        text(resource.values, at).and_then(|(text, line)| Some((text.parse::<Ipv4Addr>().ok()?, line)));
    let holds = |address: Ipv4Addr| {
        draft.providers.iter().find(|it| it.network.is_some_and(|(network, _)| network.contains(&address)))
    };
    let by_address = address.and_then(|(address, _)| holds(address)).map(|it| it.name.clone());
    let by_name = text(resource.values, within).and_then(|(reference, _)| named(reference, all, 0));
    let of_cloud = || {
        let cloud = resource.kind.split('_').next().unwrap_or_default();
        let mut own = all.iter().filter(|it| {
            it.kind.split('_').next() == Some(cloud) && NETWORKS.iter().any(|(kind, _)| *kind == it.kind)
        });
        own.next().filter(|_| own.next().is_none()).map(name_of)
    };
    let name = called(resource);
    match by_name.or(by_address).or_else(of_cloud) {
        Some(provider) => {
            draft.volumes.push(Volume { name, provider, address, line: resource.line, ..Volume::default() });
        }
        None => draft.leave(
            resource.line,
            format!("{}.{name}", resource.kind),
            "nothing here says which network it is in",
        ),
    }
}

/// The provider that a reference leads to: `${aws_subnet.a.id}`, or the id that a resource has.
fn named(reference: &str, all: &[Resource], depth: usize) -> Option<String> {
    let inner = reference.trim_start_matches("${").trim_end_matches('}');
    let is_meant = |it: &&Resource| {
        let by_name = format!("{}.{}", it.kind, it.name);
        let is_named =
            inner.strip_prefix(&by_name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let ids = ["id", "self_link", "name"];
        is_named || ids.iter().any(|id| text(it.values, &[id]).is_some_and(|(found, _)| found == reference))
    };
    let known = |it: &&Resource| {
        NETWORKS.iter().any(|(kind, _)| *kind == it.kind) || BETWEEN.iter().any(|(kind, _)| *kind == it.kind)
    };
    let found = all.iter().filter(known).find(is_meant)?;
    let Some((_, on)) = BETWEEN.iter().find(|(kind, _)| *kind == found.kind) else {
        return Some(name_of(found));
    };
    let (reference, _) = text(found.values, on)?;
    // A file may say anything, a circle too.
    if depth < 4 { named(reference, all, depth + 1) } else { None }
}

fn peering(resource: &Resource, all: &[Resource], draft: &mut Draft) {
    let Some((_, one, other)) = PEERINGS.iter().find(|(kind, ..)| *kind == resource.kind) else { return };
    let end = |key: &str| text(resource.values, &[key]).and_then(|(reference, _)| named(reference, all, 0));
    match (end(one), end(other)) {
        (Some(one), Some(other)) if one != other => {
            let link = Link { from: vec![one], to: vec![other], is_mutual: true, ..Link::default() };
            let turned = Link { from: link.to.clone(), to: link.from.clone(), ..link.clone() };
            // Azure and Google declare each way.
            if !draft.links.contains(&link) && !draft.links.contains(&turned) {
                draft.links.push(link);
            }
        }
        _ => {
            let what = format!("{}.{}", resource.kind, resource.name);
            draft.leave(resource.line, what, "not both of its networks are in this file");
        }
    }
}
