//! The plan: the desired state of the Mac, as pure data, without pf, shell or XML.
//!
//! Everything that is rendered, drawn, proven or explained starts from it, so that every decision is made once. It has
//! no kernel names: macOS assigns them, and the manager keeps them. Sees: model. Never: depends on a file format or on
//! the order of the input.

pub mod faults;
pub mod flows;
mod objects;
pub mod pipes;
pub mod policy;
pub mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{AbsolutePath, AnchorPath, Declaration, Endpoint, Link, Name, ProviderAttachment};
pub use flows::{Masquerade, PermittedFlow};
pub use objects::{Bridge, OtherMac, PlannedLocalhost, PlannedVolume, Publish, Tunnel};
pub use pipes::{Pipe, Steering};
pub use policy::Policy;
pub use region::AddressRegion;

/// The desired state of the Mac. Lists are sorted by name.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The directory under which everything is installed, in `networking`.
    pub base: AbsolutePath,
    /// The directory in which the manager keeps its state.
    pub state_dir: AbsolutePath,
    /// The path of the manager's log.
    pub log_file: AbsolutePath,
    /// The file that gets the volumes' names; `None` installs no names.
    pub hosts_file: Option<AbsolutePath>,
    /// The pf anchor.
    pub anchor: AnchorPath,
    /// The seconds between two periodic reconciles.
    pub reconcile_interval: u32,
    /// Networks of the Mac that providers' networks may overlap.
    pub allow_overlap: Vec<Ipv4Net>,
    /// Every provider with its bridge and the route to it; those of other Macs are reached through the mesh.
    pub bridges: Vec<Bridge>,
    /// The localhost group.
    pub localhost: PlannedLocalhost,
    /// Every volume with its addresses, port and names.
    pub volumes: Vec<PlannedVolume>,
    /// The links as they were declared, in canonical order, for display.
    pub links: Vec<Link>,
    /// The tunnel to the other Macs, if there are others.
    pub mesh: Option<Tunnel>,
    /// The permitted flows between providers: rectangles whose union is the links, without redundant ones. With several
    /// Macs, those from or to a provider of this one.
    pub flows: Vec<PermittedFlow>,
    /// The flows whose source is translated to the gateway of the receiving provider.
    pub masquerades: Vec<Masquerade>,
    /// The published ports of volumes.
    pub publishes: Vec<Publish>,
    /// The dummynet pipes, by number, without gaps.
    pub pipes: Vec<Pipe>,
    /// Which packets go through which pipe. If several entries cover a packet, the last one applies; traffic inside a
    /// provider has no pipe.
    pub steering: Vec<Steering>,
    /// The policy: what is permitted, independent of rules.
    pub policy: Policy,
}

impl Plan {
    /// Derives the plan from a declaration.
    pub fn of(declaration: &Declaration) -> Self {
        let pipes = pipes::Pipes::of(declaration);
        let policy = Policy::of(declaration, &pipes.numbers);
        let bridges = declaration.providers.iter().map(|(name, provider)| Bridge {
            provider: name.clone(),
            logical: provider.bridge.clone(),
            network: provider.network,
            region: AddressRegion::of(declaration, name),
            gateway: provider.gateway,
            attachment: provider.attachment,
            internet: provider.internet,
            mac: declaration.remote_mac(name).cloned(),
        });
        let localhost = PlannedLocalhost {
            logical: declaration.localhost.bridge.clone(),
            gateway: declaration.localhost.gateway,
        };
        Self {
            base: declaration.base.clone(),
            state_dir: declaration.state_dir.clone(),
            log_file: declaration.log_file.clone(),
            hosts_file: declaration.hosts_file.clone(),
            anchor: declaration.anchor.clone(),
            reconcile_interval: declaration.reconcile_interval,
            allow_overlap: declaration.allow_overlap.iter().copied().collect(),
            bridges: bridges.collect(),
            localhost,
            volumes: volumes(declaration),
            links: declaration.links.clone(),
            mesh: mesh(declaration),
            flows: flows::flows(declaration),
            masquerades: flows::masquerades(declaration),
            publishes: publishes(declaration),
            pipes: pipes.pipes,
            steering: pipes.steering,
            policy,
        }
    }
}

impl Plan {
    /// The same plan with links numbered in canonical order, as in the bundle's own `network.json`.
    #[must_use]
    pub fn in_canonical_order(&self) -> Self {
        let links = self.links.iter().cloned().enumerate().map(|(index, link)| Link { index, ..link });
        Self { links: links.collect(), ..self.clone() }
    }

    /// A link in words: `aws, etcd-1 -> gcp, tcp 443, both ways`.
    pub fn describe(&self, link: &Link) -> String {
        let ends = |ends: &BTreeSet<Endpoint>| {
            flows::words(&ends.iter().cloned().collect::<Vec<_>>(), &self.bridges)
        };
        format!("{} -> {}, {}", ends(&link.from), ends(&link.to), link.manner().join(", "))
    }

    /// The name of the Mac that a provider is on; `None` if there is one Mac.
    pub fn mac_of<'a>(&'a self, bridge: &'a Bridge) -> Option<&'a Name> {
        bridge.mac.as_ref().or(self.mesh.as_ref().map(|mesh| &mesh.mac))
    }

