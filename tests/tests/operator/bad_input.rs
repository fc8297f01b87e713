//! What a user got wrong shows in the status within 30 seconds, says what to do, and mends itself when the cause is gone.

use std::sync::Arc;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use wscluster_operator::kinds::Kind;

use crate::redis::{Redis, free_port};
use crate::stage::Stage;

pub(crate) async fn missing_secret(stage: Arc<Stage>) -> Result<()> {
    let redis = Redis::start(free_port()?)?;
    let operator = stage.operator().await?;
    stage
        .create("{replicas: 0, redis: {urlSecretRef: {name: chat-redis, key: url}}, service: {type: ClusterIP}}")
        .await?;
    let message = stage.until_reason("Degraded", "SecretNotFound").await?;
    ensure!(
        message.contains("\"chat-redis\"") && message.contains("kubectl create secret generic chat-redis"),
        "{message}"
    );
    stage.until_event("SecretNotFound").await?;

    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let other = json!({"metadata": {"name": "chat-redis"}, "stringData": {"address": "x"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(other)?).await?;
    stage.until("told of the key", |cluster| json!(cluster.status).to_string().contains("has no key")).await?;
    secrets.delete("chat-redis", &DeleteParams::default()).await?;
    let right = json!({"metadata": {"name": "chat-redis"}, "stringData": {"url": redis.url()}});
    secrets.create(&PostParams::default(), &serde_json::from_value(right)?).await?;
    stage.until_reason("RedisReachable", "Connected").await?;
    stage.until_reason("Degraded", "AsExpected").await?;
    stage.until_event("Recovered").await?;
    operator.end().await
}

pub(crate) async fn unreachable_redis(stage: Arc<Stage>) -> Result<()> {
    let port = free_port()?;
    let operator = stage.operator().await?;
    let url = format!("redis://:a-password@127.0.0.1:{port}");
    stage.create(&format!("{{replicas: 0, redis: {{url: '{url}'}}, service: {{type: ClusterIP}}}}")).await?;
    let message = stage.until_reason("Degraded", "RedisUnreachable").await?;
    ensure!(message.contains(&format!("127.0.0.1:{port}")) && message.contains("spec.redis.url"), "{message}");
    ensure!(!message.contains("a-password"), "no password in a message: {message}");
    stage.until_reason("RedisReachable", "ConnectionFailed").await?;
    stage.until_event("RedisUnreachable").await?;

    let _redis = Redis::start(port)?;
    // There is one now, but it knows no password.
    stage.until_reason("RedisReachable", "AuthFailed").await?;
    stage.change(&format!("{{redis: {{url: 'redis://127.0.0.1:{port}'}}}}")).await?;
    stage.until_reason("RedisReachable", "Connected").await?;
    stage.until_reason("Degraded", "AsExpected").await?;
    operator.end().await
}

pub(crate) async fn refused(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage
        .create("{replicas: 0, redis: {urlSecretRef: {name: none, key: url}}, service: {type: ClusterIP}, gateway: {podTemplate: {nodeSelector: {'not a label!': x}}}}")
        .await?;
    let message = stage.until_reason("Degraded", "ApplyFailed").await?;
    ensure!(
        message.contains("Deployment chat-gateway-")
            && message.contains("is refused")
            && message.contains("not a label!"),
        "{message}"
    );
    stage.until_child(Kind::Service, "made all the same", |_| true).await?;
    stage.until_event("ApplyFailed").await?;
    stage.change("{gateway: {podTemplate: {nodeSelector: {'not a label!': null}}}}").await?;
    stage.until_child(Kind::Deployment, "made", |_| true).await?;
    stage.until_reason("Degraded", "SecretNotFound").await?;
    operator.end().await
}

pub(crate) async fn taken_name(stage: Arc<Stage>) -> Result<()> {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let foreign = json!({"metadata": {"name": "chat"}, "spec": {"ports": [{"port": 9999}]}});
    services.create(&PostParams::default(), &serde_json::from_value(foreign)?).await?;
    let operator = stage.operator().await?;
    stage.create("{replicas: 0, redis: {url: 'redis://127.0.0.1:1'}, service: {type: ClusterIP}}").await?;
    let message = stage.until_reason("Degraded", "NameTaken").await?;
    ensure!(message.contains("Service \"chat\" exists and does not belong"), "{message}");
    let untouched = stage.child(Kind::Service).await?;
    ensure!(untouched["spec"]["ports"][0]["port"] == 9999, "somebody else's Service is left alone");
    services.delete("chat", &DeleteParams::default()).await?;
    stage.until_child(Kind::Service, "made", |child| child["spec"]["ports"][0]["port"] == 80).await?;
    stage.until_reason("Degraded", "RedisUnreachable").await?;
    operator.end().await
}
