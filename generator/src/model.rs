//! The declaration as values that cannot be invalid: parsed once, never validated again.
//!
//! In a [`Declaration`] names are valid, networks do not overlap, every volume is in its provider's network and every
//! endpoint of a link exists. Sees: place, problem, input. Never: knows the Mac, pf or files.

mod check;
mod free;
pub mod regions;
mod value;
mod warn;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::input::Word;
pub use crate::input::{Protocol, ProviderAttachment, VolumeAttachment};
use crate::place::Positions;
use crate::problem::Problem;
pub use free::FreeNetworks;
use regions::{Region, RegionPair};
pub use value::{
    AbsolutePath, AnchorPath, InterfaceName, MacAddress, Name, PortRange, PortSet, PublicKey, TunnelEndpoint,
};
pub use ways::LinkDirection;

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

/// The maximum latency in milliseconds.
pub(crate) const MOST_LATENCY: u16 = 10_000;
/// The maximum bandwidth in kilobits per second: dnctl stores bits per second in 31 bits.
pub(crate) const MOST_BANDWIDTH: u32 = 2_147_483;

/// The conditions that a link declares for the path between its endpoints. At least one field is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConditions {
    /// The added delay.
    pub latency: Option<Latency>,
    /// The maximum random addition to the delay, in milliseconds, one way: 0 to 10,000. Only the lab applies it.
    pub jitter_ms: Option<u16>,
    /// The fraction of packets that are lost: 0 to 1. Dummynet takes it in millionths.
    pub loss: Option<f64>,
    /// The bandwidth in kilobits per second: 1 to 2,147,483.
    pub bandwidth_kbit: Option<u32>,
}

/// How the added delay of a path is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// In milliseconds, one way: 0 to 10,000.
    Ms(u16),
    /// Derived from the regions of the two providers.
    Regions,
}

impl LinkConditions {
    /// Whether the conditions differ between pairs of regions.
    pub fn goes_by_regions(&self) -> bool {
        self.latency == Some(Latency::Regions)
    }

    /// The conditions of the path between these regions.
    fn over(&self, span: Option<RegionPair>) -> Conditions {
        let Self { latency, jitter_ms, loss, bandwidth_kbit } = *self;
        let latency_ms = match latency {
            Some(Latency::Ms(ms)) => Some(ms),
            Some(Latency::Regions) => span.map(|span| span.latency_ms()),
            None => None,
        };
        let span = span.filter(|_| latency == Some(Latency::Regions));
        Conditions { latency_ms, span, jitter_ms, loss, bandwidth_kbit }
    }
}

impl fmt::Display for LinkConditions {
    /// In words: `latency of the regions, 1% lost`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.over(None).to_string();
        match self.latency {
            Some(Latency::Regions) if rest.is_empty() => f.write_str("latency of the regions"),
            Some(Latency::Regions) => write!(f, "latency of the regions, {rest}"),
            Some(Latency::Ms(_)) | None => f.write_str(&rest),
        }
    }
}

/// The conditions of the path between two endpoints. At least one field is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// The added delay in milliseconds, one way: 0 to 10,000.
    pub latency_ms: Option<u16>,
    /// The regions from which the delay was derived, if it was.
    #[serde(skip)]
    pub span: Option<RegionPair>,
    /// The maximum random addition to the delay, in milliseconds, one way. Only the lab applies it: dummynet has no
    /// jitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u16>,
    /// The fraction of packets that are lost: 0 to 1. Dummynet takes it in millionths.
    pub loss: Option<f64>,
    /// The bandwidth in kilobits per second: 1 to 2,147,483.
    pub bandwidth_kbit: Option<u32>,
}

impl Conditions {
    /// Conditions from untrusted values.
    ///
    /// # Errors
    /// A value out of range, or no value at all, as a message.
    pub fn checked(
        latency_ms: Option<u16>,
        loss: Option<f64>,
        bandwidth_kbit: Option<u32>,
    ) -> Result<Self, String> {
        if let Some(found) = latency_ms.filter(|ms| *ms > MOST_LATENCY) {
            return Err(format!(
                "the latency is {found} ms; it may be from 0 to {MOST_LATENCY} milliseconds"
            ));
        }
        if let Some(found) = loss.filter(|loss| !(0.0..=1.0).contains(loss)) {
            return Err(format!("the loss is {found}; it is a fraction from 0 to 1, so that 0.01 is 1 %"));
        }
        if let Some(found) = bandwidth_kbit.filter(|kbit| !(1..=MOST_BANDWIDTH).contains(kbit)) {
            return Err(format!("the bandwidth is {found} kbit/s; it may be from 1 to {MOST_BANDWIDTH}"));
        }
        if latency_ms.is_none() && loss.is_none() && bandwidth_kbit.is_none() {
            return Err("nothing is asked for: give a latency, a loss or a bandwidth".to_owned());
        }
        Ok(Self { latency_ms, span: None, jitter_ms: None, loss, bandwidth_kbit })
    }

    /// The added delay in milliseconds; 0 without one.
    pub fn delay(&self) -> u16 {
        self.latency_ms.unwrap_or(0)
    }

    /// The fraction of packets that are lost, in millionths: the unit of dummynet.
    pub fn loss_millionths(&self) -> u32 {
        // The loss is from 0 to 1, so the result fits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let millionths = (self.loss.unwrap_or(0.0) * 1e6).round() as u32;
        millionths
    }

    /// The loss in percent, such as `0.1`.
    pub fn loss_percent(&self) -> String {
        (f64::from(self.loss_millionths()) / 1e4).to_string()
    }

    /// Latency, jitter, loss and bandwidth in words: `40 ms`, `5 ms of jitter (lab only)`, `0.1%`, `100000 kbit/s`.
    pub fn words(&self) -> [Option<String>; 4] {
        let span = self.span.map_or(String::new(), |span| format!(" ({span})"));
        let latency = self.latency_ms.map(|ms| format!("{ms} ms{span}"));
        let jitter = self.jitter_ms.map(|ms| format!("{ms} ms of jitter (lab only)"));
        let loss = self.loss.map(|_| format!("{}%", self.loss_percent()));
        let bandwidth = self.bandwidth_kbit.map(|kbit| format!("{kbit} kbit/s"));
        [latency, jitter, loss, bandwidth]
    }
}

impl fmt::Display for Conditions {
    /// In words: `40 ms, 1% lost, 100000 kbit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [latency, jitter, loss, bandwidth] = self.words();
        let loss = loss.map(|loss| loss + " lost");
        f.write_str(&[latency, jitter, loss, bandwidth].into_iter().flatten().collect::<Vec<_>>().join(", "))
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

/// Reads a declaration from its JSON.
///
/// # Errors
/// All problems of the declaration.
pub fn read(json: &[u8]) -> Result<Declaration, Rejected> {
    let (input, problems) = crate::input::read(json);
    check::declaration(input, problems)
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

    /// The same declaration for another of its Macs; `None` if it has no such Mac.
    #[must_use]
    pub fn on(&self, mac: &Name) -> Option<Self> {
        let mesh = self.mesh.as_ref().filter(|mesh| mesh.macs.contains_key(mac))?;
        let mesh = Mesh { mac: mac.clone(), ..mesh.clone() };
        Some(Self { mesh: Some(mesh), ..self.clone() })
    }

    /// The embedded declaration: five providers, thirteen volumes, every pair of providers linked.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn embedded() -> Self {
        read(crate::input::DEFAULT.as_bytes()).expect("the embedded declaration is valid")
    }
}
