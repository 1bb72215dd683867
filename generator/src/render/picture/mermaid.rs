//! The picture for Mermaid, which Markdown viewers draw: providers as subgraphs, and a node for every link rule, so that
//! a mesh is not a line for every pair.

use std::fmt::Write;

use super::KernelNames;
use super::scene::{CONDITIONS, Cell, Group, Manner, Scene};
use crate::model::End;
use crate::plan::Plan;

/// The drawing.
pub fn mermaid(plan: &Plan, kernel: &KernelNames) -> String {
    let scene = Scene::of(plan, kernel);
    let mut out = String::from("flowchart LR\n");
    for group in &scene.groups {
        boxed(group, &mut out);
    }
    for link in &scene.links {
        let (node, words) = (format!("link{}", link.number), quoted(&[&link.words]));
        let _ = writeln!(out, "  {node}{{{{{words}}}}}");
        for (end, manner) in &link.taps {
            let end = id(end);
            let _ = match manner {
                Manner::Opens => writeln!(out, "  {end} --> {node}"),
                Manner::Reached => writeln!(out, "  {node} --> {end}"),
                Manner::Both => writeln!(out, "  {end} <--> {node}"),
            };
        }
    }
    if !scene.conditions.is_empty() {
        let lines: Vec<&str> =
            [CONDITIONS].into_iter().chain(scene.conditions.iter().map(String::as_str)).collect();
        let _ = writeln!(out, "  conditions[{}]", quoted(&lines));
    }
    out
}

fn boxed(group: &Group, out: &mut String) {
    let node = group.end.as_ref().map_or("localhost_group".to_owned(), id);
    let facts = group.facts.iter().map(String::as_str);
    let lines: Vec<&str> = [group.name.as_str(), &group.bridge].into_iter().chain(facts).collect();
    let _ = writeln!(out, "  subgraph {node}[{}]", quoted(&lines));
    for (number, cell) in group.cells.iter().enumerate() {
        let node = cell.end.as_ref().map_or(format!("localhost_{number}"), id);
        let _ = writeln!(out, "    {node}[{}]", label(cell));
    }
    // An empty subgraph is drawn as a node without its name.
    if group.cells.is_empty() {
        let _ = writeln!(out, "    {node}_empty[\"no volumes\"]");
    }
    out.push_str("  end\n");
}

fn label(cell: &Cell) -> String {
    let lines: Vec<&str> =
        cell.port.iter().map(String::as_str).chain([cell.name.as_str(), &cell.address]).collect();
    quoted(&lines)
}

/// A node's name: names of ends have no underscore, and words of Mermaid (`end`) stand behind a prefix.
fn id(end: &End) -> String {
    match end {
        End::Provider(name) => format!("provider_{name}"),
        End::Volume(name) => format!("volume_{name}"),
    }
}

/// Lines in quotes, with what could end them written as Mermaid's entities.
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
