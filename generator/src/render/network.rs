//! `network.json`: the declaration with every default filled in, and the values resolved from it.
//!
//! It has the fields of the input, so that it can be used as one: `verify` reads the declaration from it. Positions are
//! omitted: a bundle must not change because a comment moved a line.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::input::{self, Protocol, ProviderAttachment, VERSION, VolumeAttachment};
use crate::model::{
    self, AbsolutePath, Declaration, Endpoint, InterfaceName, Latency, MacAddress, Name, Party, PortRange,
    PortSet,
};
use crate::plan::{PermittedFlow, Plan};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Network<'a> {
    version: i64,
    base: &'a str,
    state_dir: &'a str,
    log_file: &'a str,
    hosts_file: Option<&'a str>,
    anchor: &'a str,
    reconcile_interval: u32,
    allow_overlap: Vec<Ipv4Net>,
    providers: BTreeMap<&'a str, Provider<'a>>,
    volumes: BTreeMap<&'a str, Volume<'a>>,
    localhost: Localhost<'a>,
    links: Vec<Link<'a>>,
    expect: Vec<Expectation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    macs: Option<BTreeMap<&'a str, Mac<'a>>>,
    resolved: Resolved<'a>,
}

#[derive(Serialize)]
struct Provider<'a> {
    network: Ipv4Net,
    gateway: Ipv4Net,
    bridge: &'a str,
    attachment: ProviderAttachment,
    internet: bool,
    region: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    provider: &'a str,
    address: Ipv4Addr,
    localhost: Option<Ipv4Addr>,
    attachment: VolumeAttachment,
    publish: Vec<u16>,
    mount_point: Option<&'a str>,
    guest: Guest<'a>,
}

#[derive(Serialize)]
struct Guest<'a> {
    mac: Option<&'a str>,
    interface: Option<&'a str>,
    dns: &'a [Ipv4Addr],
}

#[derive(Serialize)]
struct Localhost<'a> {
    bridge: &'a str,
    gateway: Ipv4Net,
}

#[derive(Serialize)]
struct Link<'a> {
    from: Vec<&'a str>,
    to: Vec<&'a str>,
    protocol: Option<Protocol>,
    ports: Option<Vec<Port>>,
    bidirectional: bool,
    masquerade: bool,
    conditions: Option<Conditions>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    latency_ms: Option<u16>,
    latency: Option<input::Latency>,
    jitter_ms: Option<u16>,
    loss: Option<f64>,
    bandwidth_kbit: Option<u32>,
}

#[derive(Serialize)]
struct Expectation<'a> {
    from: Vec<&'a str>,
    to: Vec<&'a str>,
    protocol: Option<Protocol>,
    ports: Option<Vec<Port>>,
    passes: bool,
    why: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mac<'a> {
    providers: Vec<&'a str>,
    endpoint: String,
    public_key: &'a str,
    address: Ipv4Addr,
    listen_port: u16,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Port {
    One(u16),
    Range(String),
}

/// Values derived from the declaration.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resolved<'a> {
    /// The logical name of each volume's port, if it has one.
    ports: BTreeMap<&'a str, &'a str>,
    /// The host names of each volume.
    names: BTreeMap<&'a str, [String; 2]>,
    /// The routed networks, by the logical name of the bridge.
    routes: BTreeMap<&'a str, Ipv4Net>,
    /// The permitted flows between providers, without redundant ones.
    flows: Vec<ResolvedFlow<'a>>,
}

#[derive(Serialize)]
struct ResolvedFlow<'a> {
    from: Vec<&'a str>,
    to: Vec<&'a str>,
    protocol: Option<Protocol>,
    ports: Option<Vec<Port>>,
}

/// The text of `network.json`.
pub fn json(declaration: &Declaration, plan: &Plan) -> String {
    let network = Network {
        version: VERSION,
        base: declaration.base.as_str(),
        state_dir: declaration.state_dir.as_str(),
        log_file: declaration.log_file.as_str(),
        hosts_file: declaration.hosts_file.as_ref().map(AbsolutePath::as_str),
        anchor: declaration.anchor.as_str(),
        reconcile_interval: declaration.reconcile_interval,
        allow_overlap: declaration.allow_overlap.iter().copied().collect(),
        providers: declaration.providers.iter().map(|(name, it)| (name.as_str(), provider(it))).collect(),
        volumes: declaration.volumes.iter().map(|(name, it)| (name.as_str(), volume(it))).collect(),
        localhost: Localhost {
            bridge: declaration.localhost.bridge.as_str(),
            gateway: declaration.localhost.gateway,
        },
        links: declaration.links.iter().map(link).collect(),
        expect: declaration.expectations.iter().map(expectation).collect(),
        mac: declaration.mesh.as_ref().map(|mesh| mesh.mac.as_str()),
        macs: declaration
            .mesh
            .as_ref()
            .map(|mesh| mesh.macs.iter().map(|(name, it)| (name.as_str(), mac(it))).collect()),
        resolved: resolved(plan),
    };
    let mut text = serde_json::to_string_pretty(&network).expect("strings, numbers and lists are JSON");
    text.push('\n');
    text
}

