//! Whole messages, and frames with bits or opcodes that mean nothing.

use crate::case::Case;
use crate::frame::{Frame, binary, ping, text};

/// Around the borders of the three ways to write a length (RFC 6455 section 5.2).
const LENGTHS: [usize; 9] = [0, 1, 124, 125, 126, 127, 128, 65535, 65536];

pub(super) fn cases() -> Vec<Case> {
    let new = |name: String| Case::new("framing", "5.6", name);
    let mut cases = Vec::new();
    for length in LENGTHS {
        let payload = vec![b'*'; length];
        cases.push(new(format!("a_text_of_{length}_bytes_comes_back")).send(text(&payload)).room(&payload));
        let refused = new(format!("a_binary_message_of_{length}_bytes_is_refused"));
        cases.push(refused.send(binary(&payload)).closed(&[1003]));
    }
    for (length, piece) in [(0, 1), (1, 1), (125, 1), (126, 1), (127, 1), (128, 1), (65536, 997), (65536, 1)] {
        let payload = vec![b'*'; length];
        let case = new(format!("a_text_of_{length}_bytes_sent_in_pieces_of_{piece}_comes_back"));
        cases.push(case.send(text(&payload)).chopped(piece).room(&payload));
    }
    cases.push(
        new("two_texts_in_one_segment_come_back_in_order".into())
            .write([text("one").bytes(), text("two").bytes()].concat())
            .room("one")
            .room("two"),
    );
    cases.push(
        new("a_text_and_half_of_the_next_in_one_segment_come_back_in_order".into())
            .write([text("one").bytes(), text("two").bytes()].concat())
            .split_at(13)
            .room("one")
            .room("two"),
    );
    let many = (0..200).map(|n| format!("message {n}"));
    let case = new("two_hundred_texts_at_once_come_back_in_order".into());
    cases.push(many.fold(case, |case, payload| case.send(text(&payload)).room(payload)));
    cases.push(
        new("a_text_before_a_binary_message_is_delivered".into())
            .send(text("a"))
            .send(binary("b"))
            .room("a")
            .closed(&[1003]),
    );
    cases.push(
        new("a_binary_message_in_two_frames_is_refused".into())
            .send(binary("a").unfinished())
            .send(Frame::new(0, "b"))
            .closed(&[1003]),
    );
    cases
}

pub(super) fn reserved_bits() -> Vec<Case> {
    let new = |name: String| Case::new("reserved_bits", "5.2", name);
    let mut cases = Vec::new();
    for bits in 1..=7 {
        let payload = if bits == 1 { "" } else { "Hello" };
        let case = new(format!("a_text_with_reserved_bits_{bits:03b}_fails_the_connection"));
        cases.push(case.send(text(payload).reserved(bits)).closed(&[1002]));
    }
    for (what, opcode) in [("a_ping", 9), ("a_pong", 10), ("a_continuation", 0), ("a_binary_frame", 2)] {
        let case = new(format!("{what}_with_a_reserved_bit_fails_the_connection"));
        let case = if opcode == 0 { case.send(text("a").unfinished()) } else { case };
        cases.push(case.send(Frame::new(opcode, "Hello").reserved(4)).closed(&[1002]));
    }
    let close = Frame::new(8, 1000u16.to_be_bytes()).reserved(1);
    cases.push(new("a_close_frame_with_a_reserved_bit_fails_the_connection".into()).send(close).closed(&[1002]));
    cases.push(
        new("what_came_before_a_reserved_bit_is_delivered_what_comes_after_is_not".into())
            .send(text("before"))
            .send(text("odd").reserved(2))
            .send(text("after"))
            .send(ping(""))
            .room("before")
            .closed(&[1002]),
    );
    cases.push(
        new("a_reserved_bit_is_noticed_in_a_frame_that_comes_byte_by_byte".into())
            .send(text("before"))
            .send(text("odd").reserved(4))
            .chopped(1)
            .room("before")
            .closed(&[1002]),
    );
    cases
}

pub(super) fn opcodes() -> Vec<Case> {
    let new = |name: String| Case::new("opcodes", "5.2", name);
    let mut cases = Vec::new();
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let kind = if opcode < 8 { "data" } else { "control" };
        let empty = new(format!("the_undefined_{kind}_opcode_{opcode}_fails_the_connection"));
        cases.push(empty.send(Frame::new(opcode, "")).closed(&[1002]));
        cases.push(
            new(format!("the_undefined_{kind}_opcode_{opcode}_with_a_payload_after_a_text_fails_the_connection"))
                .send(text("before"))
                .send(Frame::new(opcode, "Hello"))
                .send(text("after"))
                .room("before")
                .closed(&[1002]),
        );
    }
    for opcode in [3, 11] {
        cases.push(
            new(format!("the_undefined_opcode_{opcode}_between_two_fragments_fails_the_connection"))
                .send(text("a").unfinished())
                .send(Frame::new(opcode, ""))
                .send(Frame::new(0, "b"))
                .closed(&[1002]),
        );
        cases.push(
            new(format!("the_undefined_opcode_{opcode}_sent_byte_by_byte_fails_the_connection"))
                .send(Frame::new(opcode, "Hello"))
                .chopped(1)
                .closed(&[1002]),
        );
    }
    cases
}
