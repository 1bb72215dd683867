//! The evaluator on random rulesets and packets: it never fails, and what it reports to the prover is what it does.

use std::net::IpAddr;

use nixvol_net::pf::eval::{
    Hook, Inner, Machine, Outcome, Packet, PathVerdicts, RuleList, TcpSegment, Transport, bits_of,
};
use nixvol_net::pf::syntax::{
    Action, Address, AnchorCall, Block, Direction, Dummynet, Dynamic, EndpointKind, Family, HostMatch, Icmp,
    Interface, NumberMatch, Pool, PoolHost, PoolKind, PortMatch, Position, Route, RouteKind, Rule, Ruleset,
    SetOption, Setting, SettingValue, SourceTrack, StateKind, StatePolicy, Table, TableEntry, TableSource,
    Tagged, TcpFlags,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (0u8..4, 0u8..4).prop_map(|(b, d)| IpAddr::from([10, b, 0, d])),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        1 => (0u16..3, 0u16..3).prop_map(|(a, b)| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, a, b])),
        1 => any::<[u16; 8]>().prop_map(IpAddr::from),
    ]
}

fn names() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["en0", "lo0", "bridge2000", "t", ""]).prop_map(str::to_owned)
}

fn rule_addresses() -> impl Strategy<Value = Address> {
    let dynamic =
        (names(), any::<[bool; 4]>(), option::of(any::<u8>())).prop_map(|(interface, set, prefix)| {
            let [network, broadcast, peer, no_alias] = set;
            Address::Dynamic(Dynamic { interface, network, broadcast, peer, no_alias, prefix })
        });
    prop_oneof![
        3 => Just(Address::Any),
        3 => (addresses(), any::<u8>()).prop_map(|(address, prefix)| Address::Prefix { address, prefix }),
        1 => (addresses(), addresses()).prop_map(|(low, high)| Address::Range(low, high)),
        1 => dynamic,
        2 => names().prop_map(Address::Table),
        1 => Just(Address::NoRoute),
        1 => Just(Address::UrpfFailed),
        1 => names().prop_map(Address::RouteLabel),
    ]
}

fn port_conditions() -> impl Strategy<Value = PortMatch> {
    let port = || prop_oneof![3 => 0u16..5, 1 => any::<u16>()];
    (0..9, port(), port()).prop_map(|(kind, a, b)| match kind {
        0 => NumberMatch::Equal(a),
        1 => NumberMatch::NotEqual(a),
        2 => NumberMatch::Less(a),
        3 => NumberMatch::LessEqual(a),
        4 => NumberMatch::Greater(a),
        5 => NumberMatch::GreaterEqual(a),
        6 => NumberMatch::Range(a, b),
        7 => NumberMatch::Inside(a, b),
        _ => NumberMatch::Outside(a, b),
    })
}

fn endpoints() -> impl Strategy<Value = HostMatch> {
    (any::<bool>(), rule_addresses(), option::of(port_conditions()))
        .prop_map(|(not, address, port)| HostMatch { not, address, port })
}

fn endpoint_kinds() -> impl Strategy<Value = EndpointKind> {
    prop::sample::select(vec![
        EndpointKind::AddressPortDependent,
        EndpointKind::AddressDependent,
        EndpointKind::EndpointIndependent,
    ])
}

fn pools() -> impl Strategy<Value = Pool> {
    let kinds = prop_oneof![
        Just(PoolKind::None),
        Just(PoolKind::Bitmask),
        Just(PoolKind::Random),
        any::<[u32; 4]>().prop_map(PoolKind::SourceHash),
        Just(PoolKind::RoundRobin),
    ];
    let hosts = vec((option::of(names()), rule_addresses()), 0..4);
    let ports = option::of((any::<u16>(), any::<u16>()));
    let ends = (option::of(endpoint_kinds()), option::of(endpoint_kinds()));
    (hosts, kinds, any::<bool>(), ports, ends).prop_map(
        |(hosts, kind, sticky, ports, (extmap, extfilter))| {
            let host = |(interface, address)| PoolHost { interface, address };
            let hosts = hosts.into_iter().map(host).collect();
            Pool { hosts, kind, sticky, static_port: ports.is_none(), ports, extmap, extfilter }
        },
    )
}

