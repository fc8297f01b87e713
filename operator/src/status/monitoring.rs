//! Monitors that the spec insists on and that cannot be made. Pure.

use wscluster_crds::WsCluster;
use wscluster_crds::spec::Presence;

use super::problems::Problem;
use crate::desired::monitors::{Found, asked};
use crate::kinds::Kind;
use crate::observe::Observed;

/// One problem for each field that is `enabled` in vain; with `auto` there is none.
pub fn problems(cluster: &WsCluster, observed: &Observed) -> Vec<Problem> {
    let insisted = Kind::MONITORS.into_iter().filter_map(|kind| {
        let (presence, field) = asked(&cluster.spec.observability, kind);
        (presence == Presence::Enabled).then_some((kind, field))
    });
    insisted.filter_map(|(kind, field)| problem(kind.as_str(), field, observed.monitoring.of(kind))).collect()
}

fn problem(kind: &str, field: &str, found: Found) -> Option<Problem> {
    match found {
        Found::Usable => None,
        Found::Missing => Some(Problem {
            reason: "MonitoringMissing",
            message: format!(
                "{field} is enabled, but this cluster has no {kind} (monitoring.coreos.com/v1): install the Prometheus operator or its CustomResourceDefinitions, or set the field to auto. The gateways go on without it"
            ),
        }),
        Found::Forbidden => Some(Problem {
            reason: "MonitoringForbidden",
            message: format!(
                "{field} is enabled, but the operator may not list {kind} (monitoring.coreos.com/v1): upgrade its roles with the chart, or set the field to auto. The gateways go on without it"
            ),
        }),
    }
}
