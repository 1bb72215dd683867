//! Coverage-guided fuzzing of the evaluator: the input is a ruleset, and after a zero byte the packets. It never
//! panics, and `decide`, which keeps no state, answers the same packet the same way twice.
//!
//! Run it like `parse`, under its own name:
//! `mkdir -p tests/fuzz/corpus/eval`
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz eval tests/fuzz/corpus/eval tests/pf/accept tests/pf/reject`

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use nixvol_net::pf::eval::{Hook, Inner, Machine, Packet, TcpSegment, Transport};
use nixvol_net::pf::syntax::Direction;
use nixvol_net::pf::{Environment, parse};

/// Bytes per packet: a kind, two addresses of 16 bytes, and 15 bytes of header fields.
const PACKET: usize = 48;

fn address(bytes: &[u8], is_four: bool) -> IpAddr {
    let bits = bytes.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    if is_four { IpAddr::from((bits as u32).to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) }
}

fn packet(b: &[u8; PACKET]) -> Packet {
    let (kind, rest) = (b[0], &b[33..]);
    let is_four = kind & 1 == 0;
    let (source, destination) = (address(&b[1..17], is_four), address(&b[17..33], is_four));
    let wide = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let number = |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let (from, to) = (wide(0), wide(2));
    let segment = TcpSegment {
        flags: rest[4],
        sequence: number(5),
        acknowledgement: number(9),
        length: wide(6).into(),
        window: wide(11),
    };
    let inner = Inner {
        protocol: rest[7],
        source: destination,
        destination: source,
        source_port: to,
        destination_port: wide(8),
        sequence: number(9),
    };
    let transport = match kind >> 1 & 3 {
        0 => Transport::Tcp { source: from, destination: to, segment },
        1 => Transport::Udp { source: from, destination: to },
        2 => Transport::Icmp {
            kind: rest[4],
            code: rest[5],
            id: from,
            inner: (rest[6] & 1 == 0).then_some(inner),
        },
        _ => Transport::Other(rest[4]),
    };
    let hook = |is_in, name: u8| Hook {
        direction: if is_in { Direction::In } else { Direction::Out },
        interface: ["en0", "lo0", "bridge100", ""][usize::from(name & 3)].to_owned(),
    };
    let mut hooks = vec![hook(kind & 8 == 0, rest[13])];
    if kind & 16 != 0 {
        hooks.push(hook(kind & 32 != 0, rest[13] >> 2));
    }
    Packet {
        is_path: hooks.len() > 1,
        hooks,
        source,
        destination,
        transport,
        user: (kind & 64 != 0).then_some(u32::from(rest[14])),
        group: None,
        tag: (rest[13] & 16 != 0).then(|| "x".to_owned()),
        tos: rest[14],
        fragment: kind & 128 != 0,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let mut environment = Environment::default();
    environment.add_address("en0", [192, 0, 2, 10].into(), 24);
    let Ok(ruleset) = parse(&text, &environment) else { return };
    let mut machine = Machine::new(environment.interfaces);
    machine.load("", &ruleset);
    machine.load("a", &ruleset);
    for chunk in parts.next().unwrap_or(&[0]).chunks(PACKET).take(8) {
        let mut bytes = [0; PACKET];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let packet = packet(&bytes);
        let first = machine.decide(&packet);
        assert_eq!(first, machine.decide(&packet), "{text:?} {packet:?}");
        serde_json::to_string(&machine.eval(&packet)).expect("an answer");
    }
});
