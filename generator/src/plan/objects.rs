//! What the Mac must have: bridges, volumes, published ports, the localhost group and the tunnel to other Macs.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::region::AddressRegion;
use crate::model::{
    AbsolutePath, Guest, Name, ProviderAttachment, PublicKey, TunnelEndpoint, VolumeAttachment,
};

/// The tunnel that joins this Mac to the others that share the declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The name of this Mac.
    pub mac: Name,
    /// Its address in the tunnel, by which the tunnel's interface is found.
    pub address: Ipv4Addr,
    /// The UDP port on which its WireGuard listens.
    pub listen_port: u16,
    /// The other Macs; never empty.
    pub peers: Vec<OtherMac>,
}

/// Another Mac.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherMac {
    /// Its name.
    pub mac: Name,
    /// Where its WireGuard is reached.
    pub endpoint: TunnelEndpoint,
    /// Its public key.
    pub public_key: PublicKey,
    /// Its address in the tunnel.
    pub address: Ipv4Addr,
    /// The networks of its providers, in the order of their names.
    pub networks: Vec<Ipv4Net>,
}

/// A provider's bridge, with the route of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The name of the provider.
    pub provider: Name,
    /// Its logical name.
    pub logical: Name,
    /// The network that is routed to the bridge.
    pub network: Ipv4Net,
    /// The addresses of the provider: the network, except what is left to another network of the Mac.
    pub region: AddressRegion,
    /// The bridge's own address, with the prefix length of the interface.
    pub gateway: Ipv4Net,
    /// Whether the manager or vmnet creates the bridge; one of vmnet is found by its gateway address.
    pub attachment: ProviderAttachment,
    /// Whether NAT gives the network access to the outside.
    pub internet: bool,
    /// The other Mac that the provider is on; `None` if it is on this one.
    pub mac: Option<Name>,
}

/// The localhost group: the range of the localhost aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLocalhost {
    /// Its logical name.
    pub logical: Name,
    /// The Mac's own alias in it; the prefix is the range of all aliases.
    pub gateway: Ipv4Net,
}

/// A volume, with everything that the Mac must have for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVolume {
    /// The name of the volume.
    pub name: Name,
    /// The name of its provider.
    pub provider: Name,
    /// Its address. If the Mac serves it, this is a /32 alias on lo0; a guest's address is not on the Mac.
    pub address: Ipv4Addr,
    /// Whether the Mac serves the address, or a guest (VM) has it.
    pub attachment: VolumeAttachment,
    /// The logical name of the feth pair that attaches it to its provider's bridge; `None` if vmnet owns the bridge.
    pub port: Option<Name>,
    /// Its localhost alias, on lo0; none on another Mac than the volume's.
    pub alias: Option<Ipv4Addr>,
    /// The mount point on which all of this depends, if any.
    pub mount_point: Option<AbsolutePath>,
    /// The gateway of its provider.
    pub gateway: Ipv4Addr,
    /// The properties of its VM, for the files under `guests/`.
    pub guest: Guest,
    /// The other Mac that the volume is on; `None` if it is on this one.
    pub mac: Option<Name>,
}

/// A published port: a TCP port that also answers on the localhost alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publish {
    /// The name of the volume.
    pub volume: Name,
    /// The localhost alias.
    pub alias: Ipv4Addr,
    /// The port, which is the same on alias and volume.
    pub port: u16,
    /// The address of the volume.
    pub address: Ipv4Addr,
}

impl Bridge {
    /// Whether the provider is on this Mac.
    pub fn is_here(&self) -> bool {
        self.mac.is_none()
    }
}

impl PlannedVolume {
    /// Whether the volume is on this Mac.
    pub fn is_here(&self) -> bool {
        self.mac.is_none()
    }

    /// Whether this Mac serves the volume's address.
    pub fn is_served(&self) -> bool {
        self.is_here() && self.attachment == VolumeAttachment::Host
    }

    /// Whether a VM of this Mac has the volume's address.
    pub fn is_guest(&self) -> bool {
        self.is_here() && self.attachment == VolumeAttachment::Guest
    }

    /// The host names of its address, longest first.
    pub fn host_names(&self) -> [String; 2] {
        [format!("{}.{}.nixvol", self.name, self.provider), format!("{}.nixvol", self.name)]
    }
}