fn actions() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::Pass,
        Action::Block(Block::Drop),
        Action::Block(Block::ReturnRst { ttl: 0 }),
        Action::Scrub,
        Action::NoScrub,
        Action::Nat,
        Action::NoNat,
        Action::Rdr,
        Action::NoRdr,
        Action::Binat,
        Action::NoBinat,
        Action::Dummynet,
    ])
}

fn calls() -> impl Strategy<Value = AnchorCall> {
    let names = vec!["a", "a/*", "/a", "../a", "../../../x", "*", "", "/", "/*", "a/b/c", "../*"];
    prop::sample::select(names).prop_map(|name| AnchorCall {
        name: name.to_owned(),
        path: "_1".to_owned(),
        wildcard: name.ends_with('*'),
        body: None,
    })
}

fn rules() -> impl Strategy<Value = Rule> {
    let place = (option::of(any::<bool>()), option::of((any::<bool>(), names())), option::of(any::<bool>()));
    let ends = (endpoints(), endpoints(), option::of(prop::sample::select(vec![1u8, 6, 17, 47, 50, 58])));
    let states = (0usize..4, any::<bool>(), 0u32..3, option::of(any::<bool>()));
    let tags = (option::of(names()), option::of((any::<bool>(), names())), any::<[bool; 5]>());
    let pools = (option::of(pools()), option::of((0usize..4, pools())), option::of(calls()));
    let header = (option::of((any::<u8>(), option::of(any::<u8>()))), option::of(any::<[u8; 2]>()), 0u32..3);
    (actions(), place, ends, states, tags, pools, header).prop_map(
        |(action, place, ends, states, tags, pools, header)| {
            let mut rule = Rule::new(action);
            rule.direction = place.0.map(|is_in| if is_in { Direction::In } else { Direction::Out });
            rule.interface = place.1.map(|(not, name)| Interface { not, name });
            rule.family = place.2.map(|is_four| if is_four { Family::Inet } else { Family::Inet6 });
            (rule.source, rule.destination, rule.protocol) = ends;
            rule.state =
                [StateKind::None, StateKind::Keep, StateKind::Modulate, StateKind::Synproxy][states.0];
            rule.state_options.policy = if states.1 { StatePolicy::IfBound } else { StatePolicy::Floating };
            rule.state_options.max = states.2;
            rule.state_options.max_src_nodes = states.2;
            rule.state_options.source_track =
                states.3.map(|global| if global { SourceTrack::Global } else { SourceTrack::Rule });
            rule.tag = tags.0;
            rule.tagged = tags.1.map(|(not, tag)| Tagged { not, tag });
            let [quick, log, fragment, nat_pass, reassemble] = tags.2;
            (rule.quick, rule.log.on, rule.fragment, rule.nat_pass) = (quick, log, fragment, nat_pass);
            rule.scrub.reassemble_tcp = reassemble;
            rule.redirect = pools.0;
            rule.route = pools.1.map(|(kind, pool)| {
                let kind = [RouteKind::Fast, RouteKind::To, RouteKind::Reply, RouteKind::Dup][kind];
                Route { kind, pool }
            });
            rule.anchor = pools.2;
            rule.icmp = header.0.map(|(kind, code)| Icmp { kind, code });
            rule.tcp_flags = header.1.map(|[set, mask]| TcpFlags { set, mask });
            rule.probability = header.2;
            rule
        },
    )
}

/// Dummynet rules, with and without a pipe.
fn shapers() -> impl Strategy<Value = Rule> {
    (rules(), option::weighted(0.8, 1u16..9), prop::sample::select(vec![0u8, 0, 0, 8])).prop_map(
        |(rule, pipe, tos)| {
            let action = if pipe.is_some() { Action::Dummynet } else { Action::NoDummynet };
            // Calls are less frequent than elsewhere, because they discard the last match.
            let anchor = rule.anchor.clone().filter(|_| rule.log.on);
            Rule { action, dummynet: pipe.map(Dummynet::Pipe), tos, anchor, ..rule }
        },
    )
}

