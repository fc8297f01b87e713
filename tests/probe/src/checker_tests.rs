//! The checker against sequences whose faults are known.

use proptest::{prelude::*, sample::Index};
use wscluster_client::MessageId;

use super::*;

fn id(number: u64) -> MessageId {
    MessageId::new(1000 + number, 0)
}

/// One session that counts from before number `from`; numbers 1 to 10 are published.
fn checker(from: u64) -> Checker {
    let mut checker = Checker::new(1, 1);
    for _ in 0..10 {
        let number = checker.room(0).issue();
        checker.room(0).decide(number, Fate::Published(id(number)));
    }
    checker.start(0, 0, id(from - 1));
    checker
}

fn check(from: u64, arrivals: &[u64]) -> Findings {
    let mut checker = checker(from);
    for number in arrivals {
        checker.deliver(0, 0, *number, id(*number));
    }
    checker.findings()
}

#[test]
fn each_fault_is_counted_as_what_it_is() {
    // (what, first owed, arrivals, received, lost, duplicated, reordered, unexpected)
    type Case<'a> = (&'a str, u64, &'a [u64], [u64; 5]);
    let table: &[Case<'_>] = &[
        ("all of it", 1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [10, 0, 0, 0, 0]),
        ("joined late", 5, &[5, 6, 7, 8, 9, 10], [6, 0, 0, 0, 0]),
        ("the first lost", 1, &[2, 3, 4, 5, 6, 7, 8, 9, 10], [9, 1, 0, 0, 0]),
        ("the middle lost", 1, &[1, 2, 3, 6, 7, 8, 9, 10], [8, 2, 0, 0, 0]),
        ("the end lost", 1, &[1, 2, 3, 4, 5, 6, 7], [7, 3, 0, 0, 0]),
        ("all lost", 4, &[], [0, 7, 0, 0, 0]),
        ("one twice", 1, &[1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10], [10, 0, 1, 0, 0]),
        ("replayed from the start", 8, &[8, 9, 10, 8, 9, 10], [3, 0, 3, 0, 0]),
        ("two swapped", 1, &[1, 2, 4, 3, 5, 6, 7, 8, 9, 10], [10, 0, 0, 1, 0]),
        ("the first two swapped", 1, &[2, 1, 3, 4, 5, 6, 7, 8, 9, 10], [10, 0, 0, 1, 0]),
        ("three overtaken by one", 7, &[10, 7, 8, 9], [4, 0, 0, 3, 0]),
        ("late, then once more", 8, &[8, 10, 9, 9], [3, 0, 1, 1, 0]),
        ("from before the position", 8, &[7, 8, 9, 10], [3, 0, 0, 0, 1]),
        ("never published", 8, &[8, 9, 10, 11], [3, 0, 0, 0, 1]),
        ("no number", 8, &[0, 8, 9, 10], [3, 0, 0, 0, 1]),
    ];
    for (what, from, arrivals, expected) in table {
        let found = check(*from, arrivals);
        let counts = [found.received, found.lost, found.duplicated, found.reordered, found.unexpected];
        assert_eq!(counts, *expected, "{what}");
        assert_eq!(found.is_clean(), expected[1..] == [0; 4], "{what}");
        assert_eq!(found.examples.is_empty(), found.is_clean(), "{what}");
        assert_eq!(found.expected, 11 - from, "{what}");
    }
}

#[test]
fn an_uncertain_message_may_come_once_or_not_at_all() {
    for (arrivals, clean) in [(&[1, 3][..], true), (&[1, 2, 3], true), (&[1, 2, 2, 3], false), (&[1, 3, 2], false)] {
        let mut checker = checker(1);
        for number in 4..=10 {
            checker.room(0).decide(number, Fate::Failed);
        }
        checker.room(0).decide(2, Fate::Uncertain);
        for number in arrivals {
            checker.deliver(0, 0, *number, id(*number));
        }
        let found = checker.findings();
        assert_eq!(found.is_clean(), clean, "{arrivals:?}: {found:?}");
        assert_eq!(found.lost, 0);
    }
}

#[test]
fn a_failed_message_must_not_come() {
    let mut checker = checker(10);
    checker.room(0).decide(10, Fate::Failed);
    assert_eq!(checker.deliver(0, 0, 10, id(10)), Arrival::Unexpected);
}

#[test]
fn a_message_under_another_id_was_published_twice() {
    let mut checker = checker(10);
    assert_eq!(checker.deliver(0, 0, 10, id(11)), Arrival::Unexpected);
    assert_eq!(checker.findings().lost, 1);
}

#[test]
fn a_delivery_may_overtake_the_answer_to_its_own_publish() {
    let mut checker = Checker::new(1, 1);
    checker.start(0, 0, id(0));
    let number = checker.room(0).issue();
    assert_eq!(checker.deliver(0, 0, number, id(number)), Arrival::InOrder);
    checker.room(0).decide(number, Fate::Published(id(number)));
    assert!(checker.findings().is_clean());
}

