//! A round of the sweep over the rooms of a lane, part by part, and when the next part is due. Pure.

use std::time::Duration;

use crate::room::RoomId;

/// Rooms of one part: those of one `XREAD`. Redis answers nobody else meanwhile.
const PART: usize = 64;
/// Rooms that are asked for in a second where notifications tell of news and the server's setting is looked at, so that
/// rounds find nothing.
const PACE: usize = 500;
/// The shortest and the longest time of such a round.
const SLOW: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// Between two rounds that are not spread.
const POLL: Duration = Duration::from_millis(20);

/// One round. What is left of it can be dropped at any time.
#[derive(Default)]
pub(super) struct Round {
    rooms: Vec<RoomId>,
    next: usize,
    took: Duration,
    /// Rooms that had news which no notification had told.
    pub(super) found: usize,
}

impl Round {
    pub(super) fn new(rooms: Vec<RoomId>) -> Self {
        Self { rooms, ..Self::default() }
    }

    /// The time for a round that is not expected to find anything.
    pub(super) fn slow(&self) -> Duration {
        let [shortest, longest] = SLOW;
        Duration::from_secs((self.rooms.len() / PACE) as u64).clamp(shortest, longest)
    }

    /// Whether no part is left.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.rooms.len()
    }

    /// The next part; it is passed over from now on.
    pub(super) fn part(&mut self) -> &[RoomId] {
        let begin = self.next;
        self.next = (begin + PART).min(self.rooms.len());
        &self.rooms[begin..self.next]
    }

    /// A part has taken so long: when the next one is due. Where the round is `spread` over a time, all parts have the same
    /// share of it, so that nobody waits for many at once. Otherwise they follow one another, and the next round begins
    /// when at most a fifth of Redis's time is taken by it.
    pub(super) fn pause(&mut self, took: Duration, spread: Option<Duration>) -> Duration {
        self.took += took;
        match spread {
            Some(spread) => spread / self.rooms.len().div_ceil(PART).max(1) as u32,
            None if self.is_over() => POLL.max(self.took * 4),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn round(rooms: usize) -> Round {
        Round::new((0..rooms).map(|number| RoomId::parse(&format!("r{number}")).unwrap()).collect())
    }

    #[test]
    fn every_room_has_its_turn_once() {
        for count in [0, 1, PART, PART + 1, 3 * PART] {
            let (mut round, mut seen) = (round(count), Vec::new());
            while !round.is_over() {
                let part = round.part();
                assert!((1..=PART).contains(&part.len()));
                seen.extend_from_slice(part);
            }
            assert_eq!(seen, round.rooms, "{count}");
            assert!(round.part().is_empty());
        }
    }

    #[test]
    fn a_round_that_is_spread_takes_its_time_however_many_rooms_there_are() {
        for count in [0, 1, PART, PART + 1, 10 * PART] {
            let (mut round, mut all) = (round(count), Duration::ZERO);
            loop {
                round.part();
                all += round.pause(SECOND / 100, Some(5 * SECOND));
                if round.is_over() {
                    break;
                }
            }
            assert!(all > SECOND * 49 / 10 && all <= 5 * SECOND, "{count}: {all:?}");
        }
    }

    #[test]
    fn a_slow_round_takes_longer_with_many_rooms_up_to_a_limit() {
        for (rooms, seconds) in [(0, 5), (2500, 5), (3000, 6), (15_000, 30), (100_000, 30)] {
            assert_eq!(round(rooms).slow(), seconds * SECOND, "{rooms}");
        }
    }

    #[test]
    fn a_round_that_is_not_spread_goes_through_at_once_and_rests_by_what_it_took() {
        let mut round = round(2 * PART);
        round.part();
        assert_eq!(round.pause(SECOND, None), Duration::ZERO);
        round.part();
        assert_eq!(round.pause(SECOND, None), 8 * SECOND);
        assert_eq!(self::round(0).pause(Duration::ZERO, None), POLL);
    }
}
