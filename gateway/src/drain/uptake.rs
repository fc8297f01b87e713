//! How many clients may be on their way at once: as many as others are seen to take in. Pure.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::clock::Millis;

/// For so long a client that was told to move counts as on its way, in seconds. One that has not gone by then may not go at
/// all before the deadline: it is no sign of others being full.
const ON_ITS_WAY: u8 = 5;
/// So many may be on their way whatever was seen.
const LEAST: usize = 100;
/// Between two remembered numbers, in milliseconds.
const STEP: Millis = 100;

/// When a client was told to move, in a byte: the second, from 1 to 255 and then from 1 again; 0: it was not told. One who
/// stays is taken for one who was told just now for a few seconds every 255.
#[derive(Debug, Default)]
pub struct Told(AtomicU8);

impl Told {
    /// It is told now. Whether it was not told before.
    pub fn set(&self, now: Millis) -> bool {
        self.0.swap(second(now), Relaxed) == 0
    }

    /// It need not move any more. Whether it was told to.
    pub fn clear(&self) -> bool {
        self.0.swap(0, Relaxed) != 0
    }

    /// Whether it was told.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Whether it was told a few seconds ago at most.
    pub(super) fn is_recent(&self, now: Millis) -> bool {
        let told = self.0.load(Relaxed);
        let age = (u16::from(second(now)) + 255 - u16::from(told)) % 255;
        told != 0 && age < u16::from(ON_ITS_WAY)
    }
}

fn second(at: Millis) -> u8 {
    (at / 1000 % 255 + 1) as u8
}

/// How many have left lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Uptake {
    /// How many had left in all, at some moments of the last seconds.
    seen: VecDeque<(Millis, u64)>,
}

impl Uptake {
    /// The most that may be on their way `now` that `left` have left in all: as many as have left within the time that one
    /// counts as on its way. If others take them in as fast as they are told, that never holds back; if not, no more wait in
    /// front of them than they take in that time.
    pub(super) fn most(&mut self, left: u64, now: Millis) -> usize {
        let since = now.saturating_sub(u64::from(ON_ITS_WAY) * 1000);
        while self.seen.get(1).is_some_and(|(at, _)| *at <= since) {
            self.seen.pop_front();
        }
        if self.seen.back().is_none_or(|(at, _)| at + STEP <= now) {
            self.seen.push_back((now, left));
        }
        let before = self.seen.front().map_or(left, |(_, left)| *left);
        LEAST.max(left.saturating_sub(before) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_counts_as_on_its_way_for_five_seconds_whenever_it_was_told() {
        for now in [0, 999, 253_999, 254_000, 255_000, 1_791_000_000_123] {
            let told = Told::default();
            assert!(!told.is_set() && !told.is_recent(now));
            // Also who was told before, by a drain that was cancelled meanwhile.
            assert!(told.set(now + 60_000) && !told.set(now));
            let recent = [0, 4000, 6000, 100_000, 249_000].map(|later| told.is_recent(now + later));
            assert_eq!(recent, [true, true, false, false, false], "told at {now}");
            assert!(told.is_set() && told.clear() && !told.clear());
        }
    }

    #[test]
    fn as_many_as_have_left_in_five_seconds_may_be_on_their_way() {
        let mut uptake = Uptake::default();
        assert_eq!(uptake.most(0, 0), 100, "nothing is known yet");
        let most: Vec<_> = (1..=12).map(|second| uptake.most(300 * second, 1000 * second)).collect();
        assert_eq!(most[..3], [300, 600, 900]);
        assert_eq!(most[4..], [1500; 8]);
        let still: Vec<_> = (13..=18).map(|second| uptake.most(3600, 1000 * second)).collect();
        assert_eq!(still, [1200, 900, 600, 300, 100, 100], "nobody leaves any more");
    }

    #[test]
    fn looking_often_remembers_no_more() {
        let mut uptake = Uptake::default();
        (0..100_000).for_each(|at| _ = uptake.most(at, at));
        assert!(uptake.seen.len() <= 52, "{}", uptake.seen.len());
        assert_eq!(uptake.most(100_000, 100_000), 5000);
    }
}
