//! An open loop: what is due by now, whether or not what was due before has been done. Time is an argument.

use std::time::Duration;

use crate::activity::Millis;

/// Evenly spaced moments.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Millis,
    next: Millis,
}

impl Schedule {
    /// So many per second, the first of them now. A rate of zero is never due.
    pub fn new(rate: f64, now: Millis) -> Self {
        Self { interval: 1000.0 / rate, next: if rate > 0.0 { now } else { Millis::INFINITY } }
    }

    /// The moments that are due, at most `limit` of them at once.
    pub fn due(&mut self, now: Millis, limit: usize) -> Vec<Millis> {
        let mut due = Vec::new();
        while self.next <= now && due.len() < limit {
            due.push(self.next);
            self.next += self.interval;
        }
        due
    }

    /// Forgets what became due meanwhile.
    pub fn skip_to(&mut self, now: Millis) {
        self.next = self.next.max(now);
    }

    /// How long until the next is due.
    pub fn wait(&self, now: Millis) -> Duration {
        Duration::from_secs_f64(((self.next - now) / 1000.0).clamp(0.0, 3600.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_due_is_caught_up_with_unless_skipped() {
        let mut schedule = Schedule::new(10.0, 1000.0);
        assert_eq!(schedule.due(1000.0, 100), [1000.0]);
        assert_eq!(schedule.wait(1050.0), Duration::from_millis(50));
        assert_eq!(schedule.due(1350.0, 2), [1100.0, 1200.0]);
        assert_eq!(schedule.due(1350.0, 2), [1300.0]);
        schedule.skip_to(2000.0);
        assert_eq!(schedule.due(2000.0, 100), [2000.0]);
    }

    #[test]
    fn a_rate_of_zero_is_never_due() {
        let mut schedule = Schedule::new(0.0, 0.0);
        assert_eq!(schedule.due(1e15, 10), [] as [f64; 0]);
        assert_eq!(schedule.wait(0.0), Duration::from_hours(1));
    }
}
