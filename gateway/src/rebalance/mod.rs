//! Rebalance: moving surplus sessions to gateways that have fewer. Nobody is closed: who does not move stays. Decides by
//! `order`; acts by telling connections.

mod order;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Millis};
use crate::config::Shared;
use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::protocol::Protocol;
use crate::shard::{Connection, Connections};
use crate::socket::Item;
use order::Order;
pub use order::Wish;

const TICK: Duration = Duration::from_millis(100);
/// The most that a client is asked to wait, in milliseconds: the pace is kept by telling, this only blurs its steps.
const MOST_DELAY: Millis = 500;

/// The rebalance of this gateway, under way or not.
pub struct Rebalance {
    settings: Shared,
    connections: Arc<Connections>,
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    /// Held while clients are told, so that one that was withdrawn tells nobody any more.
    order: Mutex<Order>,
    noticed: AtomicU64,
    moved: AtomicU64,
}

/// What can be seen of a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What is asked of this gateway just now.
    pub wish: Option<Wish>,
    /// Clients that were told to move and are still here.
    pub outstanding: usize,
    /// Clients that were told to move, since the process began.
    pub noticed: u64,
    /// Clients among them that have left, since the process began.
    pub moved: u64,
}

impl Rebalance {
    /// None yet. A drain is stronger: while there is one, nobody is told here.
    pub fn new(settings: Shared, connections: Arc<Connections>, drain: Arc<Drain>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (noticed, moved) = Default::default();
        Arc::new(Self { settings, connections, drain, metrics, order: Mutex::default(), noticed, moved })
    }

    /// Whether sessions are sent away, so that it would be wrong to take over more.
    pub fn active(&self) -> bool {
        self.order.lock().in_force(clock::now()).is_some()
    }

    /// Begins a rebalance, or goes on with the one under way: what is asked holds for ten seconds.
    pub fn ask(self: &Arc<Self>, wish: Wish) -> Status {
        {
            let mut order = self.order.lock();
            if self.drain.active() {
                order.withdraw(clock::now());
            } else if order.take(wish, clock::now()) {
                let Wish { keep, connections_per_second, .. } = wish;
                tracing::info!(connections = self.connections.len(), keep, connections_per_second, "rebalance begins");
            }
            if !std::mem::replace(&mut order.followed, true) {
                tokio::spawn(Arc::clone(self).work());
            }
        }
        self.status()
    }

    /// Ends it. Who was told and has not left yet may still do so.
    pub fn withdraw(&self) -> Status {
        self.order.lock().withdraw(clock::now());
        self.status()
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        let order = self.order.lock();
        Status {
            wish: order.in_force(clock::now()),
            outstanding: order.outstanding(),
            noticed: self.noticed.load(Relaxed),
            moved: self.moved.load(Relaxed),
        }
    }

    /// A connection has ended.
    pub fn closed(&self, connection: &Connection) {
        if self.order.lock().closed(connection.id) {
            self.moved.fetch_add(1, Relaxed);
            self.metrics.rebalance_moved();
        }
    }

    async fn work(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.tick(clock::now()) {
            ticks.tick().await;
        }
        let Status { outstanding, noticed, moved, .. } = self.status();
        tracing::info!(connections = self.connections.len(), outstanding, noticed, moved, "rebalance ends");
    }

    /// Tells those whose turn it is. `false`: nothing is asked any more.
    fn tick(&self, now: Millis) -> bool {
        let mut order = self.order.lock();
        if self.drain.active() {
            order.withdraw(now);
        }
        if order.in_force(now).is_none() {
            order.followed = false;
            return false;
        }
        let granted = order.grant(self.connections.len(), now);
        if granted == 0 {
            return true;
        }
        let deadline_ms = self.settings.load().drain.timeout_seconds * 1000;
        for connection in self.newest(&order, granted, now) {
            order.tell(connection.id, now);
            self.noticed.fetch_add(1, Relaxed);
            self.metrics.rebalance_noticed();
            connection.tell(Item::Drain { retry_after_ms: rand::random_range(0..=MOST_DELAY), deadline_ms });
        }
        true
    }

    /// Those among whom may be told that came last: who has been here for long has most to lose. A raw client would lose
    /// its place, for it cannot resume: it stays.
    fn newest(&self, order: &Order, count: usize, now: Millis) -> Vec<Arc<Connection>> {
        let movable = |each: &Arc<Connection>| {
            each.protocol == Protocol::V1 && each.is_served() && order.may_tell(each.id, each.opened_at, now)
        };
        let mut all: Vec<_> = self.connections.all().into_iter().filter(movable).collect();
        if count < all.len() {
            all.select_nth_unstable_by_key(count, |each| std::cmp::Reverse((each.opened_at, each.id)));
            all.truncate(count);
        }
        all
    }
}
