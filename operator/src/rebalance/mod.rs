//! Moving surplus sessions to gateways that have fewer: when that is called for, who gives and how many, and when it is
//! over. Pure; whoever asks the gateways looks at it once in each round.
//!
//! It begins when the fullest gateway has been far over the mean for a while, and ends when nobody is half as far over it:
//! between the two nothing is done, so it never goes back and forth. A session is told to move once at most, for in all
//! that follows only those are told that were where they are before the first was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// Time for which a fleet must be uneven.
pub const WAIT: Duration = Duration::from_secs(30);
/// Time without progress after which no more is asked: clients do not follow, or come back to where they were.
pub const STALL: Duration = Duration::from_mins(1);
/// Time after the end in which the same gateways are left alone.
pub const REST: Duration = Duration::from_mins(5);

/// What chance alone makes of equal shares, in standard deviations: no reason to move anybody.
const CHANCE: f64 = 4.0;

/// On what terms sessions are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Percentage over the mean from which on a gateway has too many.
    pub threshold_percent: u32,
    /// Sessions per second that are told to move, of all gateways together.
    pub connections_per_second: u32,
    /// The gateways that share the sessions, by pod.
    pub pods: BTreeSet<String>,
}

/// What a gateway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Sessions that it keeps.
    pub keep: i64,
    /// Sessions per second that it tells to move; at least 1.
    pub connections_per_second: u32,
    /// Who came less than so many seconds ago is not told.
    pub settled_for_seconds: u64,
}

/// What is remembered of a cluster from one look to the next.
#[derive(Debug, Default)]
pub struct Balance {
    /// Since when it has been uneven.
    uneven: Option<Instant>,
    /// Sessions are being moved.
    moving: Option<Moving>,
    /// When the first session was told of all that have been told without a long break, and when the last round was.
    chain: Option<(Instant, Instant)>,
    /// Until when these gateways are left alone.
    resting: Option<(Instant, BTreeSet<String>)>,
}

#[derive(Clone, Copy, Debug)]
struct Moving {
    /// The least that the fullest has had, and when it came to that.
    best: (i64, Instant),
}

impl Balance {
    /// That of an operator before this one, which has been moving sessions for so long: it goes on at once, and who came
    /// since then is told no second time.
    pub fn carried_on(age: Duration, now: Instant) -> Self {
        let before = |time: Duration| now.checked_sub(time).unwrap_or(now);
        Self { uneven: Some(before(WAIT)), chain: Some((before(age), now)), ..Self::default() }
    }

    /// What the gateways are to be asked now, by pod. `held`: connections that they said they have just now; where one did
    /// not say, nothing is asked. Without terms (a rollout is under way) everything ends.
    pub fn look(
        &mut self,
        terms: Option<&Terms>,
        held: &BTreeMap<String, i64>,
        now: Instant,
    ) -> BTreeMap<String, Order> {
        let Some(terms) = terms else {
            (self.uneven, self.moving) = (None, None);
            return BTreeMap::new();
        };
        let Some(shares) = Shares::of(terms, held) else { return BTreeMap::new() };
        self.resting.take_if(|(until, pods)| now >= *until || *pods != terms.pods);
        if self.moving.is_none() && !self.begins(terms, &shares, now) {
            return BTreeMap::new();
        }
        let orders = self.orders(terms, &shares, now);
        if orders.is_empty() {
            (self.uneven, self.moving) = (None, None);
            self.resting = Some((now + REST, terms.pods.clone()));
        }
        orders
    }

    fn begins(&mut self, terms: &Terms, shares: &Shares<'_>, now: Instant) -> bool {
        let uneven = shares.over(terms.threshold_percent, CHANCE).next().is_some();
        if !uneven || self.resting.is_some() {
            self.uneven = None;
            return false;
        }
        let since = *self.uneven.get_or_insert(now);
        if now < since + WAIT {
            return false;
        }
        self.moving = Some(Moving { best: (shares.fullest(), now) });
        self.chain = self.chain.filter(|(_, last)| now < *last + REST).or(Some((now, now)));
        true
    }

    fn orders(&mut self, terms: &Terms, shares: &Shares<'_>, now: Instant) -> BTreeMap<String, Order> {
        let (Some(moving), Some((first, last))) = (&mut self.moving, &mut self.chain) else { return BTreeMap::new() };
        if shares.fullest() < moving.best.0 {
            moving.best = (shares.fullest(), now);
        } else if now >= moving.best.1 + STALL {
            return BTreeMap::new();
        }
        *last = now;
        // A second more, for those who came while the word was on its way.
        let settled_for_seconds = now.duration_since(*first).as_secs() + 1;
        let givers: Vec<_> = shares.over(terms.threshold_percent / 2, CHANCE / 2.0).collect();
        let surplus: f64 = givers.iter().map(|(_, held)| held - shares.mean).sum();
        let order = |(pod, held): &(&str, f64)| {
            let part = f64::from(terms.connections_per_second) * (held - shares.mean) / surplus;
            let order = Order {
                keep: shares.mean.ceil() as i64,
                connections_per_second: (part as u32).max(1),
                settled_for_seconds,
            };
            ((*pod).to_owned(), order)
        };
        givers.iter().map(order).collect()
    }
}

/// Who has how many.
struct Shares<'a> {
    held: Vec<(&'a str, f64)>,
    mean: f64,
}

impl<'a> Shares<'a> {
    /// Only where there is something to share, and each has said how many it has.
    fn of(terms: &'a Terms, held: &BTreeMap<String, i64>) -> Option<Self> {
        let held: Option<Vec<_>> =
            terms.pods.iter().map(|pod| Some((pod.as_str(), *held.get(pod)?.max(&0) as f64))).collect();
        let held = held.filter(|held| held.len() > 1)?;
        let mean = held.iter().map(|(_, held)| held).sum::<f64>() / held.len() as f64;
        Some(Self { held, mean })
    }

    /// Those that are over the mean by more than a percentage, and by more than chance would have it.
    fn over(&self, percent: u32, deviations: f64) -> impl Iterator<Item = (&'a str, f64)> {
        let most = self.mean + (self.mean * f64::from(percent) / 100.0).max(deviations * self.mean.sqrt());
        self.held.iter().copied().filter(move |(_, held)| *held > most)
    }

    fn fullest(&self) -> i64 {
        self.held.iter().map(|(_, held)| *held as i64).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
