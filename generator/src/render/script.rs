//! The manager: one program for every network, and the table of this network.
//!
//! `logs --collect DIR` writes a new directory for a bug report. Its format is 1; each file is the standard output
//! of one command, or a copy. A file whose command failed contains the line `failed`; copies of absent files are
//! missing.
//!
//! | file | the output of |
//! |---|---|
//! | `version` | the line `format` TAB `1`, then `sw_vers` |
//! | `ls-lden` | `ls -lden` of our files and of every directory on the way to them |
//! | `ifconfig` | `ifconfig -a`; every MAC is `00:00:00:00:00:00`, `inet6` lines are left out |
//! | `netstat-rn` | `netstat -rn -f inet`, MACs as above |
//! | `sysctl` | `sysctl -n net.inet.ip.forwarding kern.bootsessionuuid`: two lines |
//! | `mount` | a line `- on PATH (mounted)` for every declared mount point where something is mounted |
//! | `pfctl-references` | `pfctl -s References`; the tokens of others are `0` |
//! | `pfctl-sn`, `pfctl-sr` | `pfctl -s nat`, `pfctl -s rules`: the main ruleset |
//! | `pfctl-interfaces` | `pfctl -v -s Interfaces -i lo0` |
//! | `pfctl-anchor-sn`, `pfctl-anchor-sr` | `pfctl -a ANCHOR -s nat`, `… -s rules` |
//! | `pfctl-anchor-tables` | `pfctl -a ANCHOR -s Tables`; below each name `pfctl -a ANCHOR -t NAME -T show` |
//! | `dnctl-list` | `dnctl list`; this and the next two only where pipes are declared, or were and may be there |
//! | `pfctl-dummynet` | `pfctl -s dummynet`: the main ruleset |
//! | `clock` | `date +%s`; only where something is cut or slow, as the next, or there are other Macs |
//! | `pfctl-faults` | `pfctl -a ANCHOR -s nat`, `-s rules` and `-s dummynet` of the anchor of faults, a line `--` between |
//! | `wireguard` | what WireGuard reports about the tunnel to the other Macs, without secret keys; only where there are any |
//! | `pfctl-anchor-dummynet` | `pfctl -a ANCHOR -s dummynet` |
//! | `pfctl-anchor-labels` | `pfctl -a ANCHOR -s labels` |
//! | `pfctl-info` | `pfctl -s info` |
//! | `scutil-dns` | the line `nameservers` TAB how many `scutil --dns` knows |
//! | `launchctl-print` | `launchctl print system/LABEL`: state, runs and last exit alone; or `not loaded` |
//! | `wish`, `names`, `ledger`, `rules.conf`, `applied`, `starting`, `pending`, `told`, `faults` | those files of `stateDir`; in `token-before` of the ledger, `0` |
//! | `network.json`, `anchor.conf` | those files of the installed bundle |
//! | `table` | the manager's own table of the network |
//! | `log` | the last thousand lines of the log |
//! | `status.json` | `status --json` |

use serde::Serialize;

use super::probes::{ManagerProbe, NOTHING, probes};
use super::{RenderError, engine};
use crate::model::{Name, ProviderAttachment, VolumeAttachment};
use crate::plan::{self, Bridge, OtherMac, Plan, PlannedVolume};

/// The manager's awk program that determines which connections end when rules change. It has no placeholders.
pub const KILL_STEP: &str = include_str!("../../../templates/script/ends.awk.j2");

#[derive(Serialize)]
struct Manager<'a> {
    version: &'static str,
    base: &'a str,
    state_dir: &'a str,
    log_file: &'a str,
    hosts_file: &'a str,
    anchor: &'a str,
    networks: Vec<Cloud<'a>>,
    localhost: Localhost<'a>,
    allowed: Vec<Allowed>,
    /// The tunnel to the other Macs, if there are others.
    mesh: Option<Mesh>,
    peers: Vec<Peer<'a>>,
    remotes: Vec<Remote<'a>>,
    volumes: Vec<Row<'a>>,
    pipes: Vec<Pipe>,
    mounts: Vec<Mount<'a>>,
    probes: Vec<ManagerProbe>,
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

