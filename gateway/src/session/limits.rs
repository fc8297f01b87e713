//! A token bucket as plain data.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Lets `rate` things a second through in the long run, and `burst` at once. Every session has two: eight bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// When it will be full again if no more is taken, in milliseconds (the generic cell rate algorithm).
    full_at: f64,
}

/// What sums of intervals may be off by, in milliseconds.
const ROUNDING: f64 = 1e-3;

impl Bucket {
    /// A full one.
    pub fn full(now: Millis) -> Self {
        Self { full_at: now as f64 }
    }

    /// Takes one, if there is one. `rate` is above zero.
    pub fn take(&mut self, rate: f64, burst: f64, now: Millis) -> bool {
        let (interval, now) = (1000.0 / rate, now as f64);
        let full_at = self.full_at.max(now) + interval;
        let may = full_at - now <= burst * interval + ROUNDING;
        if may {
            self.full_at = full_at;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn burst_holds_at_below_and_above() {
        let mut bucket = Bucket::full(0);
        let taken: Vec<_> = (0..4).map(|_| bucket.take(1.0, 3.0, 0)).collect();
        assert_eq!(taken, [true, true, true, false]);
    }

    #[test]
    fn it_refills_at_its_rate() {
        let mut bucket = Bucket::full(0);
        assert!(bucket.take(10.0, 1.0, 0));
        assert!(!bucket.take(10.0, 1.0, 99));
        assert!(bucket.take(10.0, 1.0, 100));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(steps in proptest::collection::vec(0u64..200, 1..200)) {
            let (mut bucket, mut now, mut passed) = (Bucket::full(0), 0, 0u32);
            for step in steps {
                now += step;
                passed += u32::from(bucket.take(20.0, 5.0, now));
            }
            prop_assert!(f64::from(passed) <= 5.0 + 20.0 * now as f64 / 1000.0 + 1e-6);
        }
    }
}
