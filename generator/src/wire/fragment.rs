//! Fragmentation of a packet that exceeds the MTU, and the datagram that results from reassembly.
//!
//! Never: whether a packet may be fragmented.

use super::checksum::sum;
use super::read::Datagram;
use super::{IPV4_HEADER, field, length, put, word};

/// The more-fragments bit.
const MORE: u16 = 0x2000;
/// The fragment offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// The packet in fragments of at most `mtu` bytes. Only the first has IP options.
pub fn fragments(bytes: &[u8], datagram: &Datagram, mtu: usize) -> Vec<Vec<u8>> {
    let (old, flags) = (word(bytes, field::FRAGMENT) & OFFSET, word(bytes, field::FRAGMENT) & MORE);
    let payload = &bytes[datagram.header..datagram.total];
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let header = if at == 0 { &bytes[..datagram.header] } else { &bytes[..IPV4_HEADER] };
        let room = mtu.saturating_sub(header.len()).max(8) / 8 * 8;
        let end = (at + room).min(payload.len());
        let mut piece = [header, &payload[at..end]].concat();
        if at > 0 {
            piece[0] = 0x45;
        }
        let more = if end < payload.len() { MORE } else { flags };
        let total = length(piece.len());
        put(&mut piece, field::TOTAL_LENGTH, total);
        put(&mut piece, field::FRAGMENT, (old + length(at / 8)) & OFFSET | more);
        put(&mut piece, field::IP_CHECKSUM, 0);
        let check = !sum(&piece[..if at == 0 { datagram.header } else { IPV4_HEADER }]);
        put(&mut piece, field::IP_CHECKSUM, check);
        pieces.push(piece);
        at = end;
    }
    pieces
}

/// The reassembled datagram: the header of one of its fragments, and the whole payload.
pub fn whole(fragment: &[u8], datagram: &Datagram, payload: &[u8]) -> Vec<u8> {
    let mut whole = [&fragment[..datagram.header], payload].concat();
    let total = length(whole.len());
    put(&mut whole, field::TOTAL_LENGTH, total);
    put(&mut whole, field::FRAGMENT, 0);
    put(&mut whole, field::IP_CHECKSUM, 0);
    let check = !sum(&whole[..datagram.header]);
    put(&mut whole, field::IP_CHECKSUM, check);
    whole
}
