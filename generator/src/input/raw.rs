//! The raw mirror: a type for each object of the JSON, and one for each set of words that a field accepts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::place::Place;

/// A network of providers, volumes and links, as Nix evaluates it. A field that is absent or null has the default that
/// its description gives.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "nixvol-net input, version 1")]
pub struct Input {
    /// The version of this format: 1.
    #[schemars(required, range(min = 1, max = 1))]
    pub version: Option<i64>,
    /// The directory for everything that is installed; the bundle goes to `networking` below it. Default
    /// `/opt/nix-volumes`.
    pub base: Option<String>,
    /// The directory for the manager's state: its ledger, its lock, and whether the network was last requested up or
    /// down. Default `/var/db/nix-volumes-networking`.
    pub state_dir: Option<String>,
    /// The manager's log file. Default `/var/log/nix-volumes-networking.log`.
    pub log_file: Option<String>,
    /// The file into which the names of the volumes are written; null installs no names. Default `/etc/hosts`.
    #[schemars(with = "Option<String>")]
    pub hosts_file: HostsFile,
    /// The name of the pf anchor, a child of `com.apple`. Default `com.apple/250.nixvol`.
    pub anchor: Option<String>,
    /// How often the manager checks the network and repairs it, in seconds, from 10 to 86400. It also does so after
    /// changes of the network or of mounts. Default 120.
    #[schemars(range(min = 10, max = 86_400))]
    pub reconcile_interval: Option<i64>,
    /// Networks, as `192.168.0.0/16`, in which a provider may overlap a network that the Mac already has. Default none.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_overlap: Option<Vec<Option<String>>>,
    /// The providers (emulated clouds), by name.
    #[schemars(required)]
    pub providers: Option<BTreeMap<String, RawProvider>>,
    /// The volumes (hosts of the providers), by name.
    #[schemars(required)]
    pub volumes: Option<BTreeMap<String, RawVolume>>,
    /// The group of the volumes' aliases on the Mac's loopback.
    pub localhost: Option<RawLocalhost>,
    /// The flows that are permitted between providers. Default none.
    pub links: Option<Vec<RawLink>>,
    /// Declared tests of the policy: flows that must, or must never, get through. Default none.
    pub expect: Option<Vec<RawExpectation>>,
    /// The name of the Mac that this declaration is evaluated for, one of `macs`. Required with `macs`.
    pub mac: Option<String>,
    /// The Macs that share this declaration, by name; WireGuard tunnels join them. Every provider is on exactly one of
    /// them. Default none: this Mac has all providers.
    pub macs: Option<BTreeMap<String, DeclaredMac>>,
    /// The places of values in the user's Nix source, by dotted path (`volumes.etcd-1.address`); used in error
    /// messages.
    pub positions: Option<BTreeMap<String, Option<Place>>>,
    /// What a bundle's `network.json` adds to the declaration; ignored when read.
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

/// One of several Macs that share a declaration.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredMac {
    /// The names of the providers that are on this Mac.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub providers: Option<Vec<Option<String>>>,
    /// Where the other Macs reach its WireGuard, as `studio.local:51820`, `192.168.1.20:51820` or `[fd00::20]:51820`.
    #[schemars(required)]
    pub endpoint: Option<String>,
    /// The WireGuard public key of this Mac, as `wg pubkey` prints it.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    pub public_key: Option<String>,
    /// The IPv4 address of this Mac in the tunnel, outside all providers' networks, as `100.127.0.1`.
    #[schemars(required)]
    pub address: Option<String>,
    /// The UDP port on which its WireGuard listens. Default: the port of `endpoint`.
    #[schemars(range(min = 1, max = 65535))]
    pub listen_port: Option<i64>,
}

/// A provider: an emulated cloud with a network of its own.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Provider")]
pub struct RawProvider {
    /// The provider's network, as `10.0.0.0/16`.
    #[schemars(required)]
    pub network: Option<String>,
    /// The Mac's address in the network, with the prefix length of the bridge, as `10.0.1.1/24`.
    #[schemars(required)]
    pub gateway: Option<String>,
    /// The logical name of the provider's bridge. Default `bridge-NAME`.
    pub bridge: Option<String>,
    /// `bridge`: the manager creates the bridge. `vmnet`: macOS's vmnet creates it, and the manager finds it by the
    /// gateway address. Default `bridge`.
    #[schemars(with = "Option<ProviderAttachment>")]
    pub attachment: Option<String>,
    /// Whether the volumes reach the internet and the LAN, through NAT. Default true.
    pub internet: Option<bool>,
    /// The region of AWS, Azure, Google Cloud, IBM Cloud or DigitalOcean that the provider emulates, as `us-east-1`:
    /// links whose `latency` is `regions` are as slow as packets between the two regions. Default none.
    pub region: Option<String>,
}

