//! Where a packet can be seen, and how what is seen there changes.

use std::net::Ipv4Addr;

use crate::plan::policy::{
    ACK, Answer, Because, Decision,
    Direction::{self, In, Out},
    ECHO, ICMP,
    Interface::{self, Egress, Loopback, New as Other},
    Packet, SYN, TCP, Translation, Verdict,
};

/// A hook of pf, and whether the packet opens something there or is under way.
pub type Spot = (Direction, Interface, bool);

/// Every spot; the first that fits is the one that an example shows. A packet that opens goes before one that is
/// under way, and lo0 before the rest, since pf sees there what volumes that the Mac serves say to each other.
pub const SPOTS: [Spot; 12] = [
    (Out, Loopback, true),
    (In, Loopback, true),
    (In, Egress, true),
    (In, Other, true),
    (Out, Egress, true),
    (Out, Other, true),
    (Out, Loopback, false),
    (In, Loopback, false),
    (In, Egress, false),
    (In, Other, false),
    (Out, Egress, false),
    (Out, Other, false),
];

/// How many of the spots are those of packets that open.
const OPENING: usize = 6;

/// What one policy says at each spot.
pub type Profile = [(Verdict, Option<Translation>); SPOTS.len()];

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Whether it passes.
    Verdict,
    /// What becomes of its addresses.
    Translation,
}

/// For each spot, nothing where nothing changes, or what was there and what is, as ranks.
pub type Aspect = [Option<(u8, u8)>; SPOTS.len()];

/// A verdict by its rank.
pub const VERDICTS: [Verdict; 4] =
    [Verdict::Pass, Verdict::Refuse(Answer::Usual), Verdict::Drop, Verdict::Untouched];

/// A kind of translation, whatever the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The addresses stay.
    None,
    /// NAT to the interface that it leaves by.
    Nat,
    /// The receiving provider's gateway.
    Masquerade,
    /// To a volume's address.
    Publish,
}

/// A kind of translation by its rank.
pub const KINDS: [Kind; 4] = [Kind::None, Kind::Nat, Kind::Masquerade, Kind::Publish];

fn rank(seen: Seen, (verdict, translation): (Verdict, Option<Translation>)) -> u8 {
    match (seen, verdict, translation) {
        (Seen::Verdict, Verdict::Pass | Verdict::Carry, _) | (Seen::Translation, _, None) => 0,
        (Seen::Verdict, Verdict::Refuse(_), _) | (Seen::Translation, _, Some(Translation::EgressSource)) => 1,
        (Seen::Verdict, Verdict::Drop, _) | (Seen::Translation, _, Some(Translation::GatewaySource(_))) => 2,
        (Seen::Verdict, Verdict::Untouched, _) | (Seen::Translation, _, Some(Translation::Published(_))) => 3,
    }
}

/// What changes between two profiles.
pub fn aspect(seen: Seen, old: &Profile, new: &Profile) -> Aspect {
    std::array::from_fn(|spot| {
        let (old, new) = (old[spot], new[spot]);
        let differs = match seen {
            Seen::Verdict => old.0 != new.0,
            Seen::Translation => old.1 != new.1,
        };
        differs.then(|| (rank(seen, old), rank(seen, new)))
    })
}

/// Whether packets that open are among what changes.
pub fn opens(aspect: &Aspect) -> bool {
    aspect[..OPENING].iter().any(Option::is_some)
}

/// Only what changes for packets that open.
pub fn opening_only(mut aspect: Aspect) -> Aspect {
    aspect[OPENING..].fill(None);
    aspect
}

/// The part on lo0, and the rest.
pub fn on_and_off_loopback(aspect: Aspect) -> [Aspect; 2] {
    [true, false].map(|wanted| {
        std::array::from_fn(|spot| aspect[spot].filter(|_| (SPOTS[spot].1 == Loopback) == wanted))
    })
}

