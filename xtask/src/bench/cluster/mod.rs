//! Scenarios on the testbed: a fleet with all that belongs to it, sessions of many probes, something that happens to the fleet,
//! and the verdict.

mod outcome;
mod plan;
mod steady;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use wscluster_tests::cluster::{Cluster, node_name};
use wscluster_tests::fleet::{self, Deadline, Fleet, ProbePods, ProbeStatus, until};
use wscluster_tests::progress::{Step, during};

pub(crate) use outcome::Outcome;
use plan::Change;
pub(crate) use plan::{Plan, image};
use steady::{Moment, Steady};
use watch::Watch;

use super::told;
use crate::site::{Site, on_testbed};
use crate::workspace::{root, target};

const NAMESPACE: &str = "wscluster-bench";
const CLUSTER: &str = "fleet";
const MINUTE: Duration = Duration::from_mins(1);
/// For so long, at least, messages flow before the change, so that their cost can be told.
const STEADY: Duration = Duration::from_secs(20);
/// Between two looks at how far the probes are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs one on a testbed of that name; one that is started here is taken down at the end, also by Ctrl-C.
pub(crate) fn run(plan: &Plan, instance: &str) -> Result<Outcome> {
    on_testbed(instance, async |site: &Site| {
        let outcome = measure(plan, site).await;
        let cleaned = clean(site).await;
        let outcome = outcome?;
        cleaned.map(|()| outcome)
    })
}

async fn measure(plan: &Plan, site: &Site) -> Result<Outcome> {
    let cluster = site.cluster().context("this scenario needs the testbed")?;
    check(plan, cluster)?;
    let client = site.client().await?;
    let fleet = Fleet::new(client.clone(), NAMESPACE, CLUSTER);
    let outcome = through(plan, cluster, &client, &fleet).await;
    if outcome.is_err() {
        let folder = target().join("bench-logs").join(plan.scenario.name());
        eprintln!("  what there is to know of it: {}", folder.display());
        let _ = cluster.dump(NAMESPACE, &folder);
    }
    outcome
}

/// Said before the work, not in the middle of it.
fn check(plan: &Plan, cluster: &Cluster) -> Result<()> {
    for node in 1..=cluster.nodes() {
        let (_, most) = cluster.tracked(node)?;
        let needed = plan.tracked_per_node();
        ensure!(
            most == 0 || most >= needed,
            "the kernel tracks {most} connections, and {} sessions through a Service need about {needed}: \
             sysctl -w net.netfilter.nf_conntrack_max={needed}",
            plan.sessions
        );
    }
    Ok(())
}

async fn through(plan: &Plan, cluster: &Cluster, client: &Client, fleet: &Fleet) -> Result<Outcome> {
    during("install the custom resource and the operator", install(client)).await?;
    let what = format!("start Redis and {} gateways", plan.gateways);
    during(&what, deploy(plan, client, fleet)).await?;
    let url = fleet.endpoint(MINUTE).await?;
    let watch = Watch::start(cluster);

    let nodes: Vec<_> = (1..=cluster.nodes()).map(node_name).collect();
    let probes = ProbePods::start(client, NAMESPACE, &plan.probes(&url), &nodes).await?;
    let connected = |status: &ProbeStatus| probes.is_running(status);
    let what = format!("connect {} sessions to {url}", plan.sessions);
    follow(&probes, &what, plan.connect_time() + 5 * MINUTE, connected, std::future::pending()).await?;
    let before = moment(&watch, &probes).await?;
    turn(plan, &probes, STEADY, "deliver to every room").await?;
    let steady = Steady::between(&before, &moment(&watch, &probes).await?);
    let rest = watch.now().await;

    let operator = told::leader(client).await?;
    let before = told::ask(client, &operator).await?;
    let began = Instant::now();
    let what = match plan.change {
        Change::Upgrade => "change the gateways' image while messages flow",
        Change::OneLeaves => "delete a gateway's pod while messages flow",
    };
    follow(&probes, what, plan.drain_time() + 10 * MINUTE, |_| false, change(plan, fleet)).await?;
    let change_seconds = began.elapsed().as_secs_f64();
    let operator = told::ask(client, &operator).await? - &before;

    turn(plan, &probes, Duration::ZERO, "deliver to every room once more").await?;
    let report = during("stop publishing and let everything arrive", probes.finish()).await?;
    probes.delete(2 * MINUTE).await?;
    Ok(Outcome { report, steady, change_seconds, operator, rest, most: watch.most() })
}

