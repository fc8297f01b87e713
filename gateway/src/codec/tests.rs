//! The decoder against random pieces, against a reference implementation, and against what must not pass.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::*;

const MOST: usize = 1 << 17;

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0xff);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What the decoder makes of pieces of these lengths, over and over, and the fault that it ends with.
fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<Incoming>, Option<Violation>, Decoder) {
    let (mut decoder, mut all, mut rest) = (Decoder::default(), Vec::new(), bytes);
    let mut lengths = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        rest = later;
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.next(&mut piece[at..], MOST) {
                Ok((used, incoming)) => {
                    at += used;
                    let last = matches!(incoming, Some(Incoming::Close(_) | Incoming::Binary));
                    all.extend(incoming);
                    if last {
                        return (all, None, decoder);
                    }
                }
                Err(violation) => return (all, Some(violation), decoder),
            }
        }
    }
    (all, None, decoder)
}

/// Bytes to read, and a place where answers go.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the reference makes of it: messages, and whether it ended in a fault of the protocol.
fn reference(bytes: &[u8]) -> (Vec<Incoming>, bool) {
    use tokio_tungstenite::tungstenite::Error;
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    let config = WebSocketConfig::default().max_message_size(Some(MOST)).max_frame_size(Some(MOST));
    let mut socket = WebSocket::from_raw_socket(Pipe(Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    let mut all = Vec::new();
    loop {
        let incoming = match socket.read() {
            Ok(Message::Text(text)) => Incoming::Text(text),
            Ok(Message::Ping(payload)) => Incoming::Ping(payload),
            Ok(Message::Pong(_)) => Incoming::Pong,
            Ok(Message::Close(frame)) => {
                let frame = frame.map(|frame| CloseFrame { code: frame.code.into(), reason: frame.reason.to_string() });
                all.push(Incoming::Close(frame));
                return (all, false);
            }
            Ok(Message::Binary(_) | Message::Frame(_)) => panic!("not generated"),
            Err(Error::Protocol(ResetWithoutClosingHandshake) | Error::Io(_) | Error::ConnectionClosed) => {
                return (all, false);
            }
            Err(_) => return (all, true),
        };
        all.push(incoming);
    }
}

/// Frames that a client may send, and some that it may not.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof!["\\PC{0,80}", "[a-zü日]{100,300}", "a{65530,65540}"];
    let message = (text, proptest::collection::vec(0usize..400, 0..4)).prop_map(|(text, cuts)| {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let (mut from, mut all) = (0, Vec::new());
        for (index, to) in cuts.iter().enumerate() {
            let fin = if index + 1 == cuts.len() { 0x80 } else { 0 };
            all.extend(frame(fin | u8::from(index == 0), &bytes[from..*to]));
            if fin == 0 && index % 2 == 0 {
                all.extend(frame(0x89, b"within"));
            }
            from = *to;
        }
        all
    });
    let control = (prop_oneof![Just(0x89u8), Just(0x8a)], proptest::collection::vec(any::<u8>(), 0..126))
        .prop_map(|(first, payload)| frame(first, &payload));
    let odd =
        (prop_oneof![0x80u8..=0x81, 0x88u8..=0x8f, 0x00u8..=0x01], proptest::collection::vec(any::<u8>(), 0..130))
            .prop_map(|(first, payload)| frame(first, &payload));
    let one = prop_oneof![4 => message, 3 => control, 1 => odd];
    proptest::collection::vec(one, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in frames(), pieces in proptest::collection::vec(1usize..2000, 1..20)) {
        let (whole, violation, _) = decode(&bytes, &[usize::MAX]);
        let (parts, same, decoder) = decode(&bytes, &pieces);
        prop_assert_eq!((&whole, violation), (&parts, same));
        prop_assert!(decoder.is_idle() || violation.is_some() || matches!(parts.last(), Some(Incoming::Close(_))) || !bytes.is_empty());
    }

    #[test]
    fn it_understands_what_the_reference_understands(bytes in frames()) {
        let (ours, violation, _) = decode(&bytes, &[usize::MAX]);
        let (theirs, fault) = reference(&bytes);
        // The reference lets close codes and reasons pass that RFC 6455 does not.
        let judged_close = matches!(theirs.last(), Some(Incoming::Close(_))) && violation.is_some();
        if judged_close {
            prop_assert_eq!(&ours[..], &theirs[..theirs.len() - 1]);
        } else {
            prop_assert_eq!((&ours, violation.is_some()), (&theirs, fault));
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), pieces in proptest::collection::vec(1usize..50, 1..9)) {
        let whole = decode(&bytes, &[usize::MAX]);
        let parts = decode(&bytes, &pieces);
        prop_assert_eq!((whole.0, whole.1), (parts.0, parts.1));
    }

    #[test]
    fn a_half_read_frame_can_be_written_down(bytes in frames(), at in 0usize..2000) {
        let (first, second) = bytes.split_at(at.min(bytes.len()));
        let (mut all, violation, decoder) = decode(first, &[usize::MAX]);
        prop_assume!(violation.is_none() && !matches!(all.last(), Some(Incoming::Close(_))));
        let mut decoder: Decoder = serde_json::from_str(&serde_json::to_string(&decoder).unwrap()).unwrap();
        let (mut second, mut used) = (second.to_vec(), 0);
        let mut fault = None;
        while used < second.len() && fault.is_none() {
            match decoder.next(&mut second[used..], MOST) {
                Ok((read, incoming)) => {
                    used += read;
                    let last = matches!(incoming, Some(Incoming::Close(_)));
                    all.extend(incoming);
                    if last {
                        break;
                    }
                }
                Err(violation) => fault = Some(violation),
            }
        }
        let (whole, violation, _) = decode(&bytes, &[usize::MAX]);
        prop_assert_eq!((all, fault), (whole, violation));
    }
}

#[test]
fn nothing_is_kept_between_messages() {
    let mut decoder = Decoder::default();
    let bytes = [frame(0x01, b"ab"), frame(0x80, b"c")].concat();
    for byte in &bytes {
        decoder.next(&mut [*byte], MOST).unwrap();
    }
    assert!(decoder.is_idle());
    assert_eq!(size_of::<Decoder>(), 8);
}

#[test]
fn length_is_limited_at_below_and_above() {
    for (length, expect) in [(9, None), (10, None), (11, Some(Violation::TooBig))] {
        let mut bytes = frame(0x81, &vec![b'a'; length]);
        assert_eq!(Decoder::default().next(&mut bytes, 10).err(), expect);
        let mut decoder = Decoder::default();
        decoder.next(&mut frame(0x01, b"aaaa"), 10).unwrap();
        let mut rest = frame(0x80, &vec![b'a'; length - 4]);
        assert_eq!(decoder.next(&mut rest, 10).err(), expect, "in fragments");
    }
    let header_alone = &mut frame(0x81, &[b'a'; 200])[..8];
    assert_eq!(Decoder::default().next(header_alone, 10).err(), Some(Violation::TooBig), "before it is read");
}

#[test]
fn text_that_cannot_become_utf8_is_refused_at_once() {
    // U+110000 would follow: its second byte says so.
    let mut bytes = frame(0x81, b"ok \xf4\x90\x80\x80 and a long rest that has not come");
    let cut = bytes.len() - 20;
    assert_eq!(Decoder::default().next(&mut bytes[..cut], MOST).err(), Some(Violation::Utf8));
}

#[test]
fn what_the_standard_forbids_is_named() {
    let unmasked = vec![0x81, 1, b'a'];
    let long_way = vec![0x81, 0xfe, 0, 5, 0, 0, 0, 0];
    let highest_bit = vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (mut bytes, fault) in [
        (frame(0xc1, b""), "a reserved bit is set"),
        (frame(0x83, b""), "a reserved opcode"),
        (frame(0x8b, b""), "a reserved opcode"),
        (frame(0x09, b""), "a fragmented control frame"),
        (frame(0x80, b""), "a continuation of nothing"),
        (frame(0x88, b"x"), "a close frame of one byte"),
        (frame(0x88, &[0x03, 0xed]), "a close code that must not be sent"),
        (unmasked, "a frame of a client must be masked"),
        (long_way, "a length that is not written as short as it can be"),
        (highest_bit, "a length with its highest bit set"),
    ] {
        let violation = Decoder::default().next(&mut bytes, MOST).unwrap_err();
        assert_eq!(violation, Violation::Protocol(fault));
    }
}

#[test]
fn frames_of_the_server_are_read_by_the_reference() {
    let socket = |bytes: Vec<u8>| {
        WebSocket::from_raw_socket(Pipe(Cursor::new(bytes)), Role::Client, None).read().expect("a whole frame")
    };
    for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let text = "x".repeat(length);
        assert_eq!(text_frame(&text).len(), frame_cost(length));
        assert_eq!(socket(text_frame(&text).to_vec()), Message::text(text));
    }
    assert_eq!(socket(ping_frame().to_vec()), Message::Ping(bytes::Bytes::new()));
    assert_eq!(socket(pong_frame(b"abc").to_vec()), Message::Pong(bytes::Bytes::from_static(b"abc")));
    let Message::Close(Some(close)) = socket(close_frame(Some(1013), &"ü".repeat(100)).to_vec()) else { panic!() };
    assert_eq!((u16::from(close.code), close.reason.len()), (1013, 122));
}
