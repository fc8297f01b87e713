//! One coarse timer wheel per shard: entries cost sixteen bytes and are never removed, only found outdated.

use crate::clock::Millis;

/// How coarse it is, in milliseconds.
const TICK: Millis = 64;
const BUCKETS: usize = 512;

/// Timers of a shard. An entry is a connection's slot and the time it was set for.
pub(super) struct Wheel {
    buckets: Vec<Vec<(u32, Millis)>>,
    /// Everything before this tick was taken.
    next: u64,
    entries: usize,
}

impl Wheel {
    pub(super) fn new(now: Millis) -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), next: now / TICK, entries: 0 }
    }

    /// Sets a timer. It fires at `at` or up to a tick later; what is further away than one turn of the wheel stays in
    /// its bucket for another turn.
    pub(super) fn set(&mut self, slot: u32, at: Millis) {
        let tick = at.div_ceil(TICK).max(self.next);
        self.buckets[tick as usize % BUCKETS].push((slot, at));
        self.entries += 1;
    }

    /// Moves what is due at `now` to `due`.
    pub(super) fn take(&mut self, now: Millis, due: &mut Vec<(u32, Millis)>) {
        let current = now / TICK;
        // After a long sleep each bucket is looked at once.
        let first = self.next.max(current.saturating_sub(BUCKETS as u64 - 1));
        for tick in first..=current {
            let bucket = &mut self.buckets[tick as usize % BUCKETS];
            let before = bucket.len();
            bucket.retain(|&(slot, at)| {
                let waits = at > now;
                if !waits {
                    due.push((slot, at));
                }
                waits
            });
            self.entries -= before - bucket.len();
            if bucket.is_empty() && bucket.capacity() > 64 {
                *bucket = Vec::new();
            }
        }
        self.next = self.next.max(current + 1);
    }

    /// How long until the next bucket with entries is due; `None` while there are none.
    pub(super) fn timeout(&self, now: Millis) -> Option<Millis> {
        if self.entries == 0 {
            return None;
        }
        let ahead = (0..BUCKETS as u64).find(|ahead| !self.buckets[(self.next + ahead) as usize % BUCKETS].is_empty());
        Some(((self.next + ahead.unwrap_or(0)) * TICK).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: [u32; 0] = [];

    fn due(wheel: &mut Wheel, now: Millis) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.take(now, &mut due);
        due.into_iter().map(|(slot, _)| slot).collect()
    }

    #[test]
    fn a_timer_fires_at_its_time_or_a_tick_later_never_before() {
        let mut wheel = Wheel::new(1000);
        wheel.set(1, 1100);
        assert_eq!(due(&mut wheel, 1099), NONE);
        assert_eq!(due(&mut wheel, 1100 + TICK), [1]);
        assert_eq!(wheel.timeout(1200), None);
    }

    #[test]
    fn a_timer_in_the_past_fires_at_once() {
        let mut wheel = Wheel::new(1000);
        assert_eq!(due(&mut wheel, 5000), NONE);
        wheel.set(1, 10);
        assert!(wheel.timeout(5000).unwrap() <= TICK);
        assert_eq!(due(&mut wheel, 5000 + TICK), [1]);
    }

    #[test]
    fn a_timer_beyond_one_turn_waits_for_its_own() {
        let mut wheel = Wheel::new(0);
        let turn = TICK * BUCKETS as u64;
        wheel.set(1, turn + 640);
        assert_eq!(due(&mut wheel, 704), NONE);
        assert_eq!(due(&mut wheel, turn + 600), NONE);
        assert_eq!(due(&mut wheel, turn + 704), [1]);
    }

    proptest! {
        #[test]
        fn every_timer_fires_once_and_in_time(at in proptest::collection::vec(0u64..100_000, 1..50), steps in proptest::collection::vec(1u64..9000, 1..100)) {
            let mut wheel = Wheel::new(0);
            for (slot, at) in at.iter().enumerate() {
                wheel.set(slot as u32, *at);
            }
            let (mut now, mut fired) = (0, vec![false; at.len()]);
            for step in steps {
                now += step;
                for slot in due(&mut wheel, now) {
                    prop_assert!(at[slot as usize] <= now && !fired[slot as usize]);
                    fired[slot as usize] = true;
                }
                for (slot, at) in at.iter().enumerate() {
                    prop_assert!(fired[slot] || at + TICK > now, "slot {} at {} not fired at {}", slot, at, now);
                }
            }
        }
    }
}
