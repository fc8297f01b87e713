//! The server's pings, as plain data.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::config;

/// When the next ping is due, or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    ping_at: Millis,
    /// `Millis::MAX`: none is awaited.
    answer_by: Millis,
}

/// What a heartbeat wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Ping,
    /// The answer did not come: close.
    Missed,
}

impl Heartbeat {
    /// Starts pinging. `jitter` from 0 to 1 spreads the first pings of connections that came together.
    pub fn new(settings: &config::Heartbeat, now: Millis, jitter: f64) -> Self {
        let interval = settings.interval_seconds * 1000;
        Self { ping_at: now + (interval as f64 * (0.5 + jitter / 2.0)) as Millis, answer_by: Millis::MAX }
    }

    /// A pong came.
    pub fn answered(&mut self) {
        self.answer_by = Millis::MAX;
    }

    /// Whether an answer that is awaited should have come.
    pub fn is_overdue(&self, now: Millis) -> bool {
        self.answer_by <= now
    }

    /// The answer may have come, unread: it is awaited as long once more.
    pub fn excuse(&mut self, settings: &config::Heartbeat, now: Millis) {
        self.answer_by = now + settings.timeout_seconds * 1000;
    }

    /// When to look again.
    pub fn wake_at(&self) -> Millis {
        self.answer_by.min(self.ping_at)
    }

    /// What is due at `now`.
    pub fn tick(&mut self, settings: &config::Heartbeat, now: Millis) -> Due {
        if self.is_overdue(now) {
            return Due::Missed;
        }
        if now < self.ping_at {
            return Due::Nothing;
        }
        self.ping_at = now + settings.interval_seconds * 1000;
        self.answer_by = self.answer_by.min(now + settings.timeout_seconds * 1000);
        Due::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: config::Heartbeat = config::Heartbeat { interval_seconds: 25, timeout_seconds: 10 };

    #[test]
    fn an_answered_ping_is_followed_by_another() {
        let mut heartbeat = Heartbeat::new(&EVERY, 0, 1.0);
        assert_eq!(heartbeat.wake_at(), 25_000);
        assert_eq!(heartbeat.tick(&EVERY, 24_999), Due::Nothing);
        assert_eq!(heartbeat.tick(&EVERY, 25_000), Due::Ping);
        assert_eq!(heartbeat.wake_at(), 35_000);
        heartbeat.answered();
        assert_eq!(heartbeat.tick(&EVERY, 35_000), Due::Nothing);
        assert_eq!(heartbeat.tick(&EVERY, 50_000), Due::Ping);
    }

    #[test]
    fn a_missed_answer_is_noticed_at_the_timeout_not_before() {
        let mut heartbeat = Heartbeat::new(&EVERY, 0, 0.0);
        assert_eq!(heartbeat.tick(&EVERY, 12_500), Due::Ping);
        assert_eq!(heartbeat.tick(&EVERY, 22_499), Due::Nothing);
        assert_eq!(heartbeat.tick(&EVERY, 22_500), Due::Missed);
    }

    #[test]
    fn who_is_excused_has_as_long_once_more() {
        let mut heartbeat = Heartbeat::new(&EVERY, 0, 0.0);
        assert_eq!(heartbeat.tick(&EVERY, 12_500), Due::Ping);
        assert!(!heartbeat.is_overdue(22_499) && heartbeat.is_overdue(22_500));
        heartbeat.excuse(&EVERY, 23_000);
        assert_eq!(heartbeat.tick(&EVERY, 32_999), Due::Nothing);
        assert_eq!(heartbeat.tick(&EVERY, 33_000), Due::Missed);
    }

    #[test]
    fn a_timeout_longer_than_the_interval_is_not_extended_by_the_next_ping() {
        let slow = config::Heartbeat { interval_seconds: 1, timeout_seconds: 3 };
        let mut heartbeat = Heartbeat::new(&slow, 0, 1.0);
        assert_eq!(heartbeat.tick(&slow, 1000), Due::Ping);
        assert_eq!(heartbeat.tick(&slow, 2000), Due::Ping);
        assert_eq!(heartbeat.tick(&slow, 4000), Due::Missed);
    }
}
