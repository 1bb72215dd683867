//! The types of a declaration: Macs, providers, volumes, links and expectations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::conditions::LinkConditions;
use super::regions::Region;
use super::value::{
    AbsolutePath, AnchorPath, InterfaceName, MacAddress, Name, PortSet, PublicKey, TunnelEndpoint,
};
use crate::input::{Protocol, ProviderAttachment, VolumeAttachment, Word};
use crate::place::Positions;
use crate::problem::Problem;

/// A complete, valid declaration. Maps are sorted by name and links by content, so that nothing that uses it can depend
/// on the order of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The directory under which everything is installed.
    pub base: AbsolutePath,
    /// The directory in which the manager keeps its state.
    pub state_dir: AbsolutePath,
    /// The path of the manager's log.
    pub log_file: AbsolutePath,
    /// The file that gets the volumes' names; `None` installs no names.
    pub hosts_file: Option<AbsolutePath>,
    /// The pf anchor.
    pub anchor: AnchorPath,
    /// The seconds between two periodic reconciles: 10 to 86,400.
    pub reconcile_interval: u32,
    /// Networks of the Mac that providers' networks may overlap.
    pub allow_overlap: BTreeSet<Ipv4Net>,
    /// The providers by name.
    pub providers: BTreeMap<Name, Provider>,
    /// The volumes by name.
    pub volumes: BTreeMap<Name, Volume>,
    /// The localhost group.
    pub localhost: Localhost,
    /// The links, in canonical order.
    pub links: Vec<Link>,
    /// The expectations, in canonical order.
    pub expectations: Vec<Expectation>,
    /// The Macs that share this declaration, and which of them this is; `None` if there is one Mac.
    pub mesh: Option<Mesh>,
    /// The places of values in the user's Nix source.
    pub positions: Positions,
}

/// Several Macs that share a declaration, joined by WireGuard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// The name of this Mac; one of `macs`.
    pub mac: Name,
    /// The Macs by name. Every provider is on exactly one of them.
    pub macs: BTreeMap<Name, MeshMac>,
}

/// One of several Macs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshMac {
    /// The providers that are on it.
    pub providers: BTreeSet<Name>,
    /// Where the others reach its WireGuard.
    pub endpoint: TunnelEndpoint,
    /// Its public key.
    pub public_key: PublicKey,
    /// Its address in the tunnel, in no provider's network.
    pub address: Ipv4Addr,
    /// The UDP port on which its WireGuard listens.
    pub listen_port: u16,
}

impl Mesh {
    /// The Mac that a provider is on.
    ///
    /// # Panics
    /// If the provider is from another declaration.
    pub fn mac_of(&self, provider: &Name) -> &Name {
        let is_on = |(_, mac): &(&Name, &MeshMac)| mac.providers.contains(provider);
        self.macs.iter().find(is_on).expect("every provider is on a Mac").0
    }

    /// This Mac.
    ///
    /// # Panics
    /// Never: it is one of the Macs.
    pub fn this(&self) -> &MeshMac {
        &self.macs[&self.mac]
    }

    /// The other Macs.
    pub fn peers(&self) -> impl Iterator<Item = (&Name, &MeshMac)> {
        self.macs.iter().filter(|(name, _)| **name != self.mac)
    }
}

/// A provider: the network of an emulated cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its network.
    pub network: Ipv4Net,
    /// The Mac's address in it, with the prefix length that the bridge interface gets.
    pub gateway: Ipv4Net,
    /// The logical name of its bridge.
    pub bridge: Name,
    /// Whether the manager or vmnet creates the bridge.
    pub attachment: ProviderAttachment,
    /// Whether its volumes reach the outside, through NAT.
    pub internet: bool,
    /// The cloud region that it stands for, if one is declared.
    pub region: Option<Region>,
}

/// A volume: a host in a provider's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The name of its provider.
    pub provider: Name,
    /// Its address, inside the provider's network.
    pub address: Ipv4Addr,
    /// Its localhost alias, inside the range of the localhost group.
    pub localhost: Option<Ipv4Addr>,
    /// Whether the Mac serves the address, or a guest (VM) has it.
    pub attachment: VolumeAttachment,
    /// TCP ports that also answer on the localhost alias; empty without an alias.
    pub publish: BTreeSet<u16>,
    /// The mount point on which the existence of its addresses depends, if any.
    pub mount_point: Option<AbsolutePath>,
    /// The properties of its VM, for the files under `guests/`.
    pub guest: Guest,
}

/// The known properties of the VM that has a volume's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The MAC address of its interface; `None` if any.
    pub mac: Option<MacAddress>,
    /// The name of its interface, for systems that do not match it by MAC address.
    pub interface: Option<InterfaceName>,
    /// The addresses of its name servers, in order.
    pub dns: Vec<Ipv4Addr>,
}

/// The localhost group: the range of the localhost aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Localhost {
    /// Its logical name.
    pub bridge: Name,
    /// The Mac's own alias in it; the prefix is the range of all aliases.
    pub gateway: Ipv4Net,
}

/// A link: `from` may open connections to `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The endpoints that may open connections.
    pub from: BTreeSet<Endpoint>,
    /// The endpoints that they may reach.
    pub to: BTreeSet<Endpoint>,
    /// The protocol; `None` means any.
    pub protocol: Option<Protocol>,
    /// Destination ports; `None` means all. Only with tcp, udp, or without a protocol (which then means both).
    pub ports: Option<PortSet>,
    /// Whether `to` may open connections to `from` as well.
    pub bidirectional: bool,
    /// Whether the source address is translated to the gateway of the receiving provider.
    pub masquerade: bool,
    /// The conditions of the path between the endpoints.
    pub conditions: Option<LinkConditions>,
    /// Its index in the user's list: N of `links.N`.
    pub index: usize,
}

