//! Ways in beside the Service: an Ingress, an HTTPRoute where the cluster has the Gateway API, and the keys of cookies.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use wscluster_operator::kinds::Kind;
use wscluster_tests::tools;

use crate::stage::{NAME, PATIENCE, Stage};

const SPEC: &str = "{replicas: 0, redis: {url: 'redis://127.0.0.1:1'}, service: {type: ClusterIP}}";
const CRD: &str = "httproutes.gateway.networking.k8s.io";
/// Field manager of what this test installs.
const INSTALLER: &str = "operator-test";

pub(crate) async fn ingress(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    stage.change("{route: {ingress: {host: chat.example.com, className: nginx, annotations: {mine: here}}}}").await?;
    let made = stage.until_child(Kind::Ingress, "there", |child| child["spec"]["ingressClassName"] == "nginx").await?;
    ensure!(made["metadata"]["annotations"]["mine"] == "here", "a user's annotation is on it");
    ensure!(managers(&made) == ["wscluster-operator-route"], "a field manager of its own: {:?}", managers(&made));
    stage.until_reason("RouteAccepted", "Waiting").await?;

    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    stage.children(Kind::Ingress).patch_status(NAME, &PatchParams::default(), &Patch::Merge(&status)).await?;
    ensure!(stage.until_reason("RouteAccepted", "Accepted").await?.contains("192.0.2.7"));

    stage.change("{route: {ingress: {host: other.example.com}}}").await?;
    let host = |child: &Value| child.pointer("/spec/rules/0/host") == Some(&json!("other.example.com"));
    stage.until_child(Kind::Ingress, "of the other host", host).await?;
    stage.change("{route: null}").await?;
    gone(&stage, Kind::Ingress, &made).await?;
    operator.end().await
}

