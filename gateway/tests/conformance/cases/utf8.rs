//! Texts are UTF-8 (RFC 6455 section 8.1, RFC 3629). What is not fails the connection with 1007: whole, in fragments cut
//! anywhere, byte by byte.

use crate::case::Case;
use crate::frame::{first, last, more, ping, text};

/// Valid: name and bytes.
const VALID: [(&str, &[u8]); 27] = [
    ("plain_ascii", b"Hello, world"),
    ("greek", "κόσμε".as_bytes()),
    ("mixed_lengths", "Hello-µ@ßöäüàá-UTF-8!!".as_bytes()),
    ("an_emoji", "🚀".as_bytes()),
    ("the_zero_character", b"\0"),
    ("the_first_of_two_bytes", b"\xc2\x80"),
    ("the_first_of_three_bytes", b"\xe0\xa0\x80"),
    ("the_first_of_four_bytes", b"\xf0\x90\x80\x80"),
    ("the_last_of_one_byte", b"\x7f"),
    ("the_last_of_two_bytes", b"\xdf\xbf"),
    ("the_last_of_three_bytes", b"\xef\xbf\xbf"),
    ("the_last_of_four_bytes", b"\xf4\x8f\xbf\xbf"),
    ("the_last_before_the_surrogates", b"\xed\x9f\xbf"),
    ("the_first_after_the_surrogates", b"\xee\x80\x80"),
    ("the_replacement_character", b"\xef\xbf\xbd"),
    ("the_byte_order_mark", b"\xef\xbb\xbf"),
    ("the_noncharacter_fffe", b"\xef\xbf\xbe"),
    ("the_noncharacter_fdd0", b"\xef\xb7\x90"),
    ("the_noncharacter_1fffe", b"\xf0\x9f\xbf\xbe"),
    ("the_noncharacter_1ffff", b"\xf0\x9f\xbf\xbf"),
    ("the_noncharacter_2fffe", b"\xf0\xaf\xbf\xbe"),
    ("the_noncharacter_7ffff", b"\xf1\xbf\xbf\xbf"),
    ("the_noncharacter_8fffe", b"\xf2\x8f\xbf\xbe"),
    ("the_noncharacter_fffff", b"\xf3\xbf\xbf\xbf"),
    ("the_noncharacter_10fffe", b"\xf4\x8f\xbf\xbe"),
    ("a_private_use_character", b"\xee\x80\x80\xef\xa3\xbf"),
    ("combining_marks", "e\u{301}\u{20dd}".as_bytes()),
];

