//! Networks that are free on the Mac, for every provider whose network overlaps another one, and the declaration that
//! moves these providers and their volumes there.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::outside::{BLOCKS, Overlap, WIDE};
use super::seen::Seen;
use crate::plan::Plan;

/// The providers that must move, by name: their current network, and a free one if it exists.
pub(super) type Moves<'a> = BTreeMap<&'a str, (Ipv4Net, Option<Ipv4Net>)>;

impl Seen<'_> {
    /// Finds a free network of the same size for each provider that overlaps something; the results do not overlap each
    /// other.
    pub(super) fn moves<'a>(&self, plan: &'a Plan, overlaps: &[Overlap]) -> Moves<'a> {
        let must_move = |name: &str| overlaps.iter().any(|it| it.provider == name);
        let mut taken: Vec<Ipv4Net> = Vec::new();
        taken.extend(
            plan.bridges.iter().filter(|it| !must_move(it.provider.as_str())).map(|bridge| bridge.network),
        );
        // Routes to shorter prefixes are parts of a default route.
        let routes = self.routes.iter().map(|route| route.destination);
        taken.extend(routes.filter(|net| net.prefix_len() >= WIDE));
        let addresses = self.interfaces.values().flat_map(|interface| interface.addresses.keys());
        taken.extend(addresses.map(|address| Ipv4Net::from(*address)));
        let mut moves = Moves::new();
        for bridge in plan.bridges.iter().filter(|it| must_move(it.provider.as_str())) {
            let found = free(bridge.network.prefix_len(), &taken);
            taken.extend(found);
            moves.insert(bridge.provider.as_str(), (bridge.network, found));
        }
        moves
    }
}

/// The first network with this prefix length that overlaps none of these.
fn free(length: u8, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let step = 1_u64 << (32 - length);
    for (start, wide) in BLOCKS.into_iter().filter(|(_, wide)| *wide <= length) {
        let mut at = u64::from(u32::from(start));
        let end = at + (1_u64 << (32 - wide));
        while at + step <= end {
            let net = Ipv4Net::new(Ipv4Addr::from(u32::try_from(at).ok()?), length).ok()?;
            let in_the_way = taken.iter().filter(|other| net.contains(*other) || other.contains(&net));
            let Some(last) = in_the_way.map(|other| u64::from(u32::from(other.broadcast()))).max() else {
                return Some(net);
            };
            at = (last / step + 1) * step;
        }
    }
    None
}

/// The Nix lines that move the providers and their volumes; empty if none must move.
pub(super) fn advice(plan: &Plan, moves: &Moves<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if !moves.is_empty() {
        lines.push("# these networks are free on this Mac; in the declaration:".to_owned());
    }
    for bridge in &plan.bridges {
        let name = bridge.provider.as_str();
        match moves.get(name) {
            None => {}
            Some((_, None)) => lines.push(format!("# no network of that size is free for {name}")),
            Some((from, Some(to))) => lines.push(format!(
                "services.nixvol-net.providers.{} = {{ network = \"{to}\"; gateway = \"{}/{}\"; }};",
                attribute(name),
                moved(bridge.gateway.addr(), *from, *to),
                bridge.gateway.prefix_len(),
            )),
        }
    }
    for volume in &plan.volumes {
        if let Some((from, Some(to))) = moves.get(volume.provider.as_str()) {
            lines.push(format!(
                "services.nixvol-net.volumes.{}.address = \"{}\";",
                attribute(volume.name.as_str()),
                moved(volume.address, *from, *to)
            ));
        }
    }
    lines
}

/// The address with the same offset in the other network.
fn moved(address: Ipv4Addr, from: Ipv4Net, to: Ipv4Net) -> Ipv4Addr {
    let offset = u32::from(address) - u32::from(from.network());
    Ipv4Addr::from(u32::from(to.network()) + offset)
}

/// A name as a segment of an attribute path.
fn attribute(name: &str) -> String {
    if name.starts_with(|c: char| c.is_ascii_lowercase()) { name.to_owned() } else { format!("\"{name}\"") }
}
