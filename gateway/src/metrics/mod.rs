//! Every metric of the gateway, one file for each subject: registered once, named there and described in
//! `docs/metrics.md`. No label is a room, a user or anything that a client chose.

mod affinity;
mod auth;
mod classic;
mod config;
mod connections;
mod drain;
mod messages;
mod names;
mod presence;
mod process;
mod rebalance;
mod redis;
mod tls;

use prometheus_client::encoding::text;

use crate::log::Health;
use crate::traces::Traces;
use names::Names;

/// The gateway's metrics.
pub struct Metrics {
    registered: Names,
    affinity: affinity::Affinity,
    auth: auth::Auth,
    connections: connections::Connections,
    messages: messages::Messages,
    drain: drain::Drain,
    rebalance: rebalance::Rebalance,
    presence: presence::Presence,
    redis: redis::Redis,
    tls: tls::Tls,
    config: config::Config,
    process: process::Process,
    /// Where spans are begun: wherever something is counted one may be wanted, too.
    pub traces: Traces,
}

/// What is measured when it is asked for.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Connections of each shard.
    pub shards: Vec<usize>,
    /// Bytes that wait for all connections.
    pub buffered: usize,
    /// The limit of that.
    pub buffer_limit: usize,
    /// Memberships.
    pub subscriptions: u64,
    /// Rooms with local members.
    pub rooms: usize,
    /// Listed memberships of this gateway's sessions.
    pub presence_members: usize,
    /// Rooms in which sessions of this gateway are listed.
    pub presence_rooms: usize,
    /// Connections that are forwarded to other gateways.
    pub forwarded: usize,
    /// Connections that a drain still has to move.
    pub drain_remaining: usize,
    /// Clients per second that a drain tells to move.
    pub drain_rate: f64,
    /// How it goes with the log.
    pub health: Health,
    /// Digest of the settings in force.
    pub config_hash: String,
    /// Seconds since the token key set was last fetched, where one is used.
    pub key_set_age: Option<f64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut new = Names::default();
        Self {
            affinity: affinity::Affinity::new(&mut new),
            auth: auth::Auth::new(&mut new),
            connections: connections::Connections::new(&mut new),
            messages: messages::Messages::new(&mut new),
            drain: drain::Drain::new(&mut new),
            rebalance: rebalance::Rebalance::new(&mut new),
            presence: presence::Presence::new(&mut new),
            redis: redis::Redis::new(&mut new),
            tls: tls::Tls::new(&mut new),
            config: config::Config::new(&mut new),
            process: process::Process::new(&mut new),
            registered: new,
            traces: Traces::default(),
        }
    }

    /// Names as they are exposed.
    pub fn names(&self) -> &[String] {
        &self.registered.names
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn render(&self, now: &Snapshot) -> String {
        self.affinity.measure(now);
        self.auth.measure(now);
        self.connections.measure(now);
        self.messages.measure(now);
        self.drain.measure(now);
        self.presence.measure(now);
        self.redis.measure(now);
        self.config.measure(now);
        self.process.measure();
        self.exposed()
    }

    /// The same without what is measured when it is asked for.
    pub(crate) fn exposed(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registered.registry).expect("writing to a string does not fail");
        out
    }

    /// The same in Prometheus' older text format.
    pub fn render_classic(&self, now: &Snapshot) -> String {
        classic::from_openmetrics(&self.render(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Mode;
    use crate::protocol::Protocol;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn snapshot() -> Snapshot {
        let health = Health { connected: true, seconds_since_read: 0.5, mode: Mode::Embedded };
        Snapshot {
            shards: vec![3, 4],
            buffered: 7,
            buffer_limit: 14,
            subscriptions: 1,
            rooms: 1,
            presence_members: 4,
            presence_rooms: 2,
            forwarded: 6,
            drain_remaining: 0,
            drain_rate: 2.5,
            health,
            config_hash: "abc".into(),
            key_set_age: None,
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
            "ws_shard_connections{shard=\"1\"} 4",
            "ws_drain_rate 2.5",
            "ws_forwarded_connections 6",
            "ws_affinity_missed_total{reason=\"gone\"} 0",
            "redis_stream_lag_seconds_count 0",
            "ws_connection_duration_seconds_count{reason=\"client\"} 1",
            "ws_connection_duration_seconds_count{reason=\"heartbeat\"} 0",
            "redis_reader_mode{mode=\"embedded\"} 1",
            "wscluster_gateway_config_info{hash=\"abc\"} 1",
            "ws_connections_closed_total{reason=\"heartbeat\"} 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_is_documented_and_every_documented_metric_exists() {
        let page = include_str!("../../../docs/metrics.md");
        let documented: BTreeSet<_> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
        let metrics = Metrics::new();
        let exist: BTreeSet<_> = metrics.names().iter().map(String::as_str).collect();
        assert_eq!(documented, exist);
    }
}
