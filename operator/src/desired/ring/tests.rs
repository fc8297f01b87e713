//! Rings over time, as short words: which keys there are, and which signs.

use super::*;
use proptest::prelude::*;

const FRESH: [u8; 32] = [9; 32];
const MAX_AGE: i64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn own(letter: char) -> Signing {
    Signing::Own([u8::try_from(letter).unwrap(); 32].to_vec())
}

fn wanted(word: &str) -> Signing {
    match word {
        "generated" => Signing::Generated,
        "unknown" => Signing::Unknown,
        letter => own(letter.chars().next().unwrap()),
    }
}

/// The keys by the first letter of their secrets; `*` for one of the operator's own.
fn shown(ring: &Ring) -> String {
    let letter = |key: &Key| if key.life.generated { '*' } else { char::from(key.secret[0]) };
    ring.0.iter().map(letter).collect()
}

/// Goes through `second wanted`, through what is kept of the ring each time, and compares the ring at the end of each.
#[track_caller]
fn check(steps: &[(i64, &str, &str)]) {
    let mut ring = Ring::default();
    for (second, word, expected) in steps {
        ring = Ring::read(&ring.text(), &ring.lives(), at(*second));
        ring = ring.next(&wanted(word), &FRESH, MAX_AGE, at(*second));
        assert_eq!(shown(&ring), *expected, "at {second}, wanted {word}");
    }
}

#[test]
fn a_users_key_is_long_enough_or_not_known() {
    let of =
        |length: usize, end: &str| Signing::of(Some([&b"k".repeat(length)[..], end.as_bytes()].concat().as_slice()));
    assert_eq!(of(31, "\n"), Signing::Unknown);
    assert_eq!(of(32, "\n"), Signing::Own(b"k".repeat(32)));
    assert_eq!(of(33, ""), Signing::Own(b"k".repeat(33)));
    assert_eq!(Signing::of(None), Signing::Unknown);
}

#[test]
fn the_first_key_signs_at_once() {
    check(&[(0, "generated", "*"), (5000, "generated", "*")]);
    check(&[(0, "a", "a"), (5000, "a", "a")]);
    check(&[(0, "unknown", "*")]);
}

#[test]
fn a_new_key_is_read_before_it_signs_and_the_old_one_until_its_cookies_expired() {
    check(&[(0, "a", "a"), (10, "b", "ab"), (189, "b", "ab"), (190, "b", "ba"), (1370, "b", "ba"), (1371, "b", "b")]);
}

#[test]
fn a_key_that_never_signed_goes_as_soon_as_it_is_not_wanted() {
    check(&[(0, "a", "a"), (10, "b", "ab"), (20, "c", "ac"), (200, "c", "ca"), (210, "a", "ac")]);
}

#[test]
fn a_secret_that_is_away_changes_nothing() {
    check(&[(0, "a", "a"), (10, "b", "ab"), (500, "unknown", "ab"), (510, "b", "ba"), (9000, "unknown", "b")]);
}

#[test]
fn a_key_of_our_own_takes_over_from_the_users_and_back() {
    check(&[(0, "generated", "*"), (10, "a", "*a"), (190, "a", "a*"), (200, "generated", "a**")]);
    check(&[(0, "a", "a"), (10, "generated", "a*"), (190, "generated", "*a"), (1400, "generated", "*")]);
}

#[test]
fn going_back_to_a_key_that_is_still_read_is_done_at_once() {
    check(&[(0, "a", "a"), (10, "b", "ab"), (190, "b", "ba"), (191, "a", "ab")]);
}

#[test]
fn a_clock_that_goes_back_rotates_nothing_early() {
    check(&[(1000, "a", "a"), (1010, "b", "ab"), (0, "b", "ab"), (1190, "b", "ba"), (0, "b", "ba")]);
}

#[test]
fn a_file_without_its_notes_is_kept_and_ages_from_now_on() {
    let text = Ring(vec![Key::new(&[1; 32], true, at(0)), Key::new(&[2; 32], false, at(0))]).text();
    let ring = |second| Ring::read(&text, "", at(second));
    let kept = ring(0).next(&Signing::Generated, &FRESH, MAX_AGE, at(0));
    assert_eq!(kept.text(), text);
    let later = Ring::read(&text, &kept.lives(), at(1181)).next(&Signing::Generated, &FRESH, MAX_AGE, at(1181));
    assert_eq!(later.0.len(), 1);
}

#[test]
fn what_is_no_key_is_not_read() {
    let ring = Ring::read("\nnonsense\nshort AAAA\nid !!!\n", "{", at(0));
    assert!(ring.0.is_empty());
    assert_eq!(shown(&ring.next(&Signing::Generated, &FRESH, MAX_AGE, at(0))), "*");
}

#[test]
fn a_line_for_which_gateways_would_refuse_the_file_is_left_out() {
    let secret = URL_SAFE_NO_PAD.encode(FRESH);
    let (longest, too_long) = ("k".repeat(LONGEST_ID), "k".repeat(LONGEST_ID + 1));
    let lines = ["k1", "k.2", "ä", "", "k1", &too_long, &longest].map(|id| format!("{id} {secret}\n"));
    let ring = Ring::read(&lines.concat(), "", at(0));
    assert_eq!(ring.0.iter().map(|key| &*key.id).collect::<Vec<_>>(), ["k1", &*longest]);
}

#[test]
fn lines_are_what_gateways_read() {
    let ring = Ring::default().next(&Signing::Generated, &FRESH, MAX_AGE, at(0));
    let text = ring.text();
    let (id, secret) = text.trim_end().split_once(' ').unwrap();
    assert!((1..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap(), FRESH);
    assert!(!format!("{ring:?}").contains(secret) && !ring.lives().contains(secret));
}

#[test]
fn the_number_of_keys_is_bounded() {
    let mut ring = Ring::default();
    for turn in 0..40_u8 {
        let secret = Signing::Own(vec![turn; 32]);
        ring = ring.next(&secret, &FRESH, 31_536_000, at(i64::from(turn) * 1000));
        ring = ring.next(&secret, &FRESH, 31_536_000, at(i64::from(turn) * 1000 + 200));
        assert_eq!(ring.0[0].secret[0], turn, "the wanted one signs");
    }
    assert_eq!(ring.0.len(), MOST);
}

proptest! {
    /// Whatever is wanted when: a cookie signed by the first key at any moment is read at every moment until it expires.
    #[test]
    fn a_cookie_is_read_until_it_expires(
        steps in prop::collection::vec((0_i64..400, prop::sample::select(vec!["a", "b", "c", "generated", "unknown"])), 1..12)
    ) {
        let (mut ring, mut second, mut signed) = (Ring::default(), 0, Vec::<(i64, String)>::new());
        for (number, (pause, word)) in steps.into_iter().enumerate() {
            second += pause;
            let fresh = [100 + u8::try_from(number).unwrap(); 32];
            ring = ring.next(&wanted(word), &fresh, MAX_AGE, at(second));
            for (at, id) in &signed {
                prop_assert!(second - at > MAX_AGE || ring.0.iter().any(|key| key.id == *id), "{} of {}", id, at);
            }
            signed.push((second, ring.0[0].id.clone()));
        }
    }
}
