//! When a shard holds back what waits to be written, so that what comes meanwhile goes out with the same write. Pure.
//!
//! A round of writes is followed by a pause as long as itself, where the shard would be more than three quarters busy if it wrote
//! each message by itself: several messages with one write to each socket are what gives it time then. Below that a pause
//! would gather nothing but delay. Pauses put rounds off, and a shard that is behind goes from one to the next: so how busy it is
//! is judged by what came over several rounds.

use std::time::{Duration, Instant};

/// Rounds that are shorter are not followed by a pause.
const LONG_ROUND: Duration = Duration::from_millis(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_millis(50);
/// Share of its time that a shard would write without pauses.
const BUSY: f64 = 0.75;
/// What the rounds before count for, against the last one: they are four, in effect.
const KEPT: f64 = 0.75;
/// Time between two rounds that counts at most: a shard that was idle is busy soon after it began to be.
const LONGEST_IDLE: Duration = Duration::from_millis(200);

/// The pause after the last round.
#[derive(Debug)]
pub(super) struct Pause {
    until: Instant,
    /// When the last round began.
    began: Instant,
    /// Seconds that the last rounds would have taken with a message each.
    work: f64,
    /// Seconds within which that came.
    time: f64,
}

impl Pause {
    /// None.
    pub(super) fn none(now: Instant) -> Self {
        Self { until: now, began: now, work: 0.0, time: LONGEST_IDLE.as_secs_f64() }
    }

    /// How long what waits to be written is held back; zero: it is not.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// A round of writes has ended, with so many messages for each of those written to.
    pub(super) fn after(&mut self, began: Instant, ended: Instant, messages: f64) {
        let (round, since) = (ended - began, (began - self.began).min(LONGEST_IDLE));
        self.work = self.work * KEPT + messages * round.as_secs_f64();
        self.time = self.time * KEPT + since.as_secs_f64();
        let pauses = round >= LONG_ROUND && self.work > BUSY * self.time;
        let pause = if pauses { round.min(LONGEST) } else { Duration::ZERO };
        (self.began, self.until) = (began, ended + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1000.0)
    }

    #[test]
    fn a_busy_shard_pauses_for_as_long_as_it_wrote_within_limits() {
        // After forty rounds that are alike.
        let after = |every: f64, round, messages| {
            let (start, mut pause) = (Instant::now(), Pause::none(Instant::now()));
            let ended = (1..41).map(|number| {
                let began = start + ms(every * f64::from(number));
                pause.after(began, began + ms(round), messages);
                began + ms(round)
            });
            let ended = ended.last().unwrap();
            pause.left(ended)
        };
        assert_eq!(after(25.0, 20.0, 1.0), ms(20.0));
        assert_eq!(after(40.0, 20.0, 1.0), Duration::ZERO, "not busy");
        assert_eq!(after(40.0, 20.0, 2.0), ms(20.0), "it would be without pauses");
        assert_eq!(after(1.95, 1.9, 9.0), Duration::ZERO, "too short");
        assert_eq!(after(400.0, 400.0, 1.0), ms(50.0), "no longer");
        assert_eq!(after(25.0, 20.0, 0.0), Duration::ZERO, "no messages");
    }

    /// Messages at a steady rate, each of which takes a round of its own but for those that are gathered: milliseconds from
    /// each round's first message to its end, and messages per round.
    fn play(every: f64, mut round: impl FnMut(usize) -> f64) -> (Vec<f64>, f64) {
        let start = Instant::now();
        let at = |time: f64| start + ms(time);
        let (mut pause, mut now, mut written, mut latencies) = (Pause::none(start), 0.0_f64, 0, Vec::new());
        while written < 300 {
            let first = f64::from(written) * every;
            now = now.max(first);
            now += pause.left(at(now)).as_secs_f64() * 1000.0;
            let due = ((now / every).floor() as i32 + 1).max(written + 1);
            let took = round(latencies.len());
            pause.after(at(now), at(now + took), f64::from(due - written));
            now += took;
            written = due;
            latencies.push(now - first);
        }
        let together = f64::from(written) / latencies.len() as f64;
        (latencies, together)
    }

    #[test]
    fn below_three_quarters_of_its_time_nothing_is_delayed() {
        for (every, round) in [(100.0, 35.0), (100.0, 52.0), (100.0, 74.0), (30.0, 22.0)] {
            let (latencies, together) = play(every, |_| round);
            let late = latencies.iter().filter(|latency| (*latency - round).abs() > 0.01).count();
            assert!(
                late == 0 && (together - 1.0).abs() < 0.02,
                "a round of {round} every {every} ms: {late} late, {together} at once"
            );
        }
    }

    #[test]
    fn a_round_that_takes_long_for_once_delays_what_came_meanwhile() {
        let (latencies, _) = play(100.0, |number| if number == 50 { 150.0 } else { 60.0 });
        let late: Vec<_> = (0..latencies.len()).filter(|number| latencies[*number] > 60.1).collect();
        assert!((50..52).eq(late), "{latencies:?}");
    }

    #[test]
    fn above_it_several_go_out_together() {
        for (every, round, least) in [(50.0, 45.0, 1.4), (20.0, 45.0, 4.0), (20.0, 18.0, 1.4), (5.0, 45.0, 15.0)] {
            let (latencies, together) = play(every, |_| round);
            let longest = latencies.iter().copied().fold(0.0, f64::max);
            assert!(together > least, "a round of {round} every {every} ms: {together} at once");
            assert!(longest <= 2.0 * round + 50.0, "a round of {round} every {every} ms: {longest}");
        }
    }
}
