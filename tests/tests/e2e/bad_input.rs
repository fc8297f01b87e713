//! Wrong input shows in the status within half a minute, says what to do, and mends itself when the cause is gone.

use anyhow::{Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use wscluster_crds::status::condition::{DEGRADED, REDIS_REACHABLE};
use wscluster_tests::fleet::{Deadline, condition, until};

use crate::scenario::{SHOWS_WITHIN, Scenario};
use crate::world::MINUTE;

/// `urlSecretRef` names a Secret that is not there.
pub(crate) async fn a_missing_secret_is_named_and_mends(scenario: Scenario) -> Result<()> {
    scenario.deploy_redis().await?;
    scenario.apply(vec![cluster(&json!({"urlSecretRef": {"name": "chat-redis", "key": "url"}}))]).await?;
    shows(&scenario, DEGRADED, "True", "SecretNotFound", "chat-redis").await?;

    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat-redis"},
        "stringData": {"url": "redis://redis:6379"}});
    scenario.apply(vec![secret]).await?;
    mended(&scenario).await
}

/// Nothing answers where Redis should be.
pub(crate) async fn an_unreachable_redis_is_named_and_mends(scenario: Scenario) -> Result<()> {
    scenario.apply(vec![cluster(&json!({"url": "redis://redis:6379"}))]).await?;
    shows(&scenario, DEGRADED, "True", "RedisUnreachable", "redis:6379").await?;
    scenario.fleet.wait_condition(REDIS_REACHABLE, "False", Some("ConnectionFailed"), SHOWS_WITHIN).await?;

    scenario.deploy_redis().await?;
    mended(&scenario).await?;
    scenario.fleet.wait_condition(REDIS_REACHABLE, "True", Some("Connected"), MINUTE).await?;
    Ok(())
}

/// No node can get the image; the fleet that runs is not touched by it.
pub(crate) async fn an_image_that_cannot_be_pulled_is_named_and_mends(scenario: Scenario) -> Result<()> {
    scenario.deploy(&json!({})).await?;
    scenario.fleet.set_image("wscluster.dev/no-such-image:1").await?;
    shows(&scenario, DEGRADED, "True", "ImagePullFailed", "wscluster.dev/no-such-image:1").await?;
    let status = scenario.fleet.get().await?.status.unwrap_or_default();
    ensure!(status.ready_replicas >= 3, "gateways were taken down for an image that cannot start: {status:?}");

    scenario.fleet.set_image(&Scenario::image()).await?;
    mended(&scenario).await
}

/// The condition appears in time, its message holds what a person needs, and there is an Event that says the same.
async fn shows(scenario: &Scenario, type_: &str, status: &str, reason: &str, says: &str) -> Result<()> {
    let cluster = scenario.fleet.wait_condition(type_, status, Some(reason), SHOWS_WITHIN).await?;
    let message = condition(&cluster, type_).map(|found| found.message.clone()).unwrap_or_default();
    ensure!(message.contains(says), "the message of {type_} does not name {says}: {message}");
    let events: Api<Event> = Api::namespaced(scenario.fleet.client().clone(), scenario.fleet.namespace());
    until(
        Deadline::after(SHOWS_WITHIN),
        &format!("there is a Warning event with reason {reason} that names {says}"),
        || async {
            let found = events.list(&ListParams::default()).await?.items.into_iter().any(|event| {
                event.type_.as_deref() == Some("Warning")
                    && event.reason.as_deref() == Some(reason)
                    && event.note.is_some_and(|note| note.contains(says))
            });
            Ok(found.then_some(()))
        },
    )
    .await
}

async fn mended(scenario: &Scenario) -> Result<()> {
    scenario.fleet.wait_ready(2 * MINUTE).await?;
    scenario.fleet.wait_condition(DEGRADED, "False", None, MINUTE).await?;
    Ok(())
}

fn cluster(redis: &Value) -> Value {
    json!({
        "apiVersion": "wscluster.dev/v1alpha1", "kind": "WsCluster", "metadata": {"name": "chat"},
        "spec": {"replicas": 1, "redis": redis, "service": {"provider": "none"}},
    })
}
