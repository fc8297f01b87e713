//! What somebody is to be told of, with thresholds from the spec. `docs/monitoring.md` has the steps for each, and a test keeps
//! the two the same.

use serde_json::{Value, json};

use super::recordings::{CONNECTIONS, LAG};
use super::{FLEET, RUNBOOKS, Series};
use crate::desired::Wanted;

const MINUTE: i64 = 60;
/// Fewest slow clients that are worth telling of: in a small fleet one is a large part.
const FEWEST_SLOW: u32 = 10;
/// Minutes in which a rollout that goes on has moved somebody.
const QUIET_MINUTES: i64 = 10;

/// How soon somebody should look.
#[derive(Clone, Copy)]
enum Severity {
    /// Now: sessions are lost, or about to be.
    Critical,
    /// Today.
    Warning,
}
use Severity::{Critical, Warning};

struct Alert {
    name: &'static str,
    severity: Severity,
    /// Seconds for which it must hold.
    after: i64,
    expression: String,
    summary: &'static str,
    description: &'static str,
}

/// The rules.
pub(super) fn all(wanted: &Wanted<'_>, series: &Series) -> Vec<Value> {
    let alerts = sessions(series).into_iter();
    let alerts = alerts.chain(gateways(wanted, series)).chain(redis(series)).chain(limits(wanted, series));
    alerts.chain(changes(wanted, series)).chain(operator(wanted, series)).map(rule).collect()
}

fn rule(alert: Alert) -> Value {
    let Alert { name, severity, after, expression, summary, description } = alert;
    json!({
        "alert": name,
        "expr": expression,
        "for": (after > 0).then(|| format!("{after}s")),
        "labels": {"severity": match severity { Critical => "critical", Warning => "warning" }},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": format!("{RUNBOOKS}#{}", name.to_lowercase()),
        },
    })
}

fn sessions(series: &Series) -> [Alert; 1] {
    let forced = Series::growth(&series.all("ws_drain_forced_total"), "15m");
    let dropped = Series::growth(&series.with("wscluster_operator_rollout_sessions", "outcome", "dropped"), "15m");
    [Alert {
        name: "WsClusterSessionsDropped",
        severity: Critical,
        after: 0,
        expression: format!("{forced} > 0 or {dropped} > 0"),
        summary: "Sessions were lost in a change of the fleet.",
        description: "{{ $value | humanize }} sessions of {{ $labels.namespace }}/{{ $labels.wscluster }} were cut off at a drain deadline or came back to a room with a hole, within 15 minutes.",
    }]
}

fn gateways(wanted: &Wanted<'_>, series: &Series) -> Vec<Alert> {
    let absent = Alert {
        name: "WsClusterAbsent",
        severity: Critical,
        after: 5 * MINUTE,
        expression: format!("absent({})", series.all("ws_active_connections")),
        summary: "No gateway of a fleet is seen.",
        description: "No gateway of {{ $labels.namespace }}/{{ $labels.wscluster }} was scraped for 5 minutes: none runs, or Prometheus does not get through to the admin port.",
    };
    let down = Alert {
        name: "WsClusterGatewayDown",
        severity: Warning,
        after: 5 * MINUTE,
        expression: format!("{} == 0", series.all("up")),
        summary: "A gateway does not answer.",
        description: "{{ $labels.pod }} of {{ $labels.namespace }}/{{ $labels.wscluster }} did not answer on its admin port for 5 minutes.",
    };
    // A fleet of none is not missed.
    (wanted.replicas > 0).then_some(absent).into_iter().chain([down]).collect()
}

fn redis(series: &Series) -> [Alert; 2] {
    [
        Alert {
            name: "WsClusterRedisUnreachable",
            severity: Critical,
            after: MINUTE,
            expression: format!("count by ({FLEET}) ({} == 0)", series.all("redis_connected")),
            summary: "Gateways do not reach Redis.",
            description: "{{ $value }} gateways of {{ $labels.namespace }}/{{ $labels.wscluster }} have no answer from Redis: connections stay, nothing is delivered.",
        },
        Alert {
            name: "WsClusterRedisLagHigh",
            severity: Warning,
            after: 5 * MINUTE,
            expression: format!("{} > 1", series.all(LAG)),
            summary: "Messages arrive late.",
            description: "1% of what {{ $labels.namespace }}/{{ $labels.wscluster }} writes to its clients is older than {{ $value | humanizeDuration }}.",
        },
    ]
}