/// Whether all of it is on lo0, or none.
pub fn is_on_loopback(aspect: &Aspect) -> bool {
    aspect.iter().zip(SPOTS).all(|(change, spot)| change.is_none() || spot.1 == Loopback)
}

/// The spot of a packet.
pub fn spot(packet: &Packet) -> usize {
    let spot = (packet.direction, packet.interface, packet.opens());
    SPOTS.iter().position(|it| *it == spot).expect("every spot is in the list")
}

/// The changes of an aspect, each with its spots. What happens to packets that open and to those under way is one
/// change where it happens at the same hooks.
pub fn changes(aspect: &Aspect) -> Vec<((u8, u8), Vec<usize>)> {
    let mut changes: Vec<((u8, u8), Vec<usize>)> = Vec::new();
    for half in [0..OPENING, OPENING..SPOTS.len()] {
        let mut of_half: Vec<((u8, u8), Vec<usize>)> = Vec::new();
        for spot in half {
            let Some(change) = aspect[spot] else { continue };
            match of_half.iter_mut().find(|(known, _)| *known == change) {
                Some((_, spots)) => spots.push(spot),
                None => of_half.push((change, vec![spot])),
            }
        }
        for (change, spots) in of_half {
            let same = |(known, opening): &&mut ((u8, u8), Vec<usize>)| {
                *known == change && opening.iter().map(|spot| spot + OPENING).eq(spots.iter().copied())
            };
            match changes.iter_mut().find(same) {
                Some((_, opening)) => opening.extend(spots),
                None => changes.push((change, spots)),
            }
        }
    }
    changes
}

/// Which hooks are meant, in words; nothing where all of them are.
pub fn hooks(spots: &[usize]) -> &'static str {
    let has =
        |direction, interface| spots.iter().any(|it| (SPOTS[*it].0, SPOTS[*it].1) == (direction, interface));
    let (come, go) = (|it| has(In, it), |it| has(Out, it));
    let shape = |has: &dyn Fn(Interface) -> bool| (has(Loopback), has(Egress), has(Other));
    match (shape(&come), shape(&go)) {
        ((true, true, true), (true, true, true)) => "",
        ((true, false, false), (true, false, false)) => "on lo0",
        ((false, true, true), (false, true, true)) => "off lo0",
        ((true, true, true), (false, false, false)) => "coming in",
        ((false, false, false), (true, true, true)) => "going out",
        ((false, true, true), (false, false, false)) => "coming in off lo0",
        ((false, false, false), (false, true, true)) => "going out off lo0",
        ((true, false, false), (false, false, false)) => "coming in on lo0",
        ((false, false, false), (true, false, false)) => "going out on lo0",
        ((false, false, false), (false, true, false)) => "leaving the Mac",
        ((false, false, false), (true, false, true)) => "going out but not leaving the Mac",
        _ => "at some hooks",
    }
}

/// Whether only packets under way are meant.
pub fn under_way_only(spots: &[usize]) -> bool {
    spots.iter().all(|spot| *spot >= OPENING)
}

/// A packet at a spot.
pub fn packet(spot: Spot, ends: (Ipv4Addr, Ipv4Addr), (protocol, port): (u8, u16)) -> Packet {
    let (direction, interface, opening) = spot;
    let flags = match (protocol, opening) {
        (TCP, true) => SYN,
        (TCP, false) => ACK,
        _ => 0,
    };
    let icmp = if protocol == ICMP { ECHO } else { 0 };
    Packet { direction, interface, source: ends.0, destination: ends.1, protocol, port, flags, icmp }
}

/// A verdict as it ends: what is carried out on lo0 to be refused as it comes in is refused.
pub fn essence(decision: &Decision) -> Verdict {
    match (decision.verdict, &decision.because) {
        (Verdict::Carry, Because::NoLink | Because::NoInternet(_)) | (Verdict::Refuse(_), _) => {
            Verdict::Refuse(Answer::Usual)
        }
        (Verdict::Carry, _) => Verdict::Pass,
        (verdict, _) => verdict,
    }
}
