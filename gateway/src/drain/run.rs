//! One drain under way: its terms, its progress, and what follows from both. Pure.

use super::pace::{Pace, Terms};
use super::report::Report;
use super::{Phase, Status, Wish};
use crate::clock::Millis;

/// A drain under way.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) report: Report,
    terms: Terms,
    started_at: Millis,
    /// When the process must have moved everyone, whatever the terms say: its pod is ended soon after.
    leave_by: Option<Millis>,
    pace: Pace,
    /// Clients that were still to be told when that was last looked at.
    waiting: usize,
    noticed: u64,
    moved: u64,
    forced: u64,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// The most that it may be asked to wait, in milliseconds.
    pub(super) most_delay: Millis,
    /// The connection is closed in so many milliseconds.
    pub(super) deadline_ms: Millis,
}

impl Run {
    pub(super) fn new(number: u64, terms: Terms, now: Millis) -> Self {
        Self {
            number,
            report: Report::new(now),
            terms,
            started_at: now,
            leave_by: None,
            pace: Pace::default(),
            waiting: 0,
            noticed: 0,
            moved: 0,
            forced: 0,
        }
    }

    /// Changes the terms where `wish` names any.
    pub(super) fn change(&mut self, wish: Wish) {
        self.terms.per_second = wish.connections_per_second.unwrap_or(self.terms.per_second);
        self.terms.timeout_ms = wish.timeout_seconds.map_or(self.terms.timeout_ms, |seconds| seconds * 1000);
    }

    /// The process will end: the drain takes no longer than one of these terms that begins now.
    pub(super) fn leave_within(&mut self, terms: Terms, now: Millis) {
        let by = now + terms.total_ms();
        self.leave_by = Some(self.leave_by.map_or(by, |earlier| earlier.min(by)));
    }

    pub(super) fn deadline(&self) -> Millis {
        let by_terms = self.started_at + self.terms.total_ms();
        self.leave_by.map_or(by_terms, |at| at.min(by_terms))
    }

    /// How many of those who `wait` may be told now, and what.
    pub(super) fn grant(&mut self, waiting: usize, now: Millis) -> (usize, Notice) {
        let elapsed = now.saturating_sub(self.started_at);
        let clients = waiting + self.noticed as usize;
        let granted = self.terms.grant(&mut self.pace, elapsed, waiting, clients);
        self.noticed += granted as u64;
        self.waiting = waiting - granted;
        let deadline_ms = self.deadline().saturating_sub(now);
        (granted, Notice { most_delay: self.terms.most_delay(granted, clients, deadline_ms), deadline_ms })
    }

    /// What a client is told that has just come, if it is its turn: nobody waits whose turn is before.
    pub(super) fn grant_arrival(&mut self, now: Millis) -> Option<Notice> {
        if self.waiting > 0 || now >= self.deadline() {
            return None;
        }
        let (granted, notice) = self.grant(1, now);
        (granted > 0).then_some(notice)
    }

    /// One who was granted could not be told yet.
    pub(super) fn untold(&mut self) {
        self.noticed = self.noticed.saturating_sub(1);
    }

    pub(super) fn moved(&mut self) {
        self.moved += 1;
    }

    pub(super) fn forced(&mut self) {
        self.forced += 1;
    }

    pub(super) fn status(&self, remaining: usize, exiting: bool, now: Millis) -> Status {
        let elapsed = now.saturating_sub(self.started_at);
        let over = remaining == 0 && elapsed >= self.terms.min_ms;
        let telling = remaining > 0 && now < self.deadline();
        Status {
            state: if over { Phase::Drained } else { Phase::Draining },
            remaining,
            noticed: self.noticed,
            moved: self.moved,
            forced: self.forced,
            rate: if telling { self.terms.pace(elapsed, remaining + self.moved as usize) } else { 0.0 },
            exiting,
            started_at: Some(self.started_at),
            deadline_at: Some(self.deadline()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { min_ms: 5000, timeout_ms: 60_000, per_second: 10 };

    #[test]
    fn whoever_ends_the_process_brings_the_deadline_forward_and_never_back() {
        let mut run = Run::new(1, TERMS, 1000);
        assert_eq!(run.deadline(), 66_000);
        run.change(Wish { timeout_seconds: Some(600), ..Wish::default() });
        assert_eq!(run.deadline(), 606_000, "who drains for himself may take his time");
        run.leave_within(TERMS, 10_000);
        assert_eq!(run.deadline(), 75_000);
        run.leave_within(TERMS, 20_000);
        run.change(Wish { timeout_seconds: Some(3600), ..Wish::default() });
        assert_eq!(run.deadline(), 75_000);
        run.change(Wish { timeout_seconds: Some(1), ..Wish::default() });
        assert_eq!(run.deadline(), 7000);
    }

    #[test]
    fn who_comes_is_told_at_once_unless_others_wait_or_the_pace_is_used_up() {
        let mut run = Run::new(1, TERMS, 0);
        assert_eq!(run.grant_arrival(4000), None, "load balancers still send");
        assert_eq!(run.grant_arrival(6000), None, "the one before waits");
        assert_eq!(run.grant(2, 6000).0, 2);
        let told: Vec<_> = (0..12).filter_map(|_| run.grant_arrival(6500)).collect();
        assert_eq!(told.len(), 10, "what was saved up in a second");
    }

    #[test]
    fn a_notice_spreads_those_who_are_told_at_once_and_never_beyond_the_deadline() {
        let mut run = Run::new(1, TERMS, 0);
        assert_eq!(run.grant(100, 5000).0, 0);
        assert_eq!(run.grant(100, 5100), (1, Notice { most_delay: 500, deadline_ms: 59_900 }));
        let (granted, notice) = run.grant(100, 9000);
        assert_eq!((granted, notice.most_delay), (10, 1000), "what was saved up follows the pace, too");
        let (granted, notice) = run.grant(1000, 64_800);
        assert_eq!((granted, notice), (10, Notice { most_delay: 50, deadline_ms: 200 }));
    }
}
