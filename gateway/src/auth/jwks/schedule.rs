//! When a key set is fetched next: a function of how the last attempt went. Knows no HTTP.

use std::time::Duration;

/// How often, and with how much patience.
#[derive(Clone, Copy, Debug)]
pub(in crate::auth) struct Timing {
    /// One attempt takes no longer.
    pub(in crate::auth) patience: Duration,
    /// Tokens with unknown keys cause no more than one attempt in this time: anybody can send such tokens.
    pub(in crate::auth) between_refetches: Duration,
    /// How long a set is good, where its server does not say.
    pub(in crate::auth) life: Duration,
    /// The least and the most that its server may say.
    pub(in crate::auth) bounds: (Duration, Duration),
    /// After the first failure; doubled by each further one, up to the lower bound.
    pub(in crate::auth) retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            between_refetches: Duration::from_secs(10),
            life: Duration::from_mins(10),
            bounds: (Duration::from_mins(1), Duration::from_hours(1)),
            retry: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// How long to wait after a success, given `max-age`: well before the set is stale. `jitter` is 0 to 1.
    pub(super) fn after_success(&self, max_age: Option<Duration>, jitter: f64) -> Duration {
        let life = max_age.unwrap_or(self.life).clamp(self.bounds.0, self.bounds.1);
        life.mul_f64(0.75 - 0.1 * jitter)
    }

    /// How long to wait after so many failures in a row. A fleet does not come back all at once.
    pub(super) fn after_failure(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.retry.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.bounds.0).mul_f64(0.5 + 0.5 * jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_set_is_fetched_again_well_before_it_is_stale() {
        let timing = Timing::default();
        assert_eq!(timing.after_success(None, 0.0), seconds(450));
        assert_eq!(timing.after_success(None, 1.0), seconds(390));
        assert_eq!(timing.after_success(Some(seconds(300)), 0.0), seconds(225));
        assert_eq!(timing.after_success(Some(seconds(0)), 0.0), seconds(45), "not every moment");
        assert_eq!(
            timing.after_success(Some(seconds(86_400)), 0.0),
            seconds(2700),
            "a withdrawn key goes within an hour"
        );
    }

    #[test]
    fn failures_are_tried_again_with_growing_patience() {
        let timing = Timing::default();
        let waits: Vec<_> = [1, 2, 3, 6, 7, 8, u32::MAX].map(|n| timing.after_failure(n, 1.0).as_secs()).to_vec();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60, 60]);
        assert_eq!(timing.after_failure(7, 0.0), seconds(30));
    }
}