fn tables() -> impl Strategy<Value = Table> {
    let entries = vec((any::<bool>(), addresses(), any::<u8>()), 0..5);
    (names(), any::<bool>(), entries).prop_map(|(name, persist, entries)| Table {
        name,
        constant: false,
        persist,
        counters: false,
        sources: vec![TableSource::List(
            entries.into_iter().map(|(not, address, prefix)| TableEntry { not, address, prefix }).collect(),
        )],
        initialised: true,
    })
}

fn rulesets() -> impl Strategy<Value = Ruleset> {
    rulesets_of(0..6)
}

fn rulesets_of(rules_each: std::ops::Range<usize>) -> impl Strategy<Value = Ruleset> {
    let lists = [0; 5].map(|_| vec(rules(), rules_each.clone()));
    let lists = (lists, vec(shapers(), rules_each.clone()));
    (lists, vec(tables(), 0..3), option::weighted(0.1, names())).prop_map(
        |((lists, dummynet), tables, skip)| {
            let mut ruleset = Ruleset::default();
            let rules = &mut ruleset.rules;
            [rules.scrub, rules.nat, rules.rdr, rules.binat, rules.filter] = lists;
            rules.dummynet = dummynet;
            let settings = tables.into_iter().map(SettingValue::Table);
            let skip = skip.map(|name| SettingValue::Option(SetOption::Skip(Interface { not: false, name })));
            let setting = |value| Setting { place: Position::default(), value };
            ruleset.settings = settings.chain(skip).map(setting).collect();
            ruleset
        },
    )
}

/// Each translation in the list of its own kind, as the parser guarantees; the index relies on it.
fn in_their_lists(mut ruleset: Ruleset) -> Ruleset {
    let lists = &mut ruleset.rules;
    let kinds = [
        (&mut lists.nat, Action::Nat, Action::NoNat),
        (&mut lists.rdr, Action::Rdr, Action::NoRdr),
        (&mut lists.binat, Action::Binat, Action::NoBinat),
    ];
    for (rules, kind, none) in kinds {
        for rule in rules.iter_mut().filter(|rule| rule.action != none) {
            rule.action = kind;
        }
    }
    ruleset
}

