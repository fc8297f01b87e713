//! The objects of a cluster: made, kept, put back, left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use tokio::time::timeout;
use wscluster_operator::kinds::Kind;

use crate::stage::{NAME, PATIENCE, Stage};

/// No pods: what is tested here is the operator.
const SPEC: &str = "{replicas: 0, redis: {url: 'redis://127.0.0.1:1'}, service: {type: ClusterIP}}";

/// The garbage collector learns of a new kind of owner, such as ours, twice a minute.
const COLLECTED: Duration = Duration::from_secs(90);

pub(crate) async fn made_changed_and_deleted(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    let uid = stage.clusters().get(NAME).await?.metadata.uid;
    for kind in Kind::ALL {
        let child = stage.child(kind).await?;
        let owner = &child["metadata"]["ownerReferences"][0];
        ensure!(owner["uid"] == json!(uid) && owner["controller"] == true, "{}: {owner}", kind.as_str());
        ensure!(child["metadata"]["labels"]["wscluster.dev/cluster"] == NAME, "{} is not labelled", kind.as_str());
    }

    let generation = stage.child(Kind::Deployment).await?["metadata"]["generation"].clone();
    stage.change("{limits: {burst: 7}}").await?;
    stage
        .until_child(Kind::ConfigMap, "changed", |child| {
            child["data"]["gateway.v2.yaml"].to_string().contains("burst: 7")
        })
        .await?;
    ensure!(stage.child(Kind::Deployment).await?["metadata"]["generation"] == generation, "a setting restarts nothing");

    let before = revision(&stage.child(Kind::Deployment).await?);
    stage.change("{gateway: {image: 'wscluster.dev/wscluster:other'}}").await?;
    let image = "/spec/template/spec/containers/0/image";
    let changed = |child: &Value| child.pointer(image) == Some(&json!("wscluster.dev/wscluster:other"));
    let after = revision(&stage.until_child(Kind::Deployment, "changed", changed).await?);
    ensure!(before != after, "a new image is a new revision");
    stage
        .until("of that revision", |cluster| {
            cluster.status.as_ref().is_some_and(|status| json!(status.active_revision) == after)
        })
        .await?;

    let objects = uids(&stage).await?;
    stage.clusters().delete(NAME, &DeleteParams::default()).await?;
    let uid = uid.context("a uid")?;
    let gone = await_condition(stage.clusters(), NAME, conditions::is_deleted(&uid));
    timeout(PATIENCE, gone).await.context("the WsCluster goes in time")??;
    for ((kind, name), uid) in objects {
        let gone = await_condition(stage.children(kind), &name, conditions::is_deleted(&uid));
        timeout(COLLECTED, gone).await.with_context(|| format!("{} goes in time", kind.as_str()))??;
    }
    operator.end().await
}

fn revision(deployment: &Value) -> Value {
    deployment["spec"]["template"]["metadata"]["labels"]["wscluster.dev/revision"].clone()
}

async fn uids(stage: &Stage) -> Result<BTreeMap<(Kind, String), String>> {
    let mut uids = BTreeMap::new();
    for kind in Kind::ALL {
        let uid = stage.child(kind).await?["metadata"]["uid"].as_str().context("a uid")?.to_owned();
        uids.insert((kind, stage.name(kind).await?), uid);
    }
    Ok(uids)
}

pub(crate) async fn deleted_children_come_back(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    for ((kind, name), uid) in uids(&stage).await? {
        stage.children(kind).delete(&name, &DeleteParams::background()).await?;
        stage.until_child(kind, "back", |child| child["metadata"]["uid"] != json!(uid)).await?;
    }
    operator.end().await
}

pub(crate) async fn edited_fields_are_put_back(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    let edits = [
        (Kind::Deployment, json!({"spec": {"replicas": 3}}), "/spec/replicas"),
        (Kind::Deployment, json!({"spec": {"minReadySeconds": 77}}), "/spec/minReadySeconds"),
        (Kind::ConfigMap, json!({"data": {"gateway.v2.yaml": "mine"}}), "/data/gateway.v2.yaml"),
        (
            Kind::Service,
            json!({"spec": {"selector": {"wscluster.dev/cluster": "other"}}}),
            "/spec/selector/wscluster.dev~1cluster",
        ),
        (Kind::PodDisruptionBudget, json!({"spec": {"maxUnavailable": "99%"}}), "/spec/maxUnavailable"),
        (Kind::NetworkPolicy, json!({"spec": {"ingress": [{}]}}), "/spec/ingress"),
        (Kind::ServiceAccount, json!({"automountServiceAccountToken": true}), "/automountServiceAccountToken"),
        // An object without this label is out of the watch's sight, but not of the operator's mind.
        (
            Kind::Service,
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
            "/metadata/labels/app.kubernetes.io~1managed-by",
        ),
    ];
    for (kind, edit, path) in edits {
        let before = stage.child(kind).await?.pointer(path).cloned();
        stage.children(kind).patch(&stage.name(kind).await?, &PatchParams::default(), &Patch::Merge(&edit)).await?;
        let back = |child: &Value| child.pointer(path).cloned() == before;
        stage.until_child(kind, &format!("put back at {path}"), back).await?;
    }
    stage.until_event("PutBack").await?;
    operator.end().await
}

