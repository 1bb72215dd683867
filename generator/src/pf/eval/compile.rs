//! Compiling: a parsed rule with its names and tables as numbers.
//!
//! It exists so that a compiled rule depends on nothing that is loaded. Sees: the syntax of a rule, and the numbers of
//! names and tables. Never: other rulesets, or packets.

use std::sync::Arc;

use super::address::{bits_of, family_of, mask, range_order};
use super::name::NameIds;
use super::rule::{AddressTest, Call, CompiledPool, CompiledRule, HostTest, Member, RuleId, Skip, Target};
use super::tables::Tables;
use crate::pf::syntax::{Address, HostMatch, Pool, Rule};

/// Compiles a rule; the caller, which knows the anchors, has resolved `call`.
pub(super) fn compile(
    rule: &Rule,
    id: RuleId,
    anchor: &Arc<str>,
    call: Option<Call>,
    names: &mut NameIds,
    tables: &mut Tables,
) -> CompiledRule {
    let interface = rule.interface.as_ref().map(|on| (names.intern(&on.name), on.not));
    let tag = rule.tag.as_ref().map(|tag| names.intern(tag));
    let tagged = rule.tagged.as_ref().map(|tagged| (names.intern(&tagged.tag), tagged.not));
    // In the kernel's order, which matters for tables of interface addresses that several rules share.
    let redirect = rule.redirect.as_ref().map(|pool| compile_pool(pool, anchor, names, tables));
    let route = rule.route.as_ref().map(|route| compile_pool(&route.pool, anchor, names, tables));
    let source = compile_side(&rule.source, anchor, tables);
    let destination = compile_side(&rule.destination, anchor, tables);
    if let Some(overload) = &rule.state_options.overload {
        tables.reference(anchor, &overload.table);
    }
    CompiledRule {
        id,
        interface,
        direction: rule.direction,
        family: rule.family,
        protocol: rule.protocol,
        source,
        destination,
        call,
        quick: rule.quick,
        tag,
        tagged,
        skip: Skip::default(),
        redirect,
        route,
        syntax: Arc::new(without_body(rule)),
        anchor: Arc::clone(anchor),
        label: rule.label.as_deref().map(Arc::from),
    }
}

fn without_body(rule: &Rule) -> Rule {
    let mut anchor = rule.anchor.clone();
    if let Some(call) = &mut anchor {
        call.body = None;
    }
    Rule { anchor, ..rule.clone() }
}

fn compile_side(endpoint: &HostMatch, anchor: &str, tables: &mut Tables) -> HostTest {
    HostTest { not: endpoint.not, test: address_test(&endpoint.address, anchor, tables), port: endpoint.port }
}

fn address_test(address: &Address, anchor: &str, tables: &mut Tables) -> AddressTest {
    match address {
        Address::Any => AddressTest::Any,
        Address::Prefix { address, prefix } => {
            let family = family_of(*address);
            let mask = mask(family, *prefix);
            if mask == 0 {
                return AddressTest::Any;
            }
            AddressTest::Net { family, bits: bits_of(*address) & mask, mask }
        }
        Address::Range(low, high) => {
            let family = family_of(*low);
            let order = |end| range_order(family, bits_of(end));
            AddressTest::Between { family, low: order(*low), high: order(*high) }
        }
        Address::Dynamic(dynamic) => AddressTest::Table(tables.dynamic(dynamic)),
        Address::Table(name) => AddressTest::Table(tables.reference(anchor, name)),
        Address::NoRoute | Address::RouteLabel(_) => AddressTest::Never,
        Address::UrpfFailed => AddressTest::Urpf,
    }
}

fn compile_pool(pool: &Pool, anchor: &str, names: &mut NameIds, tables: &mut Tables) -> Arc<CompiledPool> {
    let members = pool.hosts.iter().map(|host| Member {
        interface: host.interface.as_ref().map(|name| names.intern(name)),
        target: match &host.address {
            Address::Prefix { address, prefix } => Target::Net { bits: bits_of(*address), prefix: *prefix },
            Address::Table(name) => Target::Table(tables.reference(anchor, name)),
            Address::Dynamic(dynamic) => Target::Dynamic(tables.dynamic(dynamic)),
            _ => Target::Nothing,
        },
    });
    let members = members.collect();
    Arc::new(CompiledPool { members, syntax: pool.clone() })
}

/// Computes the skip steps of a list, as the kernel does after loading it.
pub(super) fn link_skips(rules: &mut [CompiledRule]) {
    for at in (0..rules.len()).rev() {
        let mut skip = Skip { source_port: at + 1, destination: at + 1, destination_port: at + 1 };
        if let Some(next) = rules.get(at + 1) {
            let (this, after) = (&rules[at], &next.skip);
            if same_ports(this, next, |rule| &rule.source, &[]) {
                skip.source_port = after.source_port;
            }
            if this.destination.not == next.destination.not && this.destination.test == next.destination.test
            {
                skip.destination = after.destination;
            }
            if same_ports(this, next, |rule| &rule.destination, &[this.protocol, next.protocol]) {
                skip.destination_port = after.destination_port;
            }
        }
        rules[at].skip = skip;
    }
}

/// Whether two neighbours have equal ports. The kernel treats GRE and ESP specially: as a source they are never
/// equal, as a destination (with the protocols in `both`) only among rules of the same protocol.
fn same_ports(
    this: &CompiledRule,
    next: &CompiledRule,
    side: fn(&CompiledRule) -> &HostTest,
    both: &[Option<u8>],
) -> bool {
    let odd = |rule: &CompiledRule| matches!(rule.protocol, Some(47 | 50));
    if odd(this) || odd(next) {
        return matches!(both, [a, b] if a == b);
    }
    side(this).port == side(next).port
}