fn transports() -> impl Strategy<Value = Transport> {
    let port = || prop_oneof![5 => 0u16..6, 1 => Just(500u16), 1 => any::<u16>()];
    let segment = (any::<u8>(), any::<u32>(), any::<u32>(), 0u32..2000, any::<u16>()).prop_map(
        |(flags, sequence, acknowledgement, length, window)| TcpSegment {
            flags,
            sequence,
            acknowledgement,
            length,
            window,
        },
    );
    let inner = (any::<u8>(), addresses(), addresses(), port(), port(), any::<u32>()).prop_map(
        |(protocol, source, destination, source_port, destination_port, sequence)| Inner {
            protocol,
            source,
            destination,
            source_port,
            destination_port,
            sequence,
        },
    );
    prop_oneof![
        3 => (port(), port(), segment).prop_map(|(source, destination, segment)| {
            Transport::Tcp { source, destination, segment }
        }),
        3 => (port(), port()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        2 => (0u8..16, 0u8..3, 0u16..3, option::of(inner)).prop_map(|(kind, code, id, inner)| {
            Transport::Icmp { kind, code, id, inner }
        }),
        1 => prop::sample::select(vec![47u8, 50, 51, 255]).prop_map(Transport::Other),
    ]
}

/// The second address, or one like it, of the family of the first: a packet has one family.
fn of_one_family(one: IpAddr, other: IpAddr) -> IpAddr {
    match (one, other) {
        (IpAddr::V4(_), IpAddr::V6(other)) => {
            let [.., a, b, c, d] = other.octets();
            IpAddr::from([a, b, c, d])
        }
        (IpAddr::V6(_), IpAddr::V4(other)) => other.to_ipv6_mapped().into(),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => other,
    }
}

fn packets() -> impl Strategy<Value = Packet> {
    let hook = (any::<bool>(), names()).prop_map(|(is_in, interface)| Hook {
        direction: if is_in { Direction::In } else { Direction::Out },
        interface,
    });
    (vec(hook, 0..4), any::<[bool; 3]>(), addresses(), addresses(), transports(), option::of(names()))
        .prop_map(|(hooks, [is_path, fragment, has_tos], source, destination, transport, tag)| Packet {
            hooks,
            is_path,
            source,
            destination: of_one_family(source, destination),
            transport,
            user: None,
            group: None,
            tag,
            tos: if has_tos { 8 } else { 0 },
            fragment,
            ip: nixvol_net::pf::eval::Ip::default(),
        })
}

proptest! {
    #![proptest_config(crate::support::cases(256))]

    #[test]
    fn never_panics(main in rulesets(), anchors in vec(rulesets(), 0..3), packets in vec(packets(), 1..20)) {
        let mut machine = Machine::default();
        machine.load("", &main);
        for (ruleset, path) in anchors.iter().zip(["a", "a/b", "x"]) {
            machine.load(path, ruleset);
        }
        for packet in &packets {
            let first = machine.decide(packet);
            prop_assert_eq!(&first, &machine.decide(packet));
            serde_json::to_string(&machine.eval(packet)).expect("an answer");
        }
        machine.load("", &main);
        machine.load("a", &main);
        for packet in &packets {
            machine.eval(packet);
        }
        machine.forget();
        prop_assert_eq!(machine.states(), 0);
    }

    #[test]
    fn an_index_changes_no_answer(
        main in rulesets_of(0..20),
        anchor in rulesets_of(0..20),
        packets in vec(packets(), 1..30),
    ) {
        let mut walked = Machine::default();
        walked.load("", &in_their_lists(main));
        walked.load("a", &in_their_lists(anchor));
        let mut indexed = walked.clone();
        indexed.index();
        for packet in &packets {
            prop_assert_eq!(walked.eval(packet), indexed.eval(packet));
        }
    }

    #[test]
    fn stepwise_evaluation_equals_evaluation_of_a_path(
        main in rulesets(),
        packets in vec(packets(), 1..20),
    ) {
        let mut asked = Machine::default();
        asked.load("", &main);
        let mut stepped = asked.clone();
        for packet in packets {
            let packet = &Packet { is_path: true, ..packet };
            let answer = asked.eval(packet);
            let mut passage = stepped.begin(packet);
            for (hook, verdict) in packet.hooks.iter().zip(answer.verdicts()) {
                prop_assert_eq!(&stepped.pass(&mut passage, hook.direction, &hook.interface), verdict);
            }
        }
        prop_assert_eq!(asked.states(), stepped.states());
    }

    #[test]
    fn ranges_agree_with_what_a_rule_matches(
        endpoint in endpoints(),
        table in tables(),
        probes in vec(addresses(), 1..20),
    ) {
        let mut rule = Rule::new(Action::Block(Block::Drop));
        rule.source = HostMatch { port: None, ..endpoint };
        let mut ruleset = Ruleset::default();
        ruleset.rules.filter.push(rule);
        ruleset.settings.push(Setting { place: Position::default(), value: SettingValue::Table(table) });
        let mut machine = Machine::default();
        machine.load("", &ruleset);
        let loaded = machine.loaded();
        let rule = &loaded.ruleset(0).expect("the main one").rules(RuleList::Filter)[0];
        for probe in probes {
            let family = nixvol_net::pf::eval::family_of(probe);
            let Some(ranges) = rule.source().addresses(loaded.tables(), family, true) else { continue };
            let packet = Packet {
                hooks: vec![Hook { direction: Direction::In, interface: "en0".to_owned() }],
                is_path: false,
                source: probe,
                destination: probe,
                transport: Transport::Other(255),
                user: None,
                group: None,
                tag: None,
                tos: 0,
                fragment: false,
                ip: nixvol_net::pf::eval::Ip::default(),
            };
            let is_blocked = matches!(machine.decide(&packet), PathVerdicts::Single(v) if v.action == Outcome::Block);
            prop_assert_eq!(ranges.contains(bits_of(probe)), is_blocked);
        }
    }
}
