//! The topology as text: providers as boxes in the shape of the user's own drawing.
//!
//! It fits [`WIDTH`] columns, whatever the names and however many providers there are.

use std::fmt::Write;

use crate::model::{ProviderAttachment, VolumeAttachment};
use crate::plan::{Bridge, Plan, Volume};

/// The widest line, in columns.
pub const WIDTH: usize = 100;

/// A box: a title, and groups of lines below it that are set apart.
struct Box {
    title: Vec<String>,
    groups: Vec<Vec<String>>,
}

/// The drawing.
pub fn text(plan: &Plan) -> String {
    let mut boxes: Vec<Box> = plan.bridges.iter().map(|bridge| provider(plan, bridge)).collect();
    boxes.push(localhost(plan));
    // The frame takes four columns, the gap between two boxes one, a box's own sides four.
    let room = WIDTH - 4;
    let widest = boxes.iter().flat_map(Box::lines).map(|line| line.chars().count()).max().unwrap_or(0);
    let columns = ((room + 1) / (widest + 5)).clamp(1, 3);
    let inner = (room + 1) / columns - 5;
    let mut out = String::new();
    let rule = "─".repeat(WIDTH - 2);
    let _ = writeln!(out, "┌{rule}┐");
    framed(&mut out, &centred("macOS", room));
    for row in boxes.chunks(columns) {
        framed(&mut out, &" ".repeat(room));
        for line in drawn(row, inner) {
            framed(&mut out, &padded(&line, room));
        }
    }
    framed(&mut out, &" ".repeat(room));
    let _ = writeln!(out, "└{rule}┘");
    links(plan, &mut out);
    out
}

fn framed(out: &mut String, line: &str) {
    let _ = writeln!(out, "│ {line} │");
}

fn provider(plan: &Plan, bridge: &Bridge) -> Box {
    let attachment = match bridge.attachment {
        ProviderAttachment::Bridge => "",
        ProviderAttachment::Vmnet => " (vmnet)",
    };
    let internet = if bridge.internet { "NAT to the internet" } else { "no internet" };
    let title = vec![
        bridge.provider.to_string(),
        format!("{}{attachment}", bridge.logical),
        format!("gateway {}", bridge.gateway),
        format!("network {}", bridge.network),
        internet.to_owned(),
    ];
    let of_provider = plan.volumes.iter().filter(|volume| volume.provider == bridge.provider);
    Box { title, groups: of_provider.map(volume).collect() }
}

fn volume(volume: &Volume) -> Vec<String> {
    let guest = match volume.attachment {
        VolumeAttachment::Host => "",
        VolumeAttachment::Guest => " (VM)",
    };
    let port = volume.port.as_ref().map(ToString::to_string);
    let mut lines: Vec<String> = port.into_iter().collect();
    lines.push(volume.name.to_string());
    lines.push(format!("{}{guest}", volume.address));
    lines
}

fn localhost(plan: &Plan) -> Box {
    let title = vec![
        "localhost".to_owned(),
        plan.localhost.logical.to_string(),
        format!("gateway {}", plan.localhost.gateway),
        "aliases on lo0".to_owned(),
    ];
    let alias = |volume: &Volume| Some(format!("{} {}", volume.alias?, volume.name));
    let aliases: Vec<String> = plan.volumes.iter().filter_map(alias).collect();
    let published = plan.publishes.iter().map(|p| format!("{}:{} -> {}", p.alias, p.port, p.address));
    let groups = [aliases, published.collect()];
    Box { title, groups: groups.into_iter().filter(|group| !group.is_empty()).collect() }
}

impl Box {
    /// The widest that each line needs; a group stands in a box of its own, four columns wider.
    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let grouped = self.groups.iter().flatten().map(|line| format!("    {line}"));
        self.title.iter().cloned().chain(grouped)
    }

    fn draw(&self, inner: usize) -> Vec<String> {
        let side = |line: &str| format!("│ {} │", padded(line, inner));
        let mut lines = vec![format!("┌{}┐", "─".repeat(inner + 2))];
        lines.extend(self.title.iter().map(|line| side(&centred(line, inner))));
        for group in &self.groups {
            lines.push(side(&format!("┌{}┐", "─".repeat(inner - 2))));
            lines.extend(group.iter().map(|line| side(&format!("│ {} │", padded(line, inner - 4)))));
            lines.push(side(&format!("└{}┘", "─".repeat(inner - 2))));
        }
        lines
    }
}

/// A row of boxes side by side, each as high as the highest.
fn drawn(row: &[Box], inner: usize) -> Vec<String> {
    let drawings: Vec<Vec<String>> = row.iter().map(|each| each.draw(inner)).collect();
    let height = drawings.iter().map(Vec::len).max().unwrap_or(0);
    let empty = format!("│ {} │", " ".repeat(inner));
    let mut lines: Vec<String> = (0..height)
        .map(|line| {
            let cells = drawings.iter().map(|drawing| drawing.get(line).unwrap_or(&empty).as_str());
            cells.collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.push(vec![format!("└{}┘", "─".repeat(inner + 2)); row.len()].join(" "));
    lines
}

/// What passes between providers, one line a flow.
fn links(plan: &Plan, out: &mut String) {
    let lines: Vec<String> = plan.flows.iter().map(|flow| flow.describe(&plan.bridges)).collect();
    let heading = if lines.is_empty() { "Between providers nothing passes." } else { "Between providers:" };
    let _ = writeln!(out, "\n{heading}");
    for line in lines {
        wrapped(out, &line);
    }
}

/// A line of words, broken before the widest column.
fn wrapped(out: &mut String, line: &str) {
    let mut column = 2;
    let _ = write!(out, " ");
    for word in line.split(' ') {
        if column > 4 && column + 1 + word.len() > WIDTH {
            let _ = write!(out, "\n     ");
            column = 5;
        }
        let _ = write!(out, " {word}");
        column += 1 + word.chars().count();
    }
    out.push('\n');
}

fn padded(line: &str, width: usize) -> String {
    format!("{line:<width$}")
}

fn centred(line: &str, width: usize) -> String {
    format!("{line:^width$}")
}
