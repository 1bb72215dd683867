//! Paths of the router that a fault or a condition changes: cut, slowed, delayed, with packets lost.

use std::time::Duration;

use nixvol_net::model::Conditions;
use nixvol_net::router::{Fault, NodeId, PacketFate, Trouble};
use nixvol_net::wire::Offload;
use serde_json::{Value, json};

use crate::router::{Net, syn};
use crate::support::fixture;

#[test]
fn a_partitioned_path_drops_everything_until_it_is_healed() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two, three) = (net.address("etcd-1"), net.address("etcd-2"), net.address("etcd-3"));
    let (aws, azure) = (net.router.topology().group("aws"), net.router.topology().group("azure"));
    let reaches = |net: &mut Net, from: &str, source, destination| {
        let id = net.id(from);
        matches!(net.send_raw(id, &syn(source, destination, 7, 2379)).0, PacketFate::Delivered(_))
    };
    let all: Vec<NodeId> =
        net.router.topology().nodes().map(|(id, _)| id).filter(|id| !aws.contains(id)).collect();
    let cut = |net: &mut Net, other: Option<&str>, others: &[NodeId]| {
        let fault = Fault::new(("aws".to_owned(), &aws), (other.map(str::to_owned), others), Trouble::Cut);
        net.router.ways_mut().faults_mut().add(fault);
    };
    let heal = |net: &mut Net, ends| {
        let volumes = [("etcd-1", "aws"), ("etcd-2", "azure")];
        let belongs = |name: &str, end: &str| name == end || volumes.contains(&(name, end));
        net.router.ways_mut().faults_mut().heal(ends, belongs).len()
    };
    cut(&mut net, Some("azure"), &azure);
    assert_eq!(net.send_raw(net.id("etcd-1"), &syn(one, two, 7, 2379)), (PacketFate::Cut, Vec::new()));
    assert!(!reaches(&mut net, "etcd-2", two, one) && reaches(&mut net, "etcd-3", three, one));
    cut(&mut net, None, &all);
    cut(&mut net, None, &all);
    assert!(!reaches(&mut net, "etcd-3", three, one) && !reaches(&mut net, "etcd-1", one, three));
    // Less than what was cut; then exactly that pair; then all of an endpoint.
    assert_eq!(heal(&mut net, [Some("etcd-1"), Some("azure")]), 0);
    assert_eq!(heal(&mut net, [Some("azure"), None]), 1);
    assert!(!reaches(&mut net, "etcd-1", one, two) && !reaches(&mut net, "etcd-1", one, three));
    assert_eq!(heal(&mut net, [Some("gcp"), None]), 0);
    assert_eq!(heal(&mut net, [Some("aws"), None]), 1, "the same endpoints have one fault of a kind");
    assert!(reaches(&mut net, "etcd-1", one, two) && reaches(&mut net, "etcd-1", one, three));
}

#[test]
fn a_fault_ends_at_its_deadline_or_with_its_owner() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let (aws, azure) = (net.router.topology().group("aws"), net.router.topology().group("azure"));
    let id = net.id("etcd-1");
    let fault =
        |one: &str, trouble| Fault::new((one.to_owned(), &aws), (Some("azure".to_owned()), &azure), trouble);
    let (mut short, mut owned) = (fault("aws", Trouble::Cut), fault("etcd-1", Trouble::Cut));
    let slow = fault("aws", Trouble::Slow(Conditions::checked(Some(70), None, None).unwrap()));
    short.until = Some(Duration::from_secs(30));
    owned.owner = Some(7);
    let faults = net.router.ways_mut().faults_mut();
    faults.add(slow);
    faults.add(short);
    faults.add(owned);
    net.router.tell_time(Duration::from_millis(29_999));
    assert_eq!(net.router.ways().faults().all().len(), 3);
    net.router.tell_time(Duration::from_secs(30));
    assert_eq!(net.router.ways().faults().all().len(), 2);
    assert_eq!(net.send_raw(id, &syn(one, two, 7, 2379)).0, PacketFate::Cut);
    assert_eq!(net.router.ways_mut().faults_mut().withdraw(8), 0);
    assert_eq!(net.router.ways_mut().faults_mut().withdraw(7), 1);
    let now = Duration::from_secs(31);
    let mut segment = syn(one, two, 7, 2379);
    let (fate, deliveries) = net.router.receive(id, &mut segment, Offload::default(), now);
    assert!(matches!(fate, PacketFate::Delivered(_)));
    assert_eq!(deliveries[0].at, now + Duration::from_millis(70));
}

