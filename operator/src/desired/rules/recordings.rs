//! What is asked for again and again, computed once: `wscluster:metric:operation`, by fleet.

use serde_json::{Value, json};

use super::{FLEET, Series};

/// Connections of the fleet.
pub(super) const CONNECTIONS: &str = "wscluster:ws_active_connections:sum";
/// The 99th percentile of the seconds from an entry of a room's log to the sockets.
pub(super) const LAG: &str = "wscluster:redis_stream_lag_seconds:p99_5m";
const SENT: &str = "wscluster:ws_messages_sent:rate5m";
const CLOSED: &str = "wscluster:ws_connections_closed:rate5m";
const BUDGET: &str = "wscluster:ws_send_budget_used_ratio:max";

/// The rules.
pub(super) fn all(series: &Series) -> Vec<Value> {
    let rate = |metric: &str| format!("rate({}[5m])", series.all(metric));
    let sum = |of: &str| format!("sum by ({FLEET}) ({of})");
    let lag = format!("sum by ({FLEET}, le) ({})", rate("redis_stream_lag_seconds_bucket"));
    vec![
        rule(CONNECTIONS, &sum(&series.all("ws_active_connections"))),
        rule(SENT, &sum(&rate("ws_messages_sent_total"))),
        rule(CLOSED, &format!("sum by ({FLEET}, reason) ({})", rate("ws_connections_closed_total"))),
        rule(BUDGET, &format!("max by ({FLEET}) ({})", series.all("ws_send_budget_used_ratio"))),
        rule(LAG, &format!("histogram_quantile(0.99, {lag})")),
    ]
}

fn rule(name: &str, expression: &str) -> Value {
    json!({"record": name, "expr": expression})
}
