//! A client that is given what it has missed in passages.

use super::*;
use crate::replay::{MAX_BYTES, MAX_ENTRIES};

/// A client that has missed 4 to 9, and was given 4 and 5; the room stands at 9.
fn behind(yaml: &str) -> World {
    let mut world = world(yaml);
    world.text(r#"{"type":"subscribe","ref":2,"room":"a","since":"3-0"}"#);
    let first = Some(passage("a", 3, &[4, 5]));
    let replay = Replay { count: 6, end: id(9), first, ..replay("a", true, 3, &[]) };
    let effects = world.step(Event::Joined { room: room("a"), position: id(9), replay: Some(replay) });
    assert!(effects[1].contains(r#""recovered":true,"replayed":6"#), "{effects:?}");
    assert_eq!(effects[2..], ["deliver a 4-0", "deliver a 5-0"]);
    world
}

fn read_on(after: u64, ids: &[u64]) -> Event {
    Event::ReadOn { room: room("a"), passage: Some(passage("a", after, ids)) }
}

impl World {
    fn receives(&mut self, ms: u64) -> Receipt {
        self.session.receive(&delivery("a", ms))
    }
}

#[test]
fn passages_follow_each_other_and_then_the_client_is_live() {
    let mut world = behind("");
    assert!(world.session.is_reading() && !world.session.joining());
    assert_eq!(world.step(Event::Roomy), ["read a after 5-0"]);
    assert_eq!(world.step(Event::Roomy), [""; 0], "one at a time");
    assert_eq!(world.step(read_on(5, &[6, 7])), ["deliver a 6-0", "deliver a 7-0"]);
    assert_eq!(world.step(Event::Roomy), ["read a after 7-0"]);
    assert_eq!(world.step(read_on(7, &[8, 9])), ["deliver a 8-0", "deliver a 9-0"]);
    assert!(!world.session.is_reading());
    assert_eq!(world.step(Event::Roomy), [""; 0]);
    assert_eq!(world.step(Event::Message(delivery("a", 10))), ["deliver a 10-0"]);
}

#[test]
fn live_messages_are_passed_over_and_read_back_and_kept_while_they_may_be_next() {
    let mut world = behind("");
    assert_eq!(world.receives(10), Receipt::Known, "nothing is being read: the log has it");
    world.step(Event::Roomy);
    assert_eq!(world.receives(11), Receipt::Early, "what is being read may reach up to it");
    world.step(read_on(5, &[6, 7, 8, 9]));
    assert!(world.session.is_reading(), "10 was passed over");
    assert_eq!(world.receives(11), Receipt::Known, "it was kept for nothing");
    world.step(Event::Roomy);
    assert_eq!(world.receives(12), Receipt::Early);
    assert_eq!(world.step(read_on(9, &[10, 11])), ["deliver a 10-0", "deliver a 11-0"]);
    assert!(!world.session.is_reading());
    assert_eq!((world.receives(11), world.receives(12)), (Receipt::Known, Receipt::Fresh));
}

#[test]
fn what_cannot_be_kept_any_longer_is_read_back() {
    let mut world = behind("");
    world.step(Event::Roomy);
    assert_eq!(world.receives(10), Receipt::Early);
    assert_eq!(world.session.pass_over(&delivery("a", 10)), Receipt::Known);
    assert_eq!(world.receives(11), Receipt::Known, "nothing is kept behind what was not");
    world.step(read_on(5, &[6, 7, 8, 9]));
    assert_eq!(world.step(Event::Roomy), ["read a after 9-0"]);
    assert_eq!(world.step(read_on(9, &[10, 11])), ["deliver a 10-0", "deliver a 11-0"]);
    assert!(!world.session.is_reading());
}

#[test]
fn live_messages_that_could_not_be_kept_while_a_room_was_joined_are_read_back() {
    let mut world = world("");
    world.text(r#"{"type":"subscribe","room":"a"}"#);
    assert_eq!(world.receives(6), Receipt::Early);
    world.session.pass_over(&delivery("a", 6));
    assert_eq!(world.receives(7), Receipt::Known);
    world.step(Event::Joined { room: room("a"), position: id(5), replay: None });
    assert_eq!(world.step(Event::Roomy), ["read a after 5-0"]);
    assert_eq!(world.step(read_on(5, &[6, 7])), ["deliver a 6-0", "deliver a 7-0"]);
    assert_eq!(world.receives(8), Receipt::Fresh);
}

#[test]
fn a_hole_is_told_before_what_comes_after_it_and_makes_the_session_unrecovered() {
    let mut world = behind("");
    world.step(Event::Roomy);
    let hole = Passage { hole: Some((Reason::Trimmed, id(7))), ..passage("a", 7, &[8, 9]) };
    let passage = Some(Passage { after: id(5), ..hole });
    assert_eq!(
        world.step(Event::ReadOn { room: room("a"), passage }),
        [
            "resynced trimmed",
            r#"{"type":"resync","room":"a","reason":"trimmed","position":"7-0"}"#,
            "restored false",
            "deliver a 8-0",
            "deliver a 9-0"
        ]
    );
}

#[test]
fn everything_that_there_is_ends_it_even_where_less_is_left_than_there_was() {
    let mut world = behind("");
    world.step(Event::Roomy);
    let passage = Some(Passage { complete: true, ..passage("a", 5, &[6]) });
    assert_eq!(world.step(Event::ReadOn { room: room("a"), passage }), ["deliver a 6-0"]);
    assert!(!world.session.is_reading());
}

#[test]
fn while_the_log_is_away_it_is_asked_again() {
    let mut world = behind("");
    world.step(Event::Roomy);
    assert_eq!(world.step(Event::ReadOn { room: room("a"), passage: None }), [""; 0]);
    assert_eq!(world.step(Event::Roomy), ["read a after 5-0"]);
}

#[test]
fn a_gap_of_the_live_reader_puts_the_client_there_and_it_reads_on() {
    let mut world = behind("");
    world.step(Event::Roomy);
    let gap = |reason, position| Event::Gap { room: room("a"), reason, position: id(position) };
    assert_eq!(world.step(gap(Reason::Reset, 2))[0], "resynced reset");
    assert_eq!(world.step(read_on(5, &[6, 7])), [""; 0], "it is of before");
    assert_eq!(world.step(Event::Roomy), ["read a after 2-0"]);
    let passage = Some(Passage { complete: true, ..passage("a", 2, &[3]) });
    assert_eq!(world.step(Event::ReadOn { room: room("a"), passage }), ["deliver a 3-0"]);
    assert_eq!(world.receives(4), Receipt::Fresh);
}

#[test]
fn a_room_that_is_left_or_subscribed_to_anew_is_given_no_more_of_the_old_subscription() {
    let mut left = behind("");
    left.step(Event::Roomy);
    left.text(r#"{"type":"unsubscribe","room":"a"}"#);
    assert_eq!(left.step(read_on(5, &[6])), [""; 0]);
    let mut anew = behind("");
    anew.step(Event::Roomy);
    anew.text(r#"{"type":"subscribe","room":"a","since":"8-0"}"#);
    assert_eq!(anew.step(read_on(5, &[6])), [""; 0]);
    let effects =
        anew.step(Event::Joined { room: room("a"), position: id(9), replay: Some(replay("a", true, 8, &[9])) });
    assert_eq!(effects[2..], ["deliver a 9-0"]);
}

#[test]
fn rooms_take_turns() {
    let mut world = behind("");
    world.text(r#"{"type":"subscribe","room":"b","since":"3-0"}"#);
    let replay = Replay { count: 3, end: id(9), first: None, ..replay("b", true, 3, &[]) };
    world.step(Event::Joined { room: room("b"), position: id(9), replay: Some(replay) });
    for (room_name, after, asks) in [("a", 5, "read a after 5-0"), ("b", 3, "read b after 3-0")] {
        assert_eq!(world.step(Event::Roomy), [asks]);
        let passage = Some(passage(room_name, after, &[after + 1]));
        world.step(Event::ReadOn { room: room(room_name), passage });
    }
    assert_eq!(world.step(Event::Roomy), ["read a after 6-0"]);
}

#[test]
fn a_client_that_is_carried_on_reads_on_from_its_cursor() {
    let mut world = behind("");
    world.step(Event::Roomy);
    assert_eq!(world.step(Event::CarriedOn), ["join a since 5-0"]);
    let replay = replay("a", true, 5, &[6, 7, 8, 9]);
    let effects = world.step(Event::Joined { room: room("a"), position: id(9), replay: Some(replay) });
    assert_eq!(effects.len(), 4, "{effects:?}");
    assert_eq!(world.receives(10), Receipt::Fresh);
}

#[test]
fn a_client_may_be_behind_as_much_as_a_replay_may_be_and_not_one_more() {
    let big = |ms| Delivery::new(room("a"), Entry::new(id(ms), ms, "x".repeat(MAX_BYTES / 4).as_str().into()));
    for (what, messages, bytes) in [("entries", MAX_ENTRIES, false), ("bytes", 4, true)] {
        let mut world = behind("");
        let receive = |world: &mut World, n: u64| {
            if bytes { world.session.receive(&big(n)) } else { world.receives(n) }
        };
        for n in 0..messages as u64 {
            assert_eq!(receive(&mut world, 10 + n), Receipt::Known, "{what} {n}");
        }
        // It is given two of what it had missed: those do not count.
        world.step(Event::Roomy);
        world.step(read_on(5, &[6, 9]));
        assert_eq!(receive(&mut world, 10 + messages as u64), Receipt::TooFar, "{what}");
        let effects = world.step(Event::Dropped);
        assert!(effects[1].contains(r#""reason":"slow""#), "{effects:?}");
        assert!(!world.session.is_reading());
        assert_eq!(world.receives(11 + messages as u64), Receipt::Fresh, "it goes on live");
    }
}

#[test]
fn what_came_live_and_was_given_counts_no_more() {
    let mut world = behind("");
    for n in 0..MAX_ENTRIES as u64 {
        world.receives(10 + n);
    }
    world.step(Event::Roomy);
    world.step(read_on(5, &[6, 7, 8, 9, 10]));
    assert_eq!(world.receives(10 + MAX_ENTRIES as u64), Receipt::Known, "at the limit again");
    assert_eq!(world.receives(11 + MAX_ENTRIES as u64), Receipt::TooFar);
}
