//! Warnings about declarations that are valid but probably mistaken.
//!
//! Never: changes a declaration.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Declaration, Endpoint, Link, Volume, VolumeAttachment};
use crate::place::FieldPath;
use crate::problem::{Problem, ProblemKind};

/// Ranges that are not public: private use, carrier-grade NAT, benchmarking, documentation.
const NOT_PUBLIC: [Ipv4Net; 8] = [
    net([10, 0, 0, 0], 8),
    net([100, 64, 0, 0], 10),
    net([172, 16, 0, 0], 12),
    net([192, 0, 2, 0], 24),
    net([192, 168, 0, 0], 16),
    net([198, 18, 0, 0], 15),
    net([198, 51, 100, 0], 24),
    net([203, 0, 113, 0], 24),
];

const fn net(address: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

impl Declaration {
    /// All warnings, sorted by path.
    pub fn warnings(&self) -> Vec<Problem> {
        let public = self.providers.iter().filter_map(|(name, provider)| {
            let found = provider.network;
            let is_public = !NOT_PUBLIC.iter().any(|space| space.contains(&found));
            let at = FieldPath::of(&["providers", name.as_str(), "network"]);
            is_public.then(|| Problem::new(at, ProblemKind::PublicSpace { found }))
        });
        let masqueraded = self.links.iter().filter(|link| link.masquerade).filter_map(|link| {
            let kind = self.not_masqueraded(link)?;
            let at = FieldPath::of(&["links".to_owned(), link.index.to_string()]).child("masquerade");
            Some(Problem::new(at, kind))
        });
        let is_jittery =
            |link: &&Link| link.conditions.is_some_and(|it| it.jitter_ms.is_some_and(|ms| ms > 0));
        let jittery = self.links.iter().filter(is_jittery).map(|link| {
            let at = FieldPath::of(&["links".to_owned(), link.index.to_string()]);
            Problem::new(at.child("conditions").child("jitterMs"), ProblemKind::JitterOnMac)
        });
        let mut warnings: Vec<Problem> = public.chain(masqueraded).chain(jittery).collect();
        warnings.sort_by(|a, b| (&a.at, a.kind.code()).cmp(&(&b.at, b.kind.code())));
        warnings
    }

    /// A sender and a served volume between which the link would masquerade, which macOS cannot do: what comes in for an
    /// address of the Mac from a guest, or from another Mac, leaves by no interface.
    fn not_masqueraded(&self, link: &Link) -> Option<ProblemKind> {
        let mac = |volume: &Volume| self.mesh.as_ref().map(|mesh| mesh.mac_of(&volume.provider));
        let by = |attachment: Option<VolumeAttachment>, is_same_mac: bool| {
            link.directions().find_map(|(from, to)| {
                let senders = from.iter().flat_map(|end| self.members(end, attachment));
                let receivers: Vec<(&super::Name, &Volume)> =
                    to.iter().flat_map(|end| self.members(end, Some(VolumeAttachment::Host))).collect();
                senders.into_iter().find_map(|(name, sender)| {
                    let is_meant = |(_, volume): &&(&super::Name, &Volume)| {
                        volume.provider != sender.provider && (mac(volume) == mac(sender)) == is_same_mac
                    };
                    let (volume, _) = receivers.iter().find(is_meant)?;
                    Some((name.to_string(), sender.address, volume.to_string()))
                })
            })
        };
        let guest = by(Some(VolumeAttachment::Guest), true)
            .map(|(guest, address, volume)| ProblemKind::MasqueradeFromGuest { guest, address, volume });
        guest.or_else(|| {
            let (sender, address, volume) = by(None, false)?;
            Some(ProblemKind::MasqueradeFromMac { sender, address, volume })
        })
    }

    /// The volumes of an endpoint, by name, that have this attachment; `None` means any.
    fn members<'a>(
        &'a self,
        end: &'a Endpoint,
        attachment: Option<VolumeAttachment>,
    ) -> impl Iterator<Item = (&'a super::Name, &'a Volume)> {
        self.volumes.iter().filter(move |(name, volume)| {
            let is_of_end = match end {
                Endpoint::Provider(provider) => volume.provider == *provider,
                Endpoint::Volume(of) => *name == of,
            };
            is_of_end && attachment.is_none_or(|attachment| volume.attachment == attachment)
        })
    }
}
