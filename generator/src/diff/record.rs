//! A difference as data for programs.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::text::{SOURCE_PORT, protocol};
use super::{
    Access, Diff, FieldChange, ObjectChange, OutcomeChange, Presence, Statement, VolumeChange, VolumeMove,
    VolumePlace, WayChange,
};
use crate::plan::policy::{TCP, UDP};
use crate::reach::{Flow as Witnessed, Opener};

/// The whole difference.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Record")]
pub struct DiffRecord<'a> {
    same: bool,
    flows: Vec<Flow<'a>>,
    translations: Vec<Flow<'a>>,
    volumes: Vec<Turned<'a>>,
    conditions: Vec<Way<'a>>,
    objects: &'a [ObjectChange],
    files: Vec<File<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Flow<'a> {
    change: &'static str,
    sign: char,
    from: &'a [String],
    to: &'a [String],
    services: String,
    changes: Vec<FlowChange<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FlowChange<'a> {
    before: &'a str,
    now: &'a str,
    witness: Witness,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Witness {
    protocol: String,
    /// An address, or `mac`.
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    destination: Ipv4Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Turned<'a> {
    change: &'static str,
    volumes: Vec<Moved<'a>>,
    gained: Vec<Gain<'a>>,
    lost: Vec<Gain<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Moved<'a> {
    before: Option<Where<'a>>,
    now: Option<Where<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Where<'a> {
    name: &'a str,
    provider: &'a str,
    address: Ipv4Addr,
}

/// A peer to which a volume gained or lost access.
#[derive(Debug, Serialize, JsonSchema)]
struct Gain<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a [String]>,
    services: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Way<'a> {
    change: Presence,
    from: &'a [String],
    to: &'a [String],
    fields: &'a [FieldChange],
    witness: WayWitness,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WayWitness {
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

#[derive(Debug, Serialize, JsonSchema)]
struct File<'a> {
    change: Presence,
    path: &'a str,
    added: usize,
    removed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    unified: Option<&'a str>,
}

impl<'a> DiffRecord<'a> {
    /// The record of a difference; `lines` adds the lines of changed files.
    pub fn of(diff: &'a Diff, lines: bool) -> Self {
        let file = |it: &'a super::FileChange| File {
            change: it.presence,
            path: &it.path,
            added: it.added,
            removed: it.removed,
            unified: lines.then_some(it.unified.as_str()),
        };
        Self {
            same: diff.is_empty(),
            flows: diff.flows.iter().map(flow).collect(),
            translations: diff.translations.iter().map(flow).collect(),
            volumes: diff.volumes.iter().map(volumes).collect(),
            conditions: diff.conditions.iter().map(way).collect(),
            objects: &diff.objects,
            files: diff.files.iter().map(file).collect(),
        }
    }
}

fn way(way: &WayChange) -> Way<'_> {
    let [source, destination] = way.witness;
    Way {
        change: way.presence,
        from: &way.from,
        to: &way.to,
        fields: &way.fields,
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

fn volumes(change: &VolumeChange) -> Turned<'_> {
    let gains = |is_lost| {
        let meant = change.access.iter().filter(move |access| access.is_lost == is_lost);
        meant.map(gain).collect()
    };
    Turned {
        change: match change.turn {
            VolumeMove::Added => "added",
            VolumeMove::Removed => "removed",
            VolumeMove::Moved => "moved",
            VolumeMove::Renamed => "renamed",
        },
        volumes: change
            .volumes
            .iter()
            .map(|[old, new]| Moved { before: old.as_ref().map(at), now: new.as_ref().map(at) })
            .collect(),
        gained: gains(false),
        lost: gains(true),
    }
}

fn at(place: &VolumePlace) -> Where<'_> {
    Where { name: place.name.as_str(), provider: place.provider.as_str(), address: place.address }
}

fn gain(access: &Access) -> Gain<'_> {
    let peers = access.peers.as_slice();
    Gain {
        from: access.is_opened.then_some(peers),
        to: (!access.is_opened).then_some(peers),
        services: access.services.to_string(),
    }
}

fn change(change: &OutcomeChange) -> FlowChange<'_> {
    let [before, now] = &change.words;
    FlowChange { before, now, witness: witness(&change.witness) }
}

fn witness(flow: &Witnessed) -> Witness {
    let is_ported = matches!(flow.protocol, TCP | UDP);
    let (source, source_port) = match flow.opener {
        Opener::ThisMac => ("mac".to_owned(), None),
        Opener::Address(address) => (address.to_string(), is_ported.then_some(SOURCE_PORT)),
    };
    Witness {
        protocol: protocol(flow.protocol),
        source,
        source_port,
        destination: flow.destination,
        port: is_ported.then_some(flow.port),
    }
}
