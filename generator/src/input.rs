//! The declaration as it arrives: a raw mirror of the JSON that Nix evaluates (version 1).
//!
//! A `None` was absent, null, or reported as a problem. A declaration with problems has no model, so the three are not
//! distinguished, except where null has a meaning of its own (`hostsFile`). Sees: place, problem. Never: validates more
//! than the shape of a value (`model` does), or fills in defaults.

mod read;
mod tree;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use read::nearest;

use crate::place::Place;
use crate::problem::Problem;

/// The JSON of the embedded declaration: five providers and thirteen volumes.
pub const DEFAULT: &str = include_str!("../default.json");

/// The only version of the input format.
pub const VERSION: i64 = 1;

/// A network of providers, volumes and links, as Nix evaluates it. Fields that are left out, or null, have the
/// defaults described.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "nixvol-net input, version 1")]
pub struct Input {
    /// The version of this format.
    #[schemars(required, range(min = 1, max = 1))]
    pub version: Option<i64>,
    /// The directory under which everything is installed (in `networking`). Default `/opt/nix-volumes`.
    pub base: Option<String>,
    /// Where the manager keeps its ledger, lock and wish. Default `/var/db/nix-volumes-networking`.
    pub state_dir: Option<String>,
    /// The manager's log. Default `/var/log/nix-volumes-networking.log`.
    pub log_file: Option<String>,
    /// The file that gets the names of the volumes; null installs no names. Default `/etc/hosts`.
    #[schemars(with = "Option<String>")]
    pub hosts_file: HostsFile,
    /// The pf anchor, a child of `com.apple`. Default `com.apple/250.nixvol`.
    pub anchor: Option<String>,
    /// The seconds between two looks at the network, besides those after a change: 10 to 86400. Default 120.
    #[schemars(range(min = 10, max = 86_400))]
    pub reconcile_interval: Option<i64>,
    /// Networks that a provider's network may overlap although the Mac already has them. Default none.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_overlap: Option<Vec<Option<String>>>,
    /// The clouds, by name.
    #[schemars(required)]
    pub providers: Option<BTreeMap<String, Provider>>,
    /// The volumes, by name.
    #[schemars(required)]
    pub volumes: Option<BTreeMap<String, Volume>>,
    /// The group of localhost aliases.
    pub localhost: Option<Localhost>,
    /// What may pass between providers. Default nothing.
    pub links: Option<Vec<Link>>,
    /// What must, or must never, get through, whatever the links say. Default nothing.
    pub expect: Option<Vec<Expectation>>,
    /// Where in the user's Nix source a value is, by its dotted path (`volumes.etcd-1.address`).
    pub positions: Option<BTreeMap<String, Option<Place>>>,
    /// What a bundle's `network.json` adds to the declaration; ignored on reading.
    #[schemars(with = "Option<serde_json::Value>")]
    pub resolved: Ignored,
}

/// `hostsFile`, the only field in which null and absence differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum HostsFile {
    /// Absent: the default applies.
    #[default]
    Unsaid,
    /// Null: names are not installed.
    Nowhere,
    /// The path of the file.
    At(String),
}

/// A field that is accepted but not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored;

/// A cloud.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Its network, as `10.0.0.0/16`.
    #[schemars(required)]
    pub network: Option<String>,
    /// The Mac's address in it and the prefix on its bridge, as `10.0.1.1/24`.
    #[schemars(required)]
    pub gateway: Option<String>,
    /// The logical name of its bridge. Default `bridge-NAME`.
    pub bridge: Option<String>,
    /// `bridge`: the manager makes the bridge. `vmnet`: macOS's vmnet does, and it is found by its gateway
    /// address. Default `bridge`.
    #[schemars(with = "Option<ProviderAttachment>")]
    pub attachment: Option<String>,
    /// Whether its volumes reach the outside, through NAT. Default true.
    pub internet: Option<bool>,
    /// The region of AWS, Azure, Google Cloud, IBM Cloud or DigitalOcean that it stands for, as `us-east-1`: links whose
    /// `latency` is `regions` are as slow as packets between regions. Default none.
    pub region: Option<String>,
}

/// A mounted volume that takes part.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// The provider that it belongs to.
    #[schemars(required)]
    pub provider: Option<String>,
    /// Its IPv4 address, inside the provider's network.
    #[schemars(required)]
    pub address: Option<String>,
    /// Its alias on the Mac's loopback, inside the localhost range. Default none.
    pub localhost: Option<String>,
    /// `host`: processes of the Mac serve the address. `guest`: a VM owns it. Default `host`.
    #[schemars(with = "Option<VolumeAttachment>")]
    pub attachment: Option<String>,
    /// TCP ports that answer on the localhost alias too. Default none.
    #[schemars(with = "Option<Vec<u16>>", inner(range(min = 1)))]
    pub publish: Option<Vec<Option<i64>>>,
    /// Its mount point: its addresses exist only while something is mounted there. Default always.
    pub mount_point: Option<String>,
    /// What is known of the VM that takes the address, for the files of `guests/NAME`.
    pub guest: Option<Guest>,
}

