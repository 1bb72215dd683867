//! The interfaces of the Mac.
//!
//! Never: their addresses.

/// An interface of the Mac. Bridges are numbered as in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// `lo0`.
    Loopback,
    /// The bridge with this index in the plan.
    Bridge(usize),
    /// The egress interface.
    Egress,
    /// The tunnel to the other Macs.
    Mesh,
    /// The interface on the link between the Macs, on which the tunnel's datagrams travel.
    Underlay,
}