fn provider(provider: &model::Provider) -> Provider<'_> {
    let model::Provider { network, gateway, bridge, attachment, internet, region } = provider;
    Provider {
        network: *network,
        gateway: *gateway,
        bridge: bridge.as_str(),
        attachment: *attachment,
        internet: *internet,
        region: region.map(|region| region.name),
    }
}

fn volume(volume: &model::Volume) -> Volume<'_> {
    let model::Volume { provider, address, localhost, attachment, publish, mount_point, guest } = volume;
    Volume {
        provider: provider.as_str(),
        address: *address,
        localhost: *localhost,
        attachment: *attachment,
        publish: publish.iter().copied().collect(),
        mount_point: mount_point.as_ref().map(AbsolutePath::as_str),
        guest: self::guest(guest),
    }
}

fn guest(guest: &model::Guest) -> Guest<'_> {
    let model::Guest { mac, interface, dns } = guest;
    Guest {
        mac: mac.as_ref().map(MacAddress::as_str),
        interface: interface.as_ref().map(InterfaceName::as_str),
        dns,
    }
}

fn mac(mac: &model::MeshMac) -> Mac<'_> {
    let model::MeshMac { providers, endpoint, public_key, address, listen_port } = mac;
    Mac {
        providers: providers.iter().map(Name::as_str).collect(),
        endpoint: endpoint.to_string(),
        public_key: public_key.as_str(),
        address: *address,
        listen_port: *listen_port,
    }
}

fn link(link: &model::Link) -> Link<'_> {
    let model::Link { from, to, protocol, ports, bidirectional, masquerade, conditions, index: _ } = link;
    Link {
        from: names(from),
        to: names(to),
        protocol: *protocol,
        ports: ports.as_ref().map(self::ports),
        bidirectional: *bidirectional,
        masquerade: *masquerade,
        conditions: conditions.map(self::conditions),
    }
}

fn conditions(conditions: model::LinkConditions) -> Conditions {
    let model::LinkConditions { latency, jitter_ms, loss, bandwidth_kbit } = conditions;
    let (latency_ms, latency) = match latency {
        Some(Latency::Ms(ms)) => (Some(ms), None),
        Some(Latency::Regions) => (None, Some(input::Latency::Regions)),
        None => (None, None),
    };
    Conditions { latency_ms, latency, jitter_ms, loss, bandwidth_kbit }
}

fn expectation(expectation: &model::Expectation) -> Expectation<'_> {
    let model::Expectation { from, to, protocol, ports, passes, why, index: _ } = expectation;
    Expectation {
        from: from.iter().map(Party::word).collect(),
        to: to.iter().map(Party::word).collect(),
        protocol: *protocol,
        ports: ports.as_ref().map(self::ports),
        passes: *passes,
        why: why.as_deref(),
    }
}

fn resolved(plan: &Plan) -> Resolved<'_> {
    Resolved {
        ports: plan
            .volumes
            .iter()
            .filter_map(|volume| Some((volume.name.as_str(), volume.port.as_ref()?.as_str())))
            .collect(),
        names: plan.volumes.iter().map(|volume| (volume.name.as_str(), volume.host_names())).collect(),
        routes: plan.own_bridges().map(|bridge| (bridge.logical.as_str(), bridge.network)).collect(),
        flows: plan.flows.iter().map(flow).collect(),
    }
}

fn flow(flow: &PermittedFlow) -> ResolvedFlow<'_> {
    ResolvedFlow {
        from: names(&flow.from),
        to: names(&flow.to),
        protocol: flow.protocol,
        ports: flow.ports.as_ref().map(ports),
    }
}

fn names<'a>(ends: impl IntoIterator<Item = &'a Endpoint>) -> Vec<&'a str> {
    ends.into_iter().map(|end| end.name().as_str()).collect()
}

fn ports(ports: &PortSet) -> Vec<Port> {
    let port = |range: &PortRange| {
        if range.first == range.last { Port::One(range.first) } else { Port::Range(range.to_string()) }
    };
    ports.ranges().iter().map(port).collect()
}