/// What is known of the VM that takes a volume's address.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guest {
    /// The MAC address of its interface in the provider's network, as `52:54:00:12:34:56`. Default any.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"))]
    pub mac: Option<String>,
    /// The name of that interface inside the VM, where its system is not told by `mac`. Default `en*` and `eth*`.
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9._-]{0,14}$"))]
    pub interface: Option<String>,
    /// The name servers that it asks. Default the gateway where vmnet makes the bridge, else none.
    #[schemars(with = "Option<Vec<String>>")]
    pub dns: Option<Vec<Option<String>>>,
}

/// The group of localhost aliases.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Localhost {
    /// Its logical name. Default `bridge-localhost`.
    pub bridge: Option<String>,
    /// The Mac's own alias in it and the range of the others. Default `127.0.1.1/24`.
    pub gateway: Option<String>,
}

/// A permission.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// Names of providers and volumes that may open connections.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub from: Option<Vec<Option<String>>>,
    /// Names of providers and volumes that they may reach.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub to: Option<Vec<Option<String>>>,
    /// The protocol. Default every protocol.
    #[schemars(with = "Option<Protocol>")]
    pub protocol: Option<String>,
    /// Destination ports: numbers, or ranges as `"2379-2380"`. Default every port.
    #[schemars(with = "Option<Vec<Port>>", length(min = 1))]
    pub ports: Option<Vec<Option<Port>>>,
    /// Whether `to` may open connections to `from` too. Default false.
    pub bidirectional: Option<bool>,
    /// Whether the traffic leaves with the gateway address of the receiving provider. Default false.
    pub masquerade: Option<bool>,
    /// The conditions of the path between the ends. Default as the Mac is.
    pub conditions: Option<Conditions>,
}

/// What must, or must never, get through.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// Who opens connections: names of providers and volumes, or `internet`, `lan`, `mac`, `localhost`, `any`.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub from: Option<Vec<Option<String>>>,
    /// Whom they reach, or do not; the same kinds.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub to: Option<Vec<Option<String>>>,
    /// The protocol. Default every protocol.
    #[schemars(with = "Option<Protocol>")]
    pub protocol: Option<String>,
    /// Destination ports: numbers, or ranges as `"2379-2380"`. Default every port.
    #[schemars(with = "Option<Vec<Port>>", length(min = 1))]
    pub ports: Option<Vec<Option<Port>>>,
    /// Whether all of it must get through, or none of it may.
    #[schemars(required)]
    pub passes: Option<bool>,
    /// The reason, which is shown when the expectation fails. Default none.
    pub why: Option<String>,
}

/// A port, or a range of ports as text.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum Port {
    /// One port.
    Number(#[schemars(range(min = 1, max = 65535))] i64),
    /// One port or a range.
    Range(#[schemars(regex(pattern = "^[0-9]{1,5}(-[0-9]{1,5})?$"))] String),
}

/// The conditions of the path between the ends of a link.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// Added delay in milliseconds, one way.
    #[schemars(range(min = 0, max = 10000))]
    pub latency_ms: Option<i64>,
    /// `regions`: the delay follows from the regions of the two providers. Not together with `latencyMs`.
    #[schemars(with = "Option<Latency>")]
    pub latency: Option<String>,
    /// The most that a packet is delayed beyond that by chance, in milliseconds, one way. In the lab alone: dummynet has
    /// no jitter.
    #[schemars(range(min = 0, max = 10000))]
    pub jitter_ms: Option<i64>,
    /// The share of packets that are lost, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub loss: Option<f64>,
    /// The rate in kilobits a second.
    #[schemars(range(min = 1, max = 2_147_483))]
    pub bandwidth_kbit: Option<i64>,
}

/// An enum of the words that a field accepts: the reader, the schema and the errors share one list.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        pub enum $name {
            $($(#[$word_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The value of a word; `None` if it is unknown.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The word of this value.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

words! {
    /// Who makes a provider's bridge.
    ProviderAttachment:
    /// The manager.
    Bridge = "bridge",
    /// macOS's vmnet.
    Vmnet = "vmnet",
}

words! {
    /// Who owns a volume's address.
    VolumeAttachment:
    /// Processes of the Mac.
    Host = "host",
    /// A VM.
    Guest = "guest",
}

words! {
    /// A protocol that a link can be limited to.
    Protocol:
    /// TCP.
    Tcp = "tcp",
    /// UDP.
    Udp = "udp",
    /// ICMP.
    Icmp = "icmp",
}

words! {
    /// Where a delay comes from.
    Latency:
    /// From the regions of the two providers.
    Regions = "regions",
}

words! {
    /// What an end of an expectation can be besides providers and volumes.
    Word:
    /// The outside, as far as it is not a private-use space.
    Internet = "internet",
    /// Private-use space that is not a provider's.
    Lan = "lan",
    /// This Mac.
    Mac = "mac",
    /// 127.0.0.0/8.
    Localhost = "localhost",
    /// Everyone.
    Any = "any",
}

/// Reads the JSON of a declaration.
///
/// Everything with the right shape is in the [`Input`]; everything else is in the problems, all of which are reported.
pub fn read(bytes: &[u8]) -> (Input, Vec<Problem>) {
    read::input(bytes)
}

/// The JSON Schema of the input, generated from the types above.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Input)
}
