//! The declaration as values that cannot be invalid: parsed once, never validated again.
//!
//! In a [`Declaration`] names are valid, networks do not overlap, every volume is in its provider's network and
//! every endpoint of a link exists. Sees: place, problem, input. Never: the Mac, pf, or a file.

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
use regions::{Region, Span};
pub use value::{AbsolutePath, AnchorPath, InterfaceName, MacAddress, Name, PortRange, PortSet};
pub use ways::Way;

/// A whole, valid declaration. Maps are sorted by name and links by what they say, so that nothing behind this
/// point can depend on the order of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The directory under which everything is installed.
    pub base: AbsolutePath,
    /// Where the manager keeps its state.
    pub state_dir: AbsolutePath,
    /// The manager's log.
    pub log_file: AbsolutePath,
    /// The file that gets the volumes' names, if any.
    pub hosts_file: Option<AbsolutePath>,
    /// The pf anchor.
    pub anchor: AnchorPath,
    /// The seconds between two reconciles that nothing else asks for: 10 to 86,400.
    pub reconcile_interval: u32,
    /// Networks that may be overlapped although the Mac has them.
    pub allow_overlap: BTreeSet<Ipv4Net>,
    /// Clouds by name.
    pub providers: BTreeMap<Name, Provider>,
    /// Volumes by name.
    pub volumes: BTreeMap<Name, Volume>,
    /// The group of localhost aliases.
    pub localhost: Localhost,
    /// Permissions, in canonical order.
    pub links: Vec<Link>,
    /// What must, or must never, get through, in canonical order.
    pub expectations: Vec<Expectation>,
    /// Where things are in the user's Nix source.
    pub positions: Positions,
}

/// A cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its network.
    pub network: Ipv4Net,
    /// The Mac's address in it, with the prefix length that its bridge has.
    pub gateway: Ipv4Net,
    /// The logical name of its bridge.
    pub bridge: Name,
    /// Who makes the bridge.
    pub attachment: ProviderAttachment,
    /// Whether its volumes reach the outside.
    pub internet: bool,
    /// The region of a cloud that it stands for.
    pub region: Option<Region>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its provider.
    pub provider: Name,
    /// Its address, inside the provider's network.
    pub address: Ipv4Addr,
    /// Its alias on loopback, inside the localhost range.
    pub localhost: Option<Ipv4Addr>,
    /// Who owns the address.
    pub attachment: VolumeAttachment,
    /// TCP ports that answer on the alias too; empty without an alias.
    pub publish: BTreeSet<u16>,
    /// Where it is mounted, if its addresses depend on that.
    pub mount_point: Option<AbsolutePath>,
    /// What its VM's files are made of.
    pub guest: Guest,
}

/// What is known of the VM that takes a volume's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The MAC address of its interface.
    pub mac: Option<MacAddress>,
    /// The name of its interface, for systems that do not find it by the MAC address.
    pub interface: Option<InterfaceName>,
    /// The name servers that it asks, in order.
    pub dns: Vec<Ipv4Addr>,
}

/// The group of localhost aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Localhost {
    /// Its logical name.
    pub bridge: Name,
    /// The Mac's alias in it; the prefix is the range of the others.
    pub gateway: Ipv4Net,
}

/// A permission: `from` may open connections to `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Who may open.
    pub from: BTreeSet<End>,
    /// The endpoints that they may reach.
    pub to: BTreeSet<End>,
    /// The protocol; `None` is every one.
    pub protocol: Option<Protocol>,
    /// Destination ports; `None` is every one. Only with tcp, udp, or no protocol (which then means both).
    pub ports: Option<PortSet>,
    /// Whether `to` may open connections to `from` as well.
    pub bidirectional: bool,
    /// Whether the traffic gets the gateway address of the receiving provider.
    pub masquerade: bool,
    /// The conditions of the path.
    pub conditions: Option<LinkConditions>,
    /// Its index in the user's list: `links.N`.
    pub index: usize,
}

impl Link {
    /// Who may open to whom, each way once: there, and back where that is another way.
    pub fn directions(&self) -> impl Iterator<Item = (&BTreeSet<End>, &BTreeSet<End>)> {
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

    /// All that it says beside its ends: the service, whether it goes both ways, whether it masquerades, and conditions.
    pub fn manner(&self) -> Vec<String> {
        let both = (self.bidirectional && self.from != self.to).then(|| "both ways".to_owned());
        let masquerade = self.masquerade.then(|| "masqueraded".to_owned());
        let conditions = self.conditions.map(|conditions| conditions.to_string());
        [Some(self.service()), both, masquerade, conditions].into_iter().flatten().collect()
    }
}

/// One end of a link. Providers and volumes share their names' space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Every address of a provider's network.
    Provider(Name),
    /// One volume.
    Volume(Name),
}

