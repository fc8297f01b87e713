//! What happened to the sessions' connections: moves, breaks, gaps, delays. Time is an argument.
//!
//! It does not know whether messages were missing; that is the checker's.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::breaks::Breaks;
use crate::report::{Detail, Latency, Moves, Spread};

/// Milliseconds (with fractions) since the Unix epoch.
pub type Millis = f64;

/// The longest delay that is told apart, in microseconds.
const LONGEST_DELAY: u64 = 3_600_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Session {
    connections: u32,
    broken_at: Option<Millis>,
    longest_break: f32,
    worst_delay: f32,
}

impl Session {
    /// In milliseconds.
    fn gap(&self, now: Millis) -> u64 {
        let broken = self.broken_at.map_or(0.0, |since| (now - since) as f32);
        self.longest_break.max(self.worst_delay).max(broken).round() as u64
    }
}

/// How often each value comes, ascending.
fn counts(values: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().collect()
}

/// Counters over all sessions.
#[derive(Debug)]
pub struct Activity {
    sessions: Vec<Session>,
    delays: Histogram<u64>,
    /// Reconnects and moves by the second of the clock.
    reconnects: BTreeMap<u64, u64>,
    /// Rooms that were told to fetch a snapshot.
    pub resyncs: u64,
    /// Connections that ended with no drain notice before.
    pub without_notice: u64,
    /// Drained connections that were closed at the deadline.
    pub forced: u64,
    /// Connections that ended while they served their session, by what ended them.
    pub breaks: Breaks,
    /// Connections that could not be established.
    pub connect_errors: u64,
}

impl Activity {
    /// For so many sessions, none of them connected yet.
    pub fn new(sessions: usize) -> Self {
        Self {
            sessions: vec![Session::default(); sessions],
            delays: Histogram::new_with_bounds(1, LONGEST_DELAY, 3).expect("these bounds are valid"),
            reconnects: BTreeMap::new(),
            resyncs: 0,
            without_notice: 0,
            forced: 0,
            breaks: Breaks::default(),
            connect_errors: 0,
        }
    }

    /// Another connection serves the session.
    pub fn connected(&mut self, session: usize, now: Millis) {
        self.sessions[session].connections += 1;
        if self.sessions[session].connections > 1 {
            *self.reconnects.entry((now / 1000.0) as u64).or_default() += 1;
        }
    }

    /// The session has no connection.
    pub fn disconnected(&mut self, session: usize, code: Option<u16>, announced: bool, now: Millis) {
        self.sessions[session].broken_at.get_or_insert(now);
        self.breaks.count(code);
        match (announced, code) {
            (false, _) => self.without_notice += 1,
            (true, Some(1012)) => self.forced += 1,
            (true, _) => {}
        }
    }

    /// The session's rooms are served (again).
    pub fn served(&mut self, session: usize, now: Millis) {
        let session = &mut self.sessions[session];
        if let Some(since) = session.broken_at.take() {
            session.longest_break = session.longest_break.max((now - since) as f32);
        }
    }

    /// A message that was due at `sent_at` arrived.
    pub fn delivered(&mut self, session: usize, sent_at: Millis, now: Millis) {
        let delay = (now - sent_at).max(0.0);
        let session = &mut self.sessions[session];
        session.worst_delay = session.worst_delay.max(delay as f32);
        self.delays.saturating_record(((delay * 1000.0) as u64).max(1));
    }

    /// How many sessions have been connected at least once.
    pub fn ever_connected(&self) -> usize {
        self.sessions.iter().filter(|session| session.connections > 0).count()
    }

    /// How many sessions are connected now.
    pub fn connected_now(&self) -> usize {
        self.sessions.iter().filter(|session| session.connections > 0 && session.broken_at.is_none()).count()
    }

    /// Most reconnects and moves within one second.
    pub fn peak_reconnects(&self) -> u64 {
        self.reconnects.values().copied().max().unwrap_or(0)
    }

    /// Changes of connection: connections after a session's first.
    pub fn moves(&self) -> Moves {
        let moves = || self.sessions.iter().map(|session| u64::from(session.connections.saturating_sub(1)));
        let total = moves().sum();
        Moves { total, mean: total as f64 / self.sessions.len().max(1) as f64, max: moves().max().unwrap_or(0) }
    }

