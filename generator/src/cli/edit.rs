//! The command line of `add`, `remove`, `rename` and `move`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{Format, complete};

/// What to add.
#[derive(Debug, Subcommand)]
pub enum Add {
    /// Add a volume.
    #[command(after_help = "Examples:
  nixvol-net add volume etcd-4 --provider aws --file configuration.nix
  nixvol-net add volume vm-1 --provider ibm --attachment guest --dry-run \\
    --file configuration.nix
  nix eval --json .#darwinConfigurations.mac.config.services.nixvol-net.input \\
    | nixvol-net add volume etcd-4 --provider aws --file volumes.nix --input -

Exit: 0 added, 2 not; the file is then as it was.")]
    Volume {
        /// The volume's name.
        name: String,
        /// The provider that it belongs to.
        #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::providers))]
        provider: String,
        /// Its address [default: the provider's next free one]
        #[arg(long)]
        address: Option<Ipv4Addr>,
        /// Its localhost alias, or `none` [default: the next free one; none for a guest that publishes nothing]
        #[arg(long, value_name = "ADDRESS")]
        localhost: Option<Alias>,
        /// What answers at the address: host (a process of the Mac) or guest (a VM) [default: host]
        #[arg(long, value_parser = ["host", "guest"])]
        attachment: Option<String>,
        /// A TCP port that answers on the localhost alias too; repeat it, or write `A,B`, for more.
        #[arg(long, value_name = "PORT", value_delimiter = ',')]
        publish: Vec<u16>,
        /// Its mount point: its addresses exist only while something is mounted there.
        #[arg(long, value_name = "PATH")]
        mount_point: Option<String>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Add a provider.
    #[command(after_help = "Examples:
  nixvol-net add provider hetzner --file configuration.nix
  nixvol-net add provider lab --network 172.20.0.0/16 --gateway 172.20.0.1/24 \\
    --no-internet --file configuration.nix
  nixvol-net add provider hetzner --mac studio --file macs.nix

Exit: 0 added, 2 not; the file is then as it was.")]
    Provider {
        /// The provider's name.
        name: String,
        /// Its network, such as 10.5.0.0/16 [default: the next free one, of the same size as the others]
        #[arg(long)]
        network: Option<String>,
        /// Its gateway, such as 10.5.1.1/24 [default: at the same offset as the others]
        #[arg(long)]
        gateway: Option<String>,
        /// The logical name of its bridge [default: bridge-NAME]
        #[arg(long, value_name = "NAME")]
        bridge: Option<String>,
        /// What creates the bridge: bridge (the manager) or vmnet (a VM's network) [default: bridge]
        #[arg(long, value_parser = ["bridge", "vmnet"])]
        attachment: Option<String>,
        /// Its volumes may not open connections to the outside.
        #[arg(long)]
        no_internet: bool,
        /// The region of a cloud that it stands for, as us-east-1 (see `nixvol-net help conditions`).
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        /// The Mac that it is on, if the declaration has several.
        #[arg(long, value_name = "NAME")]
        mac: Option<String>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Add one of several Macs. It gets providers from the others (see `nixvol-net help macs`).
    #[command(after_help = "Examples:
  nixvol-net add mac mini --provider gcp --endpoint 192.168.1.20:51820 \\
    --public-key HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw= \\
    --address 100.127.0.2 --file macs.nix

Exit: 0 added, 2 not; the file is then as it was.")]
    Mac {
        /// The Mac's name.
        name: String,
        /// A provider that is on it; repeat it, or write `A,B`, for more. Other Macs lose it.
        #[arg(long = "provider", value_name = "NAME", value_delimiter = ',', required = true, add = ArgValueCompleter::new(complete::providers))]
        providers: Vec<String>,
        /// Where its WireGuard is reached: HOST:PORT.
        #[arg(long, value_name = "HOST:PORT")]
        endpoint: String,
        /// Its public key, as `wg pubkey` prints it.
        #[arg(long, value_name = "KEY")]
        public_key: String,
        /// Its address in the tunnel, in no provider's network.
        #[arg(long)]
        address: Ipv4Addr,
        /// The UDP port on which its WireGuard listens [default: that of the endpoint]
        #[arg(long, value_name = "PORT")]
        listen_port: Option<u16>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Add a link: a permission to open connections.
    #[command(after_help = "Examples:
  nixvol-net add link --from aws --to azure,etcd-3 --protocol tcp --port 2379-2380 \\
    --file configuration.nix
  nixvol-net add link --from gcp --to ibm --bidirectional --latency-ms 40 --loss 0.01 \\
    --file configuration.nix

Exit: 0 added, 2 not; the file is then as it was.")]
    Link {
        /// The endpoints that may open connections: names of providers and volumes.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true, add = ArgValueCompleter::new(complete::ends))]
        from: Vec<String>,
        /// The endpoints that they may reach.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true, add = ArgValueCompleter::new(complete::ends))]
        to: Vec<String>,
        /// tcp, udp or icmp [default: every protocol]
        #[arg(long, value_parser = ["tcp", "udp", "icmp"])]
        protocol: Option<String>,
        /// A port, or a range such as 2379-2380; repeat it, or write `A,B`, for more [default: every port]
        #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
        ports: Vec<String>,
        /// The other side may open connections too.
        #[arg(long)]
        bidirectional: bool,
        /// The traffic gets the gateway address of the receiving provider as its source.
        #[arg(long)]
        masquerade: bool,
        /// The delay added to each packet, one way, in milliseconds: 0 to 10000.
        #[arg(long, value_name = "MS")]
        latency_ms: Option<u32>,
        /// regions: the delay follows from the regions of the two providers.
        #[arg(long, value_parser = ["regions"], conflicts_with = "latency_ms")]
        latency: Option<String>,
        /// The most that chance adds to the delay, one way, in milliseconds (in the lab alone): 0 to 10000.
        #[arg(long, value_name = "MS")]
        jitter_ms: Option<u32>,
        /// The fraction of packets that are lost: 0 to 1.
        #[arg(long, value_name = "SHARE")]
        loss: Option<f64>,
        /// The bandwidth, in kilobits per second.
        #[arg(long, value_name = "KBIT")]
        bandwidth_kbit: Option<u32>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Add an expectation: what must, or must never, get through, whatever the links say.
    #[command(after_help = "Examples:
  nixvol-net add expect --from mac --to etcd-1 --protocol tcp --ports 2379 --passes \\
    --file configuration.nix
  nixvol-net add expect --from internet --to any --refused --why 'no way in' \\
    --file configuration.nix

Exit: 0 added, 2 not; the file is then as it was.")]
    Expect {
        /// The endpoints that open connections: names of providers and volumes, internet, lan, mac, localhost, any.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true, add = ArgValueCompleter::new(complete::parties))]
        from: Vec<String>,
        /// The endpoints that they reach; the same kinds.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true, add = ArgValueCompleter::new(complete::parties))]
        to: Vec<String>,
        /// tcp, udp or icmp [default: every protocol]
        #[arg(long, value_parser = ["tcp", "udp", "icmp"])]
        protocol: Option<String>,
        /// A port, or a range such as 2379-2380; repeat it, or write `A,B`, for more [default: every port]
        #[arg(long, alias = "port", value_name = "PORT", value_delimiter = ',')]
        ports: Vec<String>,
        /// All of it passes.
        #[arg(long, conflicts_with = "refused", required_unless_present = "refused")]
        passes: bool,
        /// None of it passes.
        #[arg(long)]
        refused: bool,
        /// The reason, which is shown if the expectation fails.
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
}

/// What to remove.
#[derive(Debug, Subcommand)]
pub enum Remove {
    /// Remove a volume.
    #[command(after_help = "Examples:
  nixvol-net remove volume spare --file configuration.nix

Exit: 0 removed, 2 not; the file is then as it was.")]
    Volume {
        /// The volume's name.
        #[arg(add = ArgValueCompleter::new(complete::volumes))]
        name: String,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Remove a provider. Remove its volumes and links first.
    #[command(after_help = "Examples:
  nixvol-net remove provider lab --dry-run --file configuration.nix

Exit: 0 removed, 2 not; the file is then as it was.")]
    Provider {
        /// The provider's name.
        #[arg(add = ArgValueCompleter::new(complete::providers))]
        name: String,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Remove one of several Macs. Another one gets its providers.
    #[command(after_help = "Examples:
  nixvol-net remove mac laptop --to studio --dry-run --file macs.nix

Exit: 0 removed, 2 not; the file is then as it was.")]
    Mac {
        /// The Mac's name.
        name: String,
        /// The Mac that gets its providers.
        #[arg(long, value_name = "MAC")]
        to: Option<String>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Remove a link: by its number, as in `explain` and `check`, or by its endpoints.
    #[command(after_help = "Examples:
  nixvol-net remove link links.1 --file configuration.nix
  nixvol-net remove link --from azure --to gcp --file configuration.nix

Exit: 0 removed, 2 not; the file is then as it was.")]
    Link {
        /// The link's number, from 0: links.N or N.
        #[arg(value_name = "LINK", add = ArgValueCompleter::new(complete::links), conflicts_with_all = ["from", "to", "protocol", "ports"], required_unless_present = "from")]
        link: Option<LinkIndex>,
        /// The endpoints that may open connections: all of them, in any order.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "to", add = ArgValueCompleter::new(complete::ends))]
        from: Vec<String>,
        /// The endpoints that they may reach.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "from", add = ArgValueCompleter::new(complete::ends))]
        to: Vec<String>,
        /// Only a link with this protocol.
        #[arg(long, requires = "from")]
        protocol: Option<String>,
        /// Only a link with these ports.
        #[arg(long = "port", value_name = "PORT", value_delimiter = ',', requires = "from")]
        ports: Vec<String>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Remove an expectation: by its number, as in `check`, or by its endpoints.
    #[command(after_help = "Examples:
  nixvol-net remove expect expect.0 --file configuration.nix
  nixvol-net remove expect --from internet --to any --file configuration.nix

Exit: 0 removed, 2 not; the file is then as it was.")]
    Expect {
        /// The expectation's number, from 0: expect.N or N.
        #[arg(value_name = "EXPECT", add = ArgValueCompleter::new(complete::expectations), conflicts_with_all = ["from", "to", "protocol", "ports"], required_unless_present = "from")]
        expect: Option<ExpectIndex>,
        /// The endpoints that open connections: all of them, in any order.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "to", add = ArgValueCompleter::new(complete::parties))]
        from: Vec<String>,
        /// The endpoints that they reach.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "from", add = ArgValueCompleter::new(complete::parties))]
        to: Vec<String>,
        /// Only one with this protocol.
        #[arg(long, requires = "from")]
        protocol: Option<String>,
        /// Only one with these ports.
        #[arg(long, alias = "port", value_name = "PORT", value_delimiter = ',', requires = "from")]
        ports: Vec<String>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
}

/// What to rename.
#[derive(Debug, Subcommand)]
pub enum Rename {
    /// Rename a volume.
    #[command(after_help = "Examples:
  nixvol-net rename volume etcd-1 etcd-a --file configuration.nix

Exit: 0 renamed, 2 not; the file is then as it was.")]
    Volume {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::volumes))]
        old: String,
        /// Its new name.
        new: String,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Rename a provider.
    #[command(after_help = "Examples:
  nixvol-net rename provider lab edge --dry-run --file configuration.nix

Exit: 0 renamed, 2 not; the file is then as it was.")]
    Provider {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::providers))]
        old: String,
        /// Its new name.
        new: String,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
}

/// What to move.
#[derive(Debug, Subcommand)]
pub enum Move {
    /// Move a volume to another provider. It gets an address in that provider's network.
    #[command(after_help = "Examples:
  nixvol-net move volume etcd-1 --to gcp --file configuration.nix

Exit: 0 moved, 2 not; the file is then as it was.")]
    Volume {
        /// The volume's name.
        #[arg(add = ArgValueCompleter::new(complete::volumes))]
        name: String,
        /// Its new provider.
        #[arg(long, value_name = "PROVIDER", add = ArgValueCompleter::new(complete::providers))]
        to: String,
        /// Its address there [default: the provider's next free one]
        #[arg(long)]
        address: Option<Ipv4Addr>,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
    /// Move a provider to another of several Macs, with its volumes.
    #[command(after_help = "Examples:
  nixvol-net move provider lab --to studio --file macs.nix

Exit: 0 moved, 2 not; the file is then as it was.")]
    Provider {
        /// The provider's name.
        #[arg(add = ArgValueCompleter::new(complete::providers))]
        name: String,
        /// Its new Mac.
        #[arg(long, value_name = "MAC")]
        to: String,
        /// The file, and how to edit it.
        #[command(flatten)]
        target: EditTarget,
    },
}

/// The file that is edited, and how.
#[derive(Debug, Args)]
pub struct EditTarget {
    /// The Nix file to edit. A symbolic link is followed.
    #[arg(long)]
    pub file: PathBuf,
    /// The whole declaration, as Nix evaluates it (`-` is standard input), if the file is only a part of it or contains
    /// what only Nix can evaluate [default: the file, with its preset]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Show the difference and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// A line inside the set or list to edit, if there are several, or inside the configuration.
    #[arg(long, value_name = "LINE")]
    pub at: Option<usize>,
    /// The configuration to edit, if the file has several: NAME of darwinConfigurations.NAME; `A,B` for a module that
    /// both use.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub configuration: Vec<String>,
    /// The option whose value the file is, if it is not a module: services.nixvol-net, or
    /// services.nixvol-net.volumes.
    #[arg(long = "as", value_name = "OPTION")]
    pub within: Option<Within>,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// An option path of the module, split at the dots. It starts with `services.nixvol-net`.
#[derive(Debug, Clone, Default)]
pub struct Within(pub Vec<String>);

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path: Vec<String> = text.split('.').map(str::to_owned).collect();
        if path.len() < 2 || path[..2] != ["services", "nixvol-net"] {
            return Err("expected services.nixvol-net or an option below it".to_owned());
        }
        Ok(Self(path))
    }
}

/// The argument of `--localhost`: an address, or `none`.
#[derive(Debug, Clone, Copy)]
pub enum Alias {
    /// No alias.
    None,
    /// The alias.
    At(Ipv4Addr),
}

impl FromStr for Alias {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => text.parse().map(Self::At).map_err(|_| "expected an address, or none".to_owned()),
        }
    }
}

/// The index of a link, from 0; parsed from `links.N` or `N`.
#[derive(Debug, Clone, Copy)]
pub struct LinkIndex(pub usize);

/// The index of an expectation, from 0; parsed from `expect.N` or `N`.
#[derive(Debug, Clone, Copy)]
pub struct ExpectIndex(pub usize);

impl FromStr for ExpectIndex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("expect.").unwrap_or(text);
        number.parse().map(Self).map_err(|_| "expected a number from 0, as in expect.2".to_owned())
    }
}

impl FromStr for LinkIndex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("links.").unwrap_or(text);
        number.parse().map(Self).map_err(|_| "expected a number from 0, as in links.2".to_owned())
    }
}
