//! Frames mean the same in whatever pieces they come, also when the decoder is written down and restored between two of
//! them. The first byte says how long the pieces are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscluster_gateway::codec::{Decoder, Incoming, Violation};

const MOST: usize = 1000;

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, bytes)) = bytes.split_first() else { return };
    let whole = decode(bytes, usize::MAX, false);
    let piece = usize::from(seed >> 1) % 17 + 1;
    assert_eq!(decode(bytes, piece, seed & 1 == 1), whole);
});

fn decode(bytes: &[u8], piece: usize, restore: bool) -> (Vec<Incoming>, Option<Violation>) {
    let (mut decoder, mut all) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(piece.min(bytes.len().max(1))) {
        if restore {
            let text = serde_json::to_string(&decoder).expect("plain data is written");
            decoder = serde_json::from_str(&text).expect("and read");
        }
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.next(&mut piece[at..], MOST) {
                Ok((used, incoming)) => {
                    assert!(used > 0 || incoming.is_some(), "no progress");
                    at += used;
                    let last = matches!(incoming, Some(Incoming::Close(_) | Incoming::Binary));
                    if let Some(Incoming::Text(text)) = &incoming {
                        assert!(text.as_str().len() <= MOST);
                    }
                    all.extend(incoming);
                    if last {
                        return (all, None);
                    }
                }
                Err(violation) => return (all, Some(violation)),
            }
        }
    }
    (all, None)
}
