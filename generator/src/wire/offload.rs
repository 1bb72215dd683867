//! What a TUN device leaves to its reader: completing a checksum, segmenting a large packet (Linux's virtio_net_hdr).
//!
//! It exists because a kernel passes up to 64 KB of a flow as one packet with one header, and accepts such packets as
//! well: forwarding it unsegmented costs a fraction of forwarding 1,500 bytes at a time. Never: a device.

use super::checksum::{add, pseudo, sum};
use super::read::Datagram;
use super::{field, length, long, put, word};
use crate::pf::eval::UDP;

/// Length of the virtio_net_hdr before each packet.
pub const OFFLOAD_HEADER: usize = 10;

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const NEEDS_CHECKSUM: u8 = 1;
const TCP_IPV4: u8 = 1;
const UDP_L4: u8 = 5;
/// The congestion flag, combined with the GSO type.
const ECN: u8 = 0x80;

/// The work that a packet's sender left to the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Start of the checksummed bytes, and offset of the checksum field from there; it contains the sum of the pseudo
    /// header.
    pub checksum: Option<(u16, u16)>,
    /// Generic segmentation offload: the packet stands for several.
    pub segments: Option<Gso>,
}

/// How to segment a packet that stands for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Whether it is TCP; otherwise UDP.
    pub is_tcp: bool,
    /// Whether the CWR flag is for the first segment only.
    pub has_ecn: bool,
    /// Payload bytes per segment.
    pub size: u16,
    /// Length of all headers in bytes.
    pub header: u16,
}

impl Offload {
    /// Reads the header; `None` for a GSO type that was not requested.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [flags, kind, rest @ ..] = bytes.get(..OFFLOAD_HEADER)? else { return None };
        let number = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
        let checksum = (flags & NEEDS_CHECKSUM != 0).then(|| (number(4), number(6)));
        let gso = |is_tcp| {
            let has_ecn = kind & ECN != 0;
            Some(Gso { is_tcp, has_ecn, header: number(0), size: number(2) })
        };
        let segments = match kind & !ECN {
            0 => None,
            TCP_IPV4 => gso(true),
            UDP_L4 => gso(false),
            _ => return None,
        };
        Some(Self { checksum, segments })
    }

    /// Writes the header.
    pub fn write(&self, bytes: &mut [u8; OFFLOAD_HEADER]) {
        *bytes = [0; OFFLOAD_HEADER];
        let mut number = |at: usize, value: u16| bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        if let Some(gso) = self.segments {
            number(2, gso.header);
            number(4, gso.size);
        }
        if let Some((start, offset)) = self.checksum {
            number(6, start);
            number(8, offset);
            bytes[0] = NEEDS_CHECKSUM;
        }
        if let Some(gso) = self.segments {
            bytes[1] = if gso.is_tcp { TCP_IPV4 } else { UDP_L4 } | if gso.has_ecn { ECN } else { 0 };
        }
    }
}

/// Completes the checksum of a packet that needs no segmentation.
pub fn complete(bytes: &mut [u8], offload: &mut Offload) {
    let Some((start, offset)) = offload.checksum.take() else { return };
    let (start, offset) = (usize::from(start), usize::from(offset));
    let Some(covered) = bytes.get(start..) else { return };
    // The field contains the sum of the pseudo header, so summing it with the rest gives the complete sum.
    let check = !sum(covered);
    put(bytes, start + offset, if check == 0 { u16::MAX } else { check });
}

/// The segments of a packet, each with a complete checksum; a packet without GSO gives itself.
pub fn segments(bytes: &[u8], datagram: &Datagram, offload: &Offload) -> Vec<Vec<u8>> {
    let whole = &bytes[..datagram.total];
    let Some(gso) = offload.segments.filter(|gso| gso.size > 0) else {
        let mut single = whole.to_vec();
        complete(&mut single, &mut offload.clone());
        return vec![single];
    };
    let transport = if gso.is_tcp {
        whole.get(datagram.header + 12).map_or(0, |offset| usize::from(offset >> 4) * 4).max(TCP_HEADER)
    } else {
        UDP_HEADER
    };
    let headers = datagram.header + transport;
    let Some((headers, data)) = whole.split_at_checked(headers) else {
        return vec![whole.to_vec()];
    };
    let pieces = data.chunks(usize::from(gso.size));
    let last = pieces.len().saturating_sub(1);
    let cut = |(number, data): (usize, &[u8])| {
        let mut piece = [headers, data].concat();
        let (total, id) = (length(piece.len()), word(headers, field::ID).wrapping_add(length(number)));
        put(&mut piece, field::TOTAL_LENGTH, total);
        put(&mut piece, field::ID, id);
        put(&mut piece, field::IP_CHECKSUM, 0);
        let check = !sum(&piece[..datagram.header]);
        put(&mut piece, field::IP_CHECKSUM, check);
        let place = Piece { number, is_last: number == last, gso };
        place.finish(&mut piece, datagram.header);
        piece
    };
    pieces.enumerate().map(cut).collect()
}

/// One segment.
struct Piece {
    number: usize,
    is_last: bool,
    gso: Gso,
}

impl Piece {
    /// Sets the sequence number, flags and checksum of a segment whose IP header is done.
    fn finish(&self, piece: &mut [u8], at: usize) {
        const FIN_PUSH: u8 = 0x09;
        const CONGESTION_REDUCED: u8 = 0x80;
        let transport = piece.len() - at;
        if self.gso.is_tcp {
            let skipped = u32::try_from(self.number * usize::from(self.gso.size)).unwrap_or(0);
            let sequence = long(piece, at + field::TCP_SEQUENCE).wrapping_add(skipped);
            piece[at + field::TCP_SEQUENCE..][..4].copy_from_slice(&sequence.to_be_bytes());
            let flags = &mut piece[at + field::TCP_FLAGS];
            if !self.is_last {
                *flags &= !FIN_PUSH;
            }
            if self.number > 0 {
                *flags &= !CONGESTION_REDUCED;
            }
        } else {
            put(piece, at + field::UDP_LENGTH, length(transport));
        }
        let field = at + if self.gso.is_tcp { field::TCP_CHECKSUM } else { field::UDP_CHECKSUM };
        put(piece, field, 0);
        let protocol = if self.gso.is_tcp { crate::pf::eval::TCP } else { UDP };
        let check = !add(sum(&piece[at..]), pseudo(piece, protocol, transport));
        put(piece, field, if check == 0 { u16::MAX } else { check });
    }
}
