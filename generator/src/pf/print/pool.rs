//! The printed form of pools: what follows `->` and `route-to`.
//!
//! It exists because both are the same structure in the kernel and print the same. Sees: the printer. Never: what is
//! chosen from a pool.

use super::printer::{Printer, bare, prefixed, show_address};
use crate::pf::parse::NAT_PORTS;
use crate::pf::syntax::{Action, Address, EndpointKind, Pool, PoolHost, PoolKind, Route, RouteKind};

impl Printer {
    pub(super) fn route(&mut self, route: &Route) {
        self.put(match route.kind {
            RouteKind::Fast => " fastroute",
            RouteKind::To => " route-to ",
            RouteKind::Reply => " reply-to ",
            RouteKind::Dup => " dup-to ",
        });
        if route.kind != RouteKind::Fast {
            self.hosts(&route.pool.hosts, |host| {
                let name = bare(host.interface.as_deref().unwrap_or(""));
                match host.address {
                    Address::Any => name,
                    _ => format!("({name} {})", show_address(&host.address)),
                }
            });
            self.kind(&route.pool);
        }
    }

    fn hosts(&mut self, hosts: &[PoolHost], show: impl Fn(&PoolHost) -> String) {
        let shown: Vec<_> = hosts.iter().map(show).collect();
        if shown.len() == 1 {
            self.put(&shown[0]);
        } else {
            self.put(format_args!("{{ {} }}", shown.join(", ")));
        }
    }

    pub(super) fn redirect(&mut self, pool: &Pool, action: Action) {
        self.hosts(&pool.hosts, |host| match host.address {
            // The grammar does not accept `any` as a target of translation.
            Address::Any => prefixed([0, 0, 0, 0].into(), 0),
            _ => show_address(&host.address),
        });
        match (action, pool.ports) {
            (Action::Nat, Some(NAT_PORTS)) | (_, None) => {}
            (Action::Nat, Some((first, last))) if first != last => {
                self.put(format_args!(" port {first}:{last}"));
            }
            (Action::Rdr, Some((first, last))) if last != 0 && first != last => {
                self.put(format_args!(" port {first}:{last}"));
            }
            (_, Some((first, _))) => self.put(format_args!(" port {first}")),
        }
        self.kind(pool);
    }

    fn kind(&mut self, pool: &Pool) {
        match pool.kind {
            PoolKind::None => {}
            PoolKind::Bitmask => self.put(" bitmask"),
            PoolKind::Random => self.put(" random"),
            PoolKind::RoundRobin => self.put(" round-robin"),
            PoolKind::SourceHash([a, b, c, d]) => {
                self.put(format_args!(" source-hash 0x{a:08x}{b:08x}{c:08x}{d:08x}"));
            }
        }
        if pool.sticky {
            self.put(" sticky-address");
        }
        if pool.static_port {
            self.put(" static-port");
        }
        for (kind, word) in [(pool.extmap, "extmap"), (pool.extfilter, "extfilter")] {
            let Some(kind) = kind else { continue };
            let value = match kind {
                EndpointKind::AddressPortDependent => "apd",
                EndpointKind::AddressDependent => "ad",
                EndpointKind::EndpointIndependent => "ei",
            };
            self.put(format_args!(" {word} {value}"));
        }
    }
}
