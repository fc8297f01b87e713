//! Many WsClusters at once: each is written once, and then left alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::timeout;
use wscluster_crds::WsCluster;
use wscluster_operator::kinds::Kind;

use crate::redis::{Redis, free_port};
use crate::stage::Stage;

const MANY: usize = 60;
/// All of them are made on a machine that does other things as well.
const WITHIN: Duration = Duration::from_mins(3);
/// Of making a WsCluster without gateways: its objects, and its status a few times.
const WRITES_OF_EACH: usize = 20;

pub(crate) async fn no_storm_of_writes(stage: Arc<Stage>) -> Result<()> {
    let (operator, redis) = (stage.operator().await?, Redis::start(free_port()?)?);
    for number in 0..MANY {
        let url = if is_served(&name(number)) { redis.url() } else { "redis://127.0.0.1:1".to_owned() };
        let cluster = json!({
            "metadata": {"name": name(number)},
            "spec": {"replicas": 0, "redis": {"url": url}, "service": {"type": "ClusterIP"}},
        });
        stage.clusters().create(&PostParams::default(), &serde_json::from_value(cluster)?).await?;
    }
    timeout(WITHIN, until_settled(&stage)).await.context("every WsCluster is settled in time")??;
    let writes = operator.writes();
    ensure!(writes.len() <= MANY * WRITES_OF_EACH, "{} writes for {MANY} WsClusters", writes.len());

    // A turn for each, in which nothing is to be done.
    let before = operator.turns().await?;
    let touch = json!({"metadata": {"annotations": {"touched": "once"}}});
    let budgets = stage.children(Kind::PodDisruptionBudget);
    for budget in budgets.list(&ListParams::default()).await?.items {
        budgets.patch(&budget.name_any(), &PatchParams::default(), &Patch::Merge(&touch)).await?;
    }
    operator.until_turns_in_all(before + MANY as u64).await?;
    ensure!(operator.writes() == writes, "without a change: {:#?}", &operator.writes()[writes.len()..]);
    operator.end().await?;

    let successor = stage.operator().await?;
    successor.until_turns_in_all(MANY as u64).await?;
    let writes = successor.writes();
    // Where Redis did not answer it does not know whether it does now until it has asked, and says so.
    let of_the_unserved = |write: &&String| {
        write.ends_with("/status") && (0..MANY).map(name).any(|name| !is_served(&name) && write.contains(&name))
    };
    let (statuses, others): (Vec<_>, Vec<_>) = writes.iter().partition(of_the_unserved);
    ensure!(others.is_empty(), "a successor finds nothing to do: {others:#?}");
    ensure!(statuses.len() <= MANY, "{} writes of {} statuses", statuses.len(), MANY / 2);
    successor.end().await
}

async fn until_settled(stage: &Stage) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        ticks.tick().await;
        let all = stage.clusters().list(&ListParams::default()).await?.items;
        if all.iter().filter(|cluster| is_settled(cluster)).count() == MANY {
            return Ok(());
        }
    }
}

/// Whether all is done for its newest spec. Where Redis is not there it is degraded, and stays so; where it is, its
/// streams were counted once.
fn is_settled(cluster: &WsCluster) -> bool {
    let served = is_served(&cluster.name_any());
    cluster.status.as_ref().is_some_and(|status| {
        status.observed_generation == cluster.metadata.generation
            && status.phase.as_deref() == Some(if served { "Running" } else { "Degraded" })
            && status.rollout.as_ref().is_some_and(|rollout| rollout.phase == "Complete")
            && (!served || status.redis.as_ref().is_some_and(|redis| redis.rooms.is_some()))
    })
}

/// Whether its Redis is there: so it is for every other one.
fn is_served(name: &str) -> bool {
    name.ends_with(['0', '2', '4', '6', '8'])
}

fn name(number: usize) -> String {
    format!("chat-{number:02}")
}
