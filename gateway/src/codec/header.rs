//! The header of a client's frame (RFC 6455 section 5.2).

use super::{Opcode, Violation};

/// Longest header of a client's frame: two bytes, eight of length, four of mask.
pub(super) const LONGEST: usize = 14;

/// A header, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    pub(super) length: u64,
}

/// The header at the front of `bytes` and its own length, or `None` if more bytes are needed. What is wrong is said as
/// soon as it can be seen.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Violation::Protocol("a reserved bit is set"));
    }
    let opcode = Opcode::parse(first & 0x0f)?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(Violation::Protocol("a fragmented control frame"));
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(Violation::Protocol("a frame of a client must be masked"));
    }
    let Some((length, used)) = length(second & 0x7f, opcode, &bytes[2..])? else { return Ok(None) };
    let mask_at = 2 + used;
    let Some(mask) = bytes.get(mask_at..mask_at + 4) else { return Ok(None) };
    let mask = mask.try_into().expect("four bytes");
    Ok(Some((Header { fin, opcode, mask, length }, mask_at + 4)))
}

/// The payload's length and how many bytes after the first two say so.
fn length(short: u8, opcode: Opcode, rest: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    if opcode.is_control() && short > 125 {
        return Err(Violation::Protocol("a control frame of more than 125 bytes"));
    }
    let (length, used, least) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2, 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if length < least {
        return Err(Violation::Protocol("a length that is not written as short as it can be"));
    }
    if length >> 63 != 0 {
        return Err(Violation::Protocol("a length with its highest bit set"));
    }
    Ok(Some((length, used)))
}

/// Takes the mask off `bytes`, the first of which is number `offset` of its frame (RFC 6455 section 5.3).
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut key = mask;
    key.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes((&*chunk).try_into().expect("eight bytes")) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}
