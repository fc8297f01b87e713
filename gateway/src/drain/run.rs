//! One drain under way: its terms, its progress, and what follows from both. Pure.

use super::pace::{Clients, Pace, Terms};
use super::report::Report;
use super::uptake::Uptake;
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
    /// Those who were told a short while ago and were still here when that was last looked at.
    moving: usize,
    uptake: Uptake,
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
            moving: 0,
            uptake: Uptake::default(),
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

    /// How many of those who wait may be told now, and what, while `moving` others are on their way.
    pub(super) fn grant(&mut self, waiting: usize, moving: usize, now: Millis) -> (usize, Notice) {
        let elapsed = now.saturating_sub(self.started_at);
        let most_moving = self.uptake.most(self.moved, now);
        let clients = Clients { waiting, all: waiting + self.noticed as usize, moving, most_moving };
        let granted = self.terms.grant(&mut self.pace, elapsed, clients);
        self.noticed += granted as u64;
        self.waiting = waiting - granted;
        self.moving = moving + granted;
        let deadline_ms = self.deadline().saturating_sub(now);
        (granted, Notice { most_delay: self.terms.most_delay(granted, elapsed, clients, deadline_ms), deadline_ms })
    }

    /// What a client is told that has just come, if it is its turn: nobody waits whose turn is before.
    pub(super) fn grant_arrival(&mut self, now: Millis) -> Option<Notice> {
        if self.waiting > 0 || now >= self.deadline() {
            return None;
        }
        let (granted, notice) = self.grant(1, self.moving, now);
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
        let all = remaining + self.moved as usize;
        let clients = Clients { waiting: self.waiting, all, moving: self.moving, most_moving: usize::MAX };
        Status {
            state: if over { Phase::Drained } else { Phase::Draining },
            remaining,
            noticed: self.noticed,
            moving: self.moving.min(remaining),
            moved: self.moved,
            forced: self.forced,
            rate: if telling { self.terms.pace(elapsed, clients) } else { 0.0 },
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
        assert_eq!(run.grant(2, 0, 6000).0, 2);
        let told: Vec<_> = (0..12).filter_map(|_| run.grant_arrival(6500)).collect();
        assert_eq!(told.len(), 10, "what was saved up in a second");
    }

    /// A drain of `all` clients that others take in as fast as `takes` says for a second; one in so many stays. How many were
    /// on their way at most, and the second in which everyone was told.
    fn played(terms: Terms, all: usize, stays: usize, takes: impl Fn(u64) -> usize) -> (usize, u64) {
        const DELAY: Millis = 300;
        let (mut run, mut told, mut crowd) = (Run::new(1, terms, 0), std::collections::VecDeque::new(), 0);
        let (mut waiting, mut credit) = (all, 0.0);
        for now in (0..terms.total_ms()).step_by(100) {
            let moving = told.iter().filter(|(at, _)| at + 5000 > now).count();
            let (granted, _) = run.grant(waiting, moving, now);
            waiting -= granted;
            told.extend((0..granted).map(|each| (now, (waiting + each) % stays == 0)));
            if waiting == 0 {
                return (crowd, now.saturating_sub(terms.min_ms) / 1000);
            }
            crowd = crowd.max(told.iter().filter(|(_, stays)| !stays).count());
            credit = f64::min(credit + takes(now / 1000) as f64 / 10.0, takes(now / 1000) as f64);
            while credit >= 1.0 && told.iter().any(|(at, stays)| at + DELAY <= now && !stays) {
                let first = told.iter().position(|(_, stays)| !stays).unwrap();
                told.remove(first);
                run.moved();
                credit -= 1.0;
            }
        }
        (crowd, u64::MAX)
    }

    const OWN: Terms = Terms { min_ms: 5000, timeout_ms: 60_000, per_second: 0 };

    #[test]
    fn a_drain_is_as_fast_as_its_pace_where_others_take_what_comes() {
        let (crowd, told_by) = played(OWN, 6000, usize::MAX, |_| 10_000);
        assert!(told_by <= 32 && crowd <= 120, "all told after {told_by} s, {crowd} on their way");
    }

    #[test]
    fn clients_that_stay_hold_up_no_others() {
        let (_, told_by) = played(OWN, 6000, 4, |_| 10_000);
        assert!(told_by <= 34, "one in four stays: all told after {told_by} s");
    }

    #[test]
    fn a_drain_is_no_faster_than_others_take_its_clients_in() {
        let long = Terms { timeout_ms: 600_000, per_second: 1000, ..OWN };
        let (crowd, told_by) = played(long, 6000, usize::MAX, |_| 40);
        assert!((140..=160).contains(&told_by), "all told after {told_by} s");
        assert!(crowd <= 300, "{crowd} waited in front of the others");
    }

    #[test]
    fn a_drain_goes_on_when_others_take_clients_in_again() {
        let (_, told_by) = played(OWN, 6000, usize::MAX, |second| if (10..20).contains(&second) { 0 } else { 10_000 });
        assert!(told_by <= 45, "all told after {told_by} s");
    }

    #[test]
    fn everyone_is_told_before_the_deadline_even_if_nobody_is_taken_in() {
        let (_, told_by) = played(OWN, 6000, usize::MAX, |_| 0);
        assert!((38..=48).contains(&told_by), "all told after {told_by} s");
    }

    #[test]
    fn a_notice_spreads_those_who_are_told_at_once_and_never_beyond_the_deadline() {
        let mut run = Run::new(1, TERMS, 0);
        assert_eq!(run.grant(100, 0, 5000).0, 0);
        assert_eq!(run.grant(100, 0, 5100), (1, Notice { most_delay: 500, deadline_ms: 59_900 }));
        let (granted, notice) = run.grant(100, 0, 9000);
        assert_eq!((granted, notice.most_delay), (10, 1000), "what was saved up follows the pace, too");
        let (granted, notice) = run.grant(1000, 0, 64_800);
        assert_eq!((granted, notice), (10, Notice { most_delay: 50, deadline_ms: 200 }));
    }
}
