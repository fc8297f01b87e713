//! A fleet that follows its connections, by the stock HorizontalPodAutoscaler and the operator's own metrics API.

mod answers;
mod growth;
mod samples;
mod sizes;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use wscluster_tests::fleet::{Deadline, until};

use answers::answers_whom_it_should;
pub(crate) use growth::six_hundred_become_six_thousand_and_six_hundred_again;
use sizes::Sizes;

use crate::scenario::{Load, Scenario, assert_moved_at_most, assert_seamless};
use crate::world::MINUTE;

const SYSTEM: &str = "wscluster-system";
const SERVICE: &str = "wscluster-operator-metrics-api";
/// Sessions that two gateways hold at ease, and some that make it three.
const BASE: u32 = 160;
const PEAK: u32 = 110;

/// Two gateways become three under more sessions, stay three while nobody can count, and become two again. Their number turns
/// once, and no session is lost.
pub(crate) async fn a_fleet_follows_its_connections_out_and_in(scenario: Scenario) -> Result<()> {
    scenario.deploy(&scaled()).await?;
    let sizes = Sizes::watch(&scenario);
    let base = scenario.hold(Load::of(BASE)).await?;
    scenario.fleet.wait_condition("ScalingActive", "True", Some("ValidMetricFound"), MINUTE).await?;
    answers_whom_it_should(&scenario).await?;

    let peak = scenario.hold_as("peak", Load::of(PEAK), BASE).await?;
    gateways(&scenario, 3).await?;
    // Nobody reaches the metrics API now.
    route(&scenario, "nowhere").await?;
    scenario.fleet.wait_condition("ScalingActive", "False", None, MINUTE).await?;
    assert_seamless(&peak.finish().await?)?;
    // Two minutes: the autoscaler decides some twenty times.
    for _ in 0..3 {
        base.wait_messages(40).await?;
    }
    ensure!(scenario.fleet.get().await?.spec.replicas == 3, "it was scaled without figures");
    route(&scenario, "wscluster-operator").await?;
    gateways(&scenario, 2).await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    base.wait_messages(1).await?;
    assert_moved_at_most(&base.finish().await?, 1)?;
    ensure!(sizes.turned_once(2, 3, 2)? == 1, "it was scaled in more than once");
    Ok(())
}

/// More sessions come while all move to another revision: both happen, and nobody moves twice. Not beside a test that takes
/// the metrics API away.
pub(crate) async fn a_spike_in_mid_rollout_is_followed(scenario: Scenario) -> Result<()> {
    scenario.deploy(&scaled()).await?;
    let base = scenario.hold(Load::of(BASE)).await?;
    scenario.fleet.wait_condition("ScalingActive", "True", Some("ValidMetricFound"), MINUTE).await?;
    scenario.fleet.set_image(&Scenario::next_image()).await?;
    base.wait_moves(u64::from(BASE) / 8).await?;
    let url = scenario.fleet.endpoint(MINUTE).await?;
    let peak = scenario.hold_beside("peak", &url, Load::of(PEAK)).await?;
    gateways(&scenario, 3).await?;
    scenario.fleet.wait_rolled_out(2 * MINUTE).await?;
    base.wait_messages(1).await?;
    assert_moved_at_most(&base.finish().await?, 1)?;
    assert_moved_at_most(&peak.finish().await?, 1)
}

fn scaled() -> Value {
    json!({
        "replicas": 2,
        "rebalance": {"enabled": false},
        "drain": {"minSeconds": 1, "timeoutSeconds": 15},
        "autoscaling": {
            "minReplicas": 2,
            "maxReplicas": 4,
            "targetConnections": 100,
            "behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 5}]},
            },
        },
    })
}

/// Waits until so many gateways are asked for, and are there.
async fn gateways(scenario: &Scenario, number: i32) -> Result<()> {
    let what = format!("{number} gateways are there");
    until(Deadline::after(2 * MINUTE), &what, || async {
        let wanted = scenario.fleet.get().await?.spec.replicas;
        let there = scenario.fleet.gateways().await?.len();
        Ok((wanted == number && i32::try_from(there)? == number).then_some(()))
    })
    .await
}

/// Has the Service of the metrics API select pods of that name.
async fn route(scenario: &Scenario, name: &str) -> Result<()> {
    let services: Api<Service> = Api::namespaced(scenario.fleet.client().clone(), SYSTEM);
    let patch = json!({"spec": {"selector": {"app.kubernetes.io/name": name}}});
    services.patch(SERVICE, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