impl End {
    /// The name, of whichever.
    pub fn name(&self) -> &Name {
        match self {
            End::Provider(name) | End::Volume(name) => name,
        }
    }
}

/// What must, or must never, get through, whatever the links say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expectation {
    /// Who opens.
    pub from: BTreeSet<Party>,
    /// Whom they reach, or do not.
    pub to: BTreeSet<Party>,
    /// The protocol; `None` is every one.
    pub protocol: Option<Protocol>,
    /// Destination ports; `None` is every one. As those of a link.
    pub ports: Option<PortSet>,
    /// All of it must get through; otherwise none of it may.
    pub passes: bool,
    /// The user's reason.
    pub why: Option<String>,
    /// Its index in the user's list: `expect.N`.
    pub index: usize,
}

/// One end of an expectation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A provider or a volume.
    End(End),
    /// The outside, but for the LAN.
    Internet,
    /// Private-use and link-local space that is not a provider's.
    Lan,
    /// This Mac: whoever opens on it, or its gateways where they are reached.
    Mac,
    /// 127.0.0.0/8.
    Localhost,
    /// Everyone, as far as the flow has to do with this network.
    Any,
}

impl Party {
    /// The word of the input that means it.
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

/// The longest latency, in milliseconds.
pub(crate) const MOST_LATENCY: u16 = 10_000;
/// The highest bandwidth in kilobits a second: dnctl keeps bits a second in 31 bits.
pub(crate) const MOST_BANDWIDTH: u32 = 2_147_483;

/// The conditions that a link declares for the path between its ends. At least one field is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConditions {
    /// The added delay.
    pub latency: Option<Latency>,
    /// The most that chance adds to it, in milliseconds, one way: 0 to 10,000. In the lab alone.
    pub jitter_ms: Option<u16>,
    /// The share of packets lost: 0 to 1. Dummynet is told millionths.
    pub loss: Option<f64>,
    /// The rate in kilobits a second: 1 to 2,147,483.
    pub bandwidth_kbit: Option<u32>,
}

/// An added delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// So many milliseconds, one way: 0 to 10,000.
    Ms(u16),
    /// What follows from the regions of the two providers.
    Regions,
}

impl LinkConditions {
    /// Whether every pair of regions has conditions of its own.
    pub fn goes_by_regions(&self) -> bool {
        self.latency == Some(Latency::Regions)
    }

    /// The conditions of the path between these regions.
    fn over(&self, span: Option<Span>) -> Conditions {
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
    /// Added delay in milliseconds, one way: 0 to 10,000.
    pub latency_ms: Option<u16>,
    /// The regions that the delay follows from, if it does.
    #[serde(skip)]
    pub span: Option<Span>,
    /// The most that chance adds to it, in milliseconds, one way. In the lab alone: dummynet has no jitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u16>,
    /// The share of packets lost: 0 to 1. Dummynet is told millionths.
    pub loss: Option<f64>,
    /// The rate in kilobits a second: 1 to 2,147,483.
    pub bandwidth_kbit: Option<u32>,
}

impl Conditions {
    /// Conditions as somebody asks for them.
    ///
    /// # Errors
    /// What is out of range, or that nothing is asked for.
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

    /// The added delay in milliseconds.
    pub fn delay(&self) -> u16 {
        self.latency_ms.unwrap_or(0)
    }

    /// The share of packets lost, in millionths: what dummynet is told, and shows.
    pub fn loss_millionths(&self) -> u32 {
        // From 0 to 1, so that no number is out of range.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let millionths = (self.loss.unwrap_or(0.0) * 1e6).round() as u32;
        millionths
    }

    /// The same in percent: `0.1`.
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

/// A declaration that is not valid, with what is needed to say so.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// Everything that is wrong, by path. Never empty.
    pub problems: Vec<Problem>,
    /// The places that the input told.
    pub positions: Positions,
}

/// Reads a declaration from its JSON.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn read(json: &[u8]) -> Result<Declaration, Rejected> {
    let (input, problems) = crate::input::read(json);
    check::declaration(input, problems)
}

impl Declaration {
    /// The addresses of an end: a provider's network, a volume as a /32.
    ///
    /// # Panics
    /// For an end of another declaration.
    pub fn range(&self, end: &End) -> Ipv4Net {
        match end {
            End::Provider(name) => self.providers[name].network,
            End::Volume(name) => self.volumes[name].address.into(),
        }
    }

    /// The provider that an end belongs to, or is.
    ///
    /// # Panics
    /// For an end of another declaration.
    pub fn provider_of<'a>(&'a self, end: &'a End) -> &'a Name {
        match end {
            End::Provider(name) => name,
            End::Volume(name) => &self.volumes[name].provider,
        }
    }

    /// The embedded declaration: five providers, thirteen volumes, every pair of providers linked.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn embedded() -> Self {
        read(crate::input::DEFAULT.as_bytes()).expect("the embedded declaration is valid")
    }
}
