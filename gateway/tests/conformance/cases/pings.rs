//! Pings and pongs.

use crate::case::Case;
use crate::frame::{first, last, more, ping, pong, text};

pub(super) fn cases() -> Vec<Case> {
    let new = |name: &str| Case::new("pings", "5.5.2", name);
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut cases = vec![
        new("an_empty_ping_is_answered").send(ping("")).pong(""),
        new("a_ping_is_answered_with_its_payload").send(ping("Hello")).pong("Hello"),
        new("a_payload_that_is_no_utf8_comes_back").send(ping(&every_byte[128..253])).pong(&every_byte[128..253]),
        new("a_ping_of_124_bytes_is_answered").send(ping([0xfe; 124])).pong([0xfe; 124]),
        new("a_ping_of_125_bytes_is_answered").send(ping([0xfe; 125])).pong([0xfe; 125]),
        new("a_ping_of_126_bytes_fails_the_connection").send(ping([0xfe; 126])).closed(&[1002]),
        new("a_ping_of_65536_bytes_fails_the_connection").send(ping(vec![0xfe; 65536])).closed(&[1002]),
        new("a_ping_of_125_bytes_sent_byte_by_byte_is_answered").send(ping([b'p'; 125])).chopped(1).pong([b'p'; 125]),
        new("ten_pings_are_answered").many(0..10),
        new("ten_pings_byte_by_byte_are_answered").many(0..10).chopped(1),
        new("a_thousand_pings_at_once_are_answered").many(0..1000),
        new("a_ping_between_two_texts_is_answered")
            .send(text("a"))
            .send(ping("p"))
            .send(text("b"))
            .pong("p")
            .room("a")
            .room("b"),
        new("a_ping_between_two_fragments_is_answered_before_the_message_ends")
            .send(first("a"))
            .send(ping("p"))
            .taken()
            .send(last("b"))
            .pong("p")
            .room("ab"),
        new("pings_between_many_fragments_are_answered")
            .send(first("1"))
            .send(ping("x"))
            .send(more("2"))
            .send(ping("y"))
            .send(ping("z"))
            .send(last("3"))
            .pong("x")
            .pong("y")
            .pong("z")
            .room("123"),
        new("a_ping_in_two_frames_fails_the_connection").send(ping("a").unfinished()).send(last("b")).closed(&[1002]),
        new("a_pong_in_two_frames_fails_the_connection").send(pong("a").unfinished()).send(last("b")).closed(&[1002]),
        new("a_ping_that_ends_a_message_fails_the_connection")
            .send(first("a"))
            .send(ping("p").unfinished())
            .send(last("b"))
            .closed(&[1002]),
    ];
    let new = |name: &str| Case::new("pings", "5.5.3", name);
    cases.extend([
        new("an_unsolicited_pong_is_ignored").send(pong("")),
        new("an_unsolicited_pong_with_a_payload_is_ignored").send(pong("unasked")),
        new("an_unsolicited_pong_between_a_ping_and_a_text_is_ignored")
            .send(pong("unasked"))
            .send(ping("asked"))
            .send(text("a"))
            .pong("asked")
            .room("a"),
        new("a_pong_of_125_bytes_is_ignored").send(pong([7; 125])),
        new("a_pong_of_126_bytes_fails_the_connection").send(pong([7; 126])).closed(&[1002]),
        new("a_pong_between_two_fragments_is_ignored").send(first("a")).send(pong("x")).send(last("b")).room("ab"),
        new("ten_unsolicited_pongs_are_ignored").write(pong("x").bytes().repeat(10)),
    ]);
    cases
}

impl Case {
    /// Pings with numbers for payloads.
    fn many(self, numbers: std::ops::Range<u32>) -> Self {
        numbers.fold(self, |case, n| case.send(ping(n.to_string())).pong(n.to_string()))
    }
}