#[test]
fn what_is_owed_and_under_way_is_outstanding_until_it_comes() {
    let mut checker = checker(8);
    assert_eq!(checker.outstanding(), 3);
    checker.deliver(0, 0, 10, id(10));
    assert_eq!((checker.outstanding(), checker.received()), (2, 1));
}

#[test]
fn rooms_and_sessions_do_not_mix() {
    let mut checker = Checker::new(2, 2);
    for (room, sessions) in [(0, [0, 1].as_slice()), (1, &[1])] {
        let number = checker.room(room).issue();
        checker.room(room).decide(number, Fate::Published(id(number)));
        for session in sessions {
            checker.start(*session, room, id(0));
            assert_eq!(checker.deliver(*session, room, number, id(number)), Arrival::InOrder);
        }
    }
    assert_eq!(checker.deliver(0, 1, 1, id(1)), Arrival::Unexpected, "session 0 is not in room 1");
    assert_eq!((checker.findings().received, checker.findings().lost), (3, 0));
}

/// Its first owed number per room, and its arrivals: room and number.
type Session = (Vec<u64>, Vec<(usize, u64)>);

/// What one session of several, in several rooms, receives: each room in order, the rooms interleaved at random.
#[derive(Debug, Clone)]
struct Run {
    rooms: usize,
    messages: u64,
    sessions: Vec<Session>,
}

fn run() -> impl Strategy<Value = Run> {
    (1..4_usize, 2..30_u64, 1..4_usize).prop_flat_map(|(rooms, messages, sessions)| {
        let session = prop::collection::vec(1..messages, rooms).prop_flat_map(move |firsts| {
            let all: Vec<_> =
                firsts.iter().enumerate().flat_map(|(room, first)| (*first..=messages).map(move |_| room)).collect();
            (Just(firsts), Just(all).prop_shuffle()).prop_map(|(firsts, order)| {
                let mut next = firsts.clone();
                let arrival = |room: usize| {
                    next[room] += 1;
                    (room, next[room] - 1)
                };
                let arrivals = order.into_iter().map(arrival).collect();
                (firsts, arrivals)
            })
        });
        prop::collection::vec(session, sessions).prop_map(move |sessions| Run { rooms, messages, sessions })
    })
}

fn judge(run: &Run) -> Findings {
    let mut checker = Checker::new(run.sessions.len(), run.rooms);
    for room in 0..run.rooms {
        for _ in 0..run.messages {
            let number = checker.room(room).issue();
            checker.room(room).decide(number, Fate::Published(id(number)));
        }
    }
    for (session, (firsts, arrivals)) in run.sessions.iter().enumerate() {
        for (room, first) in firsts.iter().enumerate() {
            checker.start(session, room, id(first - 1));
        }
        for (room, number) in arrivals {
            checker.deliver(session, *room, *number, id(*number));
        }
    }
    checker.findings()
}

proptest! {
    #[test]
    fn any_valid_interleaving_passes(run in run()) {
        let found = judge(&run);
        prop_assert!(found.is_clean(), "{found:?}");
        let owed: usize = run.sessions.iter().map(|(_, arrivals)| arrivals.len()).sum();
        prop_assert_eq!((found.expected, found.received), (owed as u64, owed as u64));
    }

    #[test]
    fn any_single_loss_is_found(mut run in run(), session: Index, at: Index) {
        let arrivals = &mut session.get_mut(&mut run.sessions).1;
        arrivals.remove(at.index(arrivals.len()));
        let found = judge(&run);
        prop_assert_eq!((found.lost, found.duplicated, found.reordered, found.unexpected), (1, 0, 0, 0));
    }

    #[test]
    fn any_single_duplicate_is_found(mut run in run(), session: Index, at: Index, later: Index) {
        let arrivals = &mut session.get_mut(&mut run.sessions).1;
        let at = at.index(arrivals.len());
        let later = at + 1 + later.index(arrivals.len() - at);
        arrivals.insert(later, arrivals[at]);
        let found = judge(&run);
        prop_assert_eq!((found.lost, found.duplicated, found.reordered, found.unexpected), (0, 1, 0, 0));
    }

    #[test]
    fn any_single_swap_is_found(mut run in run(), session: Index, at: Index) {
        let arrivals = &mut session.get_mut(&mut run.sessions).1;
        let at = at.index(arrivals.len());
        let room = arrivals[at].0;
        let next = (at + 1..arrivals.len()).find(|later| arrivals[*later].0 == room);
        prop_assume!(next.is_some());
        arrivals.swap(at, next.unwrap());
        let found = judge(&run);
        prop_assert_eq!((found.lost, found.duplicated, found.reordered, found.unexpected), (0, 0, 1, 0));
    }

    #[test]
    fn any_stranger_is_found(mut run in run(), session: Index, at: Index) {
        let arrivals = &mut session.get_mut(&mut run.sessions).1;
        arrivals.insert(at.index(arrivals.len() + 1), (0, run.messages + 1));
        let found = judge(&run);
        prop_assert_eq!((found.lost, found.duplicated, found.reordered, found.unexpected), (0, 0, 0, 1));
    }
}
