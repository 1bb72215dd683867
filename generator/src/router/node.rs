//! The nodes: the hosts around the Mac, and its own processes.
//!
//! Never: which nodes there are.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The index of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Where a node is attached to the Mac. Bridges are numbered as in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAttachment {
    /// It stands for processes of the Mac itself: what it sends to another such node is seen on lo0.
    Here,
    /// A VM behind a bridge.
    Bridge(usize),
    /// A host beyond the egress interface.
    Outside,
    /// On another Mac: reached through the tunnel.
    Mesh,
    /// The WireGuard of another Mac, on the link between the Macs.
    Underlay,
    /// Beside another Mac, and never reached from this one.
    Elsewhere,
}

/// A host of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The volume's name, `mac`, `lan`, `internet`, or the provider of a host that is not a volume. With several Macs
    /// `macs.NAME`, `lan.NAME` and `internet.NAME`.
    pub name: String,
    /// Where it is attached.
    pub side: NodeAttachment,
    /// Its addresses; the first is the default source.
    pub addresses: Vec<Ipv4Addr>,
    /// Its default gateway, if it has one.
    pub gateway: Option<Ipv4Addr>,
    /// Networks to which it sends in another way than by default.
    pub routes: Vec<SourceRoute>,
    /// Longest packet that it sends, in bytes.
    pub mtu: u16,
    /// Its provider, if it is in a provider's network.
    pub provider: Option<String>,
}

/// A destination network with the source address for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRoute {
    /// The destination network.
    pub network: Ipv4Net,
    /// The source address.
    pub source: Ipv4Addr,
    /// The MTU of the interface that leads there, which bounds the segments that TCP announces; `None` for that of lo0.
    pub mtu: Option<u16>,
}