    /// The providers that are on this Mac.
    pub fn own_bridges(&self) -> impl Iterator<Item = &Bridge> {
        self.bridges.iter().filter(|bridge| bridge.is_here())
    }

    /// The volumes that are on this Mac.
    pub fn own_volumes(&self) -> impl Iterator<Item = &PlannedVolume> {
        self.volumes.iter().filter(|volume| volume.is_here())
    }

    /// The provider that an endpoint is, or belongs to; `None` if the plan has no such volume.
    pub fn provider_of<'a>(&'a self, end: &'a Endpoint) -> Option<&'a Name> {
        match end {
            Endpoint::Provider(name) => Some(name),
            Endpoint::Volume(name) => self.volume(name).map(|volume| &volume.provider),
        }
    }

    /// The pipe with this number.
    pub fn pipe(&self, number: u16) -> Option<&Pipe> {
        // Pipes are numbered without gaps.
        self.pipes.get(usize::from(number.checked_sub(pipes::FIRST)?))
    }

    /// The volume with this name.
    pub fn volume(&self, name: &Name) -> Option<&PlannedVolume> {
        let index = self.volumes.binary_search_by(|volume| volume.name.cmp(name)).ok()?;
        self.volumes.get(index)
    }
}

/// The addresses of endpoints that the Mac itself has.
#[derive(Debug, Clone)]
pub struct Here<'a> {
    plan: &'a Plan,
    /// The volumes that the Mac serves, by provider.
    served: BTreeMap<&'a Name, BTreeMap<&'a Name, Ipv4Addr>>,
}

impl<'a> Here<'a> {
    /// Indexes the volumes of a plan that the Mac serves.
    pub fn of(plan: &'a Plan) -> Self {
        let mut served: BTreeMap<&Name, BTreeMap<&Name, Ipv4Addr>> = BTreeMap::new();
        for volume in plan.volumes.iter().filter(|volume| volume.is_served()) {
            served.entry(&volume.provider).or_default().insert(&volume.name, volume.address);
        }
        Self { plan, served }
    }

    /// The addresses of these endpoints that the Mac itself has: gateways, and volumes that it serves.
    pub fn addresses(&self, ends: &[Endpoint]) -> Vec<Ipv4Addr> {
        let (mut gateways, mut volumes) = (BTreeMap::new(), BTreeMap::new());
        for end in ends {
            let Some(provider) = self.plan.provider_of(end) else { continue };
            let served = self.served.get(provider);
            match end {
                Endpoint::Volume(name) => {
                    volumes.extend(served.and_then(|served| served.get_key_value(name)));
                }
                Endpoint::Provider(name) => {
                    volumes.extend(served.into_iter().flatten());
                    let bridge = self.plan.bridges.binary_search_by(|bridge| bridge.provider.cmp(name));
                    let bridge = bridge.ok().map(|bridge| &self.plan.bridges[bridge]);
                    let own = bridge.filter(|bridge| bridge.is_here());
                    gateways.extend(own.map(|bridge| (name, bridge.gateway.addr())));
                }
            }
        }
        gateways.into_values().chain(volumes.into_values().copied()).collect()
    }
}

fn volumes(declaration: &Declaration) -> Vec<PlannedVolume> {
    let volume = |(name, volume): (&Name, &crate::model::Volume)| {
        // The published ports are in a list of their own.
        let crate::model::Volume { provider, address, localhost, attachment, publish: _, mount_point, guest } =
            volume;
        let mac = declaration.remote_mac(provider).cloned();
        let is_here = mac.is_none();
        let owner = &declaration.providers[provider];
        let ours = is_here && owner.attachment == ProviderAttachment::Bridge;
        PlannedVolume {
            name: name.clone(),
            provider: provider.clone(),
            address: *address,
            attachment: *attachment,
            port: ours.then(|| name.behind("veth")),
            alias: localhost.filter(|_| is_here),
            mount_point: mount_point.clone().filter(|_| is_here),
            gateway: owner.gateway.addr(),
            guest: guest.clone(),
            mac,
        }
    };
    declaration.volumes.iter().map(volume).collect()
}

/// The tunnel to the other Macs, if there are others.
fn mesh(declaration: &Declaration) -> Option<Tunnel> {
    let mesh = declaration.mesh.as_ref()?;
    let peer = |(name, mac): (&Name, &crate::model::MeshMac)| OtherMac {
        mac: name.clone(),
        endpoint: mac.endpoint.clone(),
        public_key: mac.public_key.clone(),
        address: mac.address,
        networks: mac.providers.iter().map(|name| declaration.providers[name].network).collect(),
    };
    let peers: Vec<OtherMac> = mesh.peers().map(peer).collect();
    let this = mesh.this();
    let (mac, address, listen_port) = (mesh.mac.clone(), this.address, this.listen_port);
    (!peers.is_empty()).then_some(Tunnel { mac, address, listen_port, peers })
}

fn publishes(declaration: &Declaration) -> Vec<Publish> {
    let of_volume = |(name, volume): (&Name, &crate::model::Volume)| {
        if declaration.remote_mac(&volume.provider).is_some() {
            return None;
        }
        let alias = volume.localhost?;
        let (name, address) = (name.clone(), volume.address);
        Some(volume.publish.clone().into_iter().map(move |port| Publish {
            volume: name.clone(),
            alias,
            port,
            address,
        }))
    };
    declaration.volumes.iter().filter_map(of_volume).flatten().collect()
}
