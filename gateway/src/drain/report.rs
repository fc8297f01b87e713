//! When a drain has something to say for whoever watches the log. Pure.

use super::{Phase, Status};
use crate::clock::Millis;

/// Time between two lines about how far a drain is, in milliseconds.
const EVERY: Millis = 10_000;

/// What was said of a drain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    looked_at: Millis,
    ended: bool,
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// How far it is.
    Progress,
    /// It is over: nobody is left, or the deadline has passed.
    End,
}

impl Report {
    /// Of a drain that began `now`.
    pub(super) fn new(now: Millis) -> Self {
        Self { looked_at: now, ended: false }
    }

    /// What is to be said `now`.
    pub(super) fn line(&mut self, status: &Status, now: Millis) -> Option<Line> {
        let over = status.state == Phase::Drained || status.deadline_at.is_some_and(|at| at <= now);
        if over && !std::mem::replace(&mut self.ended, true) {
            return Some(Line::End);
        }
        if over || now < self.looked_at + EVERY {
            return None;
        }
        self.looked_at = now;
        Some(Line::Progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: Phase) -> Status {
        Status {
            state,
            remaining: 1,
            noticed: 0,
            moving: 0,
            moved: 0,
            forced: 0,
            rate: 0.0,
            exiting: false,
            started_at: Some(0),
            deadline_at: Some(60_000),
        }
    }

    #[test]
    fn it_tells_every_ten_seconds_how_far_it_is_and_once_that_it_is_over() {
        let mut report = Report::new(0);
        let mut at = |state, now| report.line(&status(state), now);
        assert_eq!(at(Phase::Draining, 9_999), None);
        assert_eq!(at(Phase::Draining, 10_000), Some(Line::Progress));
        assert_eq!(at(Phase::Draining, 19_999), None);
        assert_eq!(at(Phase::Drained, 20_000), Some(Line::End));
        assert_eq!(at(Phase::Drained, 40_000), None);
    }

    #[test]
    fn a_deadline_is_an_end() {
        let mut report = Report::new(0);
        assert_eq!(report.line(&status(Phase::Draining), 60_000), Some(Line::End));
        assert_eq!(report.line(&status(Phase::Drained), 60_100), None);
    }
}
