//! The forms of rules that a proof accepts: those that our anchor has, and no others.
//!
//! Everything else is refused, with its place and what it is, rather than assumed to be harmless. The match of a rule
//! is hardly restricted, since the proof covers it; what a rule does besides deciding is.

use super::refutation::Violation;
use super::world::{LOOPBACK, World};
use crate::pf::Ruleset;
use crate::pf::syntax::{
    Action, Address, Block, Dummynet, Dynamic, EndpointKind, Family, FragmentCache, HostMatch, Log, Pool,
    PoolHost, PoolKind, PortMatch, Position, Rule, RuleLists, Scrub, SettingValue, StateKind, StateOptions,
    StatePolicy, Table, TableSource,
};
use crate::plan::policy::PolicyInterface;

/// The state timeouts that a rule may set, in seconds.
const TIMEOUTS: [(&str, u32); 2] = [("tcp.finwait", 5), ("tcp.closed", 1)];
/// The port range that the kernel uses for `nat` by default.
const NAT_PORTS: (u16, u16) = (50_001, 65_535);
/// The ICMP type and code for an unreachable port, with which `return` and `return-icmp` answer by default.
const PORT_UNREACHABLE: (u8, u8) = (3, 3);

/// Why something is refused: a clause to which the message adds `…, which no proof accounts for`.
type Reason = &'static str;

/// Everything in a ruleset that no proof accounts for.
pub fn refused(ruleset: &Ruleset, world: &World) -> Vec<Violation> {
    let Ruleset { files: _, settings, rules, loads, notes: _ } = ruleset;
    let RuleLists { scrub, nat, rdr, binat, filter, dummynet } = rules;
    let mut found = Vec::new();
    let mut refuse = |place: Position, what: Reason| {
        found.push(Violation::Unprovable { place: world.origin(place), what });
    };
    let mut tables = Vec::new();
    for setting in settings {
        match &setting.value {
            SettingValue::Option(_) => refuse(setting.place, "an option, which is not the anchor's to set"),
            SettingValue::Macro { .. } => refuse(setting.place, "a macro of its own"),
            SettingValue::Table(table) => {
                if let Err(what) = of_table(table) {
                    refuse(setting.place, what);
                }
                tables.push(table.name.as_str());
            }
        }
    }
    let mut sorted = tables.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let is_it =
            |value: &SettingValue| matches!(value, SettingValue::Table(table) if table.name == twice[0]);
        let places = settings.iter().filter(|setting| is_it(&setting.value)).map(|setting| setting.place);
        refuse(places.max().unwrap_or_default(), "a table that is defined twice");
    }
    for load in loads {
        refuse(load.place, "`load anchor`");
    }
    for rule in scrub.iter().chain(nat).chain(rdr).chain(binat).chain(filter).chain(dummynet) {
        let checked = of_rule(rule, world).and_then(|()| of_names(rule, &sorted, world));
        if let Err(what) = checked {
            refuse(rule.place, what);
        }
    }
    found
}

fn of_table(table: &Table) -> Result<(), Reason> {
    let Table { name: _, constant, persist, counters, sources, initialised: _ } = table;
    let is_list = |source: &TableSource| matches!(source, TableSource::List(_));
    check(*constant, "a table that is not const")?;
    check(!persist, "a table that is `persist`, which stays when the anchor is gone")?;
    check(!counters, "a table with counters")?;
    check(sources.iter().all(is_list), "a table from a file")?;
    let entries = table.entries().all(|entry| entry.address.is_ipv4());
    check(entries, "a table with IPv6 addresses")
}

/// Accepts only tables that the anchor defines, and interfaces that the manager substitutes, or lo0.
fn of_names(rule: &Rule, tables: &[&str], world: &World) -> Result<(), Reason> {
    for end in [&rule.source, &rule.destination] {
        if let Address::Table(name) = &end.address {
            let is_known = tables.binary_search(&name.as_str()).is_ok();
            check(is_known, "a table that the anchor does not define, so that it is another's")?;
        }
    }
    if let Some(interface) = &rule.interface {
        let is_put_in = world.is_put_in(&interface.name);
        check(
            !interface.not || !is_put_in || world.kind(&interface.name) == PolicyInterface::Mesh,
            "a rule for every interface but one, which is loaded for each of several",
        )?;
        // A fixed name can be a bridge on one Mac and lead outside on another.
        let is_known = is_put_in || interface.name == LOOPBACK;
        check(is_known, "an interface by its name, which may be any")?;
    }
    Ok(())
}

fn check(is_right: bool, reason: Reason) -> Result<(), Reason> {
    if is_right { Ok(()) } else { Err(reason) }
}

