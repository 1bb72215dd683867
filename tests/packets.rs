//! Packet sets: the set operations agree with testing packet by packet.

use std::net::IpAddr;

use nixvol_net::packets::{Field, Map, PacketDirection, PacketFamily, Set, Side, Space, WitnessPacket};
use proptest::prelude::*;

const INTERFACES: [&str; 3] = ["lo0", "en0", "bridge2000"];

/// A set expression.
#[derive(Debug, Clone)]
enum Words {
    Out,
    On(&'static str),
    Strange,
    Network(bool, [u8; 4], u8),
    Ports(u16, u16),
    Protocol(u8),
    Flags(u8, u8),
    Not(Box<Words>),
    And(Box<Words>, Box<Words>),
    Or(Box<Words>, Box<Words>),
    Minus(Box<Words>, Box<Words>),
}

fn words() -> impl Strategy<Value = Words> {
    let leaf = prop_oneof![
        Just(Words::Out),
        proptest::sample::select(INTERFACES.to_vec()).prop_map(Words::On),
        Just(Words::Strange),
        (any::<bool>(), any::<[u8; 4]>(), 0u8..=32).prop_map(|(is_source, mut address, prefix)| {
            // Addresses from few networks, so that sets overlap.
            address[0] = 10;
            address[1] &= 1;
            Words::Network(is_source, address, prefix)
        }),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Words::Ports(a.min(b), a.max(b))),
        proptest::sample::select(vec![1u8, 6, 17]).prop_map(Words::Protocol),
        (any::<u8>(), any::<u8>()).prop_map(|(bits, mask)| Words::Flags(bits & mask, mask)),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        let pair = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            inner.clone().prop_map(|a| Words::Not(Box::new(a))),
            pair().prop_map(|(a, b)| Words::And(a, b)),
            pair().prop_map(|(a, b)| Words::Or(a, b)),
            pair().prop_map(|(a, b)| Words::Minus(a, b)),
        ]
    })
}

impl Words {
    fn set(&self, space: &mut Space) -> Set {
        match self {
            Self::Out => space.direction(PacketDirection::Out),
            Self::On(name) => space.interface(name),
            Self::Strange => {
                let named = INTERFACES.map(|name| space.interface(name));
                let named = space.union(&named);
                space.not(named)
            }
            Self::Network(is_source, address, prefix) => {
                let side = if *is_source { Side::Source } else { Side::Destination };
                space.network(side, IpAddr::from(*address), *prefix)
            }
            Self::Ports(low, high) => {
                space.numbers(Field::DestinationPort, &[(u128::from(*low), u128::from(*high))])
            }
            Self::Protocol(number) => space.number_is(Field::Protocol, *number),
            Self::Flags(bits, mask) => space.masked(Field::Flags, *bits, *mask),
            Self::Not(a) => {
                let a = a.set(space);
                space.not(a)
            }
            Self::And(a, b) => {
                let (a, b) = (a.set(space), b.set(space));
                space.and(a, b)
            }
            Self::Or(a, b) => {
                let (a, b) = (a.set(space), b.set(space));
                space.or(a, b)
            }
            Self::Minus(a, b) => {
                let (a, b) = (a.set(space), b.set(space));
                space.minus(a, b)
            }
        }
    }

    fn has(&self, packet: &WitnessPacket) -> bool {
        match self {
            Self::Out => packet.direction == PacketDirection::Out,
            Self::On(name) => packet.interface == *name,
            Self::Strange => !INTERFACES.contains(&packet.interface.as_str()),
            Self::Network(is_source, address, prefix) => {
                let end = if *is_source { packet.source } else { packet.destination };
                let IpAddr::V4(end) = end else { return false };
                let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
                u32::from(end) & mask == u32::from_be_bytes(*address) & mask
            }
            Self::Ports(low, high) => (*low..=*high).contains(&packet.destination_port),
            Self::Protocol(number) => packet.protocol == *number,
            Self::Flags(bits, mask) => packet.flags & mask == *bits,
            Self::Not(a) => !a.has(packet),
            Self::And(a, b) => a.has(packet) && b.has(packet),
            Self::Or(a, b) => a.has(packet) || b.has(packet),
            Self::Minus(a, b) => a.has(packet) && !b.has(packet),
        }
    }
}

