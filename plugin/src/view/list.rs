//! Many fleets, a line each; and one fleet in one line.

use kube::ResourceExt;
use wscluster_crds::WsCluster;
use wscluster_crds::status::RolloutStatus;

use super::{phase, phase_look};
use crate::progress::{counts, losses};
use crate::table::{cell, column, plain, table};
use crate::ui::Paint;

/// All fleets of a namespace.
pub fn list(clusters: &[WsCluster], width: usize, paint: Paint) -> String {
    let columns = [
        column("NAME"),
        column("PHASE"),
        column("READY").right(),
        column("CONNECTIONS").right(),
        column("REVISION").drop(3),
        column("ROLLOUT").drop(2),
        column("ENDPOINT").drop(1),
    ];
    let rows: Vec<_> = clusters
        .iter()
        .map(|cluster| {
            let status = cluster.status.clone().unwrap_or_default();
            let phase = status.phase.as_deref().unwrap_or("Pending");
            vec![
                plain(cluster.name_any()),
                cell(phase, phase_look(phase)),
                plain(status.ready.as_deref().unwrap_or("0/0")),
                plain(status.connections),
                plain(status.active_revision.as_deref().unwrap_or("")),
                plain(rollout(cluster)),
                plain(status.endpoint.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    table(&columns, &rows, width, paint)
}

/// One fleet in one line, for a log.
pub fn line(cluster: &WsCluster) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    let ready = status.ready.as_deref().unwrap_or("0/0");
    let revision = status.active_revision.as_deref().unwrap_or("none");
    let mut line = format!(
        "{} {}, {ready} ready, {} connections, revision {revision}",
        cluster.name_any(),
        phase(cluster),
        status.connections
    );
    if let Some(rollout) = status.rollout.filter(|rollout| rollout.phase != "Complete") {
        line.extend([format!(", rollout {}: {}", rollout.phase, moves(&rollout))]);
    }
    line
}

fn moves(rollout: &RolloutStatus) -> String {
    match rollout.moved + rollout.remaining {
        0 => losses(rollout),
        _ => format!("{}, {}", counts(rollout), losses(rollout)),
    }
}

fn rollout(cluster: &WsCluster) -> String {
    let rollout = cluster.status.as_ref().and_then(|status| status.rollout.clone()).unwrap_or_default();
    let all = rollout.moved + rollout.remaining;
    match rollout.phase.as_str() {
        "Draining" if all > 0 => format!("Draining {} %", rollout.moved * 100 / all),
        phase => phase.to_owned(),
    }
}
