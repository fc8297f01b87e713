//! The operator's metrics, registered once.

mod clusters;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use wscluster_crds::{WsCluster, WsClusterStatus};

use crate::streams::sweep::Step;
use clusters::Clusters;

/// The operator's metrics. A clone counts into the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ResultLabel, Counter>,
    durations: Histogram,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Family<KindLabel, Counter>,
    leader: Gauge,
    clusters: Gauge,
    sweeps: Family<ResultLabel, Counter>,
    trimmed: Counter,
    removed: Counter,
    statuses: Clusters,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    verb: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("wscluster_operator");
        let mut metrics = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            durations: Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0]),
            writes: Family::default(),
            watch_errors: Family::default(),
            leader: Gauge::default(),
            clusters: Gauge::default(),
            sweeps: Family::default(),
            trimmed: Counter::default(),
            removed: Counter::default(),
            statuses: Clusters::default(),
        };
        registry.register("reconciles", "Turns taken, by result", metrics.reconciles.clone());
        registry.register("reconcile_duration_seconds", "Time that a turn took", metrics.durations.clone());
        registry.register("writes", "Writes to the API server", metrics.writes.clone());
        registry.register("watch_errors", "Watches that broke and were resumed", metrics.watch_errors.clone());
        registry.register("leader", "Whether this process leads", metrics.leader.clone());
        registry.register("clusters", "WsClusters looked after", metrics.clusters.clone());
        registry.register("redis_sweeps", "Steps of the trim sweep, by result", metrics.sweeps.clone());
        registry.register("redis_trimmed_entries", "Entries that the sweep trimmed", metrics.trimmed.clone());
        registry.register("redis_removed_rooms", "Idle rooms that the sweep removed", metrics.removed.clone());
        metrics.statuses.register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    /// A turn was taken.
    pub fn reconciled(&self, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ResultLabel { result }).inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// A write was sent to the API server.
    pub fn wrote(&self, kind: &str, verb: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind: kind.to_owned(), verb }).inc();
    }

    /// A watch broke.
    pub fn watch_broke(&self, kind: &str) {
        self.watch_errors.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// This process leads, or no longer does.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Number of clusters.
    pub fn clusters(&self, number: usize) {
        self.clusters.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// What the status of a cluster says now.
    pub fn shows(&self, cluster: &WsCluster, status: &WsClusterStatus) {
        self.statuses.show(cluster, status);
    }

    /// Forgets the clusters, by uid, that are gone.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.statuses.retain(exists);
    }

    /// A step of the sweep was taken; `None`: it failed.
    pub fn swept(&self, step: Option<&Step>) {
        let result = if step.is_some() { "ok" } else { "error" };
        self.sweeps.get_or_create(&ResultLabel { result }).inc();
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        self.trimmed.inc_by(step.map_or(0, |step| count(step.trimmed)));
        self.removed.inc_by(step.map_or(0, |step| count(step.removed)));
    }

    /// All of them, in OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_labels() {
        let metrics = Metrics::default();
        metrics.wrote("Deployment", "apply");
        metrics.reconciled("ok", Duration::from_millis(3));
        metrics.leads(true);
        let text = metrics.render();
        assert!(text.contains("wscluster_operator_writes_total{kind=\"Deployment\",verb=\"apply\"} 1"), "{text}");
        assert!(text.contains("wscluster_operator_reconciles_total{result=\"ok\"} 1"), "{text}");
        assert!(text.contains("wscluster_operator_leader 1"), "{text}");
    }

    #[test]
    fn what_a_cluster_shows_changes_and_goes_with_it() {
        let metrics = Metrics::default();
        let spec = serde_yaml::from_str("{redis: {url: 'redis://r'}, replicas: 3}").unwrap();
        let mut cluster = WsCluster::new("chat", spec);
        cluster.metadata.namespace = Some("default".to_owned());
        cluster.metadata.uid = Some("u".to_owned());
        let status = |conditions: &str| {
            let text = format!("{{readyReplicas: 2, rollout: {{dropped: 4}}, conditions: [{conditions}]}}");
            serde_yaml::from_str::<WsClusterStatus>(&text).unwrap()
        };
        let condition = |type_: &str, status: &str| {
            let time = "2026-01-01T00:00:00Z";
            format!("{{type: {type_}, status: '{status}', reason: R, message: m, lastTransitionTime: '{time}'}}, ")
        };
        let first = condition("Degraded", "False") + &condition("ScalingActive", "Unknown");
        metrics.shows(&cluster, &status(&first));
        let whose = "namespace=\"default\",wscluster=\"chat\"";
        let line = |name: &str, label: &str| format!("wscluster_operator_{name}{{{whose},{label}}}");
        for (name, label, value) in [
            ("gateways", "state=\"wanted\"", 3),
            ("gateways", "state=\"ready\"", 2),
            ("rollout_sessions", "outcome=\"dropped\"", 4),
            ("condition", "type=\"Degraded\"", 0),
            ("condition", "type=\"ScalingActive\"", -1),
        ] {
            let line = format!("{} {value}\n", line(name, label));
            assert!(metrics.render().contains(&line), "{line} is not in {}", metrics.render());
        }
        metrics.shows(&cluster, &status(&condition("Degraded", "True")));
        let text = metrics.render();
        assert!(text.contains(&format!("{} 1\n", line("condition", "type=\"Degraded\""))), "{text}");
        assert!(!text.contains("ScalingActive"), "a condition that is gone is not shown: {text}");
        metrics.retain(|uid| uid != "u");
        assert!(!metrics.render().contains(whose), "{}", metrics.render());
    }
}
