//! A difference for a terminal: signs come first, so that it is readable without colour.

use std::fmt::Write;

use super::{
    Access, Diff, FieldChange, FileChange, ObjectChange, OutcomeChange, Presence, Statement, VolumeChange,
    VolumeMove, VolumePlace, WayChange,
};
use crate::place::Harmless;
use crate::plan::policy::{ICMP, TCP, UDP};
use crate::reach::{Flow, Opener};

/// How a difference is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Whether to use colour.
    pub colour: bool,
    /// Whether to show the lines of files that differ.
    pub lines: bool,
}

/// The source port shown for witnesses.
pub const SOURCE_PORT: u16 = 40_000;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const FAINT: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The whole difference.
pub fn text(diff: &Diff, style: Style) -> String {
    if diff.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut sections = Vec::new();
    let flows = statements(&diff.flows, style);
    let none = "  no flow opens or closes\n".to_owned();
    sections.push(("Flows", if flows.is_empty() { none } else { flows }));
    sections.push(("Translations", statements(&diff.translations, style)));
    let volumes = diff.volumes.iter().flat_map(volume).map(|line| turned(&line, style) + "\n");
    sections.push(("Volumes", volumes.collect()));
    let ways: String = diff.conditions.iter().map(|it| signed(&way(it), style) + "\n").collect();
    sections.push(("Conditions", ways));
    let objects: String = diff.objects.iter().map(|it| signed(&object(it), style) + "\n").collect();
    sections.push(("Providers, volumes and settings", objects));
    let files: String = diff.files.iter().map(|it| signed(&file(it), style) + "\n").collect();
    sections.push(("Files", files));
    if style.lines {
        let lines: String = diff.files.iter().map(|it| unified(it, style)).collect();
        sections.push(("Lines", lines));
    }
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|(_, body)| !body.is_empty())
        .map(|(title, body)| format!("{}\n{body}", painted(title, BOLD, style)))
        .collect();
    sections.join("\n")
}

fn statements(statements: &[Statement], style: Style) -> String {
    let mut out = String::new();
    for statement in statements {
        let _ = writeln!(out, "{}", turned(&headline(statement), style));
        for change in &statement.changes {
            let _ = writeln!(out, "    {}", painted(&evidence(change), FAINT, style));
        }
    }
    out
}

/// The changes of some volumes: one line each, then what they gained and lost.
pub fn volume(change: &VolumeChange) -> Vec<String> {
    let mut lines = turns(change);
    lines.extend(change.access.iter().map(|access| format!("    {}", gain(access))));
    if change.access.is_empty() {
        lines.push("    nothing gained or lost".to_owned());
    }
    lines
}

/// A line for each volume, such as `~ moved karpenter-worker-3 from 10.2.3.2 of gcp to 10.3.2.9 of ibm`.
pub fn turns(change: &VolumeChange) -> Vec<String> {
    let at = |place: &VolumePlace| format!("{} ({} of {})", place.name, place.address, place.provider);
    let (sign, verb) = match change.turn {
        VolumeMove::Added => ('+', "new"),
        VolumeMove::Removed => ('-', "gone"),
        VolumeMove::Moved => ('~', "moved"),
        VolumeMove::Renamed => ('~', "renamed"),
    };
    let words = |places: &[Option<VolumePlace>; 2]| match places {
        [Some(old), Some(new)] if change.turn == VolumeMove::Renamed => {
            format!("{} to {}", old.name, at(new))
        }
        [Some(old), Some(new)] => {
            let VolumePlace { name, address, provider } = new;
            format!("{name} from {} of {} to {address} of {provider}", old.address, old.provider)
        }
        [place, other] => place.as_ref().or(other.as_ref()).map(at).unwrap_or_default(),
    };
    change.volumes.iter().map(|places| format!("{sign} {verb} {}", words(places))).collect()
}

/// Such as `+ may open ibm any protocol`.
pub fn gain(access: &Access) -> String {
    let sign = if access.is_lost { '-' } else { '+' };
    let may = if access.is_opened { "may be opened by" } else { "may open" };
    format!("{sign} {may} {} {}", access.peers.join(", "), access.services)
}

/// Such as `+ opens aws -> gcp tcp 2379-2380`.
pub fn headline(statement: &Statement) -> String {
    let (sign, word) = (statement.verb.sign(), statement.verb.word());
    format!("{sign} {word} {}", statement.flow())
}

/// The old and the new outcome, with a flow that shows the change.
pub fn evidence(change: &OutcomeChange) -> String {
    let [old, new] = &change.words;
    format!("{old} before, {new} now: {}", flow(&change.witness))
}

/// A flow, such as `tcp 10.0.1.2:40000 -> 10.2.1.2:2379`.
pub fn flow(flow: &Flow) -> String {
    let (destination, port) = (flow.destination, flow.port);
    let is_ported = matches!(flow.protocol, TCP | UDP);
    let source = match flow.opener {
        Opener::ThisMac => "this Mac".to_owned(),
        Opener::Address(address) if is_ported => format!("{address}:{SOURCE_PORT}"),
        Opener::Address(address) => address.to_string(),
    };
    let port = if is_ported { format!(":{port}") } else { String::new() };
    format!("{} {source} -> {destination}{port}", protocol(flow.protocol))
}

/// The name of a protocol, or its number in words.
pub fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// Such as `~ conditions aws -> azure: latency 40 ms -> 60 ms`.
pub fn way(way: &WayChange) -> String {
    let fields = fields(way.presence, &way.fields);
    format!("{} conditions {}: {fields}", sign(way.presence), way.ways())
}

/// Such as `~ volume etcd-1: address 10.0.1.2 -> 10.0.1.3`.
pub fn object(object: &ObjectChange) -> String {
    let name = if object.name.is_empty() { String::new() } else { format!(" {}", object.name) };
    let fields = fields(object.presence, &object.fields);
    format!("{} {}{name}: {fields}", sign(object.presence), object.kind)
}

fn fields(presence: Presence, fields: &[FieldChange]) -> String {
    let field = |it: &FieldChange| {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match presence {
            Presence::Added => format!("{} {}", it.field, value(&it.new)),
            Presence::Removed => format!("{} {}", it.field, value(&it.old)),
            Presence::Changed => format!("{} {} -> {}", it.field, value(&it.old), value(&it.new)),
        }
    };
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

fn sign(presence: Presence) -> char {
    match presence {
        Presence::Added => '+',
        Presence::Removed => '-',
        Presence::Changed => '~',
    }
}

/// Such as `~ pf/anchor.conf (+2 -1)`.
pub fn file(file: &FileChange) -> String {
    format!("{} {} (+{} -{})", sign(file.presence), Harmless(&file.path), file.added, file.removed)
}

fn unified(file: &FileChange, style: Style) -> String {
    file.lines().map(|line| signed(&line, style) + "\n").collect()
}

/// A line in the colour of its sign.
fn signed(line: &str, style: Style) -> String {
    match line.trim_start().chars().next() {
        Some('+') => painted(line, GREEN, style),
        Some('-') => painted(line, RED, style),
        Some('~') => painted(line, YELLOW, style),
        _ => line.to_owned(),
    }
}

/// A line in the colour of its kind of change: a warning if it opens, calm if it closes.
fn turned(line: &str, style: Style) -> String {
    match line.trim_start().chars().next() {
        Some('+') => painted(line, YELLOW, style),
        Some('-') => painted(line, CYAN, style),
        Some('~') => painted(line, BOLD, style),
        _ => line.to_owned(),
    }
}

fn painted(text: &str, colour: &str, style: Style) -> String {
    if style.colour { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
}