fn packets() -> impl Strategy<Value = WitnessPacket> {
    let address = || {
        prop_oneof![
            (0u8..2, any::<u8>(), any::<u8>()).prop_map(|(b, c, d)| IpAddr::from([10, b, c, d])),
            any::<[u8; 4]>().prop_map(IpAddr::from),
        ]
    };
    let ends = prop_oneof![
        8 => (address(), address()),
        1 => any::<([u16; 8], [u16; 8])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ];
    let interface = proptest::sample::select(vec!["lo0", "en0", "bridge2000", "utun4"]);
    let fields = (
        any::<bool>(),
        interface,
        ends,
        proptest::sample::select(vec![1u8, 6, 17, 47]),
        any::<(u16, u16, u8)>(),
    );
    fields.prop_map(
        |(is_out, interface, (source, destination), protocol, (source_port, destination_port, flags))| {
            WitnessPacket {
                direction: if is_out { PacketDirection::Out } else { PacketDirection::In },
                interface: interface.to_owned(),
                source,
                destination,
                protocol,
                source_port,
                destination_port,
                flags,
                ..WitnessPacket::default()
            }
        },
    )
}

fn space() -> Space {
    Space::new(INTERFACES.map(str::to_owned))
}

proptest! {
    #![proptest_config(crate::support::cases(300))]

    /// A set holds exactly the packets of its expression; equal sets have one representation; a witness is a member.
    #[test]
    fn sets_are_exact(a in words(), b in words(), packets in proptest::collection::vec(packets(), 30)) {
        let mut space = space();
        let (one, other) = (a.set(&mut space), b.set(&mut space));
        for packet in &packets {
            prop_assert_eq!(space.has(one, packet), a.has(packet), "{:?}", packet);
        }
        let (ab, ba) = (space.minus(one, other), space.minus(other, one));
        let either = space.or(one, other);
        let both = space.and(one, other);
        let apart = space.or(ab, ba);
        prop_assert_eq!(space.minus(either, both), apart);
        prop_assert_eq!(space.implies(one, other), ab.is_empty());
        prop_assert_eq!(one == other, apart.is_empty());
        match space.witness(one, &[other]) {
            None => prop_assert!(one.is_empty()),
            Some(packet) => {
                prop_assert!(a.has(&packet), "{packet:?}");
                prop_assert!(both.is_empty() || b.has(&packet), "{packet:?}");
            }
        }
    }

    /// A set that fixes every field of a packet has this packet as its witness, wherever its fields are in the bits.
    #[test]
    fn a_packet_is_the_witness_of_its_fields(names in 0usize..9, packet in packets()) {
        let more = (0..names).map(|unit| format!("feth{unit}"));
        let mut space = Space::new(more.chain(["lo0", "en0", "bridge2000", "utun4"].map(str::to_owned)));
        let prefix = if packet.source.is_ipv4() { 32 } else { 128 };
        let port = |port: u16| [(u128::from(port), u128::from(port))];
        let fields = [
            space.direction(packet.direction),
            space.interface(&packet.interface),
            space.network(Side::Source, packet.source, prefix),
            space.network(Side::Destination, packet.destination, prefix),
            space.number_is(Field::Protocol, packet.protocol),
            space.numbers(Field::SourcePort, &port(packet.source_port)),
            space.numbers(Field::DestinationPort, &port(packet.destination_port)),
            space.masked(Field::Flags, packet.flags, u8::MAX),
        ];
        let set = fields.into_iter().fold(Set::ALL, |all, field| space.and(all, field));
        prop_assert!(space.has(set, &packet));
        prop_assert_eq!(space.any(set), Some(packet));
    }

    /// The parts of a set by service, and by sender, cover it exactly, do not overlap, and differ in what they share.
    #[test]
    fn parts_are_the_set(a in words()) {
        let mut space = space();
        let set = a.set(&mut space);
        for parts in [space.by_service(set), space.by_sender(set)] {
            let mut all = Set::NONE;
            for (before, rest) in &parts {
                let part = space.and(*before, *rest);
                prop_assert!(!part.is_empty());
                let overlap = space.and(all, part);
                prop_assert!(overlap.is_empty());
                all = space.or(all, part);
            }
            prop_assert_eq!(all, set);
            let rests: std::collections::BTreeSet<Set> = parts.iter().map(|(_, rest)| *rest).collect();
            prop_assert_eq!(rests.len(), parts.len());
        }
    }

    /// The function of a rule list gives the first match of each packet, and each rule that it contains has a packet.
    #[test]
    fn the_first_match_decides(rules in proptest::collection::vec(words(), 0..8), packets in proptest::collection::vec(packets(), 30)) {
        let mut space = space();
        let mut function = Map::constant(0);
        for (number, rule) in rules.iter().enumerate().rev() {
            let set = rule.set(&mut space);
            function = space.choose(set, Map::constant(u32::try_from(number).expect("few") + 1), function);
        }
        let decides = |packet: &WitnessPacket| (1..).zip(&rules).find(|(_, rule)| rule.has(packet)).map_or(0, |(number, _)| number);
        for packet in &packets {
            prop_assert_eq!(space.of(function, packet), decides(packet));
        }
        for (number, packet) in space.each(function) {
            prop_assert_eq!(number, decides(&packet), "{:?}", packet);
        }
    }

    /// Substitution of an address, and overlaying one function on another, agree with single packets.
    #[test]
    fn functions_are_changed_exactly(a in words(), b in words(), c in words(), packet in packets()) {
        let mut space = space();
        let (one, other, set) = (a.set(&mut space), b.set(&mut space), c.set(&mut space));
        let function = space.join(one.as_map(), other.as_map(), &mut |a, b| 10 + 2 * a + b);
        prop_assert_eq!(space.of(function, &packet), 10 + 2 * u32::from(a.has(&packet)) + u32::from(b.has(&packet)));
        let address = IpAddr::from([10, 1, 2, 3]);
        let put = space.with_address(function, Side::Source, address);
        let laid = space.overlay(set, put, function, &mut |number| number + 100);
        let moved = WitnessPacket { source: address, destination: packet.destination, ..packet.clone() };
        let expected = if c.has(&packet) && packet.destination.is_ipv4() {
            Some(100 + space.of(function, &moved))
        } else if c.has(&packet) { None } else { Some(space.of(function, &packet)) };
        if let Some(expected) = expected {
            prop_assert_eq!(space.of(laid, &packet), expected);
        }
    }
}

