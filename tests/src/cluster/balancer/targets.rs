//! Which targets a network load balancer sends new connections to: those that are registered, and for a while those that
//! were. Pure; time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The targets of one port.
#[derive(Debug)]
pub(super) struct Targets {
    /// How long a removed target goes on getting new connections.
    delay: Duration,
    /// When each was removed; none: it is registered.
    known: BTreeMap<SocketAddr, Option<Instant>>,
    turn: usize,
}

impl Targets {
    /// Nobody is registered yet.
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, known: BTreeMap::new(), turn: 0 }
    }

    /// From now on exactly these are registered.
    pub(super) fn register(&mut self, wanted: &BTreeSet<SocketAddr>, now: Instant) {
        for (target, removed) in &mut self.known {
            if wanted.contains(target) {
                *removed = None;
            } else {
                removed.get_or_insert(now);
            }
        }
        for target in wanted {
            self.known.entry(*target).or_default();
        }
    }

    /// The target of the next new connection, by turns; none when there is nobody.
    pub(super) fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        let delay = self.delay;
        self.known.retain(|_, removed| removed.is_none_or(|removed| now.duration_since(removed) < delay));
        self.turn = self.turn.wrapping_add(1);
        self.known.keys().nth(self.turn % self.known.len().max(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_mins(1);

    fn target(number: u8) -> SocketAddr {
        SocketAddr::from(([198, 18, 64, number], 8080))
    }

    fn registered(numbers: &[u8]) -> BTreeSet<SocketAddr> {
        numbers.iter().copied().map(target).collect()
    }

    /// Whom so many connections go to.
    fn met(targets: &mut Targets, count: usize, now: Instant) -> BTreeSet<SocketAddr> {
        (0..count).filter_map(|_| targets.next(now)).collect()
    }

    #[test]
    fn nobody_takes_a_connection_while_nobody_is_registered() {
        assert_eq!(Targets::new(DELAY).next(Instant::now()), None);
    }

    #[test]
    fn targets_take_turns() {
        let (mut targets, now) = (Targets::new(DELAY), Instant::now());
        targets.register(&registered(&[1, 2, 3]), now);
        assert_eq!(met(&mut targets, 3, now), registered(&[1, 2, 3]));
    }

    #[test]
    fn a_removed_target_gets_connections_until_the_delay_is_over() {
        let (mut targets, start) = (Targets::new(DELAY), Instant::now());
        targets.register(&registered(&[1, 2]), start);
        targets.register(&registered(&[2, 3]), start);
        // Being told of it again does not prolong it.
        targets.register(&registered(&[2, 3]), start + DELAY / 2);
        assert_eq!(met(&mut targets, 3, start + DELAY * 99 / 100), registered(&[1, 2, 3]));
        assert_eq!(met(&mut targets, 3, start + DELAY), registered(&[2, 3]));
    }

    #[test]
    fn a_target_that_is_registered_again_stays() {
        let (mut targets, start) = (Targets::new(DELAY), Instant::now());
        for wanted in [&[1][..], &[], &[1]] {
            targets.register(&registered(wanted), start);
        }
        assert_eq!(targets.next(start + 2 * DELAY), Some(target(1)));
    }

    #[test]
    fn without_a_delay_a_removed_target_is_left_alone_at_once() {
        let (mut targets, now) = (Targets::new(Duration::ZERO), Instant::now());
        targets.register(&registered(&[1, 2]), now);
        targets.register(&registered(&[2]), now);
        assert_eq!(met(&mut targets, 4, now), registered(&[2]));
    }
}
