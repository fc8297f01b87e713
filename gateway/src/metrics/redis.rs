//! What is measured of the log: reads, entries, connections to Redis, and how rooms are read.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::names::{Counters, Float, Label, Names};
use super::{Metrics, Snapshot};
use crate::log::Mode;

pub(super) struct Redis {
    reads: Counter,
    read_errors: Counter,
    entries: Counter,
    batch: Histogram,
    reconnects: Counters,
    connected: Gauge,
    since_read: Float,
    mode: Family<Label, Gauge>,
    odd_entries: Counters,
}

impl Redis {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            reads: new.counter("redis_reads", "Reads of rooms with news"),
            read_errors: new.counter("redis_read_errors", "Reads that failed"),
            entries: new.counter("redis_entries_read", "Entries read for delivery"),
            batch: new.histogram(
                "redis_read_batch_rooms",
                "Rooms asked for in one read",
                Histogram::new(exponential_buckets(1.0, 4.0, 7)),
            ),
            reconnects: new.counters(
                "redis_reconnects",
                "Connections to Redis that were lost and made again",
                "connection",
                &["commands", "reads", "subscriptions"],
            ),
            connected: new.gauge("redis_connected", "1 while the log answers"),
            since_read: new.gauge("redis_seconds_since_read", "Seconds since the last successful read of the log"),
            mode: new.gauge("redis_reader_mode", "1 for the way in which rooms are read"),
            odd_entries: new.counters(
                "redis_odd_entries",
                "Entries of foreign writers that were not as documented",
                "oddity",
                &["no_payload", "not_json", "not_utf8", "no_timestamp", "type", "not_a_stream"],
            ),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.connected.set(i64::from(now.health.connected));
        self.since_read.set(now.health.seconds_since_read);
        for mode in [Mode::Notifications, Mode::Partitions, Mode::Embedded] {
            self.mode.get_or_create(&[("mode", mode.as_str())]).set(i64::from(mode == now.health.mode));
        }
    }
}

impl Metrics {
    pub(crate) fn redis_read(&self, rooms: usize, entries: usize) {
        self.redis.reads.inc();
        self.redis.entries.inc_by(entries as u64);
        self.redis.batch.observe(rooms as f64);
    }

    pub(crate) fn redis_read_failed(&self) {
        self.redis.read_errors.inc();
    }

    pub(crate) fn redis_reconnected(&self, connection: &'static str) {
        self.redis.reconnects.get_or_create(&[("connection", connection)]).inc();
    }

    pub(crate) fn odd_entry(&self, oddity: &'static str) {
        self.redis.odd_entries.get_or_create(&[("oddity", oddity)]).inc();
    }
}
