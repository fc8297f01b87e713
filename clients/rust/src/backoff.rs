//! Full-jitter exponential backoff. It does not know what is being retried.

use std::time::Duration;

/// Delays drawn uniformly from zero to a ceiling that doubles with each failure ("full jitter").
///
/// Source: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first delay.
    pub base: Duration,
    /// The ceiling that is never passed.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), max: Duration::from_secs(20) }
    }
}

impl Backoff {
    /// The longest delay after `failures` failures in a row (the first retry has none behind it).
    pub fn ceiling(&self, failures: u32) -> Duration {
        self.base.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(self.max)
    }

    pub(crate) fn delay(&self, failures: u32, jitter: &mut Jitter) -> Duration {
        self.ceiling(failures).mul_f64(jitter.fraction())
    }
}

/// A source of chance that is eight bytes small, since there is one per client (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from zero (included) to one (excluded).
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_until_the_maximum() {
        let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1) };
        let ceilings: Vec<_> = [0, 1, 2, 3, 4, 31, 32, 1000].map(|n| backoff.ceiling(n).as_millis()).into();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    }

    #[test]
    fn delays_spread_over_the_whole_range() {
        let backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(1) };
        let mut jitter = Jitter::new(7);
        let delays: Vec<_> = (0..10_000).map(|_| backoff.delay(0, &mut jitter).as_millis()).collect();
        for decile in 0..10 {
            let within = delays.iter().filter(|delay| (decile * 100..(decile + 1) * 100).contains(*delay)).count();
            assert!((800..1200).contains(&within), "{within} of 10,000 delays in decile {decile}");
        }
    }
}