/// The end of the tunnel on this Mac.
#[derive(Serialize)]
struct Mesh {
    address: String,
    port: u16,
}

/// Another Mac.
#[derive(Serialize)]
struct Peer<'a> {
    mac: &'a str,
    address: String,
    endpoint: String,
    /// Its public key, in the form of WireGuard's own interface: hexadecimal.
    key: String,
}

/// A network that another Mac has.
#[derive(Serialize)]
struct Remote<'a> {
    mac: &'a str,
    provider: &'a str,
    network: String,
    length: u8,
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
}

#[derive(Serialize)]
struct Mount<'a> {
    name: &'a str,
    mount_point: &'a str,
}

#[derive(Serialize)]
struct Pipe {
    number: u16,
    /// In milliseconds.
    delay: u16,
    /// The fraction with six decimals, as dnctl prints it.
    loss: String,
    /// In kilobits per second; 0 means unlimited.
    kbit: u32,
    way: String,
}

/// The text of the manager.
pub fn manager(plan: &Plan) -> Result<String, RenderError> {
    let allowed = plan
        .allow_overlap
        .iter()
        .map(|net| Allowed { network: net.addr().to_string(), length: net.prefix_len() });
    let manager = Manager {
        version: env!("CARGO_PKG_VERSION"),
        base: plan.base.as_str(),
        state_dir: plan.state_dir.as_str(),
        log_file: plan.log_file.as_str(),
        hosts_file: plan.hosts_file.as_ref().map_or("", |path| path.as_str()),
        anchor: plan.anchor.as_str(),
        networks: plan.own_bridges().map(cloud).collect(),
        localhost: Localhost {
            name: plan.localhost.logical.as_str(),
            address: plan.localhost.gateway.addr().to_string(),
        },
        allowed: allowed.collect(),
        mesh: plan
            .mesh
            .as_ref()
            .map(|mesh| Mesh { address: mesh.address.to_string(), port: mesh.listen_port }),
        peers: plan.mesh.iter().flat_map(|mesh| &mesh.peers).map(peer).collect(),
        remotes: plan.bridges.iter().filter_map(remote).collect(),
        volumes: plan.own_volumes().map(row).collect(),
        pipes: plan.pipes.iter().map(pipe).collect(),
        mounts: plan.volumes.iter().filter_map(mount).collect(),
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

fn peer(other: &OtherMac) -> Peer<'_> {
    // Its networks are those of the remote providers.
    let OtherMac { mac, endpoint, public_key, address, networks: _ } = other;
    Peer {
        mac: mac.as_str(),
        address: address.to_string(),
        endpoint: endpoint.to_string(),
        key: public_key.hexadecimal(),
    }
}

fn remote(bridge: &Bridge) -> Option<Remote<'_>> {
    Some(Remote {
        mac: bridge.mac.as_ref()?.as_str(),
        provider: bridge.provider.as_str(),
        network: bridge.network.addr().to_string(),
        length: bridge.network.prefix_len(),
    })
}

fn row(volume: &PlannedVolume) -> Row<'_> {
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
    }
}

fn mount(volume: &PlannedVolume) -> Option<Mount<'_>> {
    let mount_point = volume.mount_point.as_ref()?.as_str();
    Some(Mount { name: volume.name.as_str(), mount_point })
}

fn pipe(pipe: &plan::Pipe) -> Pipe {
    let millionths = pipe.conditions.loss_millionths();
    Pipe {
        number: pipe.number,
        delay: pipe.conditions.delay(),
        loss: format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000),
        kbit: pipe.conditions.bandwidth_kbit.unwrap_or(0),
        way: pipe.way(),
    }
}
