//! How fast a drain tells clients to move, and when it is over. Pure.

use crate::clock::Millis;
use crate::config;

/// The slowest pace that a gateway chooses for itself, in clients per second.
const LEAST_PER_SECOND: f64 = 50.0;

/// How far a drain has used its pace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    looked_at: Millis,
    credit: f64,
}

/// The clients of a drain at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Still to be told.
    pub waiting: usize,
    /// To be told or told before.
    pub all: usize,
    /// Told a short while ago, and still here.
    pub moving: usize,
    /// The most that may be so.
    pub most_moving: usize,
}

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

    /// How many may be told at `elapsed` milliseconds after the start. What was not used is saved for at most a second: a
    /// pace that is raised, or clients that come late, are no reason for a burst.
    pub fn grant(&self, pace: &mut Pace, elapsed: Millis, clients: Clients) -> usize {
        let since = elapsed.saturating_sub(pace.looked_at.max(self.min_ms));
        pace.looked_at = elapsed;
        let rate = self.rate(elapsed, clients);
        pace.credit = (pace.credit + rate * (since as f64 / 1000.0)).min(rate.max(1.0));
        let granted = (pace.credit.floor() as usize).min(clients.waiting).min(self.room(elapsed, clients));
        pace.credit -= granted as f64;
        granted
    }

    /// Clients per second that are told at `elapsed` milliseconds after the start, if others take them in.
    pub fn pace(&self, elapsed: Millis, clients: Clients) -> f64 {
        let telling = (self.min_ms..self.total_ms()).contains(&elapsed);
        if telling { self.rate(elapsed, clients) } else { 0.0 }
    }

    /// Clients per second.
    fn rate(&self, elapsed: Millis, Clients { waiting, all, .. }: Clients) -> f64 {
        if self.per_second > 0 {
            return f64::from(self.per_second);
        }
        let seconds = |part: f64| self.timeout_ms.max(2) as f64 * part / 1000.0;
        let since = elapsed.saturating_sub(self.min_ms) as f64 / 1000.0;
        let steady = (all as f64 / seconds(0.5)).max(LEAST_PER_SECOND);
        if since < seconds(0.5) {
            return steady;
        }
        // Late: what waits is spread over a part of the time that is left.
        steady.max(waiting as f64 / (seconds(0.75) - since).max(1.0))
    }

    /// How many more may be on their way. While there is time, rather later than in a crowd in front of gateways that do not
    /// take them in; at the deadline they would all come at once.
    fn room(&self, elapsed: Millis, Clients { moving, most_moving, .. }: Clients) -> usize {
        let hurries = elapsed.saturating_sub(self.min_ms) * 8 >= self.timeout_ms * 5;
        if hurries { usize::MAX } else { most_moving.saturating_sub(moving) }
    }

    /// The most that a client is asked to wait, in milliseconds, of those who are `told` at once: so long as the pace
    /// takes for them, that their reconnects follow it, too. Not so long that no time is `left` to move.
    pub fn most_delay(&self, told: usize, elapsed: Millis, clients: Clients, left: Millis) -> Millis {
        const SPREAD: Millis = 500;
        let paced = (told as f64 * 1000.0 / self.rate(elapsed, clients)) as Millis;
        SPREAD.max(paced).min(left / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: Terms = Terms { min_ms: 5000, timeout_ms: 60_000, per_second: 10 };

    /// Others take in whoever comes.
    fn clients(waiting: usize, all: usize) -> Clients {
        Clients { waiting, all, moving: 0, most_moving: usize::MAX }
    }

    /// How many are told up to `until`, looking every 100 ms.
    fn told(terms: Terms, until: Millis, all: usize) -> usize {
        let (mut pace, mut told) = (Pace::default(), 0);
        for elapsed in (0..=until).step_by(100) {
            told += terms.grant(&mut pace, elapsed, clients(all - told, all));
        }
        told
    }

    #[test]
    fn the_pace_is_shown_while_clients_are_told() {
        let shown = [0, 4999, 5000, 64_999, 65_000].map(|elapsed| TERMS.pace(elapsed, clients(100, 100)).to_string());
        assert_eq!(shown, ["0", "0", "10", "10", "0"]);
    }

    #[test]
    fn nobody_is_told_before_the_load_balancers_have_let_go() {
        assert_eq!([4900, 5000, 5100].map(|until| told(TERMS, until, 100)), [0, 0, 1]);
    }

    #[test]
    fn the_pace_asked_for_is_kept() {
        assert_eq!([6000, 15_000, 60_000].map(|until| told(TERMS, until, 100)), [10, 100, 100]);
    }

    #[test]
    fn the_own_pace_tells_everyone_within_half_of_the_time() {
        let own = Terms { per_second: 0, ..TERMS };
        assert_eq!(told(own, 5000 + 15_000, 30_000), 15_000);
        assert_eq!(told(own, 5000 + 30_000, 30_000), 30_000);
        assert_eq!(told(own, 5000 + 1000, 1000), 50, "few clients are told at the least pace");
    }

    #[test]
    fn a_raised_pace_and_late_clients_make_no_burst() {
        let mut pace = Pace::default();
        assert_eq!(TERMS.grant(&mut pace, 20_000, clients(0, 0)), 0);
        let raised = Terms { per_second: 100, ..TERMS };
        assert_eq!(
            raised.grant(&mut pace, 20_100, clients(1000, 1000)),
            20,
            "a second of the old pace, a tenth of the new"
        );
        assert_eq!(raised.grant(&mut pace, 20_200, clients(1000, 1000)), 10);
    }

    #[test]
    fn no_more_are_told_than_there_is_room_for_others_to_take_until_time_is_short() {
        let full = Clients { waiting: 900, all: 1000, moving: 98, most_moving: 100 };
        let granted = |elapsed| TERMS.grant(&mut Pace { looked_at: elapsed - 1000, credit: 0.0 }, elapsed, full);
        assert_eq!(granted(30_000), 2);
        assert_eq!(granted(42_400), 2);
        assert_eq!(granted(42_500), 10, "five eighths of a minute are over");
        let more = Clients { moving: 130, ..full };
        assert_eq!(TERMS.grant(&mut Pace { looked_at: 29_000, credit: 0.0 }, 30_000, more), 0);
    }

    #[test]
    fn who_is_late_after_half_of_the_time_is_told_within_three_quarters() {
        let own = Terms { per_second: 0, ..TERMS };
        let pace = |seconds: u64, waiting| own.pace(5000 + seconds * 1000, clients(waiting, 6000)).to_string();
        assert_eq!([pace(29, 6000), pace(30, 6000), pace(35, 6000), pace(35, 100)], ["200", "400", "600", "200"]);
        assert_eq!(pace(59, 6000), "6000");
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
        fn never_more_than_the_pace(rate in 1u32..500, looks in proptest::collection::vec((1u64..3000, 0usize..500), 1..60)) {
            let terms = Terms { per_second: rate, ..TERMS };
            let (mut pace, mut elapsed, mut told) = (Pace::default(), 0, 0);
            for (step, waiting) in looks {
                elapsed += step;
                told += terms.grant(&mut pace, elapsed, clients(waiting, waiting));
                let most = f64::from(rate) * (elapsed.saturating_sub(terms.min_ms) as f64 / 1000.0);
                prop_assert!(told as f64 <= most + 1e-6);
            }
        }
    }
}
