//! A difference as data, for programs.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::text::{SOURCE_PORT, hook, protocol};
use super::{Change, Diff, Presence, Statement, WayChange};
use crate::plan::policy::{Packet, TCP, UDP};

/// The whole difference.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    same: bool,
    flows: Vec<Flow<'a>>,
    translations: Vec<Flow<'a>>,
    conditions: Vec<Way<'a>>,
    objects: Vec<Object<'a>>,
    files: Vec<File<'a>>,
}

#[derive(Debug, Serialize)]
struct Flow<'a> {
    change: &'static str,
    sign: char,
    from: &'a [String],
    to: &'a [String],
    services: String,
    changes: Vec<FlowChange<'a>>,
}

#[derive(Debug, Serialize)]
struct FlowChange<'a> {
    change: &'static str,
    before: &'a str,
    now: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    r#where: &'a str,
    witness: Witness,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Witness {
    direction: &'static str,
    interface: &'static str,
    protocol: String,
    source: Ipv4Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    destination: Ipv4Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    opening: bool,
}

#[derive(Debug, Serialize)]
struct Way<'a> {
    change: &'static str,
    from: &'a [String],
    to: &'a [String],
    fields: Vec<Field<'a>>,
    witness: WayWitness,
}

#[derive(Debug, Serialize)]
struct WayWitness {
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    change: &'static str,
    kind: &'static str,
    name: &'a str,
    fields: Vec<Field<'a>>,
}

#[derive(Debug, Serialize)]
struct Field<'a> {
    #[serde(rename = "field")]
    name: &'static str,
    before: Option<&'a str>,
    now: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    change: &'static str,
    path: &'a str,
    added: usize,
    removed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    unified: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// The record of a difference, with the lines of files or without.
    pub fn of(diff: &'a Diff, lines: bool) -> Self {
        let object = |it: &'a super::ObjectChange| Object {
            change: presence(it.presence),
            kind: it.kind,
            name: &it.name,
            fields: it.fields.iter().map(field).collect(),
        };
        let file = |it: &'a super::FileChange| File {
            change: presence(it.presence),
            path: &it.path,
            added: it.added,
            removed: it.removed,
            unified: lines.then_some(it.unified.as_str()),
        };
        Self {
            same: diff.is_empty(),
            flows: diff.flows.iter().map(flow).collect(),
            translations: diff.translations.iter().map(flow).collect(),
            conditions: diff.conditions.iter().map(way).collect(),
            objects: diff.objects.iter().map(object).collect(),
            files: diff.files.iter().map(file).collect(),
        }
    }
}

fn field(field: &super::FieldChange) -> Field<'_> {
    Field { name: field.field, before: field.old.as_deref(), now: field.new.as_deref() }
}

fn way(way: &WayChange) -> Way<'_> {
    let [source, destination] = way.witness;
    Way {
        change: presence(way.presence),
        from: &way.from,
        to: &way.to,
        fields: way.fields.iter().map(field).collect(),
        witness: WayWitness { source, destination },
    }
}

fn flow(statement: &Statement) -> Flow<'_> {
    Flow {
        change: statement.verb.word(),
        sign: statement.verb.sign(),
        from: &statement.from,
        to: &statement.to,
        services: statement.services.to_string(),
        changes: statement.changes.iter().map(change).collect(),
    }
}

fn change(change: &Change) -> FlowChange<'_> {
    let [before, now] = &change.words;
    let witness = witness(&change.witness);
    FlowChange { change: change.verb.word(), before, now, r#where: &change.place, witness }
}

fn witness(packet: &Packet) -> Witness {
    let ported = matches!(packet.protocol, TCP | UDP);
    let (direction, interface) = hook(packet);
    Witness {
        direction,
        interface,
        protocol: protocol(packet.protocol),
        source: packet.source,
        source_port: ported.then_some(SOURCE_PORT),
        destination: packet.destination,
        port: ported.then_some(packet.port),
        opening: packet.opens(),
    }
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Added => "added",
        Presence::Removed => "removed",
        Presence::Changed => "changed",
    }
}
