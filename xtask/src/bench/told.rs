//! What an operator's metrics say of its work.

use std::collections::BTreeMap;
use std::ops::Sub;

use anyhow::{Result, bail, ensure};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use wscluster_tests::fleet;

/// The namespace of the operator.
pub(crate) const SYSTEM: &str = "wscluster-system";
const OPERATOR: &str = "app.kubernetes.io/name=wscluster-operator";
/// The operator's HTTP port.
const PORT: u16 = 9091;

/// The pod of the operator that leads.
pub(crate) async fn leader(client: &Client) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    for pod in pods.list(&ListParams::default().labels(OPERATOR)).await?.items {
        let name = pod.name_any();
        if !fleet::is_terminating(&pod) && ask(client, &name).await.is_ok_and(|told| told.leads) {
            return Ok(name);
        }
    }
    bail!("no operator leads")
}

/// What the operator in a pod tells now.
pub(crate) async fn ask(client: &Client, pod: &str) -> Result<Told> {
    let uri = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:{PORT}/proxy/metrics");
    let text = client.request_text(Request::get(uri).body(Vec::new())?).await?;
    let told = Told::parse(&text);
    ensure!(told.turns() > 0.0 || text.contains("wscluster_operator"), "{pod} has no metrics of an operator");
    Ok(told)
}

/// Turns by the time that they took, and writes, since the operator began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Turns that took no longer than so many seconds, in text as the metric has it.
    turns: BTreeMap<String, f64>,
    /// Writes to the API server.
    pub(crate) writes: f64,
    /// Whether it leads.
    pub(crate) leads: bool,
}

impl Told {
    /// Reads the metrics, in Prometheus' text format.
    pub(crate) fn parse(text: &str) -> Self {
        let mut told = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let value = value.parse().unwrap_or(0.0);
            if let Some(labels) = series.strip_prefix("wscluster_operator_reconcile_duration_seconds_bucket{le=\"") {
                told.turns.insert(labels.trim_end_matches("\"}").to_owned(), value);
            } else if series.starts_with("wscluster_operator_writes_total{") {
                told.writes += value;
            } else if series == "wscluster_operator_leader" {
                told.leads = value > 0.0;
            }
        }
        told
    }

    /// How many.
    pub(crate) fn turns(&self) -> f64 {
        self.turns.get("+Inf").copied().unwrap_or(0.0)
    }

    /// How long the given share of the turns takes at most, in seconds: linear within a bucket, as Prometheus has it.
    pub(crate) fn turn(&self, share: f64) -> f64 {
        let mut buckets: Vec<(f64, f64)> =
            self.turns.iter().map(|(le, count)| (le.parse().unwrap_or(f64::INFINITY), *count)).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let wanted = self.turns() * share;
        let (mut below, mut counted) = (0.0, 0.0);
        for (limit, count) in buckets {
            if count >= wanted && count > 0.0 {
                let part = (wanted - counted) / (count - counted).max(f64::MIN_POSITIVE);
                return if limit.is_finite() { below + (limit - below) * part } else { below };
            }
            (below, counted) = (limit, count);
        }
        0.0
    }
}

impl Sub<&Told> for Told {
    type Output = Told;

    /// What was done since `earlier`.
    fn sub(mut self, earlier: &Told) -> Told {
        for (le, count) in &mut self.turns {
            *count -= earlier.turns.get(le).copied().unwrap_or(0.0);
        }
        self.writes -= earlier.writes;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE wscluster_operator_reconcile_duration_seconds histogram
wscluster_operator_reconcile_duration_seconds_sum 1.5
wscluster_operator_reconcile_duration_seconds_count 100
wscluster_operator_reconcile_duration_seconds_bucket{le=\"0.02\"} 50
wscluster_operator_reconcile_duration_seconds_bucket{le=\"0.1\"} 98
wscluster_operator_reconcile_duration_seconds_bucket{le=\"0.5\"} 100
wscluster_operator_reconcile_duration_seconds_bucket{le=\"+Inf\"} 100
wscluster_operator_writes_total{kind=\"Deployment\",verb=\"apply\"} 7
wscluster_operator_writes_total{kind=\"Service\",verb=\"apply\"} 3
wscluster_operator_leader 1
";

    #[test]
    fn turns_and_writes_are_read_from_the_metrics() {
        let told = Told::parse(TEXT);
        assert_eq!((told.turns(), told.writes, told.leads), (100.0, 10.0, true));
        assert!((told.turn(0.5) - 0.02).abs() < 1e-9 && (told.turn(0.99) - 0.3).abs() < 1e-9, "{}", told.turn(0.99));
        assert!((told.turn(0.25) - 0.01).abs() < 1e-9);
        let since = told.clone() - &told;
        assert_eq!((since.turns(), since.writes, since.turn(0.99)), (0.0, 0.0, 0.0));
        assert!(Told::parse("").turns() < 0.5);
    }
}