/// Checks a rule. Every field is examined here or in the function for its kind of rule.
fn of_rule(rule: &Rule, world: &World) -> Result<(), Reason> {
    let Rule {
        place: _,
        number: _,
        action,
        anchor,
        direction: _,
        log,
        quick: _,
        interface: _,
        family,
        protocol: _,
        source,
        destination,
        os,
        user,
        group,
        icmp: _,
        tcp_flags: _,
        tos,
        state,
        state_options,
        fragment,
        allow_opts,
        label: _,
        tag,
        tagged,
        probability,
        rtable,
        route,
        redirect,
        nat_pass,
        scrub,
        dummynet,
    } = rule;
    check(anchor.is_none(), "a call of another anchor")?;
    check(*log == Log::default(), "a log")?;
    check(os.is_none(), "a condition on the operating system")?;
    check(user.is_none() && group.is_none(), "a condition on the owner of a socket")?;
    check(*tos == 0, "a condition on the type of service")?;
    check(tag.is_none() && tagged.is_none(), "a tag")?;
    check(*probability == 0, "a probability")?;
    check(rtable.is_none(), "a routing table of its own")?;
    check(
        route.is_none(),
        "a `route-to` of its own, which panics the kernel while any dummynet rule is in force",
    )?;
    check(!fragment, "a condition on fragments")?;
    check(!allow_opts, "`allow-opts`, which lets pass what has IP options")?;
    check(*family == Some(Family::Inet), "a rule that IPv6 packets can match")?;
    of_end(source, world)?;
    of_states(*state, state_options)?;
    let is_translation = matches!(action, Action::Nat | Action::Rdr);
    check(is_translation || redirect.is_none(), "a pool of addresses")?;
    check(*action == Action::Rdr || !nat_pass, "a translation that skips the filter")?;
    check(*action == Action::Scrub || *scrub == Scrub::default(), "normalization")?;
    check(*action == Action::Dummynet || dummynet.is_none(), "a pipe")?;
    if *action != Action::Scrub {
        of_end(destination, world)?;
    }
    match action {
        Action::Pass | Action::Block(_) => of_filter(rule),
        Action::Nat => of_nat(rule, world),
        Action::Rdr => of_rdr(rule, world),
        Action::NoNat | Action::NoRdr => of_exception(rule),
        Action::Scrub => of_scrub(rule, world),
        Action::Dummynet | Action::NoDummynet => of_dummynet(rule),
        Action::NoScrub => Err("an exception from normalization"),
        Action::Binat | Action::NoBinat => Err("a binat rule"),
    }
}

/// Checks one side of a rule: it must mean the same on every Mac.
fn of_end(end: &HostMatch, world: &World) -> Result<(), Reason> {
    let HostMatch { not: _, address, port: _ } = end;
    match address {
        Address::Any | Address::Table(_) => Ok(()),
        Address::Prefix { address, prefix: _ } => {
            check(!world.is_machines(*address), "an address that the machine has")
        }
        Address::Dynamic(_) => Err("an address that an interface has"),
        Address::Range(..) => Err("a range of addresses, which the kernel compares in an order of its own"),
        Address::NoRoute | Address::UrpfFailed | Address::RouteLabel(_) => {
            Err("an address that depends on routes")
        }
    }
}

fn of_states(state: StateKind, options: &StateOptions) -> Result<(), Reason> {
    let StateOptions {
        max,
        no_sync,
        source_track,
        max_src_states,
        max_src_conn,
        max_src_conn_rate,
        max_src_nodes,
        overload,
        policy,
        sloppy,
        timeouts,
    } = options;
    check(matches!(state, StateKind::None | StateKind::Keep), "a state that changes segments")?;
    let is_unlimited = [*max, *max_src_states, *max_src_conn, *max_src_nodes] == [0; 4]
        && max_src_conn_rate.is_none()
        && source_track.is_none()
        && overload.is_none();
    check(is_unlimited, "a limit on states")?;
    check(*policy == StatePolicy::Floating, "states that are bound to an interface")?;
    check(!no_sync && !sloppy, "an option of its states")?;
    let is_known = timeouts.is_empty() || timeouts.as_slice() == TIMEOUTS.as_slice();
    check(is_known, "timeouts of its own")
}

fn of_filter(rule: &Rule) -> Result<(), Reason> {
    check(rule.quick, "a filter rule that is not quick, so that a later anchor decides")?;
    match rule.action {
        // The code for IPv6 is never sent: the rule matches IPv4 only.
        Action::Block(Block::Return { icmp, icmp6: _ } | Block::ReturnIcmp { icmp, icmp6: _ }) => {
            check(icmp == PORT_UNREACHABLE, "an answer of its own")
        }
        Action::Block(Block::ReturnRst { ttl: _ }) => Err("`return-rst`"),
        Action::Pass | Action::Block(Block::Drop) => Ok(()),
        Action::Scrub
        | Action::NoScrub
        | Action::Nat
        | Action::NoNat
        | Action::Rdr
        | Action::NoRdr
        | Action::Binat
        | Action::NoBinat
        | Action::Dummynet
        | Action::NoDummynet => Err("an action that no filter rule has"),
    }
}

