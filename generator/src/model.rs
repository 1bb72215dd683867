//! The declaration as values that cannot be wrong: parsed once, never validated again.
//!
//! Whoever holds a [`Declaration`] knows that names are names, networks do not overlap, every volume lies in its
//! provider's network and every link end exists. Sees: place, problem, input. Never: the Mac, pf, or a file.

mod check;
mod free;
mod value;
mod warn;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::input::Word;
pub use crate::input::{Protocol, ProviderAttachment, VolumeAttachment};
use crate::place::Positions;
use crate::problem::Problem;
pub use value::{AbsolutePath, AnchorPath, Name, PortRange, PortSet};

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
    /// Where things stand in the user's Nix source.
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
    /// Whether its volumes reach the world outside.
    pub internet: bool,
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
    /// Who may be reached.
    pub to: BTreeSet<End>,
    /// The protocol; `None` is every one.
    pub protocol: Option<Protocol>,
    /// Destination ports; `None` is every one. Only with tcp, udp, or no protocol (which then means both).
    pub ports: Option<PortSet>,
    /// Whether `to` may open connections to `from` as well.
    pub bidirectional: bool,
    /// Whether the traffic takes the gateway address of the receiving provider.
    pub masquerade: bool,
    /// What the way is like.
    pub conditions: Option<Conditions>,
    /// Its index in the user's list: `links.N`.
    pub index: usize,
}

impl Link {
    /// Who may open to whom, each way once: there, and back where that is another way.
    pub fn directions(&self) -> impl Iterator<Item = (&BTreeSet<End>, &BTreeSet<End>)> {
        let back = (self.bidirectional && self.from != self.to).then_some((&self.to, &self.from));
        [(&self.from, &self.to)].into_iter().chain(back)
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
    /// The world outside, but for the LAN.
    Internet,
    /// Private-use and link-local space that is no provider's.
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
const MOST_LATENCY: u16 = 10_000;
/// The highest bandwidth in kilobits a second: dnctl keeps bits a second in 31 bits.
const MOST_BANDWIDTH: u32 = 2_147_483;

/// What the way between two ends is like. At least one field is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// Added delay in milliseconds, one way: 0 to 10,000.
    pub latency_ms: Option<u16>,
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
            return Err(format!("the loss is {found}; it is a share from 0 to 1, so that 0.01 is 1 %"));
        }
        if let Some(found) = bandwidth_kbit.filter(|kbit| !(1..=MOST_BANDWIDTH).contains(kbit)) {
            return Err(format!("the bandwidth is {found} kbit/s; it may be from 1 to {MOST_BANDWIDTH}"));
        }
        if latency_ms.is_none() && loss.is_none() && bandwidth_kbit.is_none() {
            return Err("nothing is asked for: give a latency, a loss or a bandwidth".to_owned());
        }
        Ok(Self { latency_ms, loss, bandwidth_kbit })
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

    /// Latency, loss and bandwidth in words: `40 ms`, `0.1%`, `100000 kbit/s`.
    pub fn words(&self) -> [Option<String>; 3] {
        let latency = self.latency_ms.map(|ms| format!("{ms} ms"));
        let loss = self.loss.map(|_| format!("{}%", self.loss_percent()));
        let bandwidth = self.bandwidth_kbit.map(|kbit| format!("{kbit} kbit/s"));
        [latency, loss, bandwidth]
    }
}

impl fmt::Display for Conditions {
    /// In words: `40 ms, 1% lost, 100000 kbit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [latency, loss, bandwidth] = self.words();
        let loss = loss.map(|loss| loss + " lost");
        f.write_str(&[latency, loss, bandwidth].into_iter().flatten().collect::<Vec<_>>().join(", "))
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
