//! How to open what is blocked: the command that adds a link, and what else that link would open.
//!
//! What it opens is computed as the difference of two functions of all flows, not guessed. Never: an edit.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::end::{QuestionEndpoint, Service};
use super::way::link_protocol;
use crate::model::{self, Declaration, Link, PortRange, PortSet};
use crate::packets::Side;
use crate::place::FieldPath;
use crate::plan::Plan;
use crate::reach::{self, Flows, Opener, Reach};

/// A link that would permit what was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Opening {
    /// The command that adds the link.
    pub command: String,
    /// What the link opens, in words; null if that is exactly what was asked about.
    pub opens: Option<String>,
}

/// The link that opens a service, or all services, between two endpoints; `None` if no link can, or nothing is blocked.
pub fn opening(
    declaration: &Declaration,
    plan: &Plan,
    (source, destination): (&QuestionEndpoint, &QuestionEndpoint),
    service: Option<Service>,
) -> Option<Opening> {
    let (from, to) = (linked(plan, source)?, linked(plan, destination)?);
    if plan.provider_of(&from) == plan.provider_of(&to) {
        return None;
    }
    let protocol = service.and_then(|service| link_protocol(service.protocol));
    let port = service.and_then(|service| service.port);
    let mut with = declaration.clone();
    with.links.push(Link {
        from: BTreeSet::from([from.clone()]),
        to: BTreeSet::from([to.clone()]),
        protocol,
        ports: port.and_then(|port| PortSet::new(vec![PortRange { first: port, last: port }])),
        bidirectional: false,
        masquerade: false,
        conditions: None,
        index: declaration.links.len(),
    });
    let mut flows = Flows::default();
    let [before, after] = [plan, &Plan::of(&with)].map(|plan| {
        let reach = Reach::of(&mut flows, plan);
        reach.passing(&mut flows)
    });
    let opened = flows.minus(after, before);
    let sender = flows.opened_by(Opener::Address(source.address));
    let receiver = flows.network(Side::Destination, destination.address.into(), 32);
    let ports = port.map(|port| [(port, port)]);
    let asked = reach::service(&mut flows, service.map(|it| it.protocol), ports.as_ref().map(|it| &it[..]));
    let asked = flows.and(asked, sender);
    let asked = flows.and(asked, receiver);
    if flows.and(opened, asked).is_empty() {
        return None;
    }
    let beside = flows.minus(opened, asked);
    let words = match protocol {
        None => "every protocol".to_owned(),
        Some(_) => service.map_or_else(String::new, |service| service.to_string()),
    };
    let opens = || format!("{words} from {} to {}", whole(plan, &from), whole(plan, &to));
    Some(Opening {
        command: command(declaration, (&from, &to), protocol, port),
        opens: (!beside.is_empty()).then(opens),
    })
}

/// The command that adds a link.
fn command(
    declaration: &Declaration,
    (from, to): (&model::Endpoint, &model::Endpoint),
    protocol: Option<model::Protocol>,
    port: Option<u16>,
) -> String {
    let protocol = protocol.map_or_else(String::new, |it| format!(" --protocol {}", it.word()));
    let port = port.map_or_else(String::new, |port| format!(" --port {port}"));
    let (from, to, file) = (from.name(), to.name(), file(declaration));
    format!("nixvol-net add link --from {from} --to {to}{protocol}{port} --file {file}")
}

/// The user's file that has links; a placeholder if it is unknown or its name cannot be part of a command.
fn file(declaration: &Declaration) -> &str {
    let place = declaration.positions.find(&FieldPath::of(&["links", "0"]));
    let is_plain = |file: &str| file.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-+@".contains(&c));
    let file = place.map(|place| place.file.as_str());
    file.filter(|file| is_plain(file) && !file.starts_with(['-']) && !file.starts_with("/nix/store/"))
        .unwrap_or("FILE")
}

/// The endpoint of a link that contains this endpoint.
fn linked(plan: &Plan, end: &QuestionEndpoint) -> Option<model::Endpoint> {
    let volume = plan.volumes.iter().find(|volume| volume.address == end.address);
    let bridge = plan.bridges.iter().find(|bridge| bridge.region.contains(end.address));
    let volume = volume.map(|volume| model::Endpoint::Volume(volume.name.clone()));
    volume.or_else(|| bridge.map(|bridge| model::Endpoint::Provider(bridge.provider.clone())))
}

/// A link's endpoint, with the extent of what it stands for.
fn whole(plan: &Plan, end: &model::Endpoint) -> String {
    match end {
        model::Endpoint::Volume(name) => name.to_string(),
        model::Endpoint::Provider(name) => {
            let count = plan.volumes.iter().filter(|volume| volume.provider == *name).count();
            let volumes = if count == 1 { "volume" } else { "volumes" };
            format!("all of {name} ({count} {volumes} and every other address)")
        }
    }
}
