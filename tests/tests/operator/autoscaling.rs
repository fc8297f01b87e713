//! What scales a cluster, as a real API server keeps it: written once, put back, taken away; and a metrics API that yields.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use tokio::time::timeout;
use wscluster_operator::kinds::Kind;
use wscluster_operator::metrics_api::MetricsApiConfig;

use crate::stage::{PATIENCE, Stage};

const KIND: Kind = Kind::HorizontalPodAutoscaler;
const SPEC: &str = "{
    replicas: 2, redis: {url: 'redis://127.0.0.1:1'}, service: {type: ClusterIP},
    gateway: {resources: {requests: {cpu: 500m}}},
    autoscaling: {
        minReplicas: 1, maxReplicas: 3, targetConnections: 20000, targetCPUUtilizationPercentage: 70,
        behavior: {scaleUp: {stabilizationWindowSeconds: 7}},
    },
}";

pub(crate) async fn comes_changes_and_goes(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    let made = stage.until_child(KIND, "made", |_| true).await?;
    ensure!(made["spec"]["scaleTargetRef"]["kind"] == "WsCluster", "{made}");
    stage.until_reason("ScalingActive", "MetricsApiOff").await?;
    operator.until_turns(2).await?;
    let written = operator.writes().iter().filter(|write| write.contains("horizontalpodautoscalers")).count();
    ensure!(written == 1, "the API server's own way to write it is no reason to write it again: {written} writes");

    let edit = Patch::Merge(json!({"spec": {"maxReplicas": 99}}));
    stage.children(KIND).patch(&stage.name(KIND).await?, &PatchParams::default(), &edit).await?;
    stage.until_child(KIND, "put back", |child| child["spec"]["maxReplicas"] == 3).await?;
    stage.change("{autoscaling: {maxReplicas: 4}}").await?;
    stage.until_child(KIND, "changed", |child| child["spec"]["maxReplicas"] == 4).await?;

    let size = |child: &Value| child["spec"]["replicas"] == 2;
    stage.until_child(Kind::Deployment, "of two", size).await?;
    let generation = stage.child(Kind::Deployment).await?["metadata"]["generation"].clone();
    stage.change("{autoscaling: {metricsSource: Keda}}").await?;
    stage.until_reason("ScalingActive", "KedaNotInstalled").await?;
    let name = stage.name(KIND).await?;
    let gone = await_condition(stage.children(KIND), &name, |object: Option<&_>| object.is_none());
    timeout(PATIENCE, gone).await.context("the autoscaler goes in time")??;
    stage.change("{autoscaling: null}").await?;
    let settled = |cluster: &wscluster_crds::WsCluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| status.conditions.iter().all(|condition| condition.type_ != "ScalingActive"))
    };
    stage.until("without an autoscaler", settled).await?;
    let now = stage.child(Kind::Deployment).await?["metadata"]["generation"].clone();
    ensure!(now == generation, "the number of gateways was changed");
    operator.end().await
}

pub(crate) async fn foreign_adapter(stage: Arc<Stage>) -> Result<()> {
    const SERVICE: &str = "v1beta1.custom.metrics.k8s.io";
    let services: Api<APIService> = Api::all(stage.client.clone());
    let foreign = serde_json::from_value(json!({
        "metadata": {"name": SERVICE},
        "spec": {
            "group": "custom.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "their-adapter", "namespace": stage.namespace},
        },
    }))?;
    let foreign = services.create(&PostParams::default(), &foreign).await?;
    let outcome = left_alone(&stage, &services, &foreign).await;
    services.delete(SERVICE, &DeleteParams::default()).await?;
    let gone = conditions::is_deleted(foreign.metadata.uid.as_deref().unwrap_or_default());
    timeout(PATIENCE, await_condition(services, SERVICE, gone)).await??;
    outcome
}

async fn left_alone(stage: &Stage, services: &Api<APIService>, foreign: &APIService) -> Result<()> {
    let config = MetricsApiConfig {
        listen: Some("127.0.0.1:0".parse()?),
        service: "our-metrics".to_owned(),
        role: Some("no-such-role".to_owned()),
    };
    let operator = stage.operator_with(config).await?;
    stage.create(SPEC).await?;
    let message = stage.until_reason("ScalingActive", "MetricsApiTaken").await?;
    ensure!(message.contains("their-adapter") && message.contains(&stage.namespace), "{message}");
    let ours = services.get_opt("v1beta2.custom.metrics.k8s.io").await?;
    ensure!(ours.is_none(), "we stand beside it");
    let now = services.get(foreign.metadata.name.as_deref().context("a name")?).await?;
    ensure!(now.spec == foreign.spec && now.metadata.uid == foreign.metadata.uid, "it was changed");
    operator.end().await
}
