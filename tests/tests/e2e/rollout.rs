//! Changing what a fleet runs, under live sessions.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::scenario::{MINUTE, Scenario, assert_seamless};

/// The demo's path: three gateways, 300 sessions, a new image.
pub(crate) async fn an_image_change_loses_nothing(scenario: Scenario) -> Result<()> {
    scenario.deploy().await?;
    let probe = scenario.probe(300).await?;
    scenario.fleet.set_image(&Scenario::next_image()).await?;
    scenario.fleet.wait_rolled_out(4 * MINUTE).await?;
    let report = probe.finish().await?;
    assert_seamless(&report)?;
    ensure!(report.moves.total >= 300, "every session had to move, yet only {} moves were seen", report.moves.total);
    ensure!(report.disconnects_without_notice == 0, "sessions were dropped without a notice:\n{report}");
    ensure!(report.forced == 0, "sessions were still there at the drain deadline:\n{report}");
    for pod in scenario.fleet.gateways().await? {
        let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
        ensure!(image.as_deref() == Some(&*Scenario::next_image()), "a gateway runs {image:?}");
    }
    Ok(())
}

/// Limits reach running gateways by their ConfigMap: no pod is replaced, no session moves.
pub(crate) async fn a_reloadable_setting_moves_no_session(scenario: Scenario) -> Result<()> {
    scenario.deploy().await?;
    let probe = scenario.probe(100).await?;
    let before = names(&scenario).await?;
    scenario.fleet.patch(json!({"spec": {"limits": {"messagesPerSecond": 77}}})).await?;
    scenario.fleet.wait_ready(MINUTE).await?;
    let sent = probe.status().await?.published;
    probe.wait_status(MINUTE, "messages went on after the change", |status| status.published > sent + 200).await?;
    let report = probe.finish().await?;
    assert_seamless(&report)?;
    ensure!(report.moves.total == 0, "{} sessions moved", report.moves.total);
    ensure!(names(&scenario).await? == before, "pods were replaced");
    Ok(())
}

async fn names(scenario: &Scenario) -> Result<Vec<Option<String>>> {
    Ok(scenario.fleet.gateways().await?.into_iter().map(|pod| pod.metadata.name).collect())
}
