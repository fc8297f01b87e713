//! How fast a drain tells clients to move, and when it is over. Pure.

use crate::clock::Millis;
use crate::config;

/// The slowest pace that a gateway chooses for itself, in clients per second.
const LEAST_PER_SECOND: f64 = 50.0;

/// The terms of one drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Waiting until load balancers have let go, in milliseconds.
    pub min_ms: Millis,
    /// Time that clients have to move after that, in milliseconds.
    pub timeout_ms: Millis,
    /// Clients told per second; 0: all within half of the time.
    pub per_second: u32,
}

impl Terms {
    /// The settings, but for what the caller of the drain wants otherwise.
    pub fn new(settings: &config::Drain, per_second: Option<u32>, timeout_seconds: Option<u64>) -> Self {
        Self {
            min_ms: settings.min_seconds * 1000,
            timeout_ms: timeout_seconds.unwrap_or(settings.timeout_seconds) * 1000,
            per_second: per_second.unwrap_or(settings.connections_per_second),
        }
    }

    /// From the start to the end, in milliseconds.
    pub fn total_ms(&self) -> Millis {
        self.min_ms + self.timeout_ms
    }

    /// How many clients may have been told `elapsed` milliseconds after the start, of `clients` in all.
    pub fn due(&self, elapsed: Millis, clients: usize) -> usize {
        let Some(moving) = elapsed.checked_sub(self.min_ms) else { return 0 };
        let due = self.rate(clients) * (moving as f64 / 1000.0);
        (due.floor() as usize).min(clients)
    }

    /// Clients per second.
    fn rate(&self, clients: usize) -> f64 {
        if self.per_second > 0 {
            return f64::from(self.per_second);
        }
        let half = self.timeout_ms.max(2) as f64 / 2000.0;
        (clients as f64 / half).max(LEAST_PER_SECOND)
    }

    /// The most that a client is asked to wait, in milliseconds: it spreads those who are told at once.
    pub fn most_delay(&self, elapsed: Millis) -> Millis {
        const SPREAD: Millis = 500;
        SPREAD.min(self.total_ms().saturating_sub(elapsed) / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: Terms = Terms { min_ms: 5000, timeout_ms: 60_000, per_second: 10 };

    #[test]
    fn nobody_is_told_before_the_load_balancers_have_let_go() {
        assert_eq!(TERMS.due(4999, 100), 0);
        assert_eq!(TERMS.due(5000, 100), 0);
        assert_eq!(TERMS.due(5100, 100), 1);
    }

    #[test]
    fn the_pace_asked_for_is_kept() {
        assert_eq!(TERMS.due(6000, 100), 10);
        assert_eq!(TERMS.due(15_000, 100), 100);
        assert_eq!(TERMS.due(60_000, 100), 100);
    }

    #[test]
    fn the_own_pace_tells_everyone_within_half_of_the_time() {
        let own = Terms { per_second: 0, ..TERMS };
        assert_eq!(own.due(5000 + 15_000, 30_000), 15_000);
        assert_eq!(own.due(5000 + 30_000, 30_000), 30_000);
        assert_eq!(own.due(5000 + 1000, 1000), 50, "few clients are told at the least pace");
    }

    #[test]
    fn the_caller_has_the_last_word() {
        let settings = config::Drain::default();
        let terms = Terms::new(&settings, Some(7), Some(3));
        assert_eq!((terms.per_second, terms.timeout_ms), (7, 3000));
        assert_eq!(Terms::new(&settings, None, None).timeout_ms, 300_000);
    }

    proptest! {
        #[test]
        fn due_grows_and_never_exceeds_the_clients(rate in 0u32..500, a in 0u64..100_000, b in 0u64..100_000, n in 0usize..5000) {
            let terms = Terms { per_second: rate, ..TERMS };
            let (early, late) = (terms.due(a.min(b), n), terms.due(a.max(b), n));
            prop_assert!(early <= late && late <= n);
        }
    }
}
