//! Every metric of the gateway: registered once, named here and described in `docs/metrics.md`. No label is a room, a
//! user or anything that a client chose.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::clock::Millis;
use crate::error::LogError;
use crate::log::{Health, Mode};
use crate::protocol::{Code, Protocol, Reason};

type Label = [(&'static str, &'static str); 1];
type Counters = Family<Label, Counter>;
type Durations = Family<Label, Histogram, fn() -> Histogram>;
type Float = Gauge<f64, AtomicU64>;

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    active_connections: Gauge,
    messages_sent: Counter,
    send_buffer_bytes: Gauge,
    stream_lag: Histogram,
    connection_duration: Durations,
    opened: Counters,
    closed: Counters,
    rejected: Counters,
    received: Counter,
    refused: Counters,
    subscriptions: Gauge,
    rooms: Gauge,
    published: Counter,
    publish_errors: Counters,
    slow: Counters,
    resyncs: Counters,
    resumes: Counters,
    drain_remaining: Gauge,
    drain_noticed: Counter,
    drain_forced: Counter,
    redis_reads: Counter,
    redis_read_errors: Counter,
    redis_entries: Counter,
    redis_batch: Histogram,
    redis_reconnects: Counters,
    redis_connected: Gauge,
    redis_since_read: Float,
    reader_mode: Family<Label, Gauge>,
    odd_entries: Counters,
    config_info: Family<[(&'static str, String); 1], Gauge>,
    config_reloads: Counters,
    send_budget_used: Float,
}

/// What is measured when it is asked for.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Bytes that wait for all connections.
    pub buffered: usize,
    /// The limit of that.
    pub buffer_limit: usize,
    /// Memberships.
    pub subscriptions: u64,
    /// Rooms with local members.
    pub rooms: usize,
    /// Connections that a drain still has to move.
    pub drain_remaining: usize,
    /// How it goes with the log.
    pub health: Health,
    /// Digest of the settings in force.
    pub config_hash: String,
}

/// Registers metrics and remembers their names as they are exposed.
struct Names<'a> {
    registry: &'a mut Registry,
    names: &'a mut Vec<String>,
}

impl Names<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, suffix: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        self.names.push(format!("{name}{suffix}"));
        metric
    }
    fn gauge<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, "", M::default())
    }
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.add(name, help, "_total", Counter::default())
    }
    /// All values of a label exist from the start, so that a rate can be computed from the first event on.
    fn counters(&mut self, name: &str, help: &str, label: &'static str, values: &[&'static str]) -> Counters {
        let family = self.add(name, help, "_total", Counters::default());
        for value in values {
            drop(family.get_or_create(&[(label, value)]));
        }
        family
    }
    fn histogram(&mut self, name: &str, help: &str, histogram: Histogram) -> Histogram {
        self.add(name, help, "", histogram)
    }
}

const CLOSE_REASONS: &[&str] = &[
    "client",
    "lost",
    "slow",
    "heartbeat",
    "drained",
    "drain_forced",
    "shutdown",
    "too_large",
    "binary",
    "forbidden",
    "unavailable",
    "protocol_error",
];
const REJECT_REASONS: &[&str] =
    &["max_connections", "connections_per_ip", "handshake_rate", "origin", "bad_request", "forbidden"];
const CODES: &[&str] = &[
    "bad_request",
    "forbidden",
    "rate_limited",
    "too_many_rooms",
    "too_large",
    "unavailable",
    "not_subscribed",
    "not_implemented",
];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn durations() -> Histogram {
    Histogram::new([1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 4.0 * 3600.0, 12.0 * 3600.0, 86_400.0])
}