/// Not valid: name and bytes.
const INVALID: [(&str, &[u8]); 58] = [
    ("a_continuation_byte_80", b"\x80"),
    ("a_continuation_byte_bf", b"\xbf"),
    ("two_continuation_bytes", b"\x80\xbf"),
    ("six_continuation_bytes", b"\x80\xbf\x80\xbf\x80\xbf"),
    ("a_continuation_byte_within_ascii", b"a\x80b"),
    ("a_lead_of_two_before_a_space", b"\xc2 "),
    ("a_lead_of_three_before_a_space", b"\xe1 "),
    ("a_lead_of_four_before_a_space", b"\xf1 "),
    ("a_lead_of_five", b"\xf8 "),
    ("a_lead_of_six", b"\xfc "),
    ("two_bytes_without_the_last", b"\xdf"),
    ("three_bytes_without_the_last", b"\xef\xbf"),
    ("four_bytes_without_the_last", b"\xf0\x90\x80"),
    ("four_bytes_without_two", b"\xf4\x8f"),
    ("three_bytes_cut_by_ascii", b"\xe2\x82a"),
    ("four_bytes_cut_by_ascii", b"\xf0\x9f\x9aa"),
    ("incomplete_characters_in_a_row", b"\xc2\xe1\x80\xf1\x80\x80"),
    ("the_byte_fe", b"\xfe"),
    ("the_byte_ff", b"\xff"),
    ("the_bytes_fefeffff", b"\xfe\xfe\xff\xff"),
    ("five_bytes", b"\xf8\x88\x80\x80\x80"),
    ("six_bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("the_last_of_five_bytes", b"\xfb\xbf\xbf\xbf\xbf"),
    ("the_last_of_six_bytes", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    ("an_overlong_slash_of_two", b"\xc0\xaf"),
    ("an_overlong_slash_of_three", b"\xe0\x80\xaf"),
    ("an_overlong_slash_of_four", b"\xf0\x80\x80\xaf"),
    ("an_overlong_slash_of_five", b"\xf8\x80\x80\x80\xaf"),
    ("an_overlong_slash_of_six", b"\xfc\x80\x80\x80\x80\xaf"),
    ("the_longest_overlong_of_two", b"\xc1\xbf"),
    ("the_longest_overlong_of_three", b"\xe0\x9f\xbf"),
    ("the_longest_overlong_of_four", b"\xf0\x8f\xbf\xbf"),
    ("the_longest_overlong_of_five", b"\xf8\x87\xbf\xbf\xbf"),
    ("the_longest_overlong_of_six", b"\xfc\x83\xbf\xbf\xbf\xbf"),
    ("an_overlong_zero_of_two", b"\xc0\x80"),
    ("an_overlong_zero_of_three", b"\xe0\x80\x80"),
    ("an_overlong_zero_of_four", b"\xf0\x80\x80\x80"),
    ("the_surrogate_d800", b"\xed\xa0\x80"),
    ("the_surrogate_db7f", b"\xed\xad\xbf"),
    ("the_surrogate_db80", b"\xed\xae\x80"),
    ("the_surrogate_dbff", b"\xed\xaf\xbf"),
    ("the_surrogate_dc00", b"\xed\xb0\x80"),
    ("the_surrogate_df80", b"\xed\xbe\x80"),
    ("the_surrogate_dfff", b"\xed\xbf\xbf"),
    ("the_surrogate_pair_d800_dc00", b"\xed\xa0\x80\xed\xb0\x80"),
    ("the_surrogate_pair_d800_dfff", b"\xed\xa0\x80\xed\xbf\xbf"),
    ("the_surrogate_pair_db7f_dc00", b"\xed\xad\xbf\xed\xb0\x80"),
    ("the_surrogate_pair_dbff_dfff", b"\xed\xaf\xbf\xed\xbf\xbf"),
    ("the_first_beyond_10ffff", b"\xf4\x90\x80\x80"),
    ("far_beyond_10ffff", b"\xf7\xbf\xbf\xbf"),
    ("the_lead_f5", b"\xf5\x80\x80\x80"),
    ("greek_before_a_surrogate", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"),
    ("greek_before_beyond_10ffff", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited"),
    ("ascii_before_an_odd_byte", b"Hello-\xff"),
    ("a_good_emoji_before_a_cut_one", b"\xf0\x9f\x9a\x80\xf0\x9f\x9a"),
    ("a_second_continuation_too_many", b"\xc2\x80\x80"),
    ("latin_one", b"caf\xe9"),
    ("utf16", b"\xff\xfeH\0i\0"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, bytes) in VALID {
        cases.push(new(&format!("{name}_comes_back")).send(text(bytes)).room(bytes));
        cases.push(fragments(&format!("{name}_in_fragments_of_one_byte_comes_back"), bytes).room(bytes));
    }
    for (name, bytes) in INVALID {
        cases.push(new(&format!("{name}_fails_the_connection")).send(text(bytes)).closed(&[1007]));
        cases.push(fragments(&format!("{name}_in_fragments_of_one_byte_fails_the_connection"), bytes).closed(&[1007]));
        cases.push(
            new(&format!("{name}_byte_by_byte_fails_the_connection")).send(text(bytes)).chopped(1).closed(&[1007]),
        );
    }
    cases.extend(across_frames());
    cases
}

fn new(name: &str) -> Case {
    Case::new("utf8", "8.1", name)
}

/// One byte a fragment.
fn fragments(name: &str, bytes: &[u8]) -> Case {
    let case = new(name).send(first(""));
    bytes.iter().fold(case, |case, byte| case.send(more([*byte]))).send(last(""))
}

fn across_frames() -> Vec<Case> {
    let rocket = "🚀".as_bytes();
    let mut cases: Vec<_> = (1..4)
        .map(|at| {
            let case = new(&format!("a_character_cut_after_{at}_of_4_bytes_comes_back"));
            case.send(first(&rocket[..at])).send(last(&rocket[at..])).room(rocket)
        })
        .collect();
    cases.extend([
        new("a_ping_within_a_cut_character_does_no_harm")
            .send(first(&rocket[..2]))
            .send(ping("\u{1}"))
            .send(last(&rocket[2..]))
            .pong("\u{1}")
            .room(rocket),
        new("a_message_that_ends_within_a_character_fails_the_connection")
            .send(first("a"))
            .send(last(&rocket[..3]))
            .closed(&[1007]),
        new("a_character_is_not_completed_by_the_next_message")
            .send(text(&rocket[..2]))
            .send(text(&rocket[2..]))
            .closed(&[1007]),
        new("an_invalid_first_fragment_fails_the_connection_without_the_rest").send(first(b"ok \xff")).closed(&[1007]),
        new("an_invalid_middle_fragment_fails_the_connection_without_the_rest")
            .send(first("ok"))
            .send(more(b"\xed\xa0\x80"))
            .closed(&[1007]),
        new("an_impossible_continuation_fails_the_connection_without_the_rest")
            .send(first(b"\xf4"))
            .send(more(b"\x90"))
            .closed(&[1007]),
        new("what_came_before_an_invalid_text_is_delivered_what_comes_after_is_not")
            .send(text("before"))
            .send(text(b"\xff"))
            .send(text("after"))
            .room("before")
            .closed(&[1007]),
        new("pings_and_pongs_need_not_be_utf8").send(ping(b"\xff\xfe\x80")).pong(b"\xff\xfe\x80"),
    ]);
    let long = "κόσμε ".repeat(2000);
    cases.push(new("a_long_text_in_pieces_of_three_comes_back").send(text(&long)).chopped(3).room(&long));
    let spoiled = [long.as_bytes(), b"\xc0\xaf"].concat();
    cases.push(new("a_long_text_with_a_bad_end_fails_the_connection").send(text(spoiled)).closed(&[1007]));
    cases
}
