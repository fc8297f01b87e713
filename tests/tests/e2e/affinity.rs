//! Clients that keep cookies, behind kube-proxy, which chooses at random.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use serde_json::json;
use wscluster_probe::{Verdict, affinity::Affinity};
use wscluster_tests::fleet::{AffinityPlan, AffinityPod, Deadline, until};

use crate::rollout::environment;
use crate::scenario::Scenario;
use crate::world::MINUTE;

const CLIENTS: u32 = 200;
const RECONNECTS: u32 = 20;

/// Every client finds its gateway every time, whichever one kube-proxy chose. An old cookie leads nobody to an old gateway:
/// after a rollout the new ones serve everybody, and are found again in the same way.
pub(crate) async fn cookies_lead_back_before_and_after_a_rollout(scenario: Scenario) -> Result<()> {
    let three = json!({
        "replicas": 3,
        "drain": {"minSeconds": 1, "timeoutSeconds": 15},
        // The API server asks gateways what they were told.
        "networkPolicy": {"enabled": false},
    });
    scenario.deploy(&three).await?;
    told_of_each_other(&scenario).await?;
    let clients = start(&scenario).await?;
    let old = gateways(&scenario).await?;
    came_back(&clients.measure().await?, &old)?;

    scenario.fleet.patch(environment("affinity")).await?;
    scenario.fleet.wait_rolled_out(2 * MINUTE).await?;
    told_of_each_other(&scenario).await?;
    let new = gateways(&scenario).await?;
    ensure!(old.is_disjoint(&new), "{old:?} and {new:?}");
    came_back(&clients.measure().await?, &new)?;
    clients.delete(MINUTE).await
}

/// All of them to their own, of these gateways; those without a cookie to all of these.
fn came_back(report: &Affinity, gateways: &BTreeSet<String>) -> Result<()> {
    eprintln!("cookie affinity:\n{report}");
    ensure!(report.verdict == Verdict::Ok, "not all came back:\n{report}");
    ensure!(report.reached_owner == u64::from(CLIENTS * RECONNECTS), "not all came back:\n{report}");
    ensure!(report.through_another > 0, "nobody came to another gateway first:\n{report}");
    for spread in [&report.with_cookie, &report.without_cookie] {
        ensure!(spread.gateways.keys().eq(gateways), "the gateways are {gateways:?}:\n{report}");
    }
    Ok(())
}

async fn start(scenario: &Scenario) -> Result<AffinityPod> {
    let plan = AffinityPlan {
        image: Scenario::image(),
        url: scenario.fleet.endpoint(MINUTE).await?,
        clients: CLIENTS,
        reconnects: RECONNECTS,
        connect_rate: 2000,
        node: Some(scenario.home.clone()),
    };
    AffinityPod::start(scenario.fleet.client(), scenario.fleet.namespace(), "clients", &plan).await
}

/// The gateways' pods, by name.
async fn gateways(scenario: &Scenario) -> Result<BTreeSet<String>> {
    Ok(scenario.fleet.gateways().await?.iter().map(ResourceExt::name_any).collect())
}

/// Waits until every gateway knows all of them: the operator tells them a moment after they are ready.
async fn told_of_each_other(scenario: &Scenario) -> Result<()> {
    let names = gateways(scenario).await?;
    until(Deadline::after(MINUTE), "every gateway was told of all", || async {
        for name in &names {
            if scenario.fleet.peers(name).await? != names {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}
