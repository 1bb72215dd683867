//! `diff`: laws over random networks. What a person reads is exactly what differs, and it is told once.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use nixvol_net::diff::{
    Access, BundleFiles, Diff, Presence, Statement, VolumeChange, VolumePlace, WayChange, text,
};
use nixvol_net::plan::policy::ICMP;
use nixvol_net::reach::{Flow, FlowVerdict, Opener};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::diff::{compared, headlines, ways};
use crate::diff_networks::{hosts, networks, sample, services};
use crate::diff_reader::{Read, Reader, serves};
use crate::reach::{Walk, input};

/// Checks that the words of each statement name its witnesses, and that both sides decide about these as it claims.
fn check_witnesses(diff: &Diff, reader: &Reader, walks: [&Walk; 2]) -> Result<(), TestCaseError> {
    for statement in diff.flows.iter().chain(&diff.translations) {
        prop_assert!(!statement.changes.is_empty());
        for change in &statement.changes {
            let fates = walks.map(|walk| walk.fate(&change.witness).0.to_string());
            let witness = text::evidence(change);
            prop_assert!(
                reader.says(statement, &change.witness),
                "{}: {}",
                text::headline(statement),
                witness
            );
            prop_assert!(diff.covers(statement.flows(), &change.witness), "{}", text::headline(statement));
            prop_assert_eq!(&fates, &change.words, "{}", text::headline(statement));
            prop_assert_ne!(&fates[0], &fates[1]);
        }
    }
    Ok(())
}

/// A pair of networks: the second one has a volume renamed, moved to another provider, or removed.
fn turned() -> impl Strategy<Value = [Value; 2]> {
    (input(), input(), 0..5).prop_map(|(old, mut new, turn)| {
        let volumes = new["volumes"].as_object_mut().expect("volumes");
        match turn {
            0 => {
                let talos = volumes.remove("talos").expect("a volume");
                volumes.insert("talos-9".to_owned(), talos);
                let text = new.to_string().replace("\"talos\"", "\"talos-9\"");
                new = serde_json::from_str(&text).expect("JSON");
            }
            1 => {
                volumes["talos"]["provider"] = json!("azure");
                volumes["talos"]["address"] = json!("10.1.9.7");
            }
            _ => {}
        }
        // Where a link names both a volume and its provider, the move may make the link join an endpoint with itself.
        if nixvol_net::model::read(new.to_string().as_bytes()).is_ok() {
            [old, new]
        } else {
            [old.clone(), old]
        }
    })
}

proptest! {
    #![proptest_config(crate::support::cases(40))]

    /// The statements name a flow, once, exactly where its outcome at the hooks differs between the two sides.
    #[test]
    fn exactly_the_changed_flows_are_reported_once([old, new] in turned()) {
        let nothing = BundleFiles::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let reader = Reader::of(&old, &new);
        let [before, now] = reader.plans.each_ref().map(Walk::of);
        check_witnesses(&diff, &reader, [&before, &now])?;
        let statements: Vec<&Statement> = diff.flows.iter().chain(&diff.translations).collect();
        let read: Vec<Read> = statements.iter().map(|statement| Read::of(&reader, statement)).collect();
        for (place, flow) in sample() {
            let fates = [&before, &now].map(|walk| walk.fate(&flow).0);
            let is_within = reader.is_within(flow.opener, flow.destination);
            let read = read.iter().map(|read| !is_within && read.says(place));
            let said: Vec<String> = read
                .zip(&statements)
                .filter(|(says, _)| *says)
                .map(|(_, statement)| text::headline(statement))
                .collect();
            let meant = statements.iter().filter(|it| diff.covers(it.flows(), &flow));
            let meant: Vec<String> = meant.map(|it| text::headline(it)).collect();
            prop_assert_eq!(&said, &meant, "{:?} {:?}", flow, fates);
            prop_assert_eq!(said.len(), usize::from(fates[0] != fates[1]), "{:?} {:?} {:?}", flow, fates, said);
        }
    }

    /// What a volume gained and lost is what it may open by name on only one of the sides.
    #[test]
    fn what_each_volume_gained_and_lost_is_reported([old, new] in turned()) {
        let nothing = BundleFiles::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let reader = Reader::of(&old, &new);
        let walks = reader.plans.each_ref().map(Walk::of);
        for change in &diff.volumes {
            for places in &change.volumes {
                for (peer, at) in peers(&reader) {
                    if places.iter().flatten().any(|place| at.contains(&Some(Opener::Address(place.address)))) {
                        continue;
                    }
                    for (protocol, port) in services() {
                        for is_opened in [false, true] {
                            check_access(&walks, change, places, (&peer, at), (protocol, port, is_opened), &reader)?;
                        }
                    }
                }
            }
        }
    }

    /// Conditions are reported, once, exactly where a packet goes through a different pipe configuration.
    #[test]
    fn exactly_the_changed_conditions_are_reported_once(old in networks(), new in networks()) {
        let nothing = BundleFiles::new();
        let diff = compared(&old, &new, [&nothing, &nothing]);
        let reader = Reader::of(&old, &new);
        let plans = &reader.plans;
        let hosts = hosts();
        let names = |way: &WayChange, source: Ipv4Addr, destination: Ipv4Addr| {
            let side = usize::from(way.presence != Presence::Removed);
            reader.names(&way.from, side, source, &way.to) && reader.names(&way.to, side, destination, &way.from)
        };
        for (source, destination) in hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to))) {
            let [before, now] = plans.each_ref().map(|plan| {
                let pipe = plan.policy.pipe_between(source, destination).and_then(|number| plan.pipe(number));
                pipe.map(|pipe| pipe.conditions.to_string())
            });
            let flow = Flow { opener: Opener::Address(source), destination, protocol: ICMP, port: 0 };
            let is_within = reader.is_within(flow.opener, destination);
            let said = diff.conditions.iter().filter(|way| !is_within && names(way, source, destination)).count();
            let meant = diff.conditions.iter().filter(|way| diff.covers(way.flows(), &flow)).count();
            prop_assert_eq!([said, meant], [usize::from(before != now); 2], "{} {}: {:?} {:?}", source, destination, before, now);
        }
        for way in &diff.conditions {
            let [source, destination] = way.witness;
            let flow = Flow { opener: Opener::Address(source), destination, protocol: ICMP, port: 0 };
            prop_assert!(names(way, source, destination), "{}: {} -> {}", text::way(way), source, destination);
            prop_assert!(diff.covers(way.flows(), &flow), "{}", text::way(way));
        }
    }

    #[test]
    fn no_line_is_printed_twice(old in input(), new in input()) {
        let said = [headlines(&old, &new), ways(&old, &new)].concat();
        let distinct: BTreeSet<&String> = said.iter().collect();
        prop_assert_eq!(distinct.len(), said.len(), "{:#?}", said);
    }
}

