//! The plan: the desired state of the Mac, as pure data, without pf, shell or XML.
//!
//! Everything that is rendered, drawn, proven or explained starts here, so that a decision is made once. Kernel
//! names are not in it: macOS assigns them, and the manager keeps them. Sees: model. Never: a file format, or the
//! order of the input.

pub mod faults;
pub mod flows;
pub mod pipes;
pub mod policy;
pub mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{
    AbsolutePath, AnchorPath, Declaration, End, Guest, Link, Name, ProviderAttachment, VolumeAttachment,
};
pub use flows::{Flow, Masquerade};
pub use pipes::{Pipe, Steering};
pub use policy::Policy;
pub use region::Region;

/// What must be true on the Mac. Lists are sorted by name.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where everything is installed, in `networking`.
    pub base: AbsolutePath,
    /// Where the manager keeps its state.
    pub state_dir: AbsolutePath,
    /// The manager's log.
    pub log_file: AbsolutePath,
    /// The file that gets the volumes' names, if any.
    pub hosts_file: Option<AbsolutePath>,
    /// The pf anchor.
    pub anchor: AnchorPath,
    /// The seconds between two reconciles that nothing else asks for.
    pub reconcile_interval: u32,
    /// Networks that may be overlapped although the Mac has them.
    pub allow_overlap: Vec<Ipv4Net>,
    /// A bridge and a route for every provider.
    pub bridges: Vec<Bridge>,
    /// The group of localhost aliases.
    pub localhost: Localhost,
    /// Addresses, ports and names of every volume.
    pub volumes: Vec<Volume>,
    /// Links as they were declared, in canonical order, for whoever shows them.
    pub links: Vec<Link>,
    /// What may pass between providers: rectangles that together are the links, none of them needless.
    pub flows: Vec<Flow>,
    /// Which of it gets the gateway address of the receiving provider.
    pub masquerades: Vec<Masquerade>,
    /// Ports that answer on a localhost alias.
    pub publishes: Vec<Publish>,
    /// What packets between ends go through, by number.
    pub pipes: Vec<Pipe>,
    /// Which packets go through which pipe. Of several that cover a packet the last counts; inside a provider none does.
    pub steering: Vec<Steering>,
    /// Who may send what to whom.
    pub policy: Policy,
}

/// A provider's bridge, and the route of its network to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The provider.
    pub provider: Name,
    /// The logical name.
    pub logical: Name,
    /// The network that is routed to the bridge.
    pub network: Ipv4Net,
    /// The addresses of the provider: the network, less what another network of the Mac has.
    pub region: Region,
    /// The bridge's own address and prefix length.
    pub gateway: Ipv4Net,
    /// Who makes the bridge; vmnet's is found by its gateway address.
    pub attachment: ProviderAttachment,
    /// Whether NAT takes the network to the outside.
    pub internet: bool,
}

/// The group of localhost aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Localhost {
    /// The logical name.
    pub logical: Name,
    /// The Mac's alias in it, and the range.
    pub gateway: Ipv4Net,
}

/// What a volume has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: Name,
    /// Its provider.
    pub provider: Name,
    /// Its address. A host's is a /32 alias on lo0; a guest's is nowhere on the Mac.
    pub address: Ipv4Addr,
    /// Who owns the address.
    pub attachment: VolumeAttachment,
    /// The logical name of the feth pair that joins it to its provider's bridge; none where vmnet owns the bridge.
    pub port: Option<Name>,
    /// Its alias on lo0.
    pub alias: Option<Ipv4Addr>,
    /// Where it must be mounted for all this to exist.
    pub mount_point: Option<AbsolutePath>,
    /// The gateway of its provider.
    pub gateway: Ipv4Addr,
    /// What its VM's files are made of.
    pub guest: Guest,
}

/// A TCP port that answers on a localhost alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publish {
    /// The volume.
    pub volume: Name,
    /// The alias.
    pub alias: Ipv4Addr,
    /// The port, on both sides.
    pub port: u16,
    /// The volume's address.
    pub address: Ipv4Addr,
}

impl Plan {
    /// The plan of a declaration.
    pub fn of(declaration: &Declaration) -> Self {
        let pipes = pipes::Pipes::of(declaration);
        let policy = Policy::of(declaration, &pipes.numbers);
        let bridges = declaration.providers.iter().map(|(name, provider)| Bridge {
            provider: name.clone(),
            logical: provider.bridge.clone(),
            network: provider.network,
            region: Region::of(declaration, name),
            gateway: provider.gateway,
            attachment: provider.attachment,
            internet: provider.internet,
        });
        let localhost = Localhost {
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
            flows: flows::flows(declaration),
            masquerades: flows::masquerades(declaration),
            publishes: publishes(declaration),
            pipes: pipes.pipes,
            steering: pipes.steering,
            policy,
        }
    }
}

