//! How many lines of each kind may be written, and how many were not. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use crate::clock::Millis;
use crate::session::Bucket;

/// Lines of one kind that may come at once.
const BURST: f64 = 20.0;
/// Lines of one kind per second, in the long run.
const PER_SECOND: f64 = 1.0;

/// What was written and left out of each kind.
pub(super) struct Quota<K>(HashMap<K, Kind>);

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

struct Kind {
    bucket: Bucket,
    name: String,
    suppressed: u64,
}

impl<K: Hash + Eq> Quota<K> {
    /// Whether one more line of a kind may be written. `name` is asked for once.
    pub(super) fn admit(&mut self, kind: K, now: Millis, name: impl FnOnce() -> String) -> bool {
        let new = || Kind { bucket: Bucket::full(now), name: name(), suppressed: 0 };
        let kind = self.0.entry(kind).or_insert_with(new);
        let may = kind.bucket.take(PER_SECOND, BURST, now);
        kind.suppressed += u64::from(!may);
        may
    }

    /// What was left out since this was last asked: names of kinds, and how many lines.
    pub(super) fn take_suppressed(&mut self) -> Vec<(String, u64)> {
        let some = self.0.values_mut().filter(|kind| kind.suppressed > 0);
        some.map(|kind| (kind.name.clone(), std::mem::take(&mut kind.suppressed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(quota: &mut Quota<u8>, kind: u8, times: usize, now: Millis) -> usize {
        (0..times).filter(|_| quota.admit(kind, now, || format!("kind {kind}"))).count()
    }

    #[test]
    fn a_kind_is_bounded_at_below_and_above_and_what_is_left_out_is_counted() {
        let mut quota = Quota::default();
        assert_eq!(write(&mut quota, 1, 20, 0), 20);
        assert_eq!(quota.take_suppressed(), []);
        assert_eq!(write(&mut quota, 1, 1000, 0), 0);
        assert_eq!(quota.take_suppressed(), [("kind 1".into(), 1000)]);
        assert_eq!(quota.take_suppressed(), [], "told once");
    }

    #[test]
    fn a_flood_of_one_kind_leaves_others_alone() {
        let mut quota = Quota::default();
        write(&mut quota, 1, 1000, 0);
        assert_eq!(write(&mut quota, 2, 5, 0), 5);
    }

    #[test]
    fn a_kind_comes_back_at_its_rate() {
        let mut quota = Quota::default();
        write(&mut quota, 1, 1000, 0);
        assert_eq!(write(&mut quota, 1, 1000, 999), 0);
        assert_eq!(write(&mut quota, 1, 1000, 3000), 3);
    }
}
