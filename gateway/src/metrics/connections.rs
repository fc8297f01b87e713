//! What is measured of connections: how many, how they came and how they ended.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::names::{Counters, Durations, Names, gauge};
use super::{Metrics, Snapshot};
use crate::client_address::Ignored;
use crate::protocol::Protocol;

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
    "kicked",
    "unavailable",
    "protocol_error",
    "handed_over",
    "unauthorized",
    "token_expired",
    "auth_timeout",
];
const REJECT_REASONS: &[&str] = &[
    "max_connections",
    "connections_per_ip",
    "handshake_rate",
    "origin",
    "bad_request",
    "forbidden",
    "proxy_protocol",
    "unauthorized",
    "unavailable",
    "draining",
    "peer_proof",
];

pub(super) struct Connections {
    active: Gauge,
    shards: Family<[(&'static str, String); 1], Gauge>,
    duration: Durations,
    opened: Counters,
    closed: Counters,
    rejected: Counters,
    slow: Counters,
    address_ignored: Counters,
}

impl Connections {
    pub(super) fn new(new: &mut Names) -> Self {
        let duration = new.add(
            "ws_connection_duration_seconds",
            "How long connections were open, by the reason of their end",
            "",
            Durations::new_with_constructor(durations),
        );
        for reason in CLOSE_REASONS {
            // A rate does not see the first event of a series that begins with it.
            drop(duration.get_or_create(&[("reason", reason)]));
        }
        Self {
            active: new.gauge("ws_active_connections", "Open WebSocket connections"),
            shards: new.gauge("ws_shard_connections", "Connections of each of the threads that serve them"),
            duration,
            opened: new.counters("ws_connections_opened", "Connections opened", "protocol", &["raw", "v1"]),
            closed: new.counters("ws_connections_closed", "Connections closed", "reason", CLOSE_REASONS),
            rejected: new.counters("ws_handshakes_rejected", "Handshakes refused", "reason", REJECT_REASONS),
            slow: new.counters(
                "ws_slow_closes",
                "Connections closed because too much waited for them, by the limit that was passed",
                "limit",
                &["connection", "total"],
            ),
            address_ignored: new.counters(
                "ws_client_address_ignored",
                "Requests of trusted proxies whose word on the client's address was not taken",
                "reason",
                &Ignored::LABELS,
            ),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        for (shard, connections) in now.shards.iter().enumerate() {
            self.shards.get_or_create(&[("shard", shard.to_string())]).set(gauge(*connections as u64));
        }
    }
}

fn durations() -> Histogram {
    Histogram::new([1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 4.0 * 3600.0, 12.0 * 3600.0, 86_400.0])
}

impl Metrics {
    pub(crate) fn opened(&self, protocol: Protocol) {
        self.connections.active.inc();
        let protocol = if protocol == Protocol::Raw { "raw" } else { "v1" };
        self.connections.opened.get_or_create(&[("protocol", protocol)]).inc();
    }

    pub(crate) fn closed(&self, reason: &'static str, lasted: Duration) {
        self.connections.active.dec();
        self.connections.closed.get_or_create(&[("reason", reason)]).inc();
        self.connections.duration.get_or_create(&[("reason", reason)]).observe(lasted.as_secs_f64());
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        self.connections.rejected.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn client_address_ignored(&self, ignored: Ignored) {
        self.connections.address_ignored.get_or_create(&[("reason", ignored.label())]).inc();
    }

    pub(crate) fn slow(&self, limit: &'static str) {
        self.connections.slow.get_or_create(&[("limit", limit)]).inc();
    }
}
