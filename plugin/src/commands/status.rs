//! `status`: one look, or every change until Ctrl-C.

use std::pin::pin;

use anyhow::Result;
use futures::TryStreamExt;
use kube::ResourceExt;
use serde_json::json;
use wscluster_crds::WsCluster;

use crate::access::Access;
use crate::arguments::{Format, StatusArguments};
use crate::ui::Ui;
use crate::{Outcome, view};

pub(super) async fn run(arguments: &StatusArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let cluster = match &arguments.name {
        Some(name) => access.cluster(name).await?,
        None => match <[_; 1]>::try_from(access.clusters().await?) {
            Ok([only]) => only,
            Err(clusters) => return many(&clusters, arguments, access, ui),
        },
    };
    if arguments.watch {
        return watch(&cluster.name_any(), arguments.output, access, ui).await;
    }
    match arguments.output {
        Format::Json => ui.line(serde_json::to_string_pretty(&cluster)?)?,
        Format::Table => ui.line(view::cluster(&cluster, ui.width(), ui.paint()))?,
    }
    Ok(Outcome::Done)
}

fn many(clusters: &[WsCluster], arguments: &StatusArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    if arguments.watch {
        let names: Vec<_> = clusters.iter().map(ResourceExt::name_any).collect();
        anyhow::bail!("--watch follows one WsCluster; name one of: {}", names.join(", "));
    }
    match arguments.output {
        Format::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": clusters});
            ui.line(serde_json::to_string_pretty(&list)?)?;
        }
        Format::Table if clusters.is_empty() => {
            eprintln!("no WsCluster in namespace {:?}; look in another with -n", access.namespace);
        }
        Format::Table => ui.line(view::list(clusters, ui.width(), ui.paint()))?,
    }
    Ok(Outcome::Done)
}

async fn watch(name: &str, format: Format, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let mut changes = pin!(access.watch(name));
    let mut last = String::new();
    while let Some(change) = changes.try_next().await? {
        let Some(cluster) = change else {
            ui.line(format!("{name} is gone"))?;
            return Ok(Outcome::Done);
        };
        match format {
            Format::Json => ui.line(serde_json::to_string(&cluster)?)?,
            Format::Table if ui.is_live() => ui.redraw(&view::cluster(&cluster, ui.width(), ui.paint()))?,
            Format::Table => {
                let line = view::line(&cluster);
                if line != last {
                    ui.line(&line)?;
                    last = line;
                }
            }
        }
    }
    Ok(Outcome::Done)
}
