//! Frames of a server: never masked, never fragmented (RFC 6455 section 5.1).

use bytes::{BufMut, Bytes, BytesMut};

use super::Opcode;

/// Longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL: usize = 125;

/// Bytes of a frame with `payload` bytes, header included.
pub const fn frame_cost(payload: usize) -> usize {
    header_len(payload) + payload
}

/// A text frame.
pub fn text_frame(text: &str) -> Bytes {
    frame(Opcode::Text, &[text.as_bytes()])
}

/// A ping without payload.
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

/// The answer to a ping, with its payload.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &[&payload[..payload.len().min(CONTROL)]])
}

/// A close frame; `None` answers one that carried no code. A long reason is cut at a character.
pub fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let Some(code) = code else { return frame(Opcode::Close, &[]) };
    let reason = &reason[..reason.floor_char_boundary(CONTROL - 2)];
    frame(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()])
}

const fn header_len(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn frame(opcode: Opcode, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = BytesMut::with_capacity(frame_cost(length));
    bytes.put_u8(0x80 | opcode.bits());
    match length {
        0..=125 => bytes.put_u8(length as u8),
        126..=0xffff => {
            bytes.put_u8(126);
            bytes.put_u16(length as u16);
        }
        _ => {
            bytes.put_u8(127);
            bytes.put_u64(length as u64);
        }
    }
    for part in parts {
        bytes.put_slice(part);
    }
    bytes.freeze()
}
