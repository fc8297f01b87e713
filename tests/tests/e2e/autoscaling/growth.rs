//! Ten times as many sessions, and as few again: the fleet follows, new gateways get their share, and nothing is lost, though
//! the operator dies in the middle.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use wscluster_crds::status::{GatewayState, WsClusterStatus};
use wscluster_tests::autoscaling::FILE;

use super::samples::Samples;
use super::sizes::Sizes;
use super::{SYSTEM, gateways};
use crate::scenario::{Load, Scenario, assert_moved_at_most};
use crate::world::{MINUTE, logs};

const FEW: u32 = 600;
const MANY: u32 = 6000;
const LOAD: Load = Load { sessions: FEW, rooms: 60, rate: 60 };
const CROWD: Load = Load { sessions: MANY - FEW, rooms: 540, rate: 60 };

/// Two gateways, six, two; each within a quarter of the mean when it is at its fullest.
pub(crate) async fn six_hundred_become_six_thousand_and_six_hundred_again(scenario: Scenario) -> Result<()> {
    scenario.deploy(&scaled()).await?;
    let (sizes, samples) = (Sizes::watch(&scenario), Samples::take(&scenario.fleet));
    let base = scenario.hold(LOAD).await?;
    scenario.fleet.wait_condition("ScalingActive", "True", Some("ValidMetricFound"), MINUTE).await?;
    samples.mark("600 sessions").await?;

    let crowd = scenario.hold_as("crowd", CROWD, FEW).await?;
    samples.mark("6,000 sessions").await?;
    gateways(&scenario, 6).await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    scenario.fleet.wait_status(2 * MINUTE, "to move surplus sessions", |status| status.rebalance.is_some()).await?;
    samples.mark("rebalance").await?;
    kill_operator(&scenario).await?;
    samples.mark("operator killed").await?;
    scenario.fleet.wait_status(3 * MINUTE, "to be even", is_even).await?;
    samples.mark("even").await?;
    samples.ask().await?;
    base.wait_messages(2).await?;
    // Each was told to move to a new gateway once at most, by whichever operator.
    assert_moved_at_most(&crowd.finish().await?, 1)?;
    samples.mark("600 sessions").await?;

    gateways(&scenario, 2).await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    base.wait_messages(2).await?;
    samples.mark("two gateways").await?;
    let times = sizes.turned_once(2, 6, 2)?;
    let report = base.finish().await?;
    eprintln!("{report}");
    // Once for each time that gateways were taken away, and once to a new gateway.
    assert_moved_at_most(&report, times + 1)?;
    samples.finish().write(&logs().join(FILE))
}

fn scaled() -> Value {
    json!({
        "replicas": 2,
        "drain": {"minSeconds": 1, "timeoutSeconds": 20},
        "rebalance": {"connectionsPerSecond": 200},
        "autoscaling": {
            "minReplicas": 2,
            "maxReplicas": 8,
            "targetConnections": 1000,
            "behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 20, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 20}]},
            },
        },
    })
}

/// Nobody gives any more, and each of six is within a quarter of the mean.
fn is_even(status: &WsClusterStatus) -> bool {
    let serving = status.gateways.iter().filter(|gateway| gateway.state == GatewayState::Serving);
    let held: Vec<_> = serving.map(|gateway| gateway.connections).collect();
    let mean = i64::from(MANY) / 6;
    held.len() == 6 && status.rebalance.is_none() && held.iter().all(|held| (held - mean).abs() * 4 <= mean)
}

async fn kill_operator(scenario: &Scenario) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(scenario.fleet.client().clone(), SYSTEM);
    let all = pods.list(&ListParams::default().labels("app.kubernetes.io/name=wscluster-operator")).await?;
    let operator = all.items.into_iter().next().context("the operator runs")?;
    let name = operator.metadata.name.unwrap_or_default();
    ensure!(!name.is_empty(), "the operator's pod has a name");
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}