pub(crate) async fn foreign_fields_stay(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": stage.name(Kind::Service).await?, "annotations": {"other.example/note": "mine"}},
        "spec": {"externalIPs": ["192.0.2.7"]},
    });
    let other = PatchParams::apply("somebody-else");
    stage.children(Kind::Service).patch(&stage.name(Kind::Service).await?, &other, &Patch::Apply(&theirs)).await?;
    let template =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let merge = Patch::Merge(&template);
    stage
        .children(Kind::Deployment)
        .patch(&stage.name(Kind::Deployment).await?, &PatchParams::default(), &merge)
        .await?;

    // Both objects are applied anew, with another content.
    stage.change("{service: {port: 8088}, rollout: {progressDeadlineSeconds: 77}}").await?;
    let service =
        stage.until_child(Kind::Service, "changed", |child| child["spec"]["ports"][0]["port"] == 8088).await?;
    ensure!(service["metadata"]["annotations"]["other.example/note"] == "mine", "{}", service["metadata"]);
    ensure!(service["spec"]["externalIPs"] == json!(["192.0.2.7"]), "{}", service["spec"]);
    let changed = |child: &Value| child["spec"]["progressDeadlineSeconds"] == 77;
    let deployment = stage.until_child(Kind::Deployment, "changed", changed).await?;
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    ensure!(annotations["kubectl.kubernetes.io/restartedAt"] == "now", "kubectl rollout restart works: {annotations}");
    operator.end().await
}

pub(crate) async fn nothing_is_written_twice(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create("{replicas: 0, redis: {urlSecretRef: {name: missing, key: url}}, service: {type: ClusterIP}}").await?;
    stage.until_complete().await?;
    let settled = |cluster: &wscluster_crds::WsCluster| {
        cluster.status.as_ref().is_some_and(|status| {
            status.phase.as_deref() == Some("Degraded")
                && status.rollout.as_ref().is_some_and(|rollout| rollout.phase == "Complete")
        })
    };
    stage.until("settled", settled).await?;
    let writes = operator.writes();
    for kind in Kind::ALL {
        let part = format!("/{}", kind.resource().plural);
        // The dashboard is another ConfigMap.
        let other = |write: &str| write.contains("wsclusters") || write.ends_with("-dashboard");
        let count = writes.iter().filter(|write| write.contains(&part) && !other(write)).count();
        ensure!(count == 1, "{} was written {count} times: {writes:#?}", kind.as_str());
    }
    ensure!(writes.iter().filter(|write| write.ends_with("/status")).count() <= 3, "{writes:#?}");

    let versions = versions(&stage).await?;
    for number in 0..3 {
        let touch = json!({"metadata": {"annotations": {"touched": number.to_string()}}});
        let merge = Patch::Merge(&touch);
        stage
            .children(Kind::PodDisruptionBudget)
            .patch(&stage.name(Kind::PodDisruptionBudget).await?, &PatchParams::default(), &merge)
            .await?;
        operator.until_turns(1).await?;
    }
    ensure!(
        operator.writes() == writes,
        "turns without a change write nothing: {:#?}",
        &operator.writes()[writes.len()..]
    );
    operator.end().await?;

    // A successor reads everything anew, and finds nothing to do.
    let successor = stage.operator().await?;
    successor.until_turns(1).await?;
    ensure!(successor.writes().is_empty(), "{:#?}", successor.writes());
    let mut after = self::versions(&stage).await?;
    after.insert("PodDisruptionBudget", versions["PodDisruptionBudget"].clone());
    ensure!(after == versions, "{versions:?} became {after:?}");
    successor.end().await
}

async fn versions(stage: &Stage) -> Result<BTreeMap<&'static str, Value>> {
    let mut versions = BTreeMap::new();
    for kind in Kind::ALL {
        versions.insert(kind.as_str(), stage.child(kind).await?["metadata"]["resourceVersion"].clone());
    }
    versions.insert("WsCluster", json!(stage.clusters().get(NAME).await?.metadata.resource_version));
    Ok(versions)
}

pub(crate) async fn keys_stay(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    let before = stage.child(Kind::Secret).await?["data"].clone();
    let remove = json!({"data": {"cookie-keys": null, "api-key": "bWluZQ=="}});
    stage
        .children(Kind::Secret)
        .patch(&stage.name(Kind::Secret).await?, &PatchParams::default(), &Patch::Merge(&remove))
        .await?;
    let whole = |child: &Value| child["data"]["cookie-keys"].is_string();
    let after = stage.until_child(Kind::Secret, "whole", whole).await?["data"].clone();
    ensure!(after["admin-token"] == before["admin-token"], "a key that was there stays");
    ensure!(after["api-key"] == "bWluZQ==", "a key that a user chose stays");
    ensure!(after["cookie-keys"] != before["cookie-keys"], "the missing one is new");
    operator.end().await
}

pub(crate) async fn paused(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    stage.create(SPEC).await?;
    stage.until_complete().await?;
    stage.change("{paused: true}").await?;
    stage.until_reason("Progressing", "Paused").await?;
    stage.change("{limits: {burst: 9}}").await?;
    stage.children(Kind::Service).delete(&stage.name(Kind::Service).await?, &DeleteParams::default()).await?;
    let observed = |cluster: &wscluster_crds::WsCluster| {
        cluster.status.as_ref().is_some_and(|status| status.observed_generation == cluster.metadata.generation)
    };
    stage.until("observed", observed).await?;
    ensure!(
        stage.children(Kind::Service).get_opt(&stage.name(Kind::Service).await?).await?.is_none(),
        "nothing is put back"
    );
    stage.change("{paused: false}").await?;
    stage.until_child(Kind::Service, "back", |_| true).await?;
    stage
        .until_child(Kind::ConfigMap, "changed", |child| {
            child["data"]["gateway.v2.yaml"].to_string().contains("burst: 9")
        })
        .await?;
    operator.end().await
}
