//! WireGuard: one end of a tunnel with its peers. Keys and bytes go in, datagrams and packets come out.
//!
//! It exists so that what two Macs send each other in a lab is sealed, and so that a packet that no peer may send or
//! receive is dropped where WireGuard drops it: a peer gets what its allowed networks contain, and is believed for nothing
//! else. boringtun does the protocol. Sees: nothing. Never: a socket, a plan or a rule.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use ipnet::Ipv4Net;

/// What a datagram is longer than the packet that it seals; a handshake message may be longer than both.
const OVERHEAD: usize = 32;
const HANDSHAKE: usize = 148;
/// Longest packet.
const LONGEST: usize = 65_536;
/// A message every so many seconds, as the rendered configuration asks for.
const KEEPALIVE: u16 = 25;

/// The private key of an end.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// The key of these 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }
}

/// A peer: its public key, and the networks that are behind it.
#[derive(Debug, Clone)]
pub struct TunnelPeer {
    /// Its public key.
    pub public: [u8; 32],
    /// Its allowed networks: `AllowedIPs`.
    pub allowed: Vec<Ipv4Net>,
}

/// A datagram for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The index of the peer.
    pub peer: usize,
    /// The WireGuard message.
    pub message: Vec<u8>,
}

/// What a received datagram leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsealed {
    /// The packet that came out.
    pub packet: Option<Vec<u8>>,
    /// Datagrams to send.
    pub messages: Vec<Sealed>,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// The time since the last handshake, if there was one.
    pub handshake: Option<Duration>,
    /// Bytes of packets sent to it.
    pub sent: usize,
    /// Bytes of packets received from it.
    pub received: usize,
    /// Messages from it that could not be opened, and packets whose source is not behind it.
    pub dropped: u64,
}

struct Peer {
    noise: Tunn,
    allowed: Vec<Ipv4Net>,
    dropped: u64,
}

/// One end.
pub struct TunnelEnd {
    peers: Vec<Peer>,
    buffer: Vec<u8>,
    strays: u64,
}

impl TunnelEnd {
    /// An end with its private key and its peers, which are numbered in this order.
    pub fn new(private: &PrivateKey, peers: &[TunnelPeer]) -> Self {
        let peer = |(index, peer): (u32, &TunnelPeer)| {
            let public = PublicKey::from(peer.public);
            let noise = Tunn::new(private.0.clone(), public, None, Some(KEEPALIVE), index, None);
            Peer { noise, allowed: peer.allowed.clone(), dropped: 0 }
        };
        let peers = (1..).zip(peers).map(peer).collect();
        Self { peers, buffer: vec![0; LONGEST + OVERHEAD + HANDSHAKE], strays: 0 }
    }

    /// Seals a packet for the peer that its destination is behind; nothing if there is none, or while a handshake is under
    /// way, for which the packet waits.
    pub fn seal(&mut self, packet: &[u8]) -> Option<Sealed> {
        let Some(peer) = Tunn::dst_address(packet).and_then(|to| self.behind(to)) else {
            self.strays += 1;
            return None;
        };
        match self.peers[peer].noise.encapsulate(packet, &mut self.buffer) {
            TunnResult::WriteToNetwork(message) => Some(Sealed { peer, message: message.to_vec() }),
            _ => None,
        }
    }

    /// Opens a datagram that came from a peer at this address.
    pub fn open(&mut self, peer: usize, from: Ipv4Addr, datagram: &[u8]) -> Unsealed {
        let mut opened = Unsealed::default();
        let Some(Peer { noise, .. }) = self.peers.get_mut(peer) else { return opened };
        let mut result = noise.decapsulate(Some(IpAddr::V4(from)), datagram, &mut self.buffer);
        let mut came = None;
        loop {
            match result {
                TunnResult::WriteToNetwork(message) => {
                    opened.messages.push(Sealed { peer, message: message.to_vec() });
                }
                TunnResult::WriteToTunnelV4(packet, source) => {
                    came = Some((packet.to_vec(), source));
                    break;
                }
                TunnResult::Done => break,
                TunnResult::WriteToTunnelV6(..) | TunnResult::Err(_) => {
                    self.peers[peer].dropped += 1;
                    break;
                }
            }
            // Packets that waited for the handshake.
            result = self.peers[peer].noise.decapsulate(None, &[], &mut self.buffer);
        }
        if let Some((packet, source)) = came {
            if self.behind(IpAddr::V4(source)) == Some(peer) {
                opened.packet = Some(packet);
            } else {
                self.peers[peer].dropped += 1;
            }
        }
        opened
    }

    /// Handshakes and keepalives that are due; to be called several times a second.
    pub fn tick(&mut self) -> Vec<Sealed> {
        let mut due = Vec::new();
        for (peer, Peer { noise, .. }) in self.peers.iter_mut().enumerate() {
            if let TunnResult::WriteToNetwork(message) = noise.update_timers(&mut self.buffer) {
                due.push(Sealed { peer, message: message.to_vec() });
            }
        }
        due
    }

