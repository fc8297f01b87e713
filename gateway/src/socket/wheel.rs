//! One coarse timer wheel per shard: an entry costs four bytes and is never removed, only found outdated.

use super::rooms::Slot;
use crate::clock::Millis;

/// How coarse it is, in milliseconds.
const TICK: Millis = 64;
const BUCKETS: usize = 512;

/// Timers of a shard. An entry is a connection's slot; the connection knows what time it is for.
pub(super) struct Wheel {
    buckets: Vec<Vec<Slot>>,
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
    pub(super) fn set(&mut self, slot: Slot, at: Millis) {
        let tick = at.div_ceil(TICK).max(self.next);
        self.buckets[tick as usize % BUCKETS].push(slot);
        self.entries += 1;
    }

    /// Adds to `due` whose time has come at `now`; one may be added twice. `set_for` tells what time a slot's timer is
    /// set for now: an entry that no more agrees with it is dropped.
    pub(super) fn take(&mut self, now: Millis, set_for: impl Fn(Slot) -> Option<Millis>, due: &mut Vec<Slot>) {
        let current = now / TICK;
        // After a long sleep each bucket is looked at once.
        let first = self.next.max(current.saturating_sub(BUCKETS as u64 - 1));
        for tick in first..=current {
            let bucket = &mut self.buckets[tick as usize % BUCKETS];
            let before = bucket.len();
            bucket.retain(|&slot| match set_for(slot) {
                Some(at) if at <= now => {
                    due.push(slot);
                    false
                }
                Some(at) => at.div_ceil(TICK) as usize % BUCKETS == tick as usize % BUCKETS,
                None => false,
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
    use std::collections::HashMap;

    /// A wheel, and the connections whose timers it has.
    struct World {
        wheel: Wheel,
        timers: HashMap<Slot, Millis>,
    }

    impl World {
        fn new(now: Millis) -> Self {
            Self { wheel: Wheel::new(now), timers: HashMap::new() }
        }

        fn set(&mut self, slot: Slot, at: Millis) {
            self.timers.insert(slot, at);
            self.wheel.set(slot, at);
        }

        /// Whose timers fire at `now`; they are set no more.
        fn fire(&mut self, now: Millis) -> Vec<Slot> {
            let mut due = Vec::new();
            self.wheel.take(now, |slot| self.timers.get(&slot).copied(), &mut due);
            due.retain(|slot| self.timers.remove(slot).is_some());
            due
        }
    }

    const NONE: [Slot; 0] = [];

    #[test]
    fn a_timer_fires_at_its_time_or_a_tick_later_never_before() {
        let mut world = World::new(1000);
        world.set(1, 1100);
        assert_eq!(world.fire(1099), NONE);
        assert_eq!(world.fire(1100 + TICK), [1]);
        assert_eq!(world.wheel.timeout(1200), None);
    }

    #[test]
    fn a_timer_in_the_past_fires_at_once() {
        let mut world = World::new(1000);
        assert_eq!(world.fire(5000), NONE);
        world.set(1, 10);
        assert!(world.wheel.timeout(5000).unwrap() <= TICK);
        assert_eq!(world.fire(5000 + TICK), [1]);
    }

    #[test]
    fn a_timer_beyond_one_turn_waits_for_its_own() {
        let mut world = World::new(0);
        let turn = TICK * BUCKETS as u64;
        world.set(1, turn + 640);
        assert_eq!(world.fire(704), NONE);
        assert_eq!(world.fire(turn + 600), NONE);
        assert_eq!(world.fire(turn + 704), [1]);
    }

    #[test]
    fn entries_that_are_outdated_are_dropped() {
        let mut world = World::new(0);
        world.set(1, 6400);
        world.set(1, 640);
        world.set(2, 640);
        world.timers.remove(&2);
        assert_eq!(world.fire(704), [1], "2 has gone");
        world.set(1, 12_800);
        assert_eq!(world.fire(6500), NONE);
        assert_eq!(world.wheel.entries, 1);
        assert_eq!(world.fire(12_900), [1]);
        assert_eq!(world.wheel.timeout(12_900), None);
    }

    proptest! {
        #[test]
        fn every_timer_fires_in_time_however_often_it_is_set(
            orders in proptest::collection::vec((0u32..20, 0u64..100_000, 1u64..9000), 1..300),
        ) {
            let (mut world, mut now) = (World::new(0), 0);
            for (slot, ahead, step) in orders {
                // As a connection does: a timer is only ever set for an earlier time than it is set for.
                if world.timers.get(&slot).is_none_or(|at| now + ahead < *at) {
                    world.set(slot, now + ahead);
                }
                now += step;
                let before = world.timers.clone();
                for slot in world.fire(now) {
                    prop_assert!(before[&slot] <= now, "slot {} fired early", slot);
                }
                for (slot, at) in &world.timers {
                    prop_assert!(at + TICK > now, "slot {} at {} not fired at {}", slot, at, now);
                }
            }
        }
    }
}
