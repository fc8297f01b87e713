//! Fewer gateways, and then not after all.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use wscluster_crds::status::GatewayState;
use wscluster_tests::fleet::{Deadline, until};

use crate::scenario::{FULL, Scenario, assert_moved_at_most};
use crate::world::MINUTE;

/// Six gateways become three by the `scale` subresource: only sessions of those that go move.
pub(crate) async fn a_scale_in_moves_only_sessions_of_those_that_go(scenario: Scenario) -> Result<()> {
    let before = uids(&scenario).await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.scale(3).await?;
    until(Deadline::after(3 * MINUTE), "three gateways are left", || async {
        Ok((scenario.fleet.gateways().await?.len() == 3).then_some(()))
    })
    .await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    held.wait_messages(1).await?;
    let report = held.record(9, "scale-in from 6 to 3").await?;
    ensure!(uids(&scenario).await?.is_subset(&before), "gateways were replaced");
    assert_moved_at_most(&report, 1)?;
    ensure!(
        report.moves.total > 0 && report.moves.total <= report.sessions * 2 / 3,
        "half of the sessions had to move:\n{report}"
    );
    Ok(())
}

/// A spike comes back while gateways are leaving: they stay, with the sessions that they have.
pub(crate) async fn a_reversed_scale_in_keeps_the_gateways(scenario: Scenario) -> Result<()> {
    let before = uids(&scenario).await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.scale(3).await?;
    scenario
        .fleet
        .wait_status(MINUTE, "to drain gateways", |status| {
            status.gateways.iter().filter(|gateway| gateway.state == GatewayState::Draining).count() == 3
        })
        .await?;
    held.wait_moves(1).await?;
    scenario.fleet.scale(6).await?;
    scenario.fleet.wait_rolled_out(2 * MINUTE).await?;
    scenario
        .fleet
        .wait_status(MINUTE, "to have six gateways that serve", |status| {
            status.gateways.len() == 6 && status.gateways.iter().all(|gateway| gateway.state == GatewayState::Serving)
        })
        .await?;
    held.wait_messages(2).await?;
    let report = held.record(10, "scale-in that is reversed").await?;
    ensure!(uids(&scenario).await? == before, "gateways were replaced");
    assert_moved_at_most(&report, 1)?;
    ensure!(report.moves.total < report.sessions / 2, "the drain went on:\n{report}");
    Ok(())
}

async fn uids(scenario: &Scenario) -> Result<BTreeSet<String>> {
    Ok(scenario.fleet.gateways().await?.iter().filter_map(ResourceExt::uid).collect())
}
