//! Drain: moving all sessions off this gateway. Idempotent, observable, and cancellable until the process was told to
//! exit. Decides by `run`; acts by telling connections.

mod elsewhere;
pub mod pace;
mod report;
mod run;
mod status;
mod uptake;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::affinity::Affinity;
use crate::affinity::forwards::Forward;
use crate::clock::{self, Millis};
use crate::config::Shared;
use crate::metrics::Metrics;
use crate::shard::{Connection, Connections};
use crate::socket::Item;
use crate::traces::Span;
use pace::Terms;
use report::Line;
use run::{Notice, Run};
pub use status::{Exiting, Phase, Status, Wish};
pub use uptake::Told;

const TICK: Duration = Duration::from_millis(100);

/// The drain of this gateway, under way or not.
pub struct Drain {
    settings: Shared,
    connections: Arc<Connections>,
    metrics: Arc<Metrics>,
    /// Where sessions on other gateways are whose connections run through here.
    affinity: OnceLock<Arc<Affinity>>,
    /// Held while clients are told, so that a cancelled drain tells nobody any more.
    run: Mutex<Option<Run>>,
    /// From the beginning of a drain to its end.
    span: Mutex<Span>,
    exiting: AtomicBool,
    closed: AtomicBool,
    changed: watch::Sender<u64>,
}

