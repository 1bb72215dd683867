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

    /// A guest and a volume served by this Mac between which the link would masquerade, which macOS cannot do.
    fn not_masqueraded(&self, link: &Link) -> Option<ProblemKind> {
        link.directions().find_map(|(from, to)| {
            let (guest, sender) =
                from.iter().find_map(|end| self.member(end, VolumeAttachment::Guest, None))?;
            let (volume, _) =
                to.iter().find_map(|end| self.member(end, VolumeAttachment::Host, Some(&sender.provider)))?;
            let address = sender.address;
            Some(ProblemKind::MasqueradeFromGuest { guest, address, volume })
        })
    }

    /// The first volume of an endpoint that has this attachment and is not of the provider `not_of`.
    fn member(
        &self,
        end: &Endpoint,
        attachment: VolumeAttachment,
        not_of: Option<&super::Name>,
    ) -> Option<(String, &Volume)> {
        let is_meant = |name: &super::Name, volume: &Volume| {
            let is_of_end = match end {
                Endpoint::Provider(provider) => volume.provider == *provider,
                Endpoint::Volume(of) => name == of,
            };
            is_of_end && volume.attachment == attachment && not_of != Some(&volume.provider)
        };
        let found = self.volumes.iter().find(|(name, volume)| is_meant(name, volume));
        found.map(|(name, volume)| (name.to_string(), volume))
    }
}