impl Metrics {
    /// All metrics, at zero.
    #[allow(clippy::too_many_lines)] // A list: one metric after another, in the order of `docs/metrics.md`.
    pub fn new() -> Self {
        let (mut registry, mut names) = (Registry::default(), Vec::new());
        let mut new = Names { registry: &mut registry, names: &mut names };
        let lag = Histogram::new(exponential_buckets(0.000_25, 2.0, 18));
        let duration = Durations::new_with_constructor(durations);
        Self {
            active_connections: new.gauge("ws_active_connections", "Open WebSocket connections"),
            messages_sent: new.counter("ws_messages_sent", "Messages written to clients"),
            send_buffer_bytes: new.gauge("ws_send_buffer_bytes", "Bytes that wait to be written to clients"),
            stream_lag: new.histogram(
                "redis_stream_lag_seconds",
                "From an entry's id to the end of the write that carried it, for the oldest entry of each write",
                lag,
            ),
            connection_duration: new.add(
                "ws_connection_duration_seconds",
                "How long connections were open, by the reason of their end",
                "",
                duration,
            ),
            opened: new.counters("ws_connections_opened", "Connections opened", "protocol", &["raw", "v1"]),
            closed: new.counters("ws_connections_closed", "Connections closed", "reason", CLOSE_REASONS),
            rejected: new.counters("ws_handshakes_rejected", "Handshakes refused", "reason", REJECT_REASONS),
            received: new.counter("ws_messages_received", "Frames received from clients"),
            refused: new.counters("ws_requests_refused", "Requests answered with an error", "code", CODES),
            subscriptions: new.gauge("ws_subscriptions", "Memberships of connections in rooms"),
            rooms: new.gauge("ws_rooms", "Rooms with members here"),
            published: new.counter("ws_messages_published", "Messages written to the log for clients"),
            publish_errors: new.counters(
                "ws_publish_errors",
                "Messages of clients that could not be written to the log",
                "error",
                &["unavailable", "refused"],
            ),
            slow: new.counters(
                "ws_slow_closes",
                "Connections closed because too much waited for them, by the limit that was passed",
                "limit",
                &["connection", "total"],
            ),
            resyncs: new.counters(
                "ws_resyncs",
                "Times that a client was told that a room may have a hole",
                "reason",
                &["trimmed", "vanished", "reset"],
            ),
            resumes: new.counters(
                "ws_resumes",
                "Subscriptions with a cursor, by what was proven",
                "outcome",
                &["recovered", "unrecovered"],
            ),
            send_budget_used: new.gauge("ws_send_budget_used_ratio", "Share of totalBufferBytes in use"),
            drain_remaining: new.gauge("ws_drain_remaining", "Connections that a drain still has to move"),
            drain_noticed: new.counter("ws_drain_noticed", "Connections told to move"),
            drain_forced: new.counter("ws_drain_forced", "Connections closed at a drain's deadline"),
            redis_reads: new.counter("redis_reads", "Reads of rooms with news"),
            redis_read_errors: new.counter("redis_read_errors", "Reads that failed"),
            redis_entries: new.counter("redis_entries_read", "Entries read for delivery"),
            redis_batch: new.histogram(
                "redis_read_batch_rooms",
                "Rooms asked for in one read",
                Histogram::new(exponential_buckets(1.0, 4.0, 7)),
            ),
            redis_reconnects: new.counters(
                "redis_reconnects",
                "Connections to Redis that were lost and made again",
                "connection",
                &["commands", "reads", "subscriptions"],
            ),
            redis_connected: new.gauge("redis_connected", "1 while the log answers"),
            redis_since_read: new
                .gauge("redis_seconds_since_read", "Seconds since the last successful read of the log"),
            reader_mode: new.gauge("redis_reader_mode", "1 for the way in which rooms are read"),
            odd_entries: new.counters(
                "redis_odd_entries",
                "Entries of foreign writers that were not as documented",
                "oddity",
                &["no_payload", "not_json", "not_utf8", "no_timestamp", "type"],
            ),
            config_info: new.gauge("wscluster_gateway_config_info", "1 for the digest of the settings in force"),
            config_reloads: new.counters(
                "wscluster_gateway_config_reloads",
                "Changed settings files, by what became of them",
                "result",
                &["applied", "refused"],
            ),
            registry,
            names,
        }
    }

