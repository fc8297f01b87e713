//! What Prometheus records of a cluster and warns of: a PrometheusRule. Nothing in it depends on the number of gateways, which
//! an autoscaler changes: each change has every Prometheus read its rules anew.

mod alerts;
mod recordings;

use serde_json::{Value, json};

use super::{Wanted, monitors};
use crate::kinds::Kind;

/// Where the steps for each alert are written.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/monitoring.md");
/// By what a fleet's series are told from those of others.
const FLEET: &str = "namespace, wscluster";

/// The PrometheusRule.
pub fn prometheus_rule(wanted: &Wanted<'_>) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": monitors::metadata(wanted, Kind::PrometheusRule),
        "spec": {"groups": groups(wanted)},
    })
}

/// The groups of rules, as a rule file of Prometheus' own has them.
pub fn groups(wanted: &Wanted<'_>) -> Value {
    let series = Series::of(wanted);
    let name = wanted.name.gateway();
    json!([
        {"name": format!("{name}.recordings"), "rules": recordings::all(&series)},
        {"name": format!("{name}.alerts"), "rules": alerts::all(wanted, &series)},
    ])
}

/// The series of one cluster.
struct Series {
    matchers: String,
}

impl Series {
    fn of(wanted: &Wanted<'_>) -> Self {
        let (namespace, name) = (&wanted.namespace, wanted.name.as_str());
        Self { matchers: format!(r#"namespace="{namespace}",{}="{name}""#, monitors::CLUSTER) }
    }

    /// All of a name.
    fn all(&self, metric: &str) -> String {
        format!("{metric}{{{}}}", self.matchers)
    }

    /// Those of a name that have a label.
    fn with(&self, metric: &str, label: &str, value: &str) -> String {
        format!(r#"{metric}{{{},{label}="{value}"}}"#, self.matchers)
    }

    /// By how much counters of the whole fleet grew.
    fn growth(counter: &str, window: &str) -> String {
        format!("sum by ({FLEET}) (increase({counter}[{window}]))")
    }
}
