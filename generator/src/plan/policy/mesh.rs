//! The rows of the policy for providers on other Macs, which are reached by a tunnel.

use std::net::Ipv4Addr;

use super::{
    Because, Network, Policy, PolicyDirection, PolicyInterface, PolicyPacket, PolicyVerdict, refusal,
};

impl Policy {
    /// The rows of the table for providers on other Macs, in order; `None` if none of them decides.
    pub(super) fn of_other_macs(
        &self,
        packet: &PolicyPacket,
        from: Option<&Network>,
        to: Option<&Network>,
    ) -> Option<(PolicyVerdict, Because)> {
        use PolicyDirection::{In, Out};
        let mesh = self.mesh.as_ref()?;
        let is_own = |network: Option<&Network>| network.is_some_and(|network| network.is_here);
        let is_remote = |network: Option<&Network>| network.is_some_and(|network| !network.is_here);
        if is_remote(from) && !is_own(to) {
            return Some((PolicyVerdict::Drop, Because::Elsewhere));
        }
        match (packet.direction, packet.interface) {
            (In, PolicyInterface::Mesh) if is_own(from) => Some((PolicyVerdict::Drop, Because::ForgedMesh)),
            _ if self.comes_from_other_mac(packet, to) => Some((PolicyVerdict::Pass, Because::OtherMac)),
            (Out, PolicyInterface::Mesh) if is_remote(to) && packet.source == mesh.own => {
                Some((PolicyVerdict::Pass, Because::ThisMac))
            }
            (Out, PolicyInterface::Mesh)
                if !is_own(from) && to.is_some() || is_own(from) && !is_remote(to) =>
            {
                Some((refusal(packet), Because::NotByMesh))
            }
            (
                Out,
                PolicyInterface::Loopback
                | PolicyInterface::Bridge(_)
                | PolicyInterface::Egress
                | PolicyInterface::Foreign
                | PolicyInterface::New,
            ) => is_remote(to).then(|| (refusal(packet), Because::MeshOnly)),
            (In, _) | (Out, PolicyInterface::Mesh) => None,
        }
    }

    /// Whether another Mac itself, not a volume of it, sent a packet to a volume of this Mac, and the packet comes out of
    /// the tunnel.
    pub(super) fn comes_from_other_mac(&self, packet: &PolicyPacket, to: Option<&Network>) -> bool {
        packet.direction == PolicyDirection::In
            && packet.interface == PolicyInterface::Mesh
            && to.is_some_and(|to| to.is_here)
            && self.is_other_mac(packet.source)
    }

    /// Whether an address is that of another Mac in the tunnel.
    pub(super) fn is_other_mac(&self, address: Ipv4Addr) -> bool {
        self.mesh.as_ref().is_some_and(|mesh| mesh.others.contains(&address))
    }
}
