//! Changing what a fleet runs, under live sessions. What a spec asks for once moves a session once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wscluster_crds::status::condition::{DEGRADED, PROGRESSING};
use wscluster_probe::Report;
use wscluster_tests::fleet::condition;

use crate::scenario::{FULL, SHOWS_WITHIN, Scenario, assert_moved_at_most};
use crate::world::MINUTE;

/// Another version of the gateway.
pub(crate) async fn an_image_change_moves_each_session_once(scenario: Scenario) -> Result<()> {
    let image = scenario.other_image().await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.set_image(&image).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    let report = held.record(1, "new image").await?;
    each_moved_once(&report)?;
    for pod in scenario.fleet.gateways().await? {
        let runs = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
        ensure!(runs.as_ref() == Some(&image), "a gateway runs {runs:?}");
    }
    let rollout = scenario.fleet.get().await?.status.and_then(|status| status.rollout).unwrap_or_default();
    ensure!(rollout.phase == "Complete" && rollout.dropped == 0, "the status says otherwise: {rollout:?}");
    let counted = [rollout.sessions_at_start, rollout.moved];
    ensure!(counted == [i64::from(FULL.sessions); 2], "the status says otherwise: {rollout:?}");
    Ok(())
}

/// A setting that only new pods can take.
pub(crate) async fn a_changed_environment_moves_each_session_once(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(environment("anew")).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    each_moved_once(&held.record(2, "new environment").await?)
}

/// Limits reach running gateways by their ConfigMap: no pod is replaced, no session moves.
pub(crate) async fn a_setting_that_can_be_reloaded_moves_no_session(scenario: Scenario) -> Result<()> {
    let before = names(&scenario).await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(json!({"spec": {"limits": {"messagesPerSecond": 77}}})).await?;
    scenario.fleet.wait_ready(MINUTE).await?;
    held.wait_messages(3).await?;
    assert_moved_at_most(&held.record(3, "new limit, taken without new pods").await?, 0)?;
    ensure!(names(&scenario).await? == before, "pods were replaced");
    Ok(())
}

/// An image that no node can get: nobody is asked to move, the status says why, and a new spec mends it.
pub(crate) async fn an_image_that_cannot_start_moves_no_session(scenario: Scenario) -> Result<()> {
    let image = scenario.other_image().await?;
    let before = scenario.fleet.selected_revision().await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.set_image("wscluster.dev/no-such-image:1").await?;
    let cluster = scenario.fleet.wait_condition(DEGRADED, "True", Some("ImagePullFailed"), SHOWS_WITHIN).await?;
    let message = condition(&cluster, DEGRADED).map(|found| found.message.clone()).unwrap_or_default();
    ensure!(message.contains("no-such-image"), "the message does not name the image: {message}");
    held.wait_messages(2).await?;
    ensure!(scenario.fleet.selected_revision().await? == before, "new connections go to what does not start");
    assert_moved_at_most(&held.record(4, "new image that cannot be pulled").await?, 0)?;

    let held = scenario.hold(FULL).await?;
    scenario.fleet.set_image(&image).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    scenario.fleet.wait_condition(DEGRADED, "False", None, MINUTE).await?;
    each_moved_once(&held.record(5, "and mended by a good image").await?)
}

/// Back to what still runs, after a part of the sessions has moved: those move back, the others stay.
pub(crate) async fn a_rollback_in_mid_drain_moves_back_only_who_had_moved(scenario: Scenario) -> Result<()> {
    scenario.fleet.patch(environment("before")).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    let first = scenario.fleet.selected_revision().await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(environment("after")).await?;
    held.wait_moves(u64::from(FULL.sessions) / 4).await?;
    scenario.fleet.patch(environment("before")).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    let report = held.record(6, "rolled back in mid-drain").await?;
    ensure!(scenario.fleet.selected_revision().await? == first, "new connections do not go to what was there first");
    // Two changes of the spec: who had moved moves once more.
    assert_moved_at_most(&report, 2)?;
    ensure!(report.moves.total < 2 * report.sessions, "every session moved there and back:\n{report}");
    Ok(())
}

/// The second change comes before anybody has moved for the first: the newest wins, and the first costs nothing.
pub(crate) async fn two_changes_in_a_row_move_each_session_once(scenario: Scenario) -> Result<()> {
    let image = scenario.other_image().await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(environment("first")).await?;
    scenario.fleet.wait_condition(PROGRESSING, "True", None, SHOWS_WITHIN).await?;
    scenario.fleet.set_image(&image).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    each_moved_once(&held.record(7, "two changes in a row").await?)
}

/// The second change comes while sessions move for the first: each of both may move a session once.
pub(crate) async fn a_change_in_mid_drain_is_carried_out_after_it(scenario: Scenario) -> Result<()> {
    let image = scenario.other_image().await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(environment("second")).await?;
    held.wait_moves(u64::from(FULL.sessions) / 4).await?;
    scenario.fleet.set_image(&image).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    let report = held.record(8, "another change in mid-drain").await?;
    assert_moved_at_most(&report, 2)
}

/// A change that needs new pods and nothing else.
pub(crate) fn environment(value: &str) -> Value {
    json!({"spec": {"gateway": {"env": [{"name": "SCENARIO", "value": value}]}}})
}

/// Every session has a new gateway, and came to it by one move of which it was told.
pub(crate) fn each_moved_once(report: &Report) -> Result<()> {
    assert_moved_at_most(report, 1)?;
    ensure!(report.moves.total == report.sessions, "{} of {} sessions moved", report.moves.total, report.sessions);
    Ok(())
}

async fn names(scenario: &Scenario) -> Result<BTreeSet<Option<String>>> {
    Ok(scenario.fleet.gateways().await?.into_iter().map(|pod| pod.metadata.name).collect())
}
