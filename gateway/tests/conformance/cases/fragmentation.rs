//! Messages in several frames.

use crate::case::Case;
use crate::frame::{Frame, binary, close, first, last, more, ping, pong, text};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = whole();
    cases.extend(broken());
    cases
}

fn new(name: &str) -> Case {
    Case::new("fragmentation", "5.4", name)
}

fn whole() -> Vec<Case> {
    let two = |case: Case| case.send(first("frag")).send(last("ment")).room("fragment");
    let pinged = |case: Case| {
        let case = case.send(first("frag")).send(ping("p")).send(last("ment"));
        case.pong("p").room("fragment")
    };
    vec![
        two(new("two_fragments_are_one_message")),
        two(new("two_fragments_byte_by_byte_are_one_message")).chopped(1),
        new("two_fragments_that_come_apart_are_one_message")
            .send(first("frag"))
            .taken()
            .send(last("ment"))
            .room("fragment"),
        pinged(new("a_ping_between_two_fragments_is_answered")),
        pinged(new("a_ping_between_two_fragments_byte_by_byte_is_answered")).chopped(1),
        new("empty_fragments_are_an_empty_message").send(first("")).send(more("")).send(last("")).room(""),
        new("empty_fragments_around_text_are_one_message")
            .send(first(""))
            .send(more("middle"))
            .send(last(""))
            .room("middle"),
        new("an_empty_last_fragment_ends_the_message").send(first("all")).send(last("")).room("all"),
        new("five_fragments_with_pings_and_pongs_between_are_one_message")
            .send(first("1"))
            .send(ping("a"))
            .send(more("2"))
            .send(pong("b"))
            .send(more("3"))
            .send(ping("c"))
            .send(more("4"))
            .send(last("5"))
            .pong("a")
            .pong("c")
            .room("12345"),
        new("a_whole_message_follows_a_fragmented_one")
            .send(first("a"))
            .send(last("b"))
            .send(text("c"))
            .room("ab")
            .room("c"),
        new("two_fragmented_messages_follow_each_other")
            .send(first("a"))
            .send(last("b"))
            .send(first("c"))
            .send(last("d"))
            .room("ab")
            .room("cd"),
        (0..100)
            .fold(new("a_hundred_fragments_are_one_message").send(first("")), |case, _| case.send(more("*")))
            .send(last("."))
            .room("*".repeat(100) + "."),
        new("an_unfinished_message_is_not_delivered").send(first("a")).send(ping("p")).pong("p"),
        new("a_close_frame_between_two_fragments_is_answered_and_the_message_is_not_delivered")
            .send(first("a"))
            .send(close(1000, ""))
            .closed(&[1000]),
    ]
}

fn broken() -> Vec<Case> {
    let continued = |name: &str, frame: Frame| new(name).send(frame);
    vec![
        continued("a_continuation_of_nothing_that_is_last_fails_the_connection", last("a")).closed(&[1002]),
        continued("a_continuation_of_nothing_that_is_not_last_fails_the_connection", more("a")).closed(&[1002]),
        continued("an_empty_continuation_of_nothing_fails_the_connection", last("")).closed(&[1002]),
        continued("a_continuation_of_nothing_before_a_text_fails_the_connection", last("a"))
            .send(text("b"))
            .closed(&[1002]),
        continued("a_continuation_of_nothing_byte_by_byte_fails_the_connection", more("a"))
            .send(text("b"))
            .chopped(1)
            .closed(&[1002]),
        new("a_continuation_after_a_whole_message_fails_the_connection")
            .send(text("a"))
            .send(last("b"))
            .room("a")
            .closed(&[1002]),
        new("a_continuation_after_a_fragmented_message_fails_the_connection")
            .send(first("a"))
            .send(last("b"))
            .send(last("c"))
            .room("ab")
            .closed(&[1002]),
        new("a_ping_does_not_begin_a_message").send(ping("p")).send(last("a")).pong("p").closed(&[1002]),
        new("a_text_within_a_fragmented_message_fails_the_connection").send(first("a")).send(text("b")).closed(&[1002]),
        new("another_first_fragment_within_a_message_fails_the_connection")
            .send(first("a"))
            .send(first("b"))
            .send(last("c"))
            .closed(&[1002]),
        new("a_binary_frame_within_a_text_fails_the_connection")
            .send(first("a"))
            .send(binary("b"))
            .closed(&[1002, 1003]),
        new("a_text_within_a_fragmented_message_byte_by_byte_fails_the_connection")
            .send(first("a"))
            .send(text("b"))
            .chopped(1)
            .closed(&[1002]),
        new("a_text_after_a_ping_within_a_message_fails_the_connection")
            .send(first("a"))
            .send(ping("p"))
            .send(text("b"))
            .pong("p")
            .closed(&[1002]),
    ]
}
