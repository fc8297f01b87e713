//! A fleet as a person wants to see it. Pure: a WsCluster, a width and colours in, text out.

mod attention;
mod gateways;
mod list;
mod rollout;

pub use attention::wrapped;
pub use list::{line, list};

use kube::ResourceExt;
use wscluster_crds::WsCluster;
use wscluster_crds::status::{RevisionState, WsClusterStatus};

use crate::table::{Cell, cell, column, plain, table};
use crate::ui::{Look, Paint};

/// Everything of one fleet.
pub fn cluster(cluster: &WsCluster, width: usize, paint: Paint) -> String {
    let Some(status) = &cluster.status else {
        let name = paint.apply(Look::Strong, &cluster.name_any());
        return format!("{name}   the operator has not reported yet; is it running?\n");
    };
    let sections = [
        head(cluster, status, paint),
        revisions(status, width, paint),
        gateways::section(cluster, status, width, paint),
        rollout::section(status, width, paint),
        attention::section(cluster, status, width, paint),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn head(cluster: &WsCluster, status: &WsClusterStatus, paint: Paint) -> String {
    let phase = phase(cluster);
    let name = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
    let first = format!("{}   {}", paint.apply(Look::Strong, &name), paint.apply(phase_look(&phase), &phase));
    let ready = status.ready.as_deref().unwrap_or("0/0");
    let endpoint = status.endpoint.as_deref().unwrap_or("no address yet");
    let rebalance = status.rebalance.as_ref().map_or_else(String::new, |rebalance| {
        let words = format!("moving surplus sessions from {}", rebalance.from.join(", "));
        format!("{}\n", paint.apply(Look::Busy, &words))
    });
    format!("{first}\n{ready} gateways ready, {} connections, {endpoint}\n{rebalance}", status.connections)
}

/// One word; a status that is about an older spec says so.
fn phase(cluster: &WsCluster) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "Pending".to_owned());
    let stale = status.observed_generation < cluster.metadata.generation;
    if stale { format!("{phase} (newest spec not seen yet)") } else { phase }
}

fn phase_look(phase: &str) -> Look {
    match phase {
        "Running" => Look::Good,
        "Degraded" | "Paused" | "Failed" => Look::Bad,
        _ => Look::Busy,
    }
}

fn revisions(status: &WsClusterStatus, width: usize, paint: Paint) -> String {
    let columns = [
        column("REVISION"),
        column("STATE"),
        column("READY").right(),
        column("CONNECTIONS").right(),
        column("IMAGE").drop(1),
    ];
    let rows: Vec<_> = status
        .revisions
        .iter()
        .map(|revision| {
            vec![
                plain(&revision.hash),
                revision_state(revision.state),
                plain(format!("{}/{}", revision.ready, revision.replicas)),
                plain(revision.connections),
                plain(&revision.image),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(&columns, &rows, width, paint) }
}

fn revision_state(state: RevisionState) -> Cell {
    let look = match state {
        RevisionState::Active => Look::Good,
        RevisionState::Draining | RevisionState::Surging => Look::Busy,
        RevisionState::Failed => Look::Bad,
    };
    cell(format!("{state:?}"), look)
}
