//! `undo` and `history`.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use serde_json::json;
use wscluster_crds::{WsCluster, labels};

use crate::Outcome;
use crate::access::Access;
use crate::arguments::{Format, HistoryArguments, UndoArguments};
use crate::explain::text;
use crate::fault::Fault;
use crate::revisions::{self, Change, Revision};
use crate::table::{cell, column, plain, table};
use crate::ui::{Look, Ui};

pub(super) async fn undo(arguments: &UndoArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let name = &arguments.name;
    let cluster = access.cluster(name).await?;
    let all = revisions::of(&cluster, &deployments(name, access).await?);
    let target = revisions::target(&cluster, &all, arguments.to_revision.as_deref())?;
    let patch = revisions::patch(&cluster, target)?;
    if revisions::is_empty(&patch) {
        ui.line(format!("the spec of {name} is that of revision {} already", target.hash))?;
        return Ok(Outcome::Done);
    }
    let changes = revisions::changes(&cluster, &patch);
    if arguments.dry_run {
        ui.line(format!("{name} would go back to revision {}; nothing was changed", target.hash))?;
        return tell(&changes, ui);
    }
    access.patch(name, &json!({"spec": patch})).await?;
    ui.line(format!("{name} goes back to revision {}", target.hash))?;
    tell(&changes, ui)?;
    ui.line(if cluster.spec.paused {
        format!("it is paused (spec.paused), and stays as it is until: kubectl wscluster resume {name}")
    } else {
        format!("follow it with: kubectl wscluster rollout status {name}")
    })?;
    Ok(Outcome::Done)
}

pub(super) async fn history(arguments: &HistoryArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let cluster = access.cluster(&arguments.name).await?;
    let all = revisions::of(&cluster, &deployments(&arguments.name, access).await?);
    match arguments.output {
        Format::Json => ui.line(serde_json::to_string_pretty(&all)?)?,
        Format::Table => ui.line(drawn(&cluster, &all, ui))?,
    }
    Ok(Outcome::Done)
}

/// The Deployments of a cluster's gateways, one for each revision.
pub(super) async fn deployments(name: &str, access: &Access) -> Result<Vec<Deployment>> {
    let selector = format!("{}={name},{}={}", labels::CLUSTER, labels::COMPONENT, labels::COMPONENT_GATEWAY);
    let listed = access.all::<Deployment>().list(&ListParams::default().labels(&selector)).await;
    Ok(listed.map_err(|error| Fault::of(error, access.wanted("list", "deployments.apps")))?.items)
}

fn tell(changes: &[Change], ui: &mut Ui) -> Result<Outcome> {
    for Change { field, before, after } in changes {
        ui.line(format!("  {field}: {} → {}", text(before), text(after)))?;
    }
    Ok(Outcome::Done)
}

fn drawn(cluster: &WsCluster, all: &[Revision], ui: &Ui) -> String {
    let columns = [
        column("REVISION"),
        column("STATE"),
        column("ACTIVE SINCE").drop(2),
        column("GATEWAYS").right(),
        column("IMAGE").drop(1),
    ];
    let active = cluster.status.as_ref().and_then(|status| status.active_revision.clone());
    let rows: Vec<_> = all
        .iter()
        .map(|revision| {
            let state = revision.state.map_or_else(|| "Kept".to_owned(), |state| format!("{state:?}"));
            let look = if active.as_ref() == Some(&revision.hash) { Look::Good } else { Look::Plain };
            let since = revision.activated_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
            vec![
                plain(&revision.hash),
                cell(state, look),
                plain(since),
                plain(revision.replicas),
                plain(&revision.image),
            ]
        })
        .collect();
    table(&columns, &rows, ui.width(), ui.paint())
}
