//! The closing handshake (RFC 6455 sections 5.5.1 and 7).

use crate::case::Case;
use crate::frame::{Frame, close, close_with, first, last, ping, text};

/// Codes that a peer may send: of section 7.4.1, registered with IANA since (1012 service restart, 1013 try again later,
/// 1014 bad gateway), and the two ranges for libraries and applications (section 7.4.2). Each comes back.
const VALID: [(u16, &[u16]); 17] = [
    (1000, &[1000]),
    (1001, &[1001]),
    (1002, &[1002]),
    (1003, &[1003]),
    (1007, &[1007]),
    (1008, &[1008]),
    (1009, &[1009]),
    (1010, &[1010]),
    (1011, &[1011]),
    (1012, &[1012]),
    (1013, &[1013]),
    (1014, &[1014]),
    (3000, &[3000]),
    (3999, &[3999]),
    (4000, &[4000]),
    (4408, &[4408]),
    (4999, &[4999]),
];

/// Codes that nobody may send: out of range, reserved, or only for what a program sees.
const INVALID: [u16; 15] = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 32768, 65535];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = handshakes();
    cases.extend(after());
    for (code, echo) in VALID {
        cases.push(on_codes(&format!("the_code_{code}_is_returned")).send(close(code, "")).closed(echo));
        let name = format!("the_code_{code}_with_a_reason_is_returned");
        cases.push(on_codes(&name).send(close(code, "because")).closed(echo));
    }
    for code in INVALID {
        cases.push(on_codes(&format!("the_code_{code}_is_a_fault")).send(close(code, "")).closed(&[1002]));
        let name = format!("the_code_{code}_with_a_reason_is_a_fault");
        cases.push(on_codes(&name).send(close(code, "because")).closed(&[1002]));
    }
    cases
}

fn new(name: &str) -> Case {
    Case::new("closing", "5.5.1", name)
}

fn on_codes(name: &str) -> Case {
    Case::new("closing", "7.4", name)
}

fn handshakes() -> Vec<Case> {
    let text_then_close = |case: Case| case.send(text("last words")).send(close(1000, "")).room("last words");
    vec![
        new("a_close_frame_without_a_body_is_returned").send(close_with("")).closed(&[1000, 1005]),
        new("a_close_frame_of_one_byte_is_a_fault").send(close_with("a")).closed(&[1002]),
        new("a_close_frame_with_a_code_only_is_returned").send(close(1000, "")).closed(&[1000]),
        new("a_close_frame_byte_by_byte_is_returned").send(close(1000, "bye")).chopped(1).closed(&[1000]),
        new("a_reason_of_122_bytes_is_accepted").send(close(1000, [b'*'; 122])).closed(&[1000]),
        new("a_reason_of_123_bytes_is_accepted").send(close(1000, [b'*'; 123])).closed(&[1000]),
        new("a_reason_of_124_bytes_is_a_fault").send(close(1000, [b'*'; 124])).closed(&[1002]),
        new("a_reason_in_many_scripts_is_accepted").send(close(1000, "κόσμε 🚀")).closed(&[1000]),
        new("a_reason_that_is_no_utf8_is_a_fault").send(close(1000, b"\xce\xba\xed\xa0\x80")).closed(&[1007]),
        new("a_reason_cut_within_a_character_is_a_fault").send(close(1000, b"\xf0\x9f\x9a")).closed(&[1007]),
        new("a_close_frame_in_two_frames_is_a_fault").send(close(1000, "").unfinished()).send(last("")).closed(&[1002]),
        new("a_close_frame_that_says_65536_bytes_is_a_fault").send(Frame::new(8, vec![b'*'; 65536])).closed(&[1002]),
        text_then_close(new("a_text_before_the_close_frame_is_delivered")).closed(&[1000]),
        text_then_close(new("a_text_and_the_close_frame_byte_by_byte_are_both_honoured")).chopped(1).closed(&[1000]),
        new("a_text_in_the_same_segment_as_the_close_frame_is_delivered")
            .write([text("last words").bytes(), close(1000, "").bytes()].concat())
            .room("last words")
            .closed(&[1000]),
        new("a_ping_before_the_close_frame_is_answered")
            .send(ping("p"))
            .send(close(1000, ""))
            .pong("p")
            .closed(&[1000]),
        new("an_unfinished_message_before_the_close_frame_is_not_delivered")
            .send(first("half"))
            .send(close(1000, ""))
            .closed(&[1000]),
    ]
}

fn after() -> Vec<Case> {
    let new = |name: &str| Case::new("closing", "7.1", name).send(text("before")).send(close(1000, "")).room("before");
    let alone = |name: &str| Case::new("closing", "7.1", name);
    vec![
        new("a_text_after_the_close_frame_is_ignored").send(text("after")).closed(&[1000]),
        new("a_ping_after_the_close_frame_is_not_answered").send(ping("after")).closed(&[1000]),
        new("a_second_close_frame_is_ignored").send(close(1001, "")).closed(&[1000]),
        new("garbage_after_the_close_frame_is_ignored").write([0xff; 100]).closed(&[1000]),
        new("the_rest_of_a_message_after_the_close_frame_is_ignored").send(last("rest")).closed(&[1000]),
        new("a_large_text_after_the_close_frame_is_ignored").send(text(vec![b'*'; 60_000])).closed(&[1000]),
        new("a_half_close_after_the_close_frame_is_a_clean_end").end_of_input().closed(&[1000]),
        alone("a_half_close_without_a_close_frame_ends_the_connection").end_of_input().gone(),
        alone("a_text_before_a_half_close_is_delivered").send(text("last")).end_of_input().room("last").gone(),
        alone("a_half_close_within_a_header_ends_the_connection").write([0x81]).end_of_input().gone(),
        alone("a_half_close_within_a_payload_ends_the_connection_and_delivers_nothing")
            .write(&text("never whole").bytes()[..9])
            .end_of_input()
            .gone(),
        alone("a_half_close_within_a_fragmented_message_delivers_nothing").send(first("never")).end_of_input().gone(),
    ]
}
