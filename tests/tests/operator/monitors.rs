//! What Prometheus and Grafana are given, as a real API server keeps it: made where the kinds are, put back, taken away.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use wscluster_operator::kinds::Kind;

use crate::stage::{PATIENCE, Stage};

const SPEC: &str = "{replicas: 0, redis: {url: 'redis://127.0.0.1:1'}, service: {type: ClusterIP}}";
const CRDS: [&str; 2] = [
    include_str!("../../cluster/monitoring/podmonitors.yaml"),
    include_str!("../../cluster/monitoring/prometheusrules.yaml"),
];
/// Field manager of what this test installs.
const INSTALLER: &str = "operator-test";

pub(crate) async fn made_where_their_kinds_are(stage: Arc<Stage>) -> Result<()> {
    let crds = CRDS.iter().map(|text| serde_yaml::from_str(text)).collect::<Result<Vec<Value>, _>>()?;
    if !without(&stage.client, &crds).await? {
        eprintln!("this cluster has a Prometheus operator of its own, which this test would change: left out");
        return Ok(());
    }
    let outcome = insisted_on_and_made(&stage, &crds).await;
    without(&stage.client, &crds).await?;
    outcome
}

async fn insisted_on_and_made(stage: &Stage, crds: &[Value]) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.change("{observability: {podMonitor: enabled, prometheusRule: auto}}").await?;
    let words = stage.until_reason("Degraded", "RedisUnreachable").await?;
    let named =
        |words: &str| words.contains("spec.observability.podMonitor") && words.contains("CustomResourceDefinitions");
    ensure!(named(&words), "it is among the problems: {words}");
    ensure!(!words.contains("prometheusRule"), "auto insists on nothing: {words}");
    stage.until_complete().await?;

    // A running operator looks twice a minute; a new one at once.
    operator.end().await?;

    install(&stage.client, crds).await?;
    let operator = stage.operator().await?;
    let monitor = stage.until_child(Kind::PodMonitor, "there", |_| true).await?;
    let rule = stage.until_child(Kind::PrometheusRule, "there", |_| true).await?;
    ensure!(monitor["spec"]["podMetricsEndpoints"][0]["port"] == "admin", "{monitor}");
    let owner = &rule["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "WsCluster" && owner["controller"] == true, "{owner}");
    let mended = |cluster: &wscluster_crds::WsCluster| {
        let conditions = cluster.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Degraded" && !named(&condition.message))
    };
    stage.until("content with its monitors", mended).await?;
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "1"}}}));
    let budget = stage.name(Kind::PodDisruptionBudget).await?;
    stage.children(Kind::PodDisruptionBudget).patch(&budget, &PatchParams::default(), &touch).await?;
    operator.until_turns(1).await?;
    let writes = operator.writes();
    for (plural, expected) in [("podmonitors", 1), ("prometheusrules", 1), ("configmaps", 0)] {
        let number = writes.iter().filter(|write| write.contains(plural)).count();
        ensure!(number == expected, "{plural}: written {number} times, not {expected}: {writes:#?}");
    }
    changed_and_put_back(stage).await?;

    stage.change("{observability: {podMonitor: disabled, prometheusRule: disabled, dashboards: false}}").await?;
    for kind in [Kind::PodMonitor, Kind::PrometheusRule, Kind::Dashboard] {
        gone(stage, kind).await?;
    }
    operator.end().await
}

async fn changed_and_put_back(stage: &Stage) -> Result<()> {
    stage.change("{gateway: {maxConnections: 1000}}").await?;
    let near = |child: &Value| child["spec"]["groups"].to_string().contains("> 900");
    stage.until_child(Kind::PrometheusRule, "of the other threshold", near).await?;
    let merge = |value: Value| Patch::Merge(value);
    let params = PatchParams::default();
    let monitor = stage.name(Kind::PodMonitor).await?;
    let edit = merge(json!({"metadata": {"labels": {"release": "mine"}}, "spec": {"selector": {"matchLabels": null}}}));
    stage.children(Kind::PodMonitor).patch(&monitor, &params, &edit).await?;
    let selects = |child: &Value| child["spec"]["selector"]["matchLabels"]["wscluster.dev/cluster"] == "chat";
    let child = stage.until_child(Kind::PodMonitor, "put back", selects).await?;
    ensure!(child["metadata"]["labels"]["release"] == "mine", "a label of somebody else's stays: {child}");
    let dashboard = stage.name(Kind::Dashboard).await?;
    let edit = merge(json!({"data": {"wscluster.x.json": null}, "metadata": {"labels": {"grafana_dashboard": "0"}}}));
    stage.children(Kind::Dashboard).patch(&dashboard, &params, &edit).await?;
    let labelled = |child: &Value| child["metadata"]["labels"]["grafana_dashboard"] == "1";
    stage.until_child(Kind::Dashboard, "put back", labelled).await?;
    Ok(())
}

async fn gone(stage: &Stage, kind: Kind) -> Result<()> {
    let name = stage.name(kind).await?;
    let gone = await_condition(stage.children(kind), &name, |object: Option<&DynamicObject>| object.is_none());
    timeout(PATIENCE, gone).await.with_context(|| format!("{} goes in time", kind.as_str()))??;
    Ok(())
}

async fn install(client: &Client, crds: &[Value]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let name = crd["metadata"]["name"].as_str().context("a name")?;
        api.patch(name, &PatchParams::apply(INSTALLER).force(), &Patch::Apply(crd)).await?;
        timeout(PATIENCE, await_condition(api.clone(), name, conditions::is_crd_established())).await??;
    }
    Ok(())
}

/// Takes away what an earlier run has installed. Whether there is nothing of it then: somebody else's stays.
async fn without(client: &Client, crds: &[Value]) -> Result<bool> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let name = crd["metadata"]["name"].as_str().context("a name")?;
        let Some(found) = api.get_opt(name).await? else { continue };
        if !found.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(INSTALLER)) {
            return Ok(false);
        }
        api.delete(name, &DeleteParams::default()).await?;
        let uid = found.uid().unwrap_or_default();
        timeout(PATIENCE, await_condition(api.clone(), name, conditions::is_deleted(&uid))).await??;
    }
    Ok(true)
}
