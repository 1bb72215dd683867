//! Terraform: the state or plan that `terraform show -json` prints, a stored state, or a configuration in JSON.
//! Networks of clouds become providers, machines become volumes, peerings become links.

mod references;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::draft::{Draft, DraftLink, DraftProvider, DraftVolume};
use super::node::DocumentNode;
use references::{Configuration, ResourcePath, plain};

/// Types of networks, each with the key of its address range.
const NETWORKS: [(&str, &str); 9] = [
    ("aws_vpc", "cidr_block"),
    ("aws_default_vpc", "cidr_block"),
    ("google_compute_subnetwork", "ip_cidr_range"),
    ("azurerm_virtual_network", "address_space"),
    ("digitalocean_vpc", "ip_range"),
    ("hcloud_network", "ip_range"),
    ("ibm_is_subnet", "ipv4_cidr_block"),
    ("oci_core_vcn", "cidr_block"),
    ("scaleway_vpc_private_network", "ipv4_subnet"),
];
/// Types of machines, each with the path of its address, and the keys that may name its network.
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
/// Types that connect two networks, with the keys of both.
const PEERINGS: [(&str, &str, &str); 3] = [
    ("aws_vpc_peering_connection", "vpc_id", "peer_vpc_id"),
    ("azurerm_virtual_network_peering", "virtual_network_name", "remote_virtual_network_id"),
    ("google_compute_network_peering", "network", "peer_network"),
];
/// Types between a machine and its network, with the keys that lead on.
const BETWEEN: [(&str, &[&str]); 4] = [
    ("aws_subnet", &["vpc_id"]),
    ("aws_default_subnet", &["vpc_id"]),
    ("azurerm_subnet", &["virtual_network_name"]),
    ("azurerm_network_interface", &["ip_configuration", "subnet_id"]),
];
/// Types that restrict traffic inside a cloud.
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

/// A resource: type, name and values.
struct Resource<'a> {
    kind: &'a str,
    /// With the instance key, if there are several.
    name: String,
    place: ResourcePath,
    values: &'a DocumentNode,
    line: usize,
    /// Whether it is a data source: read, not created.
    is_data: bool,
    /// The name of the provider that it becomes, if it is a network.
    provider: String,
}

/// The contents of a file.
struct File<'a> {
    resources: Vec<Resource<'a>>,
    configuration: Configuration<'a>,
}

/// Converts the machines and networks of a file.
pub fn draft(file: &DocumentNode) -> Draft {
    let mut resources = Vec::new();
    for key in ["values", "planned_values"] {
        if let Some(root) = file.at(&[key, "root_module"]) {
            shown(root, &|_| true, &mut resources);
        }
    }
    if let Some(root) = file.at(&["prior_state", "values", "root_module"]) {
        shown(root, &|is_data| is_data, &mut resources);
    }
    stored(file, &mut resources);
    configured(file, &mut resources);
    name_providers(&mut resources);
    let all = File { resources, configuration: Configuration::of(file) };
    let mut draft = Draft::default();
    for it in all.made() {
        network(it, &mut draft);
    }
    for it in all.made() {
        machine(it, &all, &mut draft);
    }
    for it in all.made() {
        peering(it, &all, &mut draft);
    }
    for rule in all.made().filter(|it| RULES.contains(&it.kind)) {
        let what = format!("{}.{}", rule.kind, rule.name);
        draft.leave(
            rule.line,
            what,
            "inside a provider everything passes; between providers write a link for what it permits",
        );
    }
    others(&all, &mut draft);
    draft.finish();
    draft
}

impl Resource<'_> {
    fn is_network(&self) -> bool {
        NETWORKS.iter().any(|(kind, _)| *kind == self.kind)
    }

    /// For a type between a machine and its network, the keys that lead on.
    fn between(&self) -> Option<&'static [&'static str]> {
        BETWEEN.iter().find(|(kind, _)| *kind == self.kind).map(|(_, on)| *on)
    }

    /// Whether the type is one that is converted or followed.
    fn is_known(&self) -> bool {
        self.is_network()
            || self.between().is_some()
            || MACHINES.iter().any(|(kind, ..)| *kind == self.kind)
            || PEERINGS.iter().any(|(kind, ..)| *kind == self.kind)
            || RULES.contains(&self.kind)
            // Its subnetworks are the networks.
            || self.kind == "google_compute_network"
    }
}

