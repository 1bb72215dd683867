//! The policy about single packets: the rows that few other tests look at.

use std::net::Ipv4Addr;

use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{
    ACK, Because, FIN, ICMP, PUSH, PolicyDirection, PolicyInterface, PolicyPacket, PolicyVerdict, RST,
    Reassembly, SYN, TCP, UDP, UNREACHABLE, URG,
};
use serde_json::json;

use crate::support::{declared, default_input, fixture};

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn packet(source: &str, destination: &str) -> PolicyPacket {
    PolicyPacket {
        direction: PolicyDirection::In,
        interface: PolicyInterface::Loopback,
        source: address(source),
        destination: address(destination),
        protocol: UDP,
        port: 53,
        flags: 0,
        icmp: 0,
    }
}

#[test]
fn invalid_tcp_flags() {
    let segment = |flags| PolicyPacket { protocol: TCP, flags, ..packet("10.0.1.2", "10.1.1.2") };
    for flags in [
        SYN,
        SYN | ACK,
        ACK,
        RST,
        RST | ACK,
        FIN | ACK,
        PUSH | ACK,
        URG | ACK,
        SYN | FIN,
        FIN | PUSH | URG | ACK,
    ] {
        assert!(!segment(flags).is_malformed(), "{flags:#x}");
    }
    for flags in [
        0,
        FIN,
        PUSH,
        URG,
        SYN | RST,
        SYN | RST | ACK,
        SYN | PUSH,
        SYN | URG,
        RST | FIN,
        RST | PUSH,
        RST | URG,
    ] {
        assert!(segment(flags).is_malformed(), "{flags:#x}");
    }
    assert!(!PolicyPacket { protocol: UDP, ..segment(0) }.is_malformed());
}

#[test]
fn fields_of_other_protocols_mean_nothing() {
    let plan = Plan::of(&declared(&json!({
        "version": 1,
        "providers": {
            "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" },
            "gcp": { "network": "10.2.0.0/16", "gateway": "10.2.1.1/24" },
        },
        "volumes": {},
        "links": [{ "from": ["aws"], "to": ["gcp"], "ports": [443] }],
    })));
    let asked = PolicyPacket { port: 443, flags: SYN, icmp: UNREACHABLE, ..packet("10.0.1.2", "10.2.1.2") };
    for (protocol, is_covered) in [(TCP, true), (UDP, true), (ICMP, false), (47, false)] {
        let because = plan.policy.decide(&PolicyPacket { protocol, ..asked }).because;
        assert_eq!(because == Because::Links(vec![0]), is_covered, "{protocol}: {because:?}");
        let packet = PolicyPacket { protocol, ..asked };
        assert_eq!(packet.is_unreachable(), protocol == ICMP, "{protocol}");
        assert_eq!(packet.is_icmp_error(), protocol == ICMP, "{protocol}");
        assert_eq!(PolicyPacket { flags: RST, ..packet }.resets(), protocol == TCP, "{protocol}");
    }
    assert!(!PolicyPacket { protocol: ICMP, icmp: 8, ..asked }.is_unreachable());
}

#[test]
fn fragments_are_reassembled_where_something_depends_on_it() {
    use PolicyDirection::{In, Out};
    use PolicyInterface::{Egress, Loopback, New};
    let mut input = default_input();
    input["providers"]["aws"]["internet"] = json!(false);
    let policy = Plan::of(&declared(&input)).policy;
    let (aws, gcp, outside) = ("10.0.1.2", "10.2.1.2", "192.0.2.1");
    let (left, whole, cleared) =
        (None, Some(Reassembly { clears_df: false }), Some(Reassembly { clears_df: true }));
    for (direction, interface, source, destination, protocol, is_for_egress, expected) in [
        (In, Loopback, aws, gcp, UDP, false, cleared),
        (In, Loopback, aws, gcp, TCP, false, left),
        (In, Loopback, aws, outside, UDP, false, left),
        (In, New, aws, gcp, TCP, false, whole),
        (In, New, aws, outside, UDP, false, whole),
        (In, New, outside, aws, UDP, false, left),
        (In, Egress, outside, outside, UDP, true, cleared),
        (In, Egress, outside, outside, ICMP, true, cleared),
        (In, Egress, outside, outside, TCP, true, left),
        (In, Egress, outside, outside, UDP, false, left),
        (In, New, outside, outside, UDP, true, left),
        (Out, Egress, outside, aws, UDP, false, cleared),
        (Out, Egress, outside, outside, UDP, false, left),
        (Out, Egress, aws, outside, TCP, false, cleared),
        (Out, Egress, gcp, outside, TCP, false, left),
        (Out, New, outside, aws, UDP, false, left),
        (Out, New, aws, gcp, TCP, false, cleared),
        (Out, New, aws, outside, TCP, false, left),
        (Out, Loopback, aws, gcp, UDP, false, left),
    ] {
        let asked = PolicyPacket { direction, interface, protocol, ..packet(source, destination) };
        assert_eq!(policy.reassembly(&asked, is_for_egress), expected, "{asked:?} {is_for_egress}");
    }
}

#[test]
fn a_packet_is_within_a_provider_if_both_its_ends_are() {
    let policy = Plan::of(&declared(&default_input())).policy;
    for (source, destination, expected) in [
        ("10.0.1.2", "10.0.9.9", true),
        ("10.0.1.2", "10.1.1.2", false),
        ("10.0.1.2", "192.0.2.1", false),
        ("192.0.2.1", "10.0.1.2", false),
        ("192.0.2.1", "192.0.2.1", false),
    ] {
        assert_eq!(policy.is_within(&packet(source, destination)), expected, "{source} {destination}");
    }
}

#[test]
fn a_forged_packet_of_a_guest_names_the_provider_of_its_bridge() {
    let plan = Plan::of(&declared(&default_input()));
    for (index, bridge) in plan.bridges.iter().enumerate() {
        let to = plan.bridges[(index + 1) % plan.bridges.len()].gateway.addr();
        let asked = PolicyPacket {
            interface: PolicyInterface::Bridge(index),
            destination: to,
            ..packet("192.0.2.1", "10.0.1.2")
        };
        let decision = plan.policy.decide(&asked);
        assert_eq!(decision.because, Because::ForgedGuest(bridge.provider.clone()));
        assert_eq!(decision.verdict, PolicyVerdict::Drop);
    }
}

#[test]
fn one_mac_alone_has_no_tunnel() {
    let mut input = default_input();
    let macs = fixture("macs.json")["macs"].clone();
    input["mac"] = json!("studio");
    input["macs"] = json!({ "studio": macs["studio"] });
    let all: Vec<String> = input["providers"].as_object().expect("providers").keys().cloned().collect();
    input["macs"]["studio"]["providers"] = json!(all);
    assert!(Plan::of(&declared(&input)).policy.parts().mesh.is_none());
}