    /// What is known of the peers, in order.
    pub fn counts(&self) -> impl Iterator<Item = PeerCounts> {
        self.peers.iter().map(|peer| {
            let (handshake, sent, received, ..) = peer.noise.stats();
            PeerCounts { handshake, sent, received, dropped: peer.dropped }
        })
    }

    /// How many packets were dropped because no peer has their destination.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// The peer that has an address: the one with the longest network that contains it.
    fn behind(&self, address: IpAddr) -> Option<usize> {
        let IpAddr::V4(address) = address else { return None };
        let longest = |peer: &Peer| longest(&peer.allowed, address);
        let known = self.peers.iter().enumerate().filter_map(|(at, peer)| Some((longest(peer)?, at)));
        known.max().map(|(_, at)| at)
    }
}

fn longest(networks: &[Ipv4Net], address: Ipv4Addr) -> Option<u8> {
    networks.iter().filter(|net| net.contains(&address)).map(Ipv4Net::prefix_len).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::new([byte; 32])
    }

    /// Two ends with a network each, of which the second believes that the first has only this one.
    fn pair(believed: &str) -> (TunnelEnd, TunnelEnd) {
        let peer = |key: &PrivateKey, net: &str| TunnelPeer {
            public: key.public(),
            allowed: vec![net.parse().expect("a network")],
        };
        let (one, other) = (key(1), key(2));
        (
            TunnelEnd::new(&one, &[peer(&other, "10.22.0.0/16")]),
            TunnelEnd::new(&other, &[peer(&one, believed)]),
        )
    }

    fn packet(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let builder = etherparse::PacketBuilder::ipv4(from, to, 64).udp(1, 2);
        let mut packet = Vec::new();
        builder.write_to_vec(&mut packet, b"in the clear").expect("a packet");
        packet
    }

    /// Carries messages to and fro until none is left; the packets that come out at the other end, and all messages.
    fn carry(one: &mut TunnelEnd, other: &mut TunnelEnd, first: Sealed) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        let mut waiting = vec![(false, first.message)];
        while let Some((is_back, message)) = waiting.pop() {
            let end = if is_back { &mut *one } else { &mut *other };
            let opened = end.open(0, Ipv4Addr::LOCALHOST, &message);
            seen.push(message);
            out.extend(opened.packet);
            waiting.extend(opened.messages.into_iter().map(|sealed| (!is_back, sealed.message)));
        }
        (out, seen)
    }

    #[test]
    fn a_packet_waits_for_the_handshake_and_comes_out_as_it_went_in() {
        let (mut one, mut other) = pair("10.20.0.0/16");
        let sent = packet([10, 20, 1, 10], [10, 22, 1, 10]);
        let first = one.seal(&sent).expect("a handshake");
        assert_eq!(first.message[0], 1);
        let (out, seen) = carry(&mut one, &mut other, first);
        assert_eq!(out, std::slice::from_ref(&sent));
        let kinds: Vec<u8> = seen.iter().map(|message| message[0]).collect();
        assert!(kinds.starts_with(&[1, 2]) && kinds[2..].iter().all(|kind| *kind == 4), "{kinds:?}");
        let is_clear = |message: &Vec<u8>| message.windows(12).any(|window| window == b"in the clear");
        assert!(!seen.iter().any(is_clear));
        assert!(one.counts().all(|counts| counts.handshake.is_some() && counts.dropped == 0));
        let next = one.seal(&sent).expect("a message");
        assert_eq!((next.message[0], next.message.len()), (4, sent.len() + OVERHEAD));
    }

    #[test]
    fn a_source_that_the_peer_does_not_own_is_dropped() {
        let (mut one, mut other) = pair("10.21.0.0/16");
        let first = one.seal(&packet([10, 20, 1, 10], [10, 22, 1, 10])).expect("a handshake");
        let (out, _) = carry(&mut one, &mut other, first);
        assert_eq!(out, Vec::<Vec<u8>>::new());
        assert_eq!(other.counts().map(|counts| counts.dropped).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_no_peer_has_is_sent_to_none() {
        let (mut one, _) = pair("10.20.0.0/16");
        assert_eq!(one.seal(&packet([10, 20, 1, 10], [10, 23, 1, 10])), None);
        assert_eq!(one.seal(b"no packet"), None);
        assert_eq!(one.strays(), 2);
    }

    #[test]
    fn what_another_key_has_sealed_is_not_opened() {
        let (mut one, _) = pair("10.20.0.0/16");
        let (_, mut other) = pair("10.20.0.0/16");
        let mut first = one.seal(&packet([10, 20, 1, 10], [10, 22, 1, 10])).expect("a handshake");
        first.message[60] ^= 1;
        let opened = other.open(0, Ipv4Addr::LOCALHOST, &first.message);
        assert_eq!((opened, other.counts().map(|it| it.dropped).sum::<u64>()), (Unsealed::default(), 1));
        assert_eq!(other.open(7, Ipv4Addr::LOCALHOST, &first.message), Unsealed::default());
    }
}