    /// From being due to arrival.
    pub fn latency(&self) -> Latency {
        let at = |quantile| self.delays.value_at_quantile(quantile) as f64 / 1000.0;
        if self.delays.is_empty() {
            return Latency::default();
        }
        Latency { p50: at(0.5), p99: at(0.99), max: self.delays.max() as f64 / 1000.0 }
    }

    /// Each session's gap: the longest time without a connection that served it, or the worst delay of a message, up to
    /// now, over all sessions.
    pub fn gaps(&self, now: Millis) -> Spread {
        Spread::of(&counts(self.sessions.iter().map(|session| session.gap(now))))
    }

    /// What the summary is made of.
    pub fn detail(&self, now: Millis) -> Detail {
        let stayed = self.sessions.iter().filter(|session| session.connections == 1);
        Detail {
            gaps: counts(self.sessions.iter().map(|session| session.gap(now))),
            stayed_gaps: counts(stayed.map(|session| session.gap(now))),
            delays: self.delays.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
            reconnects: self.reconnects.iter().map(|(second, count)| (*second, *count)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_connections_after_the_first() {
        let mut activity = Activity::new(3);
        for (session, connections) in [(0, 1), (1, 3)] {
            (0..connections).for_each(|_| activity.connected(session, 0.0));
        }
        let moves = activity.moves();
        assert_eq!((moves.total, moves.max), (2, 2));
        assert!((moves.mean - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(activity.ever_connected(), 2);
    }

    #[test]
    fn only_an_announced_close_at_the_deadline_is_forced() {
        let mut activity = Activity::new(1);
        for (code, announced) in
            [(Some(1012), true), (Some(1000), true), (None, true), (Some(1012), false), (None, false)]
        {
            activity.disconnected(0, code, announced, 0.0);
        }
        assert_eq!((activity.forced, activity.without_notice), (1, 2));
        assert_eq!(activity.breaks.to_string(), "1 with 1000, 2 with 1012, 2 with none");
    }

    #[test]
    fn a_gap_is_the_longest_break_or_the_worst_delay_of_each_session() {
        let mut activity = Activity::new(4);
        activity.disconnected(0, None, false, 1000.0);
        activity.served(0, 1250.0);
        activity.disconnected(0, None, false, 2000.0);
        activity.served(0, 2100.0);
        activity.delivered(1, 1000.0, 1400.0);
        activity.delivered(1, 2000.0, 2001.0);
        activity.disconnected(2, None, false, 9000.0);
        let gaps = activity.gaps(10_000.0);
        assert_eq!((gaps.p50, gaps.p99, gaps.max), (250, 1000, 1000));
        assert_eq!(activity.gaps(9100.0).max, 400);
    }

    #[test]
    fn the_gaps_of_those_that_stayed_are_told_apart() {
        let mut activity = Activity::new(3);
        for session in [0, 1, 1] {
            activity.connected(session, 0.0);
        }
        activity.delivered(0, 0.0, 7.0);
        activity.delivered(1, 0.0, 90.0);
        let detail = activity.detail(100.0);
        assert_eq!((detail.gaps, detail.stayed_gaps), (vec![(0, 1), (7, 1), (90, 1)], vec![(7, 1)]));
        assert_eq!(detail.delays.iter().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn the_peak_counts_within_a_second_of_the_clock() {
        let mut activity = Activity::new(10);
        (0..10).for_each(|session| activity.connected(session, 0.0));
        assert_eq!(activity.peak_reconnects(), 0);
        for (session, now) in [(0, 1000.0), (1, 1999.0), (2, 2000.0), (3, 2001.0), (4, 2999.0), (5, 7000.0)] {
            activity.connected(session, now);
        }
        assert_eq!(activity.peak_reconnects(), 3);
        assert_eq!(activity.detail(8000.0).reconnects, [(1, 2), (2, 3), (7, 1)]);
    }

    #[test]
    fn latency_is_told_in_milliseconds() {
        let mut activity = Activity::new(1);
        assert!(activity.latency().max.abs() < f64::EPSILON);
        (1..=100).for_each(|delay| activity.delivered(0, 0.0, f64::from(delay)));
        let latency = activity.latency();
        assert!((latency.p50 - 50.0).abs() < 0.2 && (latency.p99 - 99.0).abs() < 0.2, "{latency:?}");
    }
}
