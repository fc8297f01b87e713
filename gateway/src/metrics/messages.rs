//! What is measured of messages: received, published, sent, what waits, and what clients may have missed.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::names::{Counters, Float, Names, gauge};
use super::{Metrics, Snapshot};
use crate::clock::Millis;
use crate::error::LogError;
use crate::protocol::{Code, Reason};

const CODES: &[&str] = &[
    "bad_request",
    "forbidden",
    "rate_limited",
    "too_many_rooms",
    "too_large",
    "unavailable",
    "not_subscribed",
    "unauthorized",
];

const RECOVERED: &str = "recovered";
const UNRECOVERED: &str = "unrecovered";

pub(super) struct Messages {
    sent: Counter,
    send_buffer_bytes: Gauge,
    send_budget_used: Float,
    stream_lag: Histogram,
    received: Counter,
    refused: Counters,
    subscriptions: Gauge,
    rooms: Gauge,
    published: Counter,
    publish_errors: Counters,
    resyncs: Counters,
    resumes: Counters,
    sessions: Counters,
    replays: Counter,
    replayed: Counter,
}

impl Messages {
    pub(super) fn new(new: &mut Names) -> Self {
        let lag = Histogram::new(exponential_buckets(0.000_25, 2.0, 18));
        Self {
            sent: new.counter("ws_messages_sent", "Messages written to clients"),
            send_buffer_bytes: new.gauge("ws_send_buffer_bytes", "Bytes that wait to be written to clients"),
            send_budget_used: new.gauge("ws_send_budget_used_ratio", "Share of totalBufferBytes in use"),
            stream_lag: new.histogram(
                "redis_stream_lag_seconds",
                "From an entry's id to the end of the write that carried it, for the oldest entry of each write",
                lag,
            ),
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
            resyncs: new.counters(
                "ws_resyncs",
                "Times that a client was told that a room may have a hole",
                "reason",
                &["trimmed", "vanished", "reset", "slow"],
            ),
            resumes: new.counters(
                "ws_resumes",
                "Subscriptions with a cursor, by what was proven",
                "outcome",
                &[RECOVERED, UNRECOVERED],
            ),
            sessions: new.counters(
                "ws_sessions_resumed",
                "Sessions that came back with cursors, by whether they got everything that they had missed",
                "outcome",
                &[RECOVERED, UNRECOVERED],
            ),
            replays: new.counter("ws_replays", "Times that what a client had missed in a room was read back"),
            replayed: new.counter("ws_replayed_messages", "Messages that clients had missed and were read back"),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.send_buffer_bytes.set(gauge(now.buffered as u64));
        self.send_budget_used.set(now.buffered as f64 / now.buffer_limit.max(1) as f64);
        self.subscriptions.set(gauge(now.subscriptions));
        self.rooms.set(gauge(now.rooms as u64));
    }
}

impl Metrics {
    pub(crate) fn received(&self) {
        self.messages.received.inc();
    }

    pub(crate) fn refused(&self, code: Code) {
        self.messages.refused.get_or_create(&[("code", code.as_str())]).inc();
    }

    pub(crate) fn published(&self, error: Option<&LogError>) {
        match error {
            None => self.messages.published.inc(),
            Some(error) => self.messages.publish_errors.get_or_create(&[("error", error.label())]).inc(),
        };
    }

    pub(crate) fn resynced(&self, reason: Reason) {
        self.messages.resyncs.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    pub(crate) fn resumed(&self, recovered: bool) {
        self.messages.resumes.get_or_create(&[("outcome", outcome(recovered))]).inc();
    }

    pub(crate) fn session_resumed(&self, recovered: bool) {
        self.messages.sessions.get_or_create(&[("outcome", outcome(recovered))]).inc();
    }

    /// Sessions that came back so far: those that got everything that they had missed, or those that did not.
    pub(crate) fn sessions_resumed(&self, recovered: bool) -> u64 {
        self.messages.sessions.get_or_create(&[("outcome", outcome(recovered))]).get()
    }

    pub(crate) fn replayed(&self, messages: usize) {
        self.messages.replays.inc();
        self.messages.replayed.inc_by(messages as u64);
    }

    pub(crate) fn sent(&self, messages: u64) {
        self.messages.sent.inc_by(messages);
    }

    pub(crate) fn lag(&self, ms: Millis) {
        self.messages.stream_lag.observe(ms as f64 / 1000.0);
    }
}

fn outcome(recovered: bool) -> &'static str {
    if recovered { RECOVERED } else { UNRECOVERED }
}