/// A volume: a host in a provider's network.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Volume")]
pub struct RawVolume {
    /// The name of the provider that it belongs to.
    #[schemars(required)]
    pub provider: Option<String>,
    /// The volume's IPv4 address, inside the provider's network.
    #[schemars(required)]
    pub address: Option<String>,
    /// Its alias on the Mac's loopback, inside the range of `localhost`. Default none.
    pub localhost: Option<String>,
    /// `host`: processes of the Mac serve the address. `guest`: a VM has the address. Default `host`.
    #[schemars(with = "Option<VolumeAttachment>")]
    pub attachment: Option<String>,
    /// TCP ports of the volume that its localhost alias answers on too. Default none.
    #[schemars(with = "Option<Vec<u16>>", inner(range(min = 1)))]
    pub publish: Option<Vec<Option<i64>>>,
    /// The volume's mount point: its addresses exist only while something is mounted there. Default: they always exist.
    pub mount_point: Option<String>,
    /// The VM that has the address, for the files in `guests/NAME`.
    pub guest: Option<RawGuest>,
}

/// The VM that has a volume's address.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Guest")]
pub struct RawGuest {
    /// The MAC address of the VM's interface in the provider's network, as `52:54:00:12:34:56`. Default: any.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"))]
    pub mac: Option<String>,
    /// The name of that interface inside the VM, for guest systems that cannot be matched by `mac`. Default `en*` and
    /// `eth*`.
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9._-]{0,14}$"))]
    pub interface: Option<String>,
    /// The name servers of the VM. Default: the gateway if vmnet creates the bridge, else none.
    #[schemars(with = "Option<Vec<String>>")]
    pub dns: Option<Vec<Option<String>>>,
}

/// The group of localhost aliases.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Localhost")]
pub struct RawLocalhost {
    /// The logical name of the group. Default `bridge-localhost`.
    pub bridge: Option<String>,
    /// The Mac's own alias, and by its prefix the range of the volumes' aliases. Default `127.0.1.1/24`.
    pub gateway: Option<String>,
}

/// A permission to open connections, from endpoints to endpoints.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Link")]
pub struct RawLink {
    /// The providers and volumes that may open connections, by name.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub from: Option<Vec<Option<String>>>,
    /// The providers and volumes that may be reached, by name.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub to: Option<Vec<Option<String>>>,
    /// The permitted protocol. Default: every protocol.
    #[schemars(with = "Option<Protocol>")]
    pub protocol: Option<String>,
    /// The permitted destination ports: numbers, or ranges as `"2379-2380"`. Default: every port.
    #[schemars(with = "Option<Vec<Port>>", length(min = 1))]
    pub ports: Option<Vec<Option<Port>>>,
    /// Whether `to` may open connections to `from` too. Default false.
    pub bidirectional: Option<bool>,
    /// Whether the source is translated to the gateway address of the destination's provider. Default false.
    pub masquerade: Option<bool>,
    /// The conditions of the path between the endpoints: latency, loss, bandwidth. Default: none are added.
    pub conditions: Option<RawConditions>,
}

/// A declared test of the policy: flows that must, or must never, get through.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Expectation")]
pub struct RawExpectation {
    /// The endpoints that open connections: names of providers and volumes, or `internet`, `lan`, `mac`, `localhost`,
    /// `any`.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub from: Option<Vec<Option<String>>>,
    /// The endpoints that they reach, or must not reach; the same kinds of names.
    #[schemars(required, with = "Vec<String>", length(min = 1))]
    pub to: Option<Vec<Option<String>>>,
    /// The protocol. Default: every protocol.
    #[schemars(with = "Option<Protocol>")]
    pub protocol: Option<String>,
    /// The destination ports: numbers, or ranges as `"2379-2380"`. Default: every port.
    #[schemars(with = "Option<Vec<Port>>", length(min = 1))]
    pub ports: Option<Vec<Option<Port>>>,
    /// True: all of these flows must get through. False: none of them may.
    #[schemars(required)]
    pub passes: Option<bool>,
    /// The reason, shown if the expectation fails. Default none.
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

/// The conditions of the path between the endpoints of a link, applied to each direction.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Conditions")]
pub struct RawConditions {
    /// Added delay in milliseconds, one way.
    #[schemars(range(min = 0, max = 10000))]
    pub latency_ms: Option<i64>,
    /// `regions`: the delay follows from the regions of the two providers. Excludes `latencyMs`.
    #[schemars(with = "Option<Latency>")]
    pub latency: Option<String>,
    /// The maximum of a random delay that is added to the latency, in milliseconds, one way. Only the lab applies it:
    /// dummynet has no jitter.
    #[schemars(range(min = 0, max = 10000))]
    pub jitter_ms: Option<i64>,
    /// The share of packets that is lost, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub loss: Option<f64>,
    /// The bandwidth in kilobits per second.
    #[schemars(range(min = 1, max = 2_147_483))]
    pub bandwidth_kbit: Option<i64>,
}

/// Defines an enum of the words that a field accepts: the reader, the schema and the errors share one list.
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
    /// Who creates a provider's bridge.
    ProviderAttachment:
    /// The manager.
    Bridge = "bridge",
    /// macOS's vmnet.
    Vmnet = "vmnet",
}

words! {
    /// Who has a volume's address.
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
    /// How the latency of a link is determined.
    Latency:
    /// By the regions of the two providers.
    Regions = "regions",
}

words! {
    /// What an endpoint of an expectation can be besides a provider or a volume.
    Word:
    /// Public addresses outside.
    Internet = "internet",
    /// Private-use addresses that belong to no provider.
    Lan = "lan",
    /// This Mac.
    Mac = "mac",
    /// 127.0.0.0/8.
    Localhost = "localhost",
    /// Every endpoint.
    Any = "any",
}