impl Link {
    /// The permitted directions, as pairs of sources and destinations: the reverse one too if the link is bidirectional
    /// and its sides differ.
    pub fn directions(&self) -> impl Iterator<Item = (&BTreeSet<Endpoint>, &BTreeSet<Endpoint>)> {
        let back = (self.bidirectional && self.from != self.to).then_some((&self.to, &self.from));
        [(&self.from, &self.to)].into_iter().chain(back)
    }

    /// The protocol and ports in words: `tcp 2379-2380`, `any protocol`.
    pub fn service(&self) -> String {
        let protocol = self.protocol.map_or("any protocol", Protocol::word);
        match (&self.ports, self.protocol) {
            (None, _) => protocol.to_owned(),
            (Some(ports), Some(_)) => format!("{protocol} {ports}"),
            (Some(ports), None) => format!("tcp and udp {ports}"),
        }
    }

    /// Everything except the endpoints, in words: the service, whether it is bidirectional, whether it masquerades, and
    /// the conditions.
    pub fn manner(&self) -> Vec<String> {
        let both = (self.bidirectional && self.from != self.to).then(|| "both ways".to_owned());
        let masquerade = self.masquerade.then(|| "masqueraded".to_owned());
        let conditions = self.conditions.map(|conditions| conditions.to_string());
        [Some(self.service()), both, masquerade, conditions].into_iter().flatten().collect()
    }
}

/// An endpoint of a link. Providers and volumes share one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Every address of a provider's network.
    Provider(Name),
    /// One volume.
    Volume(Name),
}

impl Endpoint {
    /// The name of the provider or volume.
    pub fn name(&self) -> &Name {
        match self {
            Endpoint::Provider(name) | Endpoint::Volume(name) => name,
        }
    }
}

/// An expectation: flows that must, or must never, get through, whatever the links say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expectation {
    /// The endpoints that open connections.
    pub from: BTreeSet<Party>,
    /// The endpoints that they reach, or do not reach.
    pub to: BTreeSet<Party>,
    /// The protocol; `None` means any.
    pub protocol: Option<Protocol>,
    /// Destination ports, as for a link; `None` means all.
    pub ports: Option<PortSet>,
    /// Whether all of the flows must get through; otherwise none may.
    pub passes: bool,
    /// The user's reason, shown if the expectation fails.
    pub why: Option<String>,
    /// Its index in the user's list: N of `expect.N`.
    pub index: usize,
}

/// An endpoint of an expectation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A provider or a volume.
    End(Endpoint),
    /// The outside except the LAN.
    Internet,
    /// Private-use and link-local addresses that are in no provider's network.
    Lan,
    /// This Mac: as a source, any process that binds no address; as a destination, its gateways.
    Mac,
    /// 127.0.0.0/8.
    Localhost,
    /// Every endpoint, provided that the flow involves this network.
    Any,
}

impl Party {
    /// The word that denotes it in the input.
    pub fn word(&self) -> &str {
        match self {
            Self::End(end) => end.name().as_str(),
            Self::Internet => Word::Internet.word(),
            Self::Lan => Word::Lan.word(),
            Self::Mac => Word::Mac.word(),
            Self::Localhost => Word::Localhost.word(),
            Self::Any => Word::Any.word(),
        }
    }
}

impl From<Word> for Party {
    fn from(word: Word) -> Self {
        match word {
            Word::Internet => Self::Internet,
            Word::Lan => Self::Lan,
            Word::Mac => Self::Mac,
            Word::Localhost => Self::Localhost,
            Word::Any => Self::Any,
        }
    }
}

/// A declaration that is not valid, with what is needed to report it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// All problems, sorted by path. Never empty.
    pub problems: Vec<Problem>,
    /// The source positions that the input supplied.
    pub positions: Positions,
}

impl Declaration {
    /// The addresses of an endpoint: a provider's network, or a volume's address as a /32.
    ///
    /// # Panics
    /// If the endpoint is from another declaration.
    pub fn range(&self, end: &Endpoint) -> Ipv4Net {
        match end {
            Endpoint::Provider(name) => self.providers[name].network,
            Endpoint::Volume(name) => self.volumes[name].address.into(),
        }
    }

    /// The provider that an endpoint is, or belongs to.
    ///
    /// # Panics
    /// If the endpoint is from another declaration.
    pub fn provider_of<'a>(&'a self, end: &'a Endpoint) -> &'a Name {
        match end {
            Endpoint::Provider(name) => name,
            Endpoint::Volume(name) => &self.volumes[name].provider,
        }
    }

    /// The name of the other Mac that a provider is on; `None` if it is on this one.
    pub fn remote_mac(&self, provider: &Name) -> Option<&Name> {
        let mesh = self.mesh.as_ref()?;
        Some(mesh.mac_of(provider)).filter(|mac| **mac != mesh.mac)
    }

    /// The Macs that share the declaration, if there are several.
    pub fn several_macs(&self) -> Option<&Mesh> {
        self.mesh.as_ref().filter(|mesh| mesh.macs.len() > 1)
    }

    /// The same declaration for another of its Macs; `None` if it has no such Mac.
    #[must_use]
    pub fn on(&self, mac: &Name) -> Option<Self> {
        let mesh = self.mesh.as_ref().filter(|mesh| mesh.macs.contains_key(mac))?;
        let mesh = Mesh { mac: mac.clone(), ..mesh.clone() };
        Some(Self { mesh: Some(mesh), ..self.clone() })
    }
}
