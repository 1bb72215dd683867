//! The manager: one program for every network, and the table of what this network is made of.

use serde::Serialize;

use super::probes::{Probe, probes};
use super::{Error, engine};
use crate::model::{Name, ProviderAttachment, VolumeAttachment};
use crate::plan::{Bridge, Plan, Volume};

/// What stands in the table where there is nothing to say.
pub const NOTHING: &str = "-";

#[derive(Serialize)]
struct Manager<'a> {
    base: &'a str,
    state_dir: &'a str,
    log_file: &'a str,
    hosts_file: &'a str,
    anchor: &'a str,
    networks: Vec<Cloud<'a>>,
    localhost: Localhost<'a>,
    allowed: Vec<Allowed>,
    volumes: Vec<Row<'a>>,
    probes: Vec<Probe>,
}

#[derive(Serialize)]
struct Cloud<'a> {
    provider: &'a str,
    network: String,
    length: u8,
    gateway: String,
    gateway_length: u8,
    bridge: &'a str,
    attachment: &'static str,
}

#[derive(Serialize)]
struct Localhost<'a> {
    name: &'a str,
    address: String,
}

#[derive(Serialize)]
struct Allowed {
    network: String,
    length: u8,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    provider: &'a str,
    address: String,
    attachment: &'static str,
    port: &'a str,
    alias: String,
    mount_point: &'a str,
}

/// The text of the manager.
pub fn manager(plan: &Plan) -> Result<String, Error> {
    let allowed = plan
        .allow_overlap
        .iter()
        .map(|net| Allowed { network: net.addr().to_string(), length: net.prefix_len() });
    let manager = Manager {
        base: plan.base.as_str(),
        state_dir: plan.state_dir.as_str(),
        log_file: plan.log_file.as_str(),
        hosts_file: plan.hosts_file.as_ref().map_or("", |path| path.as_str()),
        anchor: plan.anchor.as_str(),
        networks: plan.bridges.iter().map(cloud).collect(),
        localhost: Localhost {
            name: plan.localhost.logical.as_str(),
            address: plan.localhost.gateway.addr().to_string(),
        },
        allowed: allowed.collect(),
        volumes: plan.volumes.iter().map(row).collect(),
        probes: probes(plan),
    };
    engine::render("script/manage-macos-networking.sh", manager)
}

fn cloud(bridge: &Bridge) -> Cloud<'_> {
    Cloud {
        provider: bridge.provider.as_str(),
        network: bridge.network.addr().to_string(),
        length: bridge.network.prefix_len(),
        gateway: bridge.gateway.addr().to_string(),
        gateway_length: bridge.gateway.prefix_len(),
        bridge: bridge.logical.as_str(),
        attachment: match bridge.attachment {
            ProviderAttachment::Bridge => "bridge",
            ProviderAttachment::Vmnet => "vmnet",
        },
    }
}

fn row(volume: &Volume) -> Row<'_> {
    Row {
        name: volume.name.as_str(),
        provider: volume.provider.as_str(),
        address: volume.address.to_string(),
        attachment: match volume.attachment {
            VolumeAttachment::Host => "host",
            VolumeAttachment::Guest => "guest",
        },
        port: volume.port.as_ref().map_or(NOTHING, Name::as_str),
        alias: volume.alias.map_or_else(|| NOTHING.to_owned(), |alias| alias.to_string()),
        mount_point: volume.mount_point.as_ref().map_or(NOTHING, |path| path.as_str()),
    }
}
