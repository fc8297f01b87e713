//! Frame headers: masks, lengths written in more bytes than needed, headers that come in pieces.

use crate::case::Case;
use crate::frame::{Frame, close, first, last, ping, text};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = masks();
    cases.extend(lengths());
    cases.extend(pieces());
    cases
}

fn masks() -> Vec<Case> {
    let new = |name: &str| Case::new("headers", "5.1", name);
    let bare = |name: &str, frame: Frame| new(name).send(frame.unmasked());
    let every_byte: String = (0..128u8).map(char::from).collect();
    vec![
        bare("an_unmasked_text_fails_the_connection", text("Hello")).closed(&[1002]),
        bare("an_unmasked_empty_text_fails_the_connection", text("")).closed(&[1002]),
        bare("an_unmasked_ping_fails_the_connection", ping("p")).closed(&[1002]),
        bare("an_unmasked_close_frame_fails_the_connection", close(1000, "")).closed(&[1002]),
        new("an_unmasked_continuation_fails_the_connection")
            .send(first("a"))
            .send(last("b").unmasked())
            .closed(&[1002]),
        new("an_unmasked_text_after_a_masked_one_fails_the_connection")
            .send(text("before"))
            .send(text("after").unmasked())
            .room("before")
            .closed(&[1002]),
        new("a_mask_of_zeros_is_a_mask").send(text("Hello").masked([0; 4])).room("Hello"),
        new("a_mask_of_ones_is_a_mask").send(text("Hello").masked([0xff; 4])).room("Hello"),
        new("every_frame_has_its_own_mask")
            .send(first("one ").masked([1, 2, 3, 4]))
            .send(last("message").masked([9, 8, 7, 6]))
            .room("one message"),
        new("a_mask_turns_with_every_byte").send(text(&every_byte).masked([0x80, 0x01, 0x7f, 0xfe])).room(every_byte),
    ]
}

fn lengths() -> Vec<Case> {
    let new = |name: String| Case::new("headers", "5.2", name);
    let mut cases = Vec::new();
    for length in [0, 5, 125] {
        let payload = vec![b'*'; length];
        let two = new(format!("a_length_of_{length}_in_two_bytes_fails_the_connection"));
        cases.push(two.send(text(&payload).length_in_two()).closed(&[1002]));
        let eight = new(format!("a_length_of_{length}_in_eight_bytes_fails_the_connection"));
        cases.push(eight.send(text(&payload).length_in_eight()).closed(&[1002]));
    }
    for length in [126, 65535] {
        let case = new(format!("a_length_of_{length}_in_eight_bytes_fails_the_connection"));
        cases.push(case.send(text(vec![b'*'; length]).length_in_eight()).closed(&[1002]));
    }
    cases.push(
        new("a_ping_with_its_length_in_two_bytes_fails_the_connection".into())
            .send(ping("p").length_in_two())
            .closed(&[1002]),
    );
    for (name, claimed) in [("lowest", 1 << 63), ("highest", u64::MAX)] {
        let case = new(format!("the_{name}_length_with_the_top_bit_set_fails_the_connection"));
        cases.push(case.send(text("Hello").claiming(claimed)).closed(&[1002]));
    }
    let case = new("the_highest_length_without_the_top_bit_is_too_big".into());
    cases.push(case.send(text("Hello").claiming((1 << 63) - 1)).closed(&[1009]));
    cases
}

/// Every split of a header, for each of its three lengths.
fn pieces() -> Vec<Case> {
    let mut cases = Vec::new();
    for (length, header) in [(5, 6), (300, 8), (65536, 14)] {
        let payload = vec![b'*'; length];
        for at in 1..=header + 1 {
            let name = format!("a_text_of_{length}_bytes_split_after_byte_{at}_comes_back");
            let case = Case::new("headers", "5.2", name);
            cases.push(case.send(text(&payload)).split_at(at).room(&payload));
        }
    }
    for at in 1..12 {
        let name = format!("a_ping_and_a_text_split_after_byte_{at}_are_both_honoured");
        let case = Case::new("headers", "5.2", name).write([ping("p").bytes(), text("t").bytes()].concat());
        cases.push(case.split_at(at).pong("p").room("t"));
    }
    cases
}
