//! Long messages, many frames, and the limit on a message's length: at, below and above.

use crate::case::{Case, LARGE, SMALL, Stage};
use crate::frame::{first, last, more, ping, text};

pub(super) fn cases() -> Vec<Case> {
    let new = |name: String| Case::new("limits", "5.4", name);
    let mut cases = Vec::new();
    for length in [256 << 10, 1 << 20, LARGE] {
        let payload = vec![b'*'; length];
        let case = new(format!("a_text_of_{length}_bytes_comes_back")).on(Stage::Large);
        cases.push(case.send(text(&payload)).room(&payload));
    }
    for fragment in [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10] {
        let payload = vec![b'*'; 1 << 20];
        let case = new(format!("a_text_of_1048576_bytes_in_fragments_of_{fragment}_comes_back")).on(Stage::Large);
        cases.push(cut(case, &payload, fragment).room(&payload));
    }
    for piece in [64, 512, 1460, 65_536] {
        let payload = vec![b'*'; 1 << 20];
        let case = new(format!("a_text_of_1048576_bytes_in_segments_of_{piece}_comes_back")).on(Stage::Large);
        cases.push(case.send(text(&payload)).chopped(piece).room(&payload));
    }
    for length in [0, 1, 16, 64, 256, 1024] {
        let case = new(format!("a_thousand_texts_of_{length}_bytes_come_back"));
        let payload = vec![b'*'; length];
        let case = case.write(text(&payload).bytes().repeat(1000));
        cases.push((0..1000).fold(case, |case, _| case.room(&payload)));
    }
    cases.extend(the_limit());
    cases
}

/// A text in fragments of a length.
fn cut(case: Case, payload: &[u8], fragment: usize) -> Case {
    let case = case.send(first(""));
    payload.chunks(fragment).fold(case, |case, part| case.send(more(part))).send(last(""))
}

fn the_limit() -> Vec<Case> {
    let new = |name: &str| Case::new("limits", "10.4", name).on(Stage::Small);
    let star = |length: usize| vec![b'*'; length];
    let halves =
        |name: &str, length: usize| new(name).send(first(star(length / 2))).send(last(star(length - length / 2)));
    let tiny = |name: &str, length: usize| cut(new(name), &star(length), 1);
    vec![
        new("a_text_below_the_limit_comes_back").send(text(star(SMALL - 1))).room(star(SMALL - 1)),
        new("a_text_at_the_limit_comes_back").send(text(star(SMALL))).room(star(SMALL)),
        new("a_text_above_the_limit_is_too_big").send(text(star(SMALL + 1))).closed(&[1009]),
        new("a_text_far_above_the_limit_is_too_big").send(text(star(1 << 20))).closed(&[1009]),
        new("the_limit_counts_bytes_not_characters").send(text("é".repeat(SMALL / 2 + 1))).closed(&[1009]),
        halves("fragments_below_the_limit_come_back", SMALL - 1).room(star(SMALL - 1)),
        halves("fragments_at_the_limit_come_back", SMALL).room(star(SMALL)),
        halves("fragments_above_the_limit_are_too_big", SMALL + 1).closed(&[1009]),
        tiny("fragments_of_one_byte_at_the_limit_come_back", SMALL).room(star(SMALL)),
        tiny("fragments_of_one_byte_above_the_limit_are_too_big", SMALL + 1).closed(&[1009]),
        (0..2000)
            .fold(new("empty_fragments_do_not_count").send(first("a")), |case, _| case.send(more("")))
            .send(last("b"))
            .room("ab"),
        new("a_message_without_an_end_is_too_big_as_soon_as_it_is_over_the_limit")
            .send(first(star(SMALL)))
            .send(more("!"))
            .closed(&[1009]),
        new("a_header_that_announces_too_much_is_enough").write([0x81, 0xfe, 0x40, 0x00, 1, 2, 3, 4]).closed(&[1009]),
        new("a_header_that_announces_gigabytes_is_enough")
            .write([0x81, 0xff, 0, 0, 0, 4, 0, 0, 0, 0, 1, 2, 3, 4])
            .closed(&[1009]),
        new("a_text_above_the_limit_byte_by_byte_is_too_big").send(text(star(SMALL + 1))).chopped(7).closed(&[1009]),
        new("pings_do_not_count_towards_the_message")
            .send(first(star(SMALL / 2)))
            .send(ping(star(125)))
            .send(last(star(SMALL / 2)))
            .pong(star(125))
            .room(star(SMALL)),
        new("each_message_has_the_whole_limit")
            .send(text(star(SMALL)))
            .send(text(star(SMALL)))
            .room(star(SMALL))
            .room(star(SMALL)),
        new("what_came_before_a_message_that_is_too_big_is_delivered")
            .send(text("before"))
            .send(text(star(SMALL + 1)))
            .room("before")
            .closed(&[1009]),
        new("a_text_at_the_large_limit_comes_back").on(Stage::Large).send(text(star(LARGE))).room(star(LARGE)),
        new("a_text_above_the_large_limit_is_too_big").on(Stage::Large).send(text(star(LARGE + 1))).closed(&[1009]),
    ]
}

/// A sender that cuts by itself: fragments that do not divide the message.
pub(super) fn auto_fragmentation() -> Vec<Case> {
    let each = |(length, fragment): (usize, usize)| {
        let name = format!("a_text_of_{length}_bytes_in_fragments_of_{fragment}_is_one_message");
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        cut(Case::new("auto_fragmentation", "5.4", name), &payload, fragment).room(&payload)
    };
    [(65536, 1300), (65536, 1), (65536, 65535), (65535, 125), (65535, 126), (30_000, 7)].map(each).into()
}
