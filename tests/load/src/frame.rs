//! WebSocket frames as a client sees them (RFC 6455 section 5): masked out, plain in. Knows nothing of sockets. A server
//! that fragments or compresses is not understood: none of the subjects does, unasked.

use anyhow::{Result, bail};

/// What a client masks with. Any value will do: nobody listens in.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Kinds of frames that servers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message.
    Text,
    /// A heartbeat.
    Ping,
    /// An answer to one.
    Pong,
    /// The end.
    Close,
}

/// A frame in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) length: usize,
}

/// The first frame of what was received; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let kind = match first {
        0x81 => Kind::Text,
        0x88 => Kind::Close,
        0x89 => Kind::Ping,
        0x8a => Kind::Pong,
        other => bail!("a frame that begins with {other:#04x}"),
    };
    let (header, payload) = match second {
        0..=125 => (2, Some(usize::from(*second))),
        126 => (4, rest.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))),
        127 => (10, rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes) as usize)),
        _ => bail!("a masked frame from a server"),
    };
    let Some(payload) = payload else { return Ok(None) };
    let Some(body) = bytes.get(header..header + payload) else { return Ok(None) };
    Ok(Some(Frame { kind, payload: body, length: header + payload }))
}

/// Appends a masked text frame.
pub(crate) fn text(out: &mut Vec<u8>, payload: &[u8]) {
    masked(out, 0x81, payload);
}

/// Appends the answer to a ping.
pub(crate) fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    masked(out, 0x8a, payload);
}

fn masked(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0xfe);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xff);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole() {
        for length in [0_usize, 1, 125, 126, 127, 65_535, 65_536] {
            let mut bytes = vec![0x81];
            match length {
                0..=125 => bytes.push(length as u8),
                126..=0xffff => bytes.extend([&[126][..], &(length as u16).to_be_bytes()].concat()),
                _ => bytes.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            bytes.resize(bytes.len() + length, b'x');
            for end in [0, 1, 2, bytes.len() - 1].into_iter().filter(|end| *end < bytes.len()) {
                assert_eq!(parse(&bytes[..end]).unwrap(), None, "{length} {end}");
            }
            let frame = parse(&bytes).unwrap().unwrap();
            assert_eq!((frame.kind, frame.payload.len(), frame.length), (Kind::Text, length, bytes.len()));
        }
        assert!(parse(&[0x01, 0]).is_err(), "a fragment");
        assert!(parse(&[0x81, 0x80]).is_err(), "masked");
    }

    #[test]
    fn what_is_sent_is_masked() {
        // RFC 6455 section 5.7, with the same mask.
        let mut out = Vec::new();
        text(&mut out, b"Hello");
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