/// Who a peer is before and after; none where it does not exist on that side.
type Peer = [Option<Opener>; 2];

/// Volumes, the rest of each provider, and everything outside. A renamed volume is one peer.
fn peers(reader: &Reader) -> Vec<(String, Peer)> {
    let address = |word: &str| Some(Opener::Address(word.parse().expect("an address")));
    let mut peers = vec![
        ("this Mac".to_owned(), [Some(Opener::ThisMac); 2]),
        ("localhost".to_owned(), [address("127.0.0.1"); 2]),
        ("outside".to_owned(), [address("203.0.113.7"); 2]),
    ];
    let volume = |side: usize, name: &str| {
        let name = reader.inputs[side]["volumes"][name]["address"].as_str()?;
        address(name)
    };
    for name in ["etcd-1", "etcd-2"] {
        peers.push((name.to_owned(), [0, 1].map(|side| volume(side, name))));
    }
    let talos = [volume(0, "talos"), volume(1, "talos"), volume(1, "talos-9")];
    if talos[2].is_none() || talos[0] == talos[2] {
        peers.push(("talos".to_owned(), [talos[0], talos[1].or(talos[2])]));
    } else {
        peers.push(("talos".to_owned(), [talos[0], None]));
        peers.push(("talos-9".to_owned(), [None, talos[2]]));
    }
    // For each network, an address that nothing else names.
    let rests =
        [("aws", "10.0.7.7", "10.0.7.7"), ("azure", "10.1.7.7", "10.1.7.7"), ("gcp", "10.2.7.7", "10.2.7.7")];
    for (name, old, new) in rests {
        peers.push((name.to_owned(), [address(old), address(new)]));
    }
    let oci = [0, 1].map(|side| {
        let network = reader.inputs[side]["providers"]["oci"]["network"].as_str()?;
        address(if network.starts_with("10.3.") { "10.3.9.9" } else { "10.2.200.9" })
    });
    peers.push(("oci".to_owned(), oci));
    peers.retain(|(_, at)| at.iter().any(Option::is_some));
    peers
}

/// Whether the lines about a volume report, for a peer and a service, what differs between the two sides.
fn check_access(
    walks: &[Walk; 2],
    change: &VolumeChange,
    places: &[Option<VolumePlace>; 2],
    (peer, at): (&str, Peer),
    (protocol, port, is_opened): (u8, u16, bool),
    reader: &Reader,
) -> Result<(), TestCaseError> {
    let passes = [0, 1].map(|side| {
        let (Some(place), Some(peer)) = (&places[side], at[side]) else { return false };
        let flow = match (is_opened, peer) {
            (true, opener) => Flow { opener, destination: place.address, protocol, port },
            (false, Opener::ThisMac) => return false,
            (false, Opener::Address(destination)) => {
                Flow { opener: Opener::Address(place.address), destination, protocol, port }
            }
        };
        matches!(walks[side].fate(&flow).0, FlowVerdict::Passes(_))
    });
    for (side, is_lost) in [(1, false), (0, true)] {
        let expected = passes[side] && !passes[1 - side];
        let Some(who) = at[side] else { continue };
        let names = |access: &&Access| {
            let is_named = match who {
                Opener::ThisMac => access.peers.iter().any(|word| word == "this Mac"),
                Opener::Address(address) => reader.names(&access.peers, side, address, &[]),
            };
            let flow = Flow { opener: who, destination: Ipv4Addr::LOCALHOST, protocol, port };
            is_named && serves(&access.services.to_string(), &flow)
        };
        let meant = change.access.iter().filter(|it| it.is_lost == is_lost && it.is_opened == is_opened);
        let told = meant.filter(names).count();
        prop_assert_eq!(
            told,
            usize::from(expected),
            "{} {:?}: {} {} {} {:?}\n{:#?}",
            text::turns(change).join("; "),
            passes,
            peer,
            protocol,
            port,
            is_opened,
            change.access
        );
    }
    Ok(())
}