#[test]
fn a_slowed_path_loses_its_share_of_packets() {
    let mut net = Net::new(&fixture("restricted-more.json"));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let (aws, azure) = (net.router.topology().group("aws"), net.router.topology().group("azure"));
    let trouble = Trouble::Slow(Conditions::checked(None, Some(0.25), None).unwrap());
    let fault = Fault::new(("aws".to_owned(), &aws), (Some("azure".to_owned()), &azure), trouble);
    net.router.ways_mut().faults_mut().add(fault);
    let id = net.id("etcd-1");
    let lost = (0..1000)
        .filter(|port| net.send_raw(id, &syn(one, two, 1000 + port, 2379)).0 == PacketFate::LostByFault);
    let lost = lost.count();
    assert!((200..300).contains(&lost), "{lost} of 1000");
}

fn with_conditions(conditions: &Value) -> Value {
    let mut input = fixture("restricted.json");
    input["links"][0]["conditions"] = conditions.clone();
    input
}

#[test]
fn conditions_delay_lose_and_slow() {
    let mut net = Net::new(&with_conditions(&json!({ "latencyMs": 40, "loss": 0.25, "bandwidthKbit": 800 })));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let from = net.id("etcd-1");
    let mut arrivals = Vec::new();
    for port in 1..=2000 {
        net.now = Duration::from_millis(u64::from(port));
        let mut bytes = syn(one, two, port, 2379);
        let (_, deliveries) = net.router.receive(from, &mut bytes, Offload::default(), net.now);
        arrivals.extend(deliveries.first().map(|delivery| delivery.at.saturating_sub(net.now)));
    }
    // 40 bytes at 100,000 bytes per second take 0.4 ms, less than the 1 ms between two packets, so none queues.
    assert!(arrivals.iter().all(|arrival| *arrival == Duration::from_micros(40_400)), "{arrivals:?}");
    assert!((1400..1600).contains(&arrivals.len()), "{}", arrivals.len());
    // Sent at once they queue, and what exceeds the queue is dropped.
    let mut net = Net::new(&with_conditions(&json!({ "bandwidthKbit": 800 })));
    let mut last = Duration::ZERO;
    let mut dropped = 0;
    for port in 1..=4000 {
        let mut bytes = syn(one, two, port, 2379);
        match net.router.receive(from, &mut bytes, Offload::default(), Duration::ZERO).1.first() {
            Some(delivery) => {
                assert_eq!(delivery.at.saturating_sub(last), Duration::from_micros(400));
                last = delivery.at;
            }
            None => dropped += 1,
        }
    }
    assert_eq!(dropped, 4000 - 50, "dummynet has 50 slots");
}

#[test]
fn jitter_delays_by_chance_and_no_packet_overtakes_another() {
    let mut net = Net::new(&with_conditions(&json!({ "latencyMs": 40, "jitterMs": 10 })));
    let (one, two) = (net.address("etcd-1"), net.address("etcd-2"));
    let from = net.id("etcd-1");
    let mut arrivals = |gap: u64| {
        let mut arrivals = Vec::new();
        for port in 1..=1000_u16 {
            net.now += Duration::from_millis(gap);
            let mut bytes = syn(one, two, port, 2379);
            let (_, deliveries) = net.router.receive(from, &mut bytes, Offload::default(), net.now);
            arrivals.push((net.now, deliveries.first().expect("none is lost").at));
        }
        arrivals
    };
    // With a large gap each packet has a delay of its own, uniform between 40 and 50 ms.
    let mut delays: Vec<u128> =
        arrivals(100).iter().map(|(sent, at)| at.saturating_sub(*sent).as_micros()).collect();
    delays.sort_unstable();
    assert!(delays[0] >= 40_000 && delays[999] <= 50_000, "{} to {}", delays[0], delays[999]);
    assert!((44_500..45_500).contains(&delays[500]), "{}", delays[500]);
    assert!(delays[100] < 41_500 && delays[900] > 48_500, "{} and {}", delays[100], delays[900]);
    // With a small gap, a packet that would overtake another waits for it.
    let close = arrivals(1);
    assert!(close.is_sorted_by_key(|(_, at)| *at));
    assert!(close.iter().all(|(sent, at)| (40..=50).contains(&at.saturating_sub(*sent).as_millis())));
}