impl Volume {
    /// The names of its address, longest first.
    pub fn host_names(&self) -> [String; 2] {
        [format!("{}.{}.nixvol", self.name, self.provider), format!("{}.nixvol", self.name)]
    }
}

impl Plan {
    /// The same plan with links called by their place in canonical order, as the bundle's own `network.json` has them.
    #[must_use]
    pub fn in_canonical_order(&self) -> Self {
        let links = self.links.iter().cloned().enumerate().map(|(index, link)| Link { index, ..link });
        Self { links: links.collect(), ..self.clone() }
    }

    /// A link in words: `aws, etcd-1 -> gcp, tcp 443, both ways`.
    pub fn describe(&self, link: &Link) -> String {
        let ends =
            |ends: &BTreeSet<End>| flows::words(&ends.iter().cloned().collect::<Vec<_>>(), &self.bridges);
        format!("{} -> {}, {}", ends(&link.from), ends(&link.to), link.manner().join(", "))
    }

    /// The provider that an end belongs to.
    pub fn provider_of<'a>(&'a self, end: &'a End) -> Option<&'a Name> {
        match end {
            End::Provider(name) => Some(name),
            End::Volume(name) => self.volume(name).map(|volume| &volume.provider),
        }
    }

    /// The pipe of this number.
    pub fn pipe(&self, number: u16) -> Option<&Pipe> {
        // They are numbered without gaps.
        self.pipes.get(usize::from(number.checked_sub(pipes::FIRST)?))
    }

    /// The volume of this name.
    pub fn volume(&self, name: &Name) -> Option<&Volume> {
        let index = self.volumes.binary_search_by(|volume| volume.name.cmp(name)).ok()?;
        self.volumes.get(index)
    }
}

/// What the Mac itself has of ends.
#[derive(Debug, Clone)]
pub struct Here<'a> {
    plan: &'a Plan,
    /// The volumes that the Mac serves, by provider.
    served: BTreeMap<&'a Name, BTreeMap<&'a Name, Ipv4Addr>>,
}

impl<'a> Here<'a> {
    /// What the Mac has by a plan.
    pub fn of(plan: &'a Plan) -> Self {
        let mut served: BTreeMap<&Name, BTreeMap<&Name, Ipv4Addr>> = BTreeMap::new();
        for volume in plan.volumes.iter().filter(|volume| volume.attachment == VolumeAttachment::Host) {
            served.entry(&volume.provider).or_default().insert(&volume.name, volume.address);
        }
        Self { plan, served }
    }

    /// The addresses of these ends that the Mac itself has: its gateways, and the volumes that it serves.
    pub fn addresses(&self, ends: &[End]) -> Vec<Ipv4Addr> {
        let (mut gateways, mut volumes) = (BTreeMap::new(), BTreeMap::new());
        for end in ends {
            let Some(provider) = self.plan.provider_of(end) else { continue };
            let served = self.served.get(provider);
            match end {
                End::Volume(name) => volumes.extend(served.and_then(|served| served.get_key_value(name))),
                End::Provider(name) => {
                    volumes.extend(served.into_iter().flatten());
                    let bridge = self.plan.bridges.binary_search_by(|bridge| bridge.provider.cmp(name));
                    gateways.extend(bridge.map(|bridge| (name, self.plan.bridges[bridge].gateway.addr())));
                }
            }
        }
        gateways.into_values().chain(volumes.into_values().copied()).collect()
    }
}

fn volumes(declaration: &Declaration) -> Vec<Volume> {
    let volume = |(name, volume): (&Name, &crate::model::Volume)| {
        let provider = &declaration.providers[&volume.provider];
        let ours = provider.attachment == ProviderAttachment::Bridge;
        Volume {
            name: name.clone(),
            provider: volume.provider.clone(),
            address: volume.address,
            attachment: volume.attachment,
            port: ours.then(|| name.behind("veth")),
            alias: volume.localhost,
            mount_point: volume.mount_point.clone(),
            gateway: provider.gateway.addr(),
            guest: volume.guest.clone(),
        }
    };
    declaration.volumes.iter().map(volume).collect()
}

fn publishes(declaration: &Declaration) -> Vec<Publish> {
    let of_volume = |(name, volume): (&Name, &crate::model::Volume)| {
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