pub(crate) async fn http_route(stage: Arc<Stage>) -> Result<()> {
    if !without_gateway_api(&stage.client).await? {
        eprintln!("this cluster has a Gateway API of its own, which this test would change: left out");
        return Ok(());
    }
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    let route =
        "{route: {gatewayApi: {parentRefs: [{name: public, namespace: infra}], hostnames: [chat.example.com]}}}";
    stage.change(route).await?;
    let words = stage.until_reason("RouteAccepted", "GatewayApiMissing").await?;
    ensure!(words.contains("CustomResourceDefinitions"), "{words}");
    stage.until_complete().await?;
    // A running operator looks once a minute; a new one at once.
    operator.end().await?;

    install(&stage.client, "standard").await?;
    let operator = stage.operator().await?;
    let made =
        stage.until_child(Kind::HttpRoute, "there", |child| child["spec"]["hostnames"][0] != Value::Null).await?;
    ensure!(made.pointer("/spec/rules/0/sessionPersistence").is_none(), "the standard channel has none");
    ensure!(managers(&made) == ["wscluster-operator-route"], "a field manager of its own: {:?}", managers(&made));
    stage.until_reason("RouteAccepted", "Waiting").await?;
    let condition = |status: &str| {
        json!({"type": "Accepted", "status": status, "reason": "NotAllowedByListeners", "message": "not let in",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    for (status, reason) in [("False", "Refused"), ("True", "Accepted")] {
        let parent = json!({"parentRef": {"name": "public", "namespace": "infra"},
            "controllerName": "test.example/controller", "conditions": [condition(status)]});
        let body = json!({"status": {"parents": [parent]}});
        stage.children(Kind::HttpRoute).patch_status(NAME, &PatchParams::default(), &Patch::Merge(&body)).await?;
        let words = stage.until_reason("RouteAccepted", reason).await?;
        ensure!(words.contains("infra/public"), "{words}");
    }
    let writes = operator.writes().len();
    stage.change("{limits: {burst: 7}}").await?;
    let changed = |child: &Value| child["data"].to_string().contains("burst: 7");
    stage.until_child(Kind::ConfigMap, "changed", changed).await?;
    let since = operator.writes()[writes..].iter().filter(|write| write.contains("httproutes")).count();
    ensure!(since == 0, "an unchanged route is not written");
    operator.end().await?;

    install(&stage.client, "experimental").await?;
    let operator = stage.operator().await?;
    let sticky = |child: &Value| child.pointer("/spec/rules/0/sessionPersistence/sessionName").is_some();
    stage.until_child(Kind::HttpRoute, "sticky", sticky).await?;
    stage.change("{route: null}").await?;
    gone(&stage, Kind::HttpRoute, &made).await?;
    operator.end().await?;
    without_gateway_api(&stage.client).await.map(drop)
}

/// Takes away what an earlier run has installed. Whether there is no `HTTPRoute` then: somebody else's stays.
async fn without_gateway_api(client: &Client) -> Result<bool> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let Some(found) = api.get_opt(CRD).await? else { return Ok(true) };
    let ours = found.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(INSTALLER));
    if ours {
        let uid = found.uid().unwrap_or_default();
        api.delete(CRD, &DeleteParams::default()).await?;
        timeout(PATIENCE, await_condition(api, CRD, conditions::is_deleted(&uid))).await??;
    }
    Ok(ours)
}

pub(crate) async fn keys_of_cookies(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    let before = stage.child(Kind::Deployment).await?["metadata"]["generation"].clone();
    let lines = |child: &Value| -> usize {
        let text =
            child["data"]["cookie-keys"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().count()
    };
    ensure!(lines(&stage.child(Kind::Secret).await?) == 1, "one key at first");
    stage.change("{service: {stickiness: {cookie: {signingKeySecretRef: {name: mine, key: k}}}}}").await?;
    let words = stage.until_reason("Degraded", "SecretNotFound").await?;
    ensure!(words.contains("signingKeySecretRef") && words.contains("the key before it"), "{words}");
    secret(&stage, "short").await?;
    stage.until_reason("Degraded", "SigningKeyTooShort").await?;
    secret(&stage, "a key of at least thirty-two bytes").await?;
    stage.until_child(Kind::Secret, "of two keys", |child| lines(child) == 2).await?;
    ensure!(stage.child(Kind::Deployment).await?["metadata"]["generation"] == before, "no gateway is replaced");
    operator.end().await
}

async fn secret(stage: &Stage, value: &str) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "mine"}, "stringData": {"k": value}}))?;
    match api.create(&PostParams::default(), &secret).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            api.patch("mine", &PatchParams::default(), &Patch::Merge(&secret)).await?;
        }
        other => {
            other?;
        }
    }
    Ok(())
}

/// Installs the CustomResourceDefinition of HTTPRoutes, and waits until the API server tells of it.
async fn install(client: &Client, channel: &str) -> Result<()> {
    let folder = tools::gateway_api_crds(channel)?;
    let text = fs::read_to_string(folder.join("gateway.networking.k8s.io_httproutes.yaml"))?;
    let crd: Value = serde_yaml::from_str(&text)?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.patch(CRD, &PatchParams::apply(INSTALLER).force(), &Patch::Apply(&crd)).await?;
    timeout(PATIENCE, await_condition(api, CRD, conditions::is_crd_established())).await??;
    let sticky = channel == "experimental";
    let told = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            ticks.tick().await;
            let request = http::Request::get("/openapi/v3/apis/gateway.networking.k8s.io/v1").body(Vec::new())?;
            let document = client.request_text(request).await.unwrap_or_default();
            if document.contains("HTTPRoute") && document.contains("sessionPersistence") == sticky {
                return anyhow::Ok(());
            }
        }
    };
    timeout(PATIENCE, told).await.context("the API server tells of HTTPRoutes in time")?
}

fn managers(child: &Value) -> Vec<&str> {
    let entries = child["metadata"]["managedFields"].as_array();
    entries.into_iter().flatten().filter_map(|entry| entry["manager"].as_str()).collect()
}

async fn gone(stage: &Stage, kind: Kind, made: &Value) -> Result<()> {
    let uid = made["metadata"]["uid"].as_str().context("a uid")?;
    let gone = await_condition(stage.children(kind), NAME, conditions::is_deleted(uid));
    timeout(PATIENCE, gone).await.with_context(|| format!("{} goes in time", kind.as_str()))??;
    Ok(())
}