/// The resources of a module and its children, in the output of `terraform show -json`.
fn shown<'a>(module: &'a DocumentNode, is_wanted: &dyn Fn(bool) -> bool, resources: &mut Vec<Resource<'a>>) {
    let path = plain(module.text("address").unwrap_or_default());
    for resource in module.get("resources").map_or(&[][..], DocumentNode::items) {
        let (Some(kind), Some(values)) = (resource.text("type"), resource.get("values")) else { continue };
        let is_data = resource.text("mode").is_some_and(|mode| mode != "managed");
        if is_wanted(is_data) {
            let name = resource.text("name").unwrap_or(kind);
            let place = (path.clone(), format!("{kind}.{name}"));
            let name = keyed(name, resource.get("index"));
            let (line, provider) = (resource.line, String::new());
            resources.push(Resource { kind, name, place, values, line, is_data, provider });
        }
    }
    for child in module.get("child_modules").map_or(&[][..], DocumentNode::items) {
        shown(child, is_wanted, resources);
    }
}

/// The resources of a stored state.
fn stored<'a>(file: &'a DocumentNode, resources: &mut Vec<Resource<'a>>) {
    for resource in file.get("resources").map_or(&[][..], DocumentNode::items) {
        let Some(kind) = resource.text("type") else { continue };
        let is_data = resource.text("mode").is_some_and(|mode| mode != "managed");
        let name = resource.text("name").unwrap_or(kind);
        let place = (plain(resource.text("module").unwrap_or_default()), format!("{kind}.{name}"));
        for instance in resource.get("instances").map_or(&[][..], DocumentNode::items) {
            let Some(values) = instance.get("attributes") else { continue };
            let (name, place) = (keyed(name, instance.get("index_key")), place.clone());
            let (line, provider) = (resource.line, String::new());
            resources.push(Resource { kind, name, place, values, line, is_data, provider });
        }
    }
}

/// The resources of a JSON configuration.
fn configured<'a>(file: &'a DocumentNode, resources: &mut Vec<Resource<'a>>) {
    for (key, is_data) in [("resource", false), ("data", true)] {
        for kinds in file.get(key).map_or(&[][..], DocumentNode::items) {
            for (kind, named) in kinds.entries() {
                for (name, values) in named.items().iter().flat_map(DocumentNode::entries) {
                    // A block that may be repeated is a list with one element.
                    let values = values.items().first().unwrap_or(values);
                    let place = (String::new(), format!("{kind}.{name}"));
                    let (name, line, provider) = (name.clone(), values.line, String::new());
                    resources.push(Resource { kind, name, place, values, line, is_data, provider });
                }
            }
        }
    }
}

/// The name of an instance: with the key from `count` or `for_each`.
fn keyed(name: &str, key: Option<&DocumentNode>) -> String {
    match key.and_then(DocumentNode::as_text) {
        Some(key) => format!("{name}-{key}"),
        None => name.to_owned(),
    }
}

/// Gives each network its provider name: cloud and resource name, with a number if that is taken.
fn name_providers(resources: &mut [Resource]) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for resource in resources.iter_mut().filter(|it| it.is_network()) {
        let cloud = cloud(resource);
        let name = called(resource);
        let name = if name.contains(cloud) { name } else { format!("{cloud}-{name}") };
        let numbered = (2_usize..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
        resource.provider = free.unwrap_or(name);
        taken.insert(resource.provider.clone());
    }
}

/// The usual name of a resource's cloud.
fn cloud<'a>(resource: &Resource<'a>) -> &'a str {
    match resource.kind.split('_').next().unwrap_or_default() {
        "google" => "gcp",
        "azurerm" => "azure",
        other => other,
    }
}

/// The first text at a path of keys, through lists.
fn text<'a>(node: &'a DocumentNode, keys: &[&str]) -> Option<(&'a str, usize)> {
    let Some((key, rest)) = keys.split_first() else {
        let node = node.items().first()?;
        return Some((node.as_text()?, node.line));
    };
    node.items().iter().find_map(|item| text(item.get(key)?, rest))
}

/// The display name: its tag or name, else the name in the configuration.
fn called(resource: &Resource) -> String {
    let named = text(resource.values, &["tags", "Name"]).or_else(|| text(resource.values, &["name"]));
    let plain = named.map(|(name, _)| name).filter(|name| !name.contains("${") && !name.is_empty());
    plain.unwrap_or(&resource.name).to_owned()
}

/// Converts the address range of a network, and reports its other ranges.
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
    for more in resource.values.get(key).map_or(&[][..], DocumentNode::items).iter().skip(1) {
        draft.leave(more.line, more.as_text().unwrap_or_default(), "a provider has one network");
    }
    for key in ["ipv6_cidr_block", "ipv6_cidr_range", "ipv6_address_space"] {
        if let Some((found, line)) = text(resource.values, &[key]).filter(|(found, _)| !found.is_empty()) {
            draft.leave(line, found, "it is not an IPv4 network");
        }
    }
    draft.providers.push(DraftProvider {
        name: resource.provider.clone(),
        network: parsed,
        line: resource.line,
        ..DraftProvider::default()
    });
}

