//! Drain: moving all sessions off this gateway. Idempotent, observable, and cancellable until the process was told to
//! exit. Decides by `pace`; acts by telling connections.

pub mod pace;
mod report;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::{self, Millis};
use crate::config::Shared;
use crate::metrics::Metrics;
use crate::shard::{Connection, Connections};
use crate::socket::Item;
use pace::{Pace, Terms};
use report::{Line, Report};

const TICK: Duration = Duration::from_millis(100);

/// The drain of this gateway, under way or not.
pub struct Drain {
    settings: Shared,
    connections: Arc<Connections>,
    metrics: Arc<Metrics>,
    run: Mutex<Option<Run>>,
    exiting: watch::Sender<bool>,
    changed: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Run {
    number: u64,
    terms: Terms,
    started_at: Millis,
    noticed: usize,
    pace: Pace,
    moved: u64,
    forced: u64,
    report: Report,
}

impl Run {
    fn deadline(&self) -> Millis {
        self.started_at + self.terms.total_ms()
    }
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No drain.
    Running,
    /// Connections are still to be moved, or the least time is not over.
    Draining,
    /// No connection is left.
    Drained,
}

/// What can be seen of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How far it is.
    pub state: Phase,
    /// Connections that are left.
    pub remaining: usize,
    /// Connections that have left after they were told to.
    pub moved: u64,
    /// Connections that were closed at the deadline.
    pub forced: u64,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at: Option<Millis>,
    /// When the rest is closed, in milliseconds since the Unix epoch.
    pub deadline_at: Option<Millis>,
}

/// What the caller of a drain may choose; the settings decide the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// Clients told per second; 0: all within half of the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_second: Option<u32>,
    /// Seconds that clients have to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// A drain that can no longer be cancelled: the process was told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway was told to exit: the drain cannot be cancelled")]
pub struct Exiting;

