//! Addresses that follow an interface.
//!
//! It exists because the machine, not the file, determines what `(en0)`, `(en0:0)` and `(en0:network)` are. Sees:
//! interfaces and their addresses. Never: rules or packets.

use std::net::IpAddr;

use super::address::{address_of, bits_of, blend, family_of, last, mask, width};
use super::table::Prefixes;
use crate::pf::environment::InterfaceInfo;
use crate::pf::syntax::{Dynamic, Family, TableEntry};

/// The addresses that `(name)` with its modifiers stands for in a rule.
///
/// Interfaces have no peer address here, so `:peer` is empty.
pub(super) fn addresses_for(interface: &InterfaceInfo, dynamic: &Dynamic) -> Prefixes {
    let mut seen = Vec::new();
    let mut entries = Vec::new();
    for &(address, length) in &interface.addresses {
        let family = family_of(address);
        if dynamic.peer
            || (dynamic.broadcast && (family == Family::Inet6 || !broadcasts(interface)))
            || is_link_local(address)
            || (dynamic.no_alias && seen.contains(&family))
        {
            continue;
        }
        seen.push(family);
        let prefix = match effective_prefix(dynamic) {
            None if dynamic.network => length,
            None => width(family),
            Some(prefix) => prefix.min(width(family)),
        };
        let address = if dynamic.broadcast { broadcast(address, length) } else { address };
        entries.push(TableEntry { not: false, address, prefix });
    }
    Prefixes::new(entries)
}

/// Whether an interface has a broadcast address: loopback and tunnels have none.
fn broadcasts(interface: &InterfaceInfo) -> bool {
    let tunnels = ["utun", "gif", "stf", "ppp", "ipsec"];
    !interface.loopback && !tunnels.iter().any(|kind| is_unit_of(&interface.name, kind))
}

/// The prefix length that a rule sets; the full length is the same as none.
fn effective_prefix(dynamic: &Dynamic) -> Option<u8> {
    dynamic.prefix.filter(|&prefix| prefix != 32 && prefix != 128)
}

/// The name of the kernel's internal table for such an address.
///
/// With a prefix length it is the length alone: `(en0)/24` and `(en1)/24` share one table, and the first one loaded
/// determines its addresses.
pub(super) fn table_name(dynamic: &Dynamic) -> String {
    if let Some(prefix) = effective_prefix(dynamic) {
        return format!("/{prefix}");
    }
    let mut name = dynamic.interface.clone();
    for (set, modifier) in [
        (dynamic.network, ":network"),
        (dynamic.broadcast, ":broadcast"),
        (dynamic.peer, ":peer"),
        (dynamic.no_alias, ":0"),
    ] {
        if set {
            name.push_str(modifier);
        }
    }
    name
}

fn broadcast(address: IpAddr, length: u8) -> IpAddr {
    let family = family_of(address);
    address_of(family, blend(bits_of(address), mask(family, length), last(family), family))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn is_unit_of(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|unit| unit.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn en0() -> InterfaceInfo {
        let address = |text: &str| text.parse().expect("an address");
        let addresses = vec![
            (address("fe80::5"), 64),
            (address("192.0.2.10"), 24),
            (address("192.0.2.11"), 32),
            (address("2001:db8::5"), 64),
        ];
        InterfaceInfo { name: "en0".to_owned(), addresses, loopback: false }
    }

    fn dynamic() -> Dynamic {
        Dynamic {
            interface: "en0".to_owned(),
            network: false,
            broadcast: false,
            peer: false,
            no_alias: false,
            prefix: None,
        }
    }

    fn has(dynamic: &Dynamic, address: &str) -> bool {
        let address: IpAddr = address.parse().expect("an address");
        addresses_for(&en0(), dynamic).matches(family_of(address), bits_of(address))
    }

    #[test]
    fn plain_is_every_address_but_link_local_ones() {
        for (address, expected) in [
            ("192.0.2.10", true),
            ("192.0.2.11", true),
            ("192.0.2.12", false),
            ("2001:db8::5", true),
            ("fe80::5", false),
        ] {
            assert_eq!(has(&dynamic(), address), expected, "{address}");
        }
    }

    #[test]
    fn modifiers() {
        let no_alias = Dynamic { no_alias: true, ..dynamic() };
        assert!(has(&no_alias, "192.0.2.10") && !has(&no_alias, "192.0.2.11"));
        let network = Dynamic { network: true, ..dynamic() };
        assert!(has(&network, "192.0.2.200") && has(&network, "2001:db8::9"));
        let broadcast = Dynamic { broadcast: true, no_alias: true, ..dynamic() };
        assert!(has(&broadcast, "192.0.2.255") && !has(&broadcast, "192.0.2.10"));
        let peer = Dynamic { peer: true, ..dynamic() };
        assert!(!has(&peer, "192.0.2.10"));
        let wide = Dynamic { prefix: Some(16), ..dynamic() };
        assert!(has(&wide, "192.0.200.1") && !has(&wide, "192.1.0.0"));
    }

    #[test]
    fn tables_with_a_length_are_shared() {
        let en1 = Dynamic { interface: "en1".to_owned(), prefix: Some(24), ..dynamic() };
        assert_eq!(table_name(&en1), table_name(&Dynamic { prefix: Some(24), ..dynamic() }));
        assert_eq!(table_name(&Dynamic { network: true, prefix: Some(32), ..dynamic() }), "en0:network");
    }
}