fn machine(resource: &Resource, all: &File, draft: &mut Draft) {
    let Some((_, at, within)) = MACHINES.iter().find(|(kind, ..)| *kind == resource.kind) else { return };
    let address =
        text(resource.values, at).and_then(|(text, line)| Some((text.parse::<Ipv4Addr>().ok()?, line)));
    let holds = |address: Ipv4Addr| {
        draft.providers.iter().find(|it| it.network.is_some_and(|(network, _)| network.contains(&address)))
    };
    let by_address = address.and_then(|(address, _)| holds(address)).map(|it| it.name.clone());
    let by_name = all.leads(resource, within, 0);
    let cloud = cloud(resource);
    let mut own = all.made().filter(|it| it.is_network() && self::cloud(it) == cloud);
    let (first, second) = (own.next(), own.next());
    let of_cloud = first.filter(|_| second.is_none()).map(|it| it.provider.clone());
    let name = called(resource);
    let found = by_name.as_ref().map(|it| it.provider.clone()).or(by_address).or(of_cloud);
    let provider = match found {
        Some(provider) => provider,
        // Every cloud has a default network for machines that name none.
        None if first.is_none() => {
            if !draft.providers.iter().any(|it| it.name == cloud) {
                let name = cloud.to_owned();
                draft.providers.push(DraftProvider { name, line: resource.line, ..DraftProvider::default() });
            }
            let what = format!("{}.{name}", resource.kind);
            let why = format!("its network is not in this file: it is in `{cloud}`, whose network is chosen");
            draft.leave(resource.line, what, why);
            cloud.to_owned()
        }
        None => {
            let what = format!("{}.{name}", resource.kind);
            draft.leave(resource.line, what, "nothing here says which network it is in");
            return;
        }
    };
    // A network that is created elsewhere counts if a machine is in it.
    if let Some(elsewhere) = by_name.filter(|it| it.is_data)
        && !draft.providers.iter().any(|it| it.name == elsewhere.provider)
    {
        network(elsewhere, draft);
    }
    draft.volumes.push(DraftVolume {
        name,
        provider,
        address,
        line: resource.line,
        ..DraftVolume::default()
    });
}

impl<'a> File<'a> {
    /// The resources that are created, without data sources.
    fn made(&self) -> impl Iterator<Item = &Resource<'a>> {
        self.resources.iter().filter(|it| !it.is_data)
    }

    /// The network to which an argument of a resource leads.
    fn leads(&self, resource: &Resource, argument: &[&str], depth: usize) -> Option<&Resource<'a>> {
        let found = if let Some((reference, _)) = text(resource.values, argument) {
            self.named(reference)?
        } else {
            let places = self.configuration.named(&resource.place, argument);
            places.iter().find_map(|place| self.on_the_way().find(|it| it.place == *place))?
        };
        match found.between() {
            None => Some(found),
            // A file may contain cycles.
            Some(on) if depth < 4 => self.leads(found, on, depth + 1),
            Some(_) => None,
        }
    }

    /// Networks, and what may lie between them and machines.
    fn on_the_way(&self) -> impl Iterator<Item = &Resource<'a>> {
        self.resources.iter().filter(|it| it.is_network() || it.between().is_some())
    }

    /// The resource that a reference names: `${aws_subnet.a.id}`, or the id of a resource.
    fn named(&self, reference: &str) -> Option<&Resource<'a>> {
        let inner = reference.trim_start_matches("${").trim_end_matches('}');
        let is_meant = |it: &&Resource| {
            let (_, place) = &it.place;
            let place = if it.is_data { format!("data.{place}") } else { place.clone() };
            let is_named = inner
                .strip_prefix(&place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            let has = |id: &&str| text(it.values, &[id]).is_some_and(|(found, _)| found == reference);
            is_named || ["id", "self_link", "name"].iter().any(has)
        };
        self.on_the_way().find(is_meant)
    }
}

fn peering(resource: &Resource, all: &File, draft: &mut Draft) {
    let Some((_, one, other)) = PEERINGS.iter().find(|(kind, ..)| *kind == resource.kind) else { return };
    let end = |key: &str| {
        let network = all.leads(resource, &[key], 0).filter(|it| !it.is_data);
        network.map(|it| it.provider.clone())
    };
    match (end(one), end(other)) {
        (Some(one), Some(other)) if one != other => {
            let link =
                DraftLink { from: vec![one], to: vec![other], is_mutual: true, ..DraftLink::default() };
            let turned = DraftLink { from: link.to.clone(), to: link.from.clone(), ..link.clone() };
            // Azure and Google declare each direction.
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

/// Reports what else the file creates: a line for each type.
fn others(all: &File, draft: &mut Draft) {
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for it in all.made().filter(|it| !it.is_known()) {
        kinds.entry(it.kind).or_insert((0, it.line)).0 += 1;
    }
    for (kind, (count, line)) in kinds {
        let what = if count == 1 { kind.to_owned() } else { format!("{kind} ({count})") };
        draft.leave(line, what, "nothing of it is taken: networks, machines and peerings are");
    }
}
