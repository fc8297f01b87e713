//! The gateways, each with a bar of the connections that it holds.

use wscluster_crds::WsCluster;
use wscluster_crds::status::{GatewayState, GatewayStatus, WsClusterStatus};

use crate::table::{Cell, cell, column, plain, table};
use crate::ui::{Look, Paint};

const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Cells of a bar at most, and at least.
const BAR: std::ops::RangeInclusive<usize> = 8..=24;

pub(super) fn section(cluster: &WsCluster, status: &WsClusterStatus, width: usize, paint: Paint) -> String {
    if status.gateways.is_empty() {
        return String::new();
    }
    let scale = Scale::of(cluster, &status.gateways);
    let longest = (width / 5).clamp(*BAR.start(), *BAR.end());
    let columns = [
        column("GATEWAY"),
        column("STATE"),
        column("CONNECTIONS").right(),
        column(scale.title),
        column("REVISION").drop(2),
        column("NODE").drop(1),
    ];
    let rows: Vec<_> = status
        .gateways
        .iter()
        .map(|gateway| {
            let state = state(gateway.state);
            vec![
                plain(&gateway.name),
                state,
                plain(gateway.connections),
                cell(bar(gateway.connections, scale.full, longest), look(gateway.state)),
                plain(&gateway.revision),
                plain(gateway.node.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    table(&columns, &rows, width, paint)
}

/// What a full bar stands for. Where all are far from full, bars of the limit would tell nothing.
struct Scale {
    title: &'static str,
    full: i64,
}

impl Scale {
    fn of(cluster: &WsCluster, gateways: &[GatewayStatus]) -> Self {
        let limit = i64::from(cluster.spec.gateway.max_connections);
        let fullest = gateways.iter().map(|gateway| gateway.connections).max().unwrap_or(0);
        if fullest * 5 >= limit {
            Self { title: "OF THE LIMIT", full: limit.max(fullest) }
        } else {
            Self { title: "OF THE FULLEST", full: fullest }
        }
    }
}

/// A bar of at most `longest` cells, in eighths; what is not nothing is seen.
pub(super) fn bar(value: i64, full: i64, longest: usize) -> String {
    if value <= 0 || full <= 0 {
        return String::new();
    }
    let eighths = ((value.min(full) as f64 / full as f64) * (longest * 8) as f64).round() as usize;
    let eighths = eighths.max(1);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

fn state(state: GatewayState) -> Cell {
    cell(format!("{state:?}"), look(state))
}

fn look(state: GatewayState) -> Look {
    match state {
        GatewayState::Serving => Look::Good,
        GatewayState::Draining => Look::Busy,
        GatewayState::Drained | GatewayState::Terminating => Look::Faint,
        GatewayState::NotReady => Look::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_exact_to_an_eighth_and_never_longer_than_the_longest() {
        let table = [(0, ""), (1, "▏"), (50, "████"), (56, "████▌"), (100, "████████"), (250, "████████"), (-1, "")];
        for (value, wanted) in table {
            assert_eq!(bar(value, 100, 8), wanted, "{value}");
        }
        assert_eq!(bar(5, 0, 8), "");
    }
}