/// Shows how far the probes are until it is as wanted, or until the work is done.
async fn follow(
    probes: &ProbePods,
    what: &str,
    within: Duration,
    wanted: impl Fn(&ProbeStatus) -> bool,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let step = Step::start(what, None);
    let mut last = None;
    let looking = async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            // A busy machine may leave a question unanswered.
            let Ok(status) = probes.status().await else { continue };
            let ProbeStatus { connected, received, moves, breaks, .. } = &status;
            step.update(&format!("{connected} connected, {received} received, {moves} moves, breaks: {breaks}"));
            let done = wanted(&status);
            last = Some(status);
            if done {
                return;
            }
        }
    };
    let outcome = tokio::select! {
        () = looking => Ok(()),
        done = work => done,
        () = tokio::time::sleep(within) => Err(anyhow::anyhow!("it is not done after {} s", within.as_secs())),
    };
    outcome.with_context(|| format!("could not {what}; the probes last said {last:?}"))?;
    step.done();
    Ok(())
}

/// How far everything is.
async fn moment(watch: &Watch, probes: &ProbePods) -> Result<Moment> {
    let ProbeStatus { published, received, .. } = probes.status().await?;
    Ok(Moment { at: Instant::now(), published, received, cpu: watch.now().await.cpu })
}

/// Waits until each room has been published to (a probe does so in turn), and as many messages as that time brings.
async fn turn(plan: &Plan, probes: &ProbePods, time: Duration, what: &str) -> Result<()> {
    let messages = (u64::from(plan.rooms) * 11 / 10).max(u64::from(plan.rate) * time.as_secs());
    let published = probes.status().await?.published + messages;
    let within = Duration::from_secs_f64(messages as f64 / f64::from(plan.rate.max(1))) + 2 * MINUTE;
    follow(probes, what, within, |status| status.published >= published, std::future::pending()).await
}

async fn install(client: &Client) -> Result<()> {
    fleet::install_operator(client, &root().join("charts/install.yaml"), MINUTE).await
}

async fn deploy(plan: &Plan, client: &Client, fleet: &Fleet) -> Result<()> {
    fleet::delete_namespace(client, NAMESPACE, 5 * MINUTE).await?; // what an interrupted run may have left
    fleet::create_namespace(client, NAMESPACE).await?;
    fleet::apply_file(client, NAMESPACE, &root().join("examples/redis.yaml")).await?;
    fleet::apply(client, NAMESPACE, &[serde_json::from_value(plan.manifest(CLUSTER))?]).await?;
    fleet.wait_rolled_out(3 * MINUTE).await
}

async fn change(plan: &Plan, fleet: &Fleet) -> Result<()> {
    let within = plan.drain_time() + 5 * MINUTE;
    match plan.change {
        Change::Upgrade => {
            fleet.set_image(&image("-next")).await?;
            fleet.wait_rolled_out(within).await
        }
        Change::OneLeaves => {
            let pods = fleet.gateways().await?;
            let name = pods.first().context("there is no gateway")?.name_any();
            fleet.pods().delete(&name, &DeleteParams::default()).await?;
            until(Deadline::after(within), "the gateway has moved its sessions and is gone", || async {
                Ok(fleet.pods().get_opt(&name).await?.is_none().then_some(()))
            })
            .await
        }
    }
}

/// On a testbed that stays, what was made in it goes.
async fn clean(site: &Site) -> Result<()> {
    if site.cluster().is_some_and(|testbed| !testbed.was_running()) {
        return Ok(()); // it goes as a whole
    }
    let client = site.client().await?;
    during("remove the namespace", fleet::delete_namespace(&client, NAMESPACE, 5 * MINUTE)).await
}