impl Drain {
    /// No drain yet.
    pub fn new(settings: Shared, connections: Arc<Connections>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            connections,
            metrics,
            affinity: OnceLock::new(),
            run: Mutex::default(),
            span: Mutex::default(),
            exiting: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            changed: watch::Sender::new(0),
        })
    }

    /// Whether new connections should go elsewhere.
    pub fn active(&self) -> bool {
        self.run.lock().is_some()
    }

    /// Whether new connections are refused: the gateway stops, or a drain's deadline has passed.
    pub fn refuses(&self) -> bool {
        self.is_closed() || self.run.lock().as_ref().is_some_and(|run| run.deadline() <= clock::now())
    }

    /// Whether the gateway stops.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// The gateway stops: nobody is taken in any more.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Begins a drain, or changes the terms of the one under way where `wish` names any.
    pub fn start(self: &Arc<Self>, wish: Wish) -> Status {
        self.begin(wish, false)
    }

    /// The same, by whoever is about to end the process: the hook before a pod's end, or a signal.
    pub fn start_to_leave(self: &Arc<Self>, wish: Wish) -> Status {
        self.begin(wish, true)
    }

    /// Begins a drain that ends with the process.
    pub fn start_to_exit(self: &Arc<Self>) -> Status {
        self.exiting.store(true, Relaxed);
        self.start_to_leave(Wish::default())
    }

    fn begin(self: &Arc<Self>, wish: Wish, leaves: bool) -> Status {
        let terms = Terms::new(&self.settings.load().drain, wish.connections_per_second, wish.timeout_seconds);
        let now = clock::now();
        {
            let mut slot = self.run.lock();
            let under_way = slot.is_some();
            let run = slot.get_or_insert_with(|| Run::new(*self.changed.borrow() + 1, terms, now));
            run.change(wish);
            if leaves {
                run.leave_within(terms, now);
            }
            if !under_way {
                tokio::spawn(Arc::clone(self).work(run.number));
                *self.span.lock() = self.metrics.traces.rare("drain");
                self.log_begin(terms);
            }
        }
        self.changed();
        self.status()
    }

    /// Ends a drain; clients that have not moved stay.
    pub fn cancel(&self) -> Result<Status, Exiting> {
        if self.exiting.load(Relaxed) {
            return Err(Exiting);
        }
        {
            let mut run = self.run.lock();
            if run.take().is_some() {
                let mut span = std::mem::take(&mut *self.span.lock());
                span.set("wscluster.drain.cancelled", true);
                tracing::info!(connections = self.connections.len(), "drain cancelled");
                let told = |connection: &Arc<Connection>| connection.told.clear();
                self.connections
                    .all()
                    .iter()
                    .filter(|each| told(each))
                    .for_each(|each| each.tell(Item::DrainCancelled));
                self.stay_elsewhere();
            }
        }
        self.changed();
        Ok(self.status())
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        let remaining = self.connections.len() + self.forwarded();
        let exiting = self.exiting.load(Relaxed);
        match &*self.run.lock() {
            Some(run) => run.status(remaining, exiting, clock::now()),
            None => Status::running(remaining, exiting),
        }
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

    /// A connection has come: what it is told at once, so that its client need not settle here first.
    pub fn arrived(&self, connection: &Connection) -> Option<Item> {
        let mut run = self.run.lock();
        let notice = run.as_mut()?.grant_arrival(clock::now())?;
        Some(self.notice(connection, notice))
    }

    /// A connection has ended.
    pub fn closed(&self, connection: &Connection, reason: &'static str) {
        if let Some(run) = self.run.lock().as_mut() {
            if reason == "drain_forced" {
                run.forced();
                self.metrics.drain_forced();
            } else if connection.told.is_set() && reason != "shutdown" {
                run.moved();
                self.metrics.drain_moved();
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
        while self.tick(number, clock::now()) {
            self.log();
            ticks.tick().await;
        }
    }

    /// Tells those whose turn it is. `false`: this drain is no more.
    fn tick(self: &Arc<Self>, number: u64, now: Millis) -> bool {
        let mut run = self.run.lock();
        let Some(run) = run.as_mut().filter(|run| run.number == number) else { return false };
        let connections = self.connections.all();
        if now >= run.deadline() {
            for connection in &connections {
                connection.tell(Item::DrainForced);
            }
            self.force_elsewhere(run.deadline(), now);
            return true;
        }
        let waits = |each: &Arc<Connection>| each.is_served() && !each.told.is_set();
        let moving = connections.iter().filter(|each| each.told.is_recent(now)).count() + self.moving_elsewhere(now);
        let here = connections.into_iter().filter(waits).map(Waiting::Here);
        let mut waiting: Vec<_> = here.chain(self.waiting_elsewhere(now).into_iter().map(Waiting::Elsewhere)).collect();
        let (granted, notice) = run.grant(waiting.len(), moving, now);
        // In the order in which they came, so that nobody waits behind those who come late.
        if granted > 0 && granted < waiting.len() {
            waiting.select_nth_unstable_by_key(granted, Waiting::came);
        }
        let mut elsewhere = Vec::new();
        for waiting in waiting.into_iter().take(granted) {
            match waiting {
                Waiting::Here(connection) => connection.tell(self.notice(&connection, notice)),
                Waiting::Elsewhere(forward) => elsewhere.push((forward, rand::random_range(0..=notice.most_delay))),
            }
        }
        self.tell_elsewhere(number, elsewhere, notice.deadline_ms);
        true
    }

    fn notice(&self, connection: &Connection, Notice { most_delay, deadline_ms }: Notice) -> Item {
        connection.told.set(clock::now());
        self.metrics.drain_noticed();
        Item::Drain { retry_after_ms: rand::random_range(0..=most_delay), deadline_ms }
    }

    fn log_begin(&self, terms: Terms) {
        tracing::info!(
            connections = self.connections.len(),
            forwarded = self.forwarded(),
            min_seconds = terms.min_ms / 1000,
            timeout_seconds = terms.timeout_ms / 1000,
            connections_per_second = terms.per_second,
            "drain begins"
        );
    }

    /// Says how far it is, when that is due.
    fn log(&self) {
        let (status, now) = (self.status(), clock::now());
        let line = self.run.lock().as_mut().and_then(|run| run.report.line(&status, now));
        let Status { remaining, moving, moved, forced, .. } = status;
        let seconds = now.saturating_sub(status.started_at.unwrap_or(now)) as f64 / 1000.0;
        match line {
            Some(Line::Progress) => tracing::info!(remaining, moving, moved, forced, seconds, "drain goes on"),
            Some(Line::End) => {
                let mut span = std::mem::take(&mut *self.span.lock());
                span.count("wscluster.drain.remaining", remaining);
                span.count("wscluster.drain.moved", moved as usize);
                tracing::info!(remaining, moved, forced, seconds, "drain ends");
            }
            None => {}
        }
    }
}

/// Whose client is still to be told.
enum Waiting {
    Here(Arc<Connection>),
    Elsewhere(Arc<Forward>),
}

impl Waiting {
    /// When it came, and its number among those that came with it.
    fn came(&self) -> (Millis, u64) {
        match self {
            Self::Here(connection) => (connection.opened_at, connection.id),
            Self::Elsewhere(forward) => (forward.opened_at, forward.id),
        }
    }
}

#[cfg(test)]
mod tests;