    /// Names as they are exposed.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn render(&self, now: &Snapshot) -> String {
        self.send_buffer_bytes.set(gauge(now.buffered as u64));
        self.send_budget_used.set(now.buffered as f64 / now.buffer_limit.max(1) as f64);
        self.subscriptions.set(gauge(now.subscriptions));
        self.rooms.set(gauge(now.rooms as u64));
        self.drain_remaining.set(gauge(now.drain_remaining as u64));
        self.redis_connected.set(i64::from(now.health.connected));
        self.redis_since_read.set(now.health.seconds_since_read);
        for mode in [Mode::Notifications, Mode::Partitions, Mode::Embedded] {
            self.reader_mode.get_or_create(&[("mode", mode.as_str())]).set(i64::from(mode == now.health.mode));
        }
        self.config_info.clear();
        self.config_info.get_or_create(&[("hash", now.config_hash.clone())]).set(1);
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }

    pub(crate) fn opened(&self, protocol: Protocol) {
        self.active_connections.inc();
        let protocol = if protocol == Protocol::Raw { "raw" } else { "v1" };
        self.opened.get_or_create(&[("protocol", protocol)]).inc();
    }

    pub(crate) fn closed(&self, reason: &'static str, lasted: Duration) {
        self.active_connections.dec();
        self.closed.get_or_create(&[("reason", reason)]).inc();
        self.connection_duration.get_or_create(&[("reason", reason)]).observe(lasted.as_secs_f64());
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn received(&self) {
        self.received.inc();
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refused.get_or_create(&[("code", code.as_str())]).inc();
    }

    pub(crate) fn published(&self, error: Option<&LogError>) {
        match error {
            None => self.published.inc(),
            Some(error) => self.publish_errors.get_or_create(&[("error", error.label())]).inc(),
        };
    }

    pub(crate) fn slow(&self, limit: &'static str) {
        self.slow.get_or_create(&[("limit", limit)]).inc();
    }

    pub(crate) fn resynced(&self, reason: Reason) {
        self.resyncs.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    pub(crate) fn resumed(&self, recovered: bool) {
        let outcome = if recovered { "recovered" } else { "unrecovered" };
        self.resumes.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn sent(&self, messages: u64) {
        self.messages_sent.inc_by(messages);
    }

    pub(crate) fn lag(&self, ms: Millis) {
        self.stream_lag.observe(ms as f64 / 1000.0);
    }

    pub(crate) fn drain_noticed(&self) {
        self.drain_noticed.inc();
    }

    pub(crate) fn drain_forced(&self) {
        self.drain_forced.inc();
    }

    pub(crate) fn redis_read(&self, rooms: usize, entries: usize) {
        self.redis_reads.inc();
        self.redis_entries.inc_by(entries as u64);
        self.redis_batch.observe(rooms as f64);
    }

    pub(crate) fn redis_read_failed(&self) {
        self.redis_read_errors.inc();
    }

    pub(crate) fn redis_reconnected(&self, connection: &'static str) {
        self.redis_reconnects.get_or_create(&[("connection", connection)]).inc();
    }

    pub(crate) fn odd_entry(&self, oddity: &'static str) {
        self.odd_entries.get_or_create(&[("oddity", oddity)]).inc();
    }

    pub(crate) fn config_reloaded(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.config_reloads.get_or_create(&[("result", result)]).inc();
    }
}

/// The library's gauges are signed.
fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn snapshot() -> Snapshot {
        let health = Health { connected: true, seconds_since_read: 0.5, mode: Mode::Embedded };
        Snapshot {
            buffered: 7,
            buffer_limit: 14,
            subscriptions: 1,
            rooms: 1,
            drain_remaining: 0,
            health,
            config_hash: "abc".into(),
        }
    }

    #[test]
    fn the_promised_names_are_exposed() {
        let metrics = Metrics::new();
        metrics.opened(Protocol::V1);
        metrics.closed("client", Duration::from_secs(5));
        let text = metrics.render(&snapshot());
        for line in [
            "ws_active_connections 0",
            "ws_messages_sent_total 0",
            "ws_send_buffer_bytes 7",
            "redis_stream_lag_seconds_count 0",
            "ws_connection_duration_seconds_count{reason=\"client\"} 1",
            "redis_reader_mode{mode=\"embedded\"} 1",
            "wscluster_gateway_config_info{hash=\"abc\"} 1",
            "ws_connections_closed_total{reason=\"heartbeat\"} 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_is_documented_and_every_documented_metric_exists() {
        let page = include_str!("../../docs/metrics.md");
        let documented: BTreeSet<_> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
        let metrics = Metrics::new();
        let exist: BTreeSet<_> = metrics.names().iter().map(String::as_str).collect();
        assert_eq!(documented, exist);
    }
}
