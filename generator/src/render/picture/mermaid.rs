//! The picture in Mermaid, which Markdown viewers draw: providers as subgraphs, and a node for every link, so that a
//! mesh does not need a line for every pair.
//!
//! The title of a subgraph must be one line, because Mermaid draws nodes over further lines; other facts about a
//! provider are in its first node.

use std::fmt::Write;

use super::scene::{CONDITIONS, DrawnLink, LinkRole, MAC, OUTSIDE, ProviderBox, Scene, VolumeCell};
use super::{KernelNames, MOST_LINKS};
use crate::identity::COLOURS;
use crate::model::{Endpoint, Name};
use crate::plan::Plan;

/// Lines that Mermaid draws, unless its own configuration says more.
const MOST_LINES: usize = 500;

/// The drawing.
pub fn mermaid(plan: &Plan, kernel: &KernelNames, around: &[Name]) -> String {
    let scene = Scene::of(plan, kernel, around);
    let shown = few(&scene.links);
    let mut out = String::from("flowchart LR\n");
    let _ = writeln!(out, "  internet([{}])", quoted(&["internet", OUTSIDE]));
    out.push_str("  subgraph this_mac[\"macOS\"]\n");
    let _ = writeln!(out, "    mac([{}])", quoted(&["this Mac", MAC]));
    for group in &scene.groups {
        boxed(group, &mut out);
    }
    localhost(&scene, &mut out);
    for link in shown {
        let lines: Vec<&str> =
            [link.name.as_str()].into_iter().chain(link.says.iter().map(String::as_str)).collect();
        let _ = writeln!(out, "    link{}{{{{{}}}}}", link.index, quoted(&lines));
    }
    out.push_str("  end\n");
    for link in shown {
        let node = format!("link{}", link.index);
        for (end, manner) in &link.taps {
            let end = id(end);
            let _ = match manner {
                LinkRole::Opens => writeln!(out, "  {end} --> {node}"),
                LinkRole::Reached => writeln!(out, "  {node} --> {end}"),
                LinkRole::Both => writeln!(out, "  {end} <--> {node}"),
            };
        }
    }
    let _ = writeln!(out, "  this_mac -. {} .-> internet", quoted(&[&format!("NAT: {}", scene.internet)]));
    if scene.conditions {
        let _ = writeln!(out, "  conditions[{}]", quoted(&[CONDITIONS]));
    }
    let left = scene.left.clone().into_iter();
    for (number, line) in left.chain(Scene::no_room(scene.links.len() - shown.len())).enumerate() {
        let _ = writeln!(out, "  left_{number}[{}]", quoted(&[&line]));
    }
    for group in &scene.groups {
        let colour = COLOURS[group.identity.colour].light;
        let _ = writeln!(out, "  style {} stroke:{colour},stroke-width:3px", id(&group.end));
    }
    out
}

/// As many links as there is room for: Mermaid refuses a drawing with more lines.
fn few(links: &[DrawnLink]) -> &[DrawnLink] {
    let mut count = 0;
    let fits = |link: &&DrawnLink| {
        count += link.taps.len();
        count < MOST_LINES
    };
    &links[..links.iter().take(MOST_LINKS).take_while(fits).count()]
}

fn boxed(group: &ProviderBox, out: &mut String) {
    let node = id(&group.end);
    let _ = writeln!(
        out,
        "    subgraph {node}[{}]",
        quoted(&[&format!("{} {}", group.identity.mark(), group.name)])
    );
    let internet = if group.internet { "NAT to the internet" } else { "no internet" };
    let (gateway, network) = (format!("gateway {}", group.gateway), format!("network {}", group.network));
    let facts = quoted(&[&group.bridge, &gateway, &network, internet]);
    let _ = writeln!(out, "      {node}_bridge[{facts}]");
    for cell in &group.cells {
        let _ = writeln!(out, "      {}[{}]", id(&cell.end), label(cell));
    }
    out.push_str("    end\n");
}

fn localhost(scene: &Scene, out: &mut String) {
    out.push_str("    subgraph localhost_group[\"localhost\"]\n");
    let gateway = format!("gateway {}", scene.localhost.gateway);
    let facts = quoted(&[&scene.localhost.bridge, &gateway, "aliases on lo0"]);
    let _ = writeln!(out, "      localhost_bridge[{facts}]");
    for (number, (what, leads, _)) in scene.localhost.lines.iter().enumerate() {
        let _ = writeln!(out, "      localhost_{number}[{}]", quoted(&[what, leads]));
    }
    out.push_str("    end\n");
}

fn label(cell: &VolumeCell) -> String {
    let lines: Vec<&str> =
        cell.port.iter().map(String::as_str).chain([cell.name.as_str(), &cell.address]).collect();
    quoted(&lines)
}

/// The identifier of a node. The underscore cannot occur in names, and the prefix avoids Mermaid's keywords (`end`).
fn id(end: &Endpoint) -> String {
    match end {
        Endpoint::Provider(name) => format!("provider_{name}"),
        Endpoint::Volume(name) => format!("volume_{name}"),
    }
}

/// A quoted label of several lines; characters that are special in it are written as Mermaid's entities.
fn quoted(lines: &[&str]) -> String {
    let escape = |line: &&str| {
        line.replace('#', "#35;")
            .replace('"', "#quot;")
            .replace('<', "#lt;")
            .replace('>', "#gt;")
            .replace('&', "#amp;")
    };
    format!("\"{}\"", lines.iter().map(escape).collect::<Vec<_>>().join("<br/>"))
}
