//! A key set that somebody else publishes: fetched in the background, kept through outages, fetched at once when a
//! token names a key that is not in it.

mod fetch;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub(super) use schedule::Timing;

use super::keys::KeySet;
use super::{Identity, Refused, token};
use crate::clock;
use crate::config::Jwt;
use crate::metrics::Metrics;
use fetch::Fetcher;

/// A key set from an address.
pub(super) struct Jwks {
    state: watch::Sender<State>,
    poke: mpsc::Sender<()>,
    poked: Mutex<Option<Instant>>,
    timing: Timing,
    started: Instant,
    /// Ends with this.
    #[expect(dead_code)]
    task: AbortOnDropHandle<()>,
}

/// What the background task tells.
#[derive(Clone, Default)]
struct State {
    keys: Arc<KeySet>,
    succeeded: Option<Instant>,
    attempts: u64,
    under_way: bool,
}

impl Jwks {
    /// Follows the set at an address.
    pub(super) fn start(url: http::Uri, timing: Timing, metrics: Arc<Metrics>) -> Self {
        let state = watch::Sender::new(State { under_way: true, ..State::default() });
        let (poke, pokes) = mpsc::channel(1);
        let shared = state.clone();
        let task = Task { fetcher: Fetcher::new(url), timing, metrics, state: shared, failures: 0, unused: None };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(pokes)));
        Self { state, poke, poked: Mutex::default(), timing, started: Instant::now(), task }
    }

    /// Checks a token, with a fresher set where its key is not known.
    pub(super) async fn check(&self, token: &str, jwt: &Jwt) -> Result<Identity, Refused> {
        let keys = Arc::clone(&self.state.borrow().keys);
        match token::check(token, jwt, &keys, clock::now()) {
            Err(Refused::UnknownKey) => {}
            judged => return judged,
        }
        self.refetch().await;
        let State { keys, succeeded, .. } = self.state.borrow().clone();
        match token::check(token, jwt, &keys, clock::now()) {
            // Nothing is known of a key while nothing is known of any.
            Err(Refused::UnknownKey) if succeeded.is_none() => Err(Refused::KeysUnavailable),
            judged => judged,
        }
    }

    /// Seconds since the set was last fetched, or since it was first tried.
    pub(super) fn age(&self) -> f64 {
        self.state.borrow().succeeded.unwrap_or(self.started).elapsed().as_secs_f64()
    }

    /// Waits for one more attempt: the one that is under way, or one of its own if the last of these is long enough ago.
    async fn refetch(&self) {
        let mut under_way = None;
        // At once: tokens that come together wait for the same attempt.
        self.state.send_if_modified(|state| {
            let poke = !state.under_way && self.may_poke();
            state.under_way |= poke;
            under_way = state.under_way.then_some((poke, state.attempts));
            poke
        });
        let Some((poke, attempts)) = under_way else { return };
        if poke {
            let _ = self.poke.try_send(());
        }
        let mut state = self.state.subscribe();
        let _ = tokio::time::timeout(self.timing.patience * 2, state.wait_for(|state| state.attempts > attempts)).await;
    }

    fn may_poke(&self) -> bool {
        let mut last = self.poked.lock();
        let may = last.is_none_or(|last| last.elapsed() >= self.timing.between_refetches);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

struct Task {
    fetcher: Fetcher,
    timing: Timing,
    metrics: Arc<Metrics>,
    state: watch::Sender<State>,
    failures: u32,
    /// How many keys of the last set were of no use: said when it changes.
    unused: Option<usize>,
}

impl Task {
    async fn run(mut self, mut pokes: mpsc::Receiver<()>) {
        loop {
            self.state.send_modify(|state| state.under_way = true);
            let fetched = self.fetcher.fetch(self.timing.patience).await;
            let keys = fetched.and_then(|fetched| Ok((KeySet::from_jwks(&fetched.body)?, fetched.max_age)));
            self.metrics.jwks_fetched(keys.is_ok());
            let pause = match keys {
                Ok(((keys, unused), max_age)) => {
                    self.succeeded(keys, unused);
                    self.timing.after_success(max_age, rand::random())
                }
                Err(reason) => self.failed(&reason),
            };
            let early = tokio::time::timeout(pause, pokes.recv()).await;
            if early.is_ok_and(|poke| poke.is_none()) {
                return;
            }
        }
    }

    fn succeeded(&mut self, keys: KeySet, unused: usize) {
        if self.failures > 0 || self.unused != Some(unused) {
            tracing::info!(keys = keys.len(), unused, "the token key set was fetched");
        }
        (self.failures, self.unused) = (0, Some(unused));
        self.state.send_modify(|state| {
            state.keys = Arc::new(keys);
            state.succeeded = Some(Instant::now());
            (state.attempts, state.under_way) = (state.attempts + 1, false);
        });
    }

    fn failed(&mut self, reason: &str) -> std::time::Duration {
        self.failures += 1;
        let pause = self.timing.after_failure(self.failures, rand::random());
        let keys = self.state.borrow().keys.len();
        tracing::warn!(
            reason,
            keys,
            failures = self.failures,
            retry_in_ms = pause.as_millis() as u64,
            "the token key set cannot be fetched; the keys that are known stay in use"
        );
        self.state.send_modify(|state| (state.attempts, state.under_way) = (state.attempts + 1, false));
        pause
    }
}