/// Checks what all translation rules have in common. With a condition on the source port, the kernel could skip rules.
fn of_exception(rule: &Rule) -> Result<(), Reason> {
    check(rule.source.port.is_none(), "a translation by source port")?;
    check(
        matches!(rule.destination.port, None | Some(PortMatch::Equal(_) | PortMatch::Range(..))),
        "a port that is no range",
    )?;
    check(!rule.quick, "a translation that is quick")
}

fn of_nat(rule: &Rule, world: &World) -> Result<(), Reason> {
    of_exception(rule)?;
    let Some(Pool { hosts, kind, sticky, static_port, ports, extmap, extfilter }) = &rule.redirect else {
        return Err("a translation to nothing");
    };
    check(*kind == PoolKind::None && !sticky, "a translation to more than one address")?;
    check(!static_port, "`static-port`, with which two volumes with the same source port collide")?;
    check(*ports == Some(NAT_PORTS), "a range of ports of its own")?;
    check(extmap.is_none(), "`extmap`")?;
    let is_strict = matches!(extfilter, None | Some(EndpointKind::AddressPortDependent));
    check(is_strict, "an `extfilter` that lets other hosts in by the mapped port")?;
    let [PoolHost { interface: None, address }] = hosts.as_slice() else {
        return Err("a translation to more than one address");
    };
    match address {
        Address::Dynamic(dynamic) => {
            let own = rule.interface.as_ref().filter(|interface| !interface.not);
            check(own.is_some_and(|own| own.name == dynamic.interface), "an address of another interface")?;
            of_way_out(dynamic, world)
        }
        Address::Prefix { address, prefix: 32 } => {
            check(!world.is_machines(*address), "an address that the machine has at load")
        }
        _ => Err("a translation to more than one address"),
    }
}

/// Checks for `($egress:0)`: the current primary address of the interface, no alias.
fn of_way_out(dynamic: &Dynamic, world: &World) -> Result<(), Reason> {
    let Dynamic { interface, network, broadcast, peer, no_alias, prefix } = dynamic;
    check(world.address_of(interface).is_some(), "an address of an interface that is not `$egress`")?;
    check(!network && !broadcast && !peer && prefix.is_none(), "more than the address of the interface")?;
    check(*no_alias, "an address of the interface that may be an alias")
}

fn of_rdr(rule: &Rule, world: &World) -> Result<(), Reason> {
    of_exception(rule)?;
    check(rule.nat_pass, "a redirection that does not pass by itself")?;
    let Some(Pool { hosts, kind, sticky, static_port, ports, extmap, extfilter }) = &rule.redirect else {
        return Err("a translation to nothing");
    };
    // With a port after `->`, the kernel takes every packet that leaves from that port for a reply and rewrites it,
    // even without a state.
    check(ports.is_none(), "a redirection to a port")?;
    check(*kind == PoolKind::None && !sticky && !static_port, "a redirection to more than one address")?;
    check(extmap.is_none() && extfilter.is_none(), "an option of the redirection")?;
    match hosts.as_slice() {
        [PoolHost { interface: None, address: Address::Prefix { address, prefix: 32 } }] => {
            check(!world.is_machines(*address), "an address that the machine has at load")
        }
        _ => Err("a redirection to more than one address"),
    }
}

fn of_scrub(rule: &Rule, world: &World) -> Result<(), Reason> {
    let Scrub { no_df: _, random_id, min_ttl, max_mss, reassemble_tcp, fragments } = rule.scrub;
    check(!random_id && min_ttl == 0 && max_mss == 0, "normalization that changes packets")?;
    check(!reassemble_tcp, "normalization of TCP")?;
    check(fragments == FragmentCache::Reassemble, "fragments that are not reassembled")?;
    check(rule.source.port.is_none() && rule.destination.port.is_none(), "normalization by ports")?;
    check(rule.tcp_flags.is_none() && rule.icmp.is_none() && !rule.quick, "a condition on normalization")?;
    if let Address::Dynamic(dynamic) = &rule.destination.address {
        check(!rule.destination.not, "what is not for the interface itself")?;
        let own = rule.interface.as_ref().filter(|interface| !interface.not);
        check(own.is_some_and(|own| own.name == dynamic.interface), "an address of another interface")?;
        return of_way_out(dynamic, world);
    }
    of_end(&rule.destination, world)
}

fn of_dummynet(rule: &Rule) -> Result<(), Reason> {
    // The anchor is called by a wildcard; after one, the kernel forgets a match that was not quick.
    check(rule.quick, "a dummynet rule that is not quick, which has no effect below `com.apple/*`")?;
    check(!matches!(rule.dummynet, Some(Dummynet::Queue(_))), "a dummynet queue")?;
    let plain = rule.source.port.is_none() && rule.destination.port.is_none();
    let plain = plain && rule.tcp_flags.is_none() && rule.icmp.is_none();
    // With ports, fragments would make the kernel skip rules here.
    let has_no_ports = !matches!(rule.protocol, Some(6 | 17));
    check(plain && has_no_ports, "a dummynet rule by service")
}