fn limits(wanted: &Wanted<'_>, series: &Series) -> [Alert; 5] {
    let most = i64::from(wanted.spec.gateway.max_connections) * 9 / 10;
    let pods = format!("max by ({FLEET}, pod)");
    let slow = Series::growth(&series.with("ws_connections_closed_total", "reason", "slow"), "1h");
    let usual = format!("avg_over_time({}[1h])", series.all(CONNECTIONS));
    let exhausted = Series::growth(&series.with("ws_slow_closes_total", "limit", "total"), "15m");
    let refused = Series::growth(&series.with("ws_handshakes_rejected_total", "reason", "max_connections"), "5m");
    [
        Alert {
            name: "WsClusterSlowClientsClosed",
            severity: Warning,
            after: 0,
            expression: format!("{slow} > clamp_min(0.01 * {usual}, {FEWEST_SLOW})"),
            summary: "Many clients are closed because they read too slowly.",
            description: "{{ $value | humanize }} clients of {{ $labels.namespace }}/{{ $labels.wscluster }} were closed within an hour because too much waited for them: over 1% of its connections.",
        },
        Alert {
            name: "WsClusterSendBufferNearTotal",
            severity: Warning,
            after: 5 * MINUTE,
            expression: format!("{pods} ({}) > 0.5", series.all("ws_send_budget_used_ratio")),
            summary: "Much waits to be written to clients.",
            description: "{{ $value | humanizePercentage }} of totalBufferBytes of {{ $labels.pod }} in {{ $labels.namespace }}/{{ $labels.wscluster }} is in use.",
        },
        Alert {
            name: "WsClusterSendBufferExhausted",
            severity: Critical,
            after: 0,
            expression: format!("{exhausted} > 0"),
            summary: "Clients are closed because a gateway has no room for what waits.",
            description: "{{ $value | humanize }} clients of {{ $labels.namespace }}/{{ $labels.wscluster }} were closed within 15 minutes because totalBufferBytes was used up.",
        },
        Alert {
            name: "WsClusterConnectionsNearMaximum",
            severity: Warning,
            after: 10 * MINUTE,
            expression: format!("{pods} ({}) > {most}", series.all("ws_active_connections")),
            summary: "A gateway is nearly full.",
            description: "{{ $labels.pod }} of {{ $labels.namespace }}/{{ $labels.wscluster }} holds {{ $value }} connections: over 90% of maxConnections.",
        },
        Alert {
            name: "WsClusterConnectionsRefused",
            severity: Critical,
            after: 0,
            expression: format!("{refused} > 0"),
            summary: "Clients are refused: a gateway is full.",
            description: "{{ $value | humanize }} clients of {{ $labels.namespace }}/{{ $labels.wscluster }} were refused within 5 minutes because a gateway holds maxConnections.",
        },
    ]
}

fn changes(wanted: &Wanted<'_>, series: &Series) -> [Alert; 4] {
    let (budget, rollout) = (&wanted.budget, &wanted.spec.rollout);
    let remaining = series.all("ws_drain_remaining");
    // Until minSeconds have passed, nobody is told to move.
    let before = (budget.min_seconds + 2 * MINUTE).max(5 * MINUTE);
    let connections = series.all("ws_active_connections");
    let revisions = format!("count by ({FLEET}) (count by ({FLEET}, revision) ({connections})) > 1");
    let moved = Series::growth(&series.all("ws_drain_moved_total"), &format!("{QUIET_MINUTES}m"));
    let pods = format!("max by ({FLEET}, pod)");
    [
        Alert {
            name: "WsClusterDrainStuck",
            severity: Warning,
            after: MINUTE,
            expression: format!("{remaining} >= ({remaining} offset {before}s > 0)"),
            summary: "A gateway that drains moves nobody.",
            description: "{{ $labels.pod }} of {{ $labels.namespace }}/{{ $labels.wscluster }} still has {{ $value }} connections to move, no fewer than minutes ago. What is left at the deadline is cut off.",
        },
        Alert {
            name: "WsClusterRolloutStuck",
            severity: Warning,
            after: i64::from(rollout.progress_deadline_seconds) + budget.min_seconds,
            expression: format!("{revisions} unless on ({FLEET}) {moved} > 0"),
            summary: "A rollout does not go on.",
            description: "{{ $labels.namespace }}/{{ $labels.wscluster }} has gateways of {{ $value }} revisions, and no session moves.",
        },
        Alert {
            name: "WsClusterSettingsRefused",
            severity: Warning,
            after: 5 * MINUTE,
            expression: format!("{pods} ({}) == 1", series.all("wscluster_gateway_config_refused")),
            summary: "A gateway refuses its settings.",
            description: "{{ $labels.pod }} of {{ $labels.namespace }}/{{ $labels.wscluster }} goes on with older settings than its file has.",
        },
        Alert {
            name: "WsClusterCertificateRefused",
            severity: Warning,
            after: 5 * MINUTE,
            expression: format!("{pods} ({}) == 1", series.all("tls_certificate_refused")),
            summary: "A gateway refuses its certificate.",
            description: "{{ $labels.pod }} of {{ $labels.namespace }}/{{ $labels.wscluster }} goes on with an older certificate than its Secret has.",
        },
    ]
}

/// What only the operator knows: these are silent where its own metrics are not scraped.
fn operator(wanted: &Wanted<'_>, series: &Series) -> Vec<Alert> {
    let number = |state| format!("max by ({FLEET}) ({})", series.with("wscluster_operator_gateways", "state", state));
    let condition =
        |type_| format!("max by ({FLEET}) ({})", series.with("wscluster_operator_condition", "type", type_));
    let missing = Alert {
        name: "WsClusterGatewaysMissing",
        severity: Warning,
        after: 15 * MINUTE,
        expression: format!("{} - {} > 0", number("wanted"), number("ready")),
        summary: "Gateways do not come up.",
        description: "{{ $labels.namespace }}/{{ $labels.wscluster }} has {{ $value }} ready gateways fewer than are wanted.",
    };
    let degraded = Alert {
        name: "WsClusterDegraded",
        severity: Warning,
        after: 15 * MINUTE,
        expression: format!("{} == 1", condition("Degraded")),
        summary: "A WsCluster needs a person.",
        description: "The condition Degraded of {{ $labels.namespace }}/{{ $labels.wscluster }} says what is wrong and what to do.",
    };
    let blind = Alert {
        name: "WsClusterNotScaling",
        severity: Warning,
        after: 15 * MINUTE,
        expression: format!("{} == 0", condition("ScalingActive")),
        summary: "The autoscaler does not work.",
        description: "The condition ScalingActive of {{ $labels.namespace }}/{{ $labels.wscluster }} says why. The number of gateways stays as it is.",
    };
    let scaled = wanted.spec.autoscaling.is_some();
    [missing, degraded].into_iter().chain(scaled.then_some(blind)).collect()
}
