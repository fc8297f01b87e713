//! `probe`: runs `wscluster-probe` beside the gateways as a Pod, passes its words on, and takes it away again.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, LogParams, PostParams};
use serde_json::Value;
use tokio::signal::ctrl_c;
use wscluster_crds::WsCluster;

use super::undo::deployments;
use crate::Outcome;
use crate::access::Access;
use crate::arguments::{Format, ProbeArguments};
use crate::fault::Fault;
use crate::probe_pod::{self, Stage};
use crate::revisions;
use crate::ui::Ui;

/// Seconds that a probe has for its report when it is told to end early.
const FAREWELL_SECONDS: u32 = 30;
/// After the connection to the log broke.
const BEFORE_ANOTHER_TRY: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: &ProbeArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let cluster = access.cluster(&arguments.name).await?;
    let image = image(&cluster, arguments, access).await?;
    let manifest = probe_pod::manifest(&cluster, &image, arguments)?;
    let made = access.all::<Pod>().create(&PostParams::default(), &manifest).await;
    let pod = made.map_err(|error| Fault::of(error, access.wanted("create", "pods")))?.name_any();
    let outcome = attended(&pod, arguments.output, access, ui).await;
    let removed = remove(&pod, 0, access).await;
    let outcome = outcome?;
    removed.with_context(|| format!("pod {pod} is left: delete it with kubectl delete pod {pod}"))?;
    Ok(outcome)
}

/// Ctrl-C once: the probe ends early, with its report. Twice: at once.
async fn attended(pod: &str, output: Format, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let mut following = pin!(follow(pod, output, access, ui));
    tokio::select! {
        outcome = &mut following => return outcome,
        _ = ctrl_c() => eprintln!("finishing; once more to end at once"),
    }
    remove(pod, FAREWELL_SECONDS, access).await?;
    tokio::select! {
        outcome = &mut following => outcome,
        _ = ctrl_c() => Ok(Outcome::Interrupted),
    }
}

async fn follow(pod: &str, output: Format, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    started(pod, access).await?;
    let mut broken = false;
    let ended = loop {
        broken = !log(pod, broken, output, access, ui).await?;
        match ended(pod, !broken, access).await? {
            Some(ended) => break ended,
            None => tokio::time::sleep(BEFORE_ANOTHER_TRY).await,
        }
    };
    if output == Format::Json && ended.exit_code < 2 {
        let report: Value = serde_json::from_str(ended.message.as_deref().unwrap_or_default())
            .context("the probe's report was cut off by the kubelet; run it without -o json")?;
        ui.line(serde_json::to_string_pretty(&report)?)?;
    }
    match ended.exit_code {
        0 => Ok(Outcome::Done),
        1 => Ok(Outcome::Failed),
        code => bail!("the probe could not run (exit status {code}); its last words are above"),
    }
}

/// Waits until the probe has run, or says why it never will.
async fn started(pod: &str, access: &Access) -> Result<()> {
    let mut changes = pin!(access.watch_pod(pod));
    let mut told = String::new();
    while let Some(change) = changes.try_next().await? {
        match probe_pod::stage(change.as_ref()) {
            Stage::Running | Stage::Ended(_) => return Ok(()),
            Stage::Impossible(why) => bail!("the probe's pod {pod} cannot start: {why}"),
            Stage::Gone => bail!("somebody deleted the probe's pod {pod}"),
            Stage::Waiting(why) if why != told => {
                eprintln!("waiting for pod {pod}{}{why}", if why.is_empty() { "" } else { ": " });
                told = why;
            }
            Stage::Waiting(_) => {}
        }
    }
    bail!("the API server tells nothing of pod {pod} any more")
}

/// Passes the probe's words on, and says whether it did to their end. Where only the report is wanted they go to
/// standard error.
async fn log(pod: &str, again: bool, output: Format, access: &Access, ui: &mut Ui) -> Result<bool> {
    let params = LogParams { follow: true, since_seconds: again.then_some(1), ..LogParams::default() };
    let mut lines = match access.all::<Pod>().log_stream(pod, &params).await {
        Ok(stream) => stream.lines().boxed(),
        Err(error @ kube::Error::Api(_)) => return Err(Fault::of(error, access.wanted("get", "pods/log")).into()),
        Err(_) => return Ok(false),
    };
    while let Some(line) = lines.next().await {
        match (line, output) {
            (Err(_), _) => return Ok(false),
            (Ok(line), Format::Json) => eprintln!("{line}"),
            (Ok(line), Format::Table) => ui.line(line)?,
        }
    }
    Ok(true)
}

/// How the probe ended, if it has. Where its words are at their end its end is near, and is waited for.
async fn ended(pod: &str, wait: bool, access: &Access) -> Result<Option<ContainerStateTerminated>> {
    let mut changes = pin!(access.watch_pod(pod));
    while let Some(change) = changes.try_next().await? {
        match probe_pod::stage(change.as_ref()) {
            Stage::Ended(ended) => return Ok(Some(ended)),
            Stage::Impossible(why) => bail!("the probe's pod {pod} was ended: {why}"),
            Stage::Gone => bail!("the probe's pod {pod} is gone before it told how it ended"),
            _ if wait => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

async fn remove(pod: &str, grace: u32, access: &Access) -> Result<()> {
    match access.all::<Pod>().delete(pod, &DeleteParams::default().grace_period(grace)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Fault::of(error, access.wanted("delete", "pods")).into()),
        Ok(_) => Ok(()),
    }
}

/// The image of the gateways, which holds the probe too.
async fn image(cluster: &WsCluster, arguments: &ProbeArguments, access: &Access) -> Result<String> {
    if let Some(image) = arguments.image.as_ref().or(cluster.spec.gateway.image.as_ref()) {
        return Ok(image.clone());
    }
    let all = revisions::of(cluster, &deployments(&arguments.name, access).await?);
    let active = cluster.status.as_ref().and_then(|status| status.active_revision.as_ref());
    let found = all.into_iter().find(|revision| Some(&revision.hash) == active);
    let found = found.filter(|revision| !revision.image.is_empty()).map(|revision| revision.image);
    found.with_context(|| {
        format!("{} has no gateways yet to take the image from; name one with --image", arguments.name)
    })
}
