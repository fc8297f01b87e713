//! A token bucket as plain data.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Lets `rate` things a second through in the long run, and `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    spent: f64,
    at: Millis,
}

impl Bucket {
    /// A full one.
    pub fn full(now: Millis) -> Self {
        Self { spent: 0.0, at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, rate: f64, burst: f64, now: Millis) -> bool {
        let elapsed = now.saturating_sub(self.at) as f64 / 1000.0;
        self.spent = (self.spent - elapsed * rate).max(0.0);
        self.at = self.at.max(now);
        let may = self.spent + 1.0 <= burst + 1e-9;
        if may {
            self.spent += 1.0;
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