impl Drain {
    /// No drain yet.
    pub fn new(settings: Shared, connections: Arc<Connections>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            connections,
            metrics,
            run: Mutex::default(),
            exiting: watch::Sender::new(false),
            changed: watch::Sender::new(0),
        })
    }

    /// Whether new connections should go elsewhere.
    pub fn active(&self) -> bool {
        self.run.lock().is_some()
    }

    /// Begins a drain, or changes the terms of the one under way where `wish` names any.
    pub fn start(self: &Arc<Self>, wish: Wish) -> Status {
        let new = Terms::new(&self.settings.load().drain, wish.connections_per_second, wish.timeout_seconds);
        let number = {
            let mut run = self.run.lock();
            if let Some(run) = run.as_mut() {
                run.terms.per_second = wish.connections_per_second.unwrap_or(run.terms.per_second);
                run.terms.timeout_ms = wish.timeout_seconds.map_or(run.terms.timeout_ms, |seconds| seconds * 1000);
                None
            } else {
                let (number, now) = (*self.changed.borrow() + 1, clock::now());
                *run = Some(Run {
                    number,
                    terms: new,
                    started_at: now,
                    report: Report::new(now),
                    noticed: 0,
                    pace: Pace::default(),
                    moved: 0,
                    forced: 0,
                });
                Some(number)
            }
        };
        if let Some(number) = number {
            tracing::info!(
                connections = self.connections.len(),
                min_seconds = new.min_ms / 1000,
                timeout_seconds = new.timeout_ms / 1000,
                connections_per_second = new.per_second,
                "drain begins"
            );
            tokio::spawn(Arc::clone(self).work(number));
        }
        self.changed();
        self.status()
    }

    /// Begins a drain that ends with the process.
    pub fn start_to_exit(self: &Arc<Self>) -> Status {
        self.exiting.send_replace(true);
        self.start(Wish::default())
    }

    /// Ends a drain; clients that have not moved stay.
    pub fn cancel(&self) -> Result<Status, Exiting> {
        if *self.exiting.borrow() {
            return Err(Exiting);
        }
        if self.run.lock().take().is_some() {
            tracing::info!(connections = self.connections.len(), "drain cancelled");
            for connection in self.connections.all() {
                if connection.noticed.swap(false, Relaxed) {
                    connection.tell(Item::DrainCancelled);
                }
            }
        }
        self.changed();
        Ok(self.status())
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        let run = self.run.lock().clone();
        let remaining = self.connections.len();
        let state = match &run {
            None => Phase::Running,
            Some(run) if remaining == 0 && clock::now() >= run.started_at + run.terms.min_ms => Phase::Drained,
            Some(_) => Phase::Draining,
        };
        Status {
            state,
            remaining,
            moved: run.as_ref().map_or(0, |run| run.moved),
            forced: run.as_ref().map_or(0, |run| run.forced),
            started_at: run.as_ref().map(|run| run.started_at),
            deadline_at: run.as_ref().map(Run::deadline),
        }
    }

    /// Clients per second that are told to move now.
    pub fn rate(&self) -> f64 {
        let run = self.run.lock().clone();
        let left = self.connections.len();
        run.filter(|_| left > 0)
            .map_or(0.0, |run| run.terms.pace(clock::now().saturating_sub(run.started_at), left + run.moved as usize))
    }

    /// Waits until no connection is left or the deadline has passed.
    pub async fn finished(&self) -> Status {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let status = self.status();
            let over = status.deadline_at.is_none_or(|at| at <= clock::now());
            if status.state != Phase::Draining || over {
                self.log();
                return status;
            }
            let _ = tokio::time::timeout(TICK, changed.changed()).await;
        }
    }

    /// A connection has ended.
    pub fn closed(&self, connection: &Connection, reason: &'static str) {
        if let Some(run) = self.run.lock().as_mut() {
            if reason == "drain_forced" {
                run.forced += 1;
                self.metrics.drain_forced();
            } else if connection.noticed.load(Relaxed) {
                run.moved += 1;
            }
        }
        self.changed();
    }

    fn changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Tells clients to move, to the pace, for as long as this drain goes on.
    async fn work(self: Arc<Self>, number: u64) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(run) = self.run.lock().clone().filter(|run| run.number == number) else { return };
            self.tick(&run, clock::now());
            self.log();
        }
    }

    /// Says how far it is, when that is due.
    fn log(&self) {
        let (status, now) = (self.status(), clock::now());
        let line = self.run.lock().as_mut().and_then(|run| run.report.line(&status, now));
        let Status { remaining, moved, forced, .. } = status;
        let seconds = now.saturating_sub(status.started_at.unwrap_or(now)) as f64 / 1000.0;
        match line {
            Some(Line::Progress) => tracing::info!(remaining, moved, forced, seconds, "drain goes on"),
            Some(Line::End) => tracing::info!(remaining, moved, forced, seconds, "drain ends"),
            None => {}
        }
    }

    fn tick(&self, run: &Run, now: Millis) {
        let connections = self.connections.all();
        if now >= run.deadline() {
            for connection in connections {
                connection.tell(Item::DrainForced);
            }
            return;
        }
        let waiting: Vec<_> = connections.iter().filter(|each| !each.noticed.load(Relaxed)).collect();
        for connection in waiting.iter().take(self.grant(run.number, now, waiting.len())) {
            self.notice(connection, run, now);
        }
    }

    /// How many of those who wait may be told now.
    fn grant(&self, number: u64, now: Millis, waiting: usize) -> usize {
        let mut run = self.run.lock();
        let Some(run) = run.as_mut().filter(|run| run.number == number) else { return 0 };
        let granted = run.terms.grant(&mut run.pace, now - run.started_at, waiting, run.noticed + waiting);
        run.noticed += granted;
        granted
    }

    fn notice(&self, connection: &Arc<Connection>, run: &Run, now: Millis) {
        let most = run.terms.most_delay(now - run.started_at);
        let retry_after_ms = rand::random_range(0..=most);
        connection.noticed.store(true, Relaxed);
        connection.tell(Item::Drain { retry_after_ms, deadline_ms: run.deadline() - now });
        self.metrics.drain_noticed();
    }
}

#[cfg(test)]
mod tests;
