//! Sets of services: how they are joined and compared, and their words.

use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::Services;

/// What one protocol and some ranges of ports permit.
fn of(protocol: u8, ports: &[(u16, u16)]) -> Services {
    Services::permitted(Some(protocol), (!ports.is_empty()).then_some(ports))
}

/// The words for all of these.
fn words(all: &[Services]) -> String {
    joined(all).to_string()
}

fn joined(all: &[Services]) -> Services {
    let mut services = Services::default();
    for one in all {
        services.join(one);
    }
    services
}

#[test]
fn ports_without_a_protocol_are_those_of_tcp_and_udp() {
    assert_eq!(Services::permitted(None, None), Services::all());
    assert_eq!(Services::permitted(None, None).to_string(), "any protocol");
    assert_eq!(Services::permitted(None, Some(&[(80, 80)])).to_string(), "tcp and udp 80");
    assert_eq!(of(TCP, &[(80, 80), (443, 444)]).to_string(), "tcp 80,443-444");
    assert_eq!(
        [of(TCP, &[]), of(ICMP, &[]), of(50, &[])].map(|it| it.to_string()),
        ["tcp", "icmp", "other protocols"]
    );
}

#[test]
fn the_shorter_of_a_list_and_its_exceptions_is_said() {
    let [tcp, udp, icmp, other] = [of(TCP, &[]), of(UDP, &[]), of(ICMP, &[]), of(50, &[])];
    // Two of four protocols either way: they are listed.
    assert_eq!(words(&[tcp.clone(), icmp.clone()]), "tcp, icmp");
    assert_eq!(words(&[tcp.clone(), udp.clone()]), "tcp and udp");
    assert_eq!(words(&[tcp.clone(), icmp.clone(), other.clone()]), "any protocol but udp");
    assert_eq!(words(&[udp, icmp, other, of(TCP, &[(1, 79), (81, 65535)])]), "any protocol but tcp 80");
    assert_eq!(words(&[]), "");
}

#[test]
fn ranges_are_joined_where_they_meet() {
    let tcp = |ports: &[(u16, u16)]| of(TCP, ports);
    assert_eq!(words(&[tcp(&[(80, 80)]), tcp(&[(81, 82)])]), "tcp 80-82");
    assert_eq!(words(&[tcp(&[(80, 90)]), tcp(&[(85, 86)])]), "tcp 80-90");
    assert_eq!(words(&[tcp(&[(80, 90)]), tcp(&[(85, 95)])]), "tcp 80-95");
    assert_eq!(words(&[tcp(&[(82, 82)]), tcp(&[(80, 80)])]), "tcp 80,82");
    assert_eq!(words(&[tcp(&[(80, 80)]), of(UDP, &[(81, 81)])]), "tcp 80, udp 81");
    assert_eq!(words(&[tcp(&[(1, 65535)]), tcp(&[(65535, 65535)])]), "tcp");
}

#[test]
fn a_set_holds_what_adds_nothing() {
    let wide = joined(&[of(TCP, &[(80, 90)]), of(ICMP, &[])]);
    assert!(wide.holds(&of(TCP, &[(85, 86)])) && wide.holds(&of(ICMP, &[])) && wide.holds(&wide));
    for other in [of(TCP, &[(90, 91)]), of(UDP, &[(85, 85)]), of(50, &[]), Services::all()] {
        assert!(!wide.holds(&other), "{other}");
    }
    assert!(Services::all().holds(&wide));
}

#[test]
fn each_protocol_has_its_ranges_unless_it_has_all_ports() {
    let mixed = joined(&[of(TCP, &[]), of(UDP, &[(53, 53), (60, 61)]), of(ICMP, &[])]);
    let ranges = Some(vec!["53".to_owned(), "60-61".to_owned()]);
    assert_eq!(mixed.by_protocol(), [("tcp", None), ("udp", ranges), ("icmp", None)]);
    assert_eq!(of(50, &[]).by_protocol(), [("other", None)]);
}