#[test]
fn the_other_interface_stands_for_every_unnamed_one() {
    for count in 0..9 {
        let mut space = Space::new((0..count).map(|unit| format!("en{unit}")));
        let mut named = Set::NONE;
        for unit in 0..count {
            let one = space.interface(&format!("en{unit}"));
            assert!(!one.is_empty() && space.and(named, one).is_empty());
            named = space.or(named, one);
        }
        let strange = space.not(named);
        let packet = space.any(strange).expect("there is always another interface");
        assert_eq!(packet.interface, space.stranger());
        assert!(!space.interfaces().contains(&packet.interface));
    }
}

#[test]
fn ranges_and_networks_round_trip() {
    let mut space = space();
    let ports = [(1, 79), (81, 442), (65_535, 65_535)];
    let set = space.numbers(Field::DestinationPort, &ports);
    assert_eq!(space.field_ranges(set, Field::DestinationPort), ports);
    let v6: IpAddr = "2001:db8::".parse().expect("an address");
    let network = space.network(Side::Destination, v6, 32);
    let low = u128::from("2001:db8::".parse::<std::net::Ipv6Addr>().expect("an address"));
    assert_eq!(
        space.address_ranges(network, Side::Destination, PacketFamily::Inet6),
        [(low, low + (u128::MAX >> 32))]
    );
    assert!(space.address_ranges(network, Side::Destination, PacketFamily::Inet).is_empty());
}

#[test]
fn a_range_of_protocols_is_the_protocols_in_it() {
    let mut space = space();
    for (first, last) in [(0, 5), (0, 255), (1, 1), (2, 16), (18, 254), (255, 255), (6, 17)] {
        let range = space.numbers(Field::Protocol, &[(first, last)]);
        let each: Vec<Set> =
            (first..=last).map(|number| space.numbers(Field::Protocol, &[(number, number)])).collect();
        let each = space.union(&each);
        assert!(range == each, "{first} to {last}");
    }
}

#[test]
fn a_function_of_later_fields_is_not_divided() {
    let mut space = space();
    for port in [0, 80, 255] {
        let map = space.number_is(Field::SourcePort, port).as_map();
        assert_eq!(space.by_number(map, Field::DestinationPort), [((0, 65_535), map)]);
    }
}
