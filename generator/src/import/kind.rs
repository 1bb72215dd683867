//! A kind cluster: every node becomes a volume, in the provider of its zone, or of the cluster if no node has a zone.

use std::collections::BTreeMap;

use super::draft::{Draft, DraftLink, DraftProvider, DraftVolume};
use super::node::DocumentNode;

/// The labels for the place of a node, the wider first.
const PLACES: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];
/// The port of the cluster's API inside.
const API: u16 = 6443;
/// The role of a node that has none.
const CONTROL_PLANE: &str = "control-plane";
/// Keys that concern the network and have no counterpart, with the reason.
const LEFT: [(&str, &str); 2] = [
    ("ipFamily", "volumes have IPv4 addresses"),
    ("apiServerAddress", "the API answers on the localhost alias of the control plane"),
];
/// The keys of networks inside the cluster.
const INSIDE: [&str; 2] = ["podSubnet", "serviceSubnet"];

pub fn draft(cluster: &DocumentNode) -> Draft {
    let mut draft = Draft::default();
    let name = cluster.text("name").unwrap_or("kind");
    let networking = cluster.get("networking");
    for key in INSIDE {
        if let Some(found) = networking.and_then(|it| it.get(key)) {
            let what = format!("{key}: {}", found.as_text().unwrap_or_default());
            draft.leave(
                found.line,
                what,
                "addresses of pods and services are inside the cluster; volumes are its nodes",
            );
        }
    }
    if let Some(port) = networking.and_then(|it| it.get("apiServerPort")) {
        let what = format!("apiServerPort: {}", port.as_text().unwrap_or_default());
        draft.leave(
            port.line,
            what,
            format!("the API answers at {API} on the localhost alias of the control plane"),
        );
    }
    for (key, why) in LEFT {
        if let Some(found) = networking.and_then(|it| it.get(key)) {
            draft.leave(found.line, format!("{key}: {}", found.as_text().unwrap_or_default()), why);
        }
    }
    let nodes = cluster.get("nodes").map_or(&[][..], DocumentNode::items);
    let balanced = nodes.iter().filter(|node| role(node) == CONTROL_PLANE).nth(1);
    if let Some(second) = balanced {
        draft.leave(
            second.line,
            "a second control plane",
            "the load balancer that kind puts before them is not in the file, and no volume",
        );
    }
    let place =
        PLACES.into_iter().find(|label| nodes.iter().any(|node| node.at(&["labels", label]).is_some()));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        volume(name, node, place, &mut counts, &mut draft);
    }
    if nodes.is_empty() {
        let one = DraftVolume {
            name: format!("{name}-control-plane"),
            publish: [API].into(),
            ..DraftVolume::default()
        };
        draft.volumes.push(DraftVolume { provider: name.to_owned(), line: cluster.line, ..one });
        draft.providers.push(DraftProvider {
            name: name.to_owned(),
            line: cluster.line,
            ..DraftProvider::default()
        });
    }
    if draft.providers.len() > 1 {
        let all: Vec<String> = draft.providers.iter().map(|provider| provider.name.clone()).collect();
        // A cluster needs all its nodes to reach each other.
        draft.links.push(DraftLink { from: all.clone(), to: all, ..DraftLink::default() });
    }
    draft.finish();
    draft
}

fn role(node: &DocumentNode) -> &str {
    node.text("role").unwrap_or(CONTROL_PLANE)
}

fn volume(
    cluster: &str,
    node: &DocumentNode,
    place: Option<&str>,
    counts: &mut BTreeMap<String, usize>,
    draft: &mut Draft,
) {
    let role = role(node);
    let count = counts.entry(role.to_owned()).or_default();
    *count += 1;
    // kind's own container names: the second worker is `kind-worker2`.
    let name = if *count == 1 { format!("{cluster}-{role}") } else { format!("{cluster}-{role}{count}") };
    let label = place.and_then(|label| node.at(&["labels", label])?.as_text());
    let provider = label.unwrap_or(cluster).to_owned();
    if !draft.providers.iter().any(|known| known.name == provider) {
        draft.providers.push(DraftProvider {
            name: provider.clone(),
            line: node.line,
            ..DraftProvider::default()
        });
    }
    let mut publish = std::collections::BTreeSet::new();
    if role == CONTROL_PLANE {
        publish.insert(API);
    }
    for mapping in node.get("extraPortMappings").map_or(&[][..], DocumentNode::items) {
        let port = mapping.text("containerPort").unwrap_or_default();
        let what = format!("{name}: containerPort {port}");
        let Some(inside) = port.parse().ok().filter(|port| *port > 0) else {
            draft.leave(mapping.line, what, "it is not a port");
            continue;
        };
        if mapping.text("protocol").is_some_and(|protocol| !protocol.eq_ignore_ascii_case("tcp")) {
            draft.leave(mapping.line, what, "TCP alone is published on a localhost alias");
            continue;
        }
        if let Some(outside) = mapping.text("hostPort").filter(|outside| *outside != port) {
            let why = format!("it answers at {port} on the volume's localhost alias, not at {outside}");
            draft.leave(mapping.line, what, why);
        }
        if let Some(address) =
            mapping.text("listenAddress").filter(|it| !["127.0.0.1", "0.0.0.0"].contains(it))
        {
            draft.leave(
                mapping.line,
                format!("{name}: listenAddress {address}"),
                "it answers on the localhost alias of the volume, on no other address of the Mac",
            );
        }
        publish.insert(inside);
    }
    for mount in node.get("extraMounts").map_or(&[][..], DocumentNode::items) {
        draft.leave(
            mount.line,
            format!("{name}: extraMounts"),
            "directories of the host have no counterpart",
        );
    }
    draft.volumes.push(DraftVolume { name, provider, address: None, publish, line: node.line });
}
