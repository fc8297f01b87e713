//! One operator leads; another takes over at once when it ends in order, and one that lost its lease stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use wscluster_operator::controller::RunError;
use wscluster_operator::kinds::Kind;

use crate::stage::Stage;

pub(crate) async fn second_takes_over(stage: Arc<Stage>) -> Result<()> {
    let first = stage.operator().await?;
    first.until_leads().await?;
    let second = stage.operator().await?;
    ensure!(!second.leads().await?, "two lead");
    ensure!(second.get("/readyz").await?.starts_with("HTTP/1.1 200"), "a standby is ready");

    let started = Instant::now();
    first.end().await?;
    ensure!(started.elapsed() < Duration::from_secs(2), "ending took {:?}", started.elapsed());
    second.until_leads().await?;
    ensure!(started.elapsed() < Duration::from_secs(6), "taking over took {:?}", started.elapsed());
    stage.create("{replicas: 0, redis: {url: 'redis://127.0.0.1:1'}, service: {type: ClusterIP}}").await?;
    stage.until_child(Kind::Deployment, "made", |_| true).await?;
    second.end().await
}

pub(crate) async fn lost_lease(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator().await?;
    operator.until_leads().await?;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let stolen = Patch::Merge(json!({"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600}}));
    leases.patch("wscluster-operator", &PatchParams::default(), &stolen).await?;
    let end = operator.ended().await?;
    ensure!(matches!(end, Err(RunError::LeaseLost)), "{end:?}");
    Ok(())
}
