//! A difference for people, on a terminal: signs in front, so that it reads without colour.

use std::fmt::Write;

use super::{Change, Diff, FieldChange, FileChange, ObjectChange, Presence, Statement, WayChange};
use crate::place::Harmless;
use crate::plan::policy::{Direction, ICMP, Interface, Packet, TCP, UDP};

/// How it is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Whether to use colour.
    pub colour: bool,
    /// Whether to show the lines of files that differ.
    pub lines: bool,
}

/// The port that witnesses come from.
pub const SOURCE_PORT: u16 = 40_000;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
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
    let none = "  no packet is let through or kept out that was not before\n".to_owned();
    sections.push(("Flows", if flows.is_empty() { none } else { flows }));
    sections.push(("Translations", statements(&diff.translations, style)));
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
        let _ = writeln!(out, "{}", signed(&headline(statement), style));
        for change in &statement.changes {
            let _ = writeln!(out, "    {}", painted(&evidence(change), FAINT, style));
        }
    }
    out
}

/// `+ opens aws -> gcp tcp 2379-2380`, and where, if not everywhere.
pub fn headline(statement: &Statement) -> String {
    let (sign, word) = (statement.verb.sign(), statement.verb.word());
    format!("{sign} {word} {}", statement.flow())
}

/// What happened before and happens now, with a packet that shows it.
pub fn evidence(change: &Change) -> String {
    let [old, new] = &change.words;
    let place = if change.place.is_empty() { String::new() } else { format!(" ({})", change.place) };
    format!("{old} before, {new} now{place}: {}", packet(&change.witness))
}

/// A packet, as `tcp 10.0.1.2:40000 -> 10.2.1.2:2379 out on lo0`.
pub fn packet(packet: &Packet) -> String {
    let Packet { source, destination, port, .. } = packet;
    let addresses = match packet.protocol {
        TCP | UDP => format!("{source}:{SOURCE_PORT} -> {destination}:{port}"),
        _ => format!("{source} -> {destination}"),
    };
    let flags = if packet.protocol == TCP && !packet.opens() { " ack" } else { "" };
    let (direction, interface) = hook(packet);
    format!("{}{flags} {addresses} {direction} on {interface}", protocol(packet.protocol))
}

/// Where a packet is seen, in words.
pub fn hook(packet: &Packet) -> (&'static str, &'static str) {
    let direction = match packet.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let interface = match packet.interface {
        Interface::Loopback => "lo0",
        Interface::Egress => "egress",
        Interface::Bridge(_) | Interface::Foreign | Interface::New => "a bridge",
    };
    (direction, interface)
}

/// A protocol in words.
pub fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// `~ conditions aws -> azure: latency 40 ms -> 60 ms`.
pub fn way(way: &WayChange) -> String {
    let fields = fields(way.presence, &way.fields);
    format!("{} conditions {}: {fields}", sign(way.presence), way.ways())
}

/// `~ volume etcd-1: address 10.0.1.2 -> 10.0.1.3`.
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

/// `~ pf/anchor.conf (+2 -1)`.
pub fn file(file: &FileChange) -> String {
    format!("{} {} (+{} -{})", sign(file.presence), Harmless(&file.path), file.added, file.removed)
}

fn unified(file: &FileChange, style: Style) -> String {
    file.lines().map(|line| signed(&line, style) + "\n").collect()
}

/// A line in the colour of its sign.
fn signed(line: &str, style: Style) -> String {
    match line.chars().next() {
        Some('+') => painted(line, GREEN, style),
        Some('-') => painted(line, RED, style),
        Some('~') => painted(line, YELLOW, style),
        _ => line.to_owned(),
    }
}

fn painted(text: &str, colour: &str, style: Style) -> String {
    if style.colour { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
}
