//! Whom the metrics API answers, and what.

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use wscluster_tests::fleet::{Deadline, until};

use super::{BASE, SYSTEM};
use crate::scenario::Scenario;
use crate::world::MINUTE;

const GROUP: &str = "/apis/custom.metrics.k8s.io";

/// The API server passes on whom it knows; who may not, and who comes past it, gets nothing.
pub(super) async fn answers_whom_it_should(scenario: &Scenario) -> Result<()> {
    let (client, namespace) = (scenario.fleet.client(), scenario.fleet.namespace());
    for version in ["v1beta1", "v1beta2"] {
        let resources = raw(client, &format!("{GROUP}/{version}"), &[]).await?;
        let names = resources["resources"].to_string();
        ensure!(names.contains("pods/ws_active_connections"), "{names}");
        ensure!(names.contains("wsclusters.wscluster.dev/ws_active_connections"), "{names}");
        let of = |what: &str| format!("{GROUP}/{version}/namespaces/{namespace}/{what}/ws_active_connections");
        for values in [of("pods/*"), of("wsclusters.wscluster.dev/chat")] {
            // What was counted while they connected holds for a few seconds.
            until(Deadline::after(MINUTE), &format!("{values} tells of all sessions"), || async {
                Ok((sum(&raw(client, &values, &[]).await?)? == i64::from(BASE)).then_some(()))
            })
            .await?;
        }
        ensure!(code(raw(client, &of("pods/*"), &[("Impersonate-User", "nobody")]).await)? == 403);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    let operators = pods.list(&ListParams::default().labels("app.kubernetes.io/name=wscluster-operator")).await?;
    let operator = operators.iter().next().context("the operator runs")?.name_any();
    let past = format!("/api/v1/namespaces/{SYSTEM}/pods/https:{operator}:8443/proxy{GROUP}/v1beta2");
    let claims = [("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters")];
    ensure!(code(raw(client, &past, &claims).await)? == 401);
    Ok(())
}

async fn raw(client: &Client, path: &str, headers: &[(&str, &str)]) -> kube::Result<Value> {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    client.request(request.body(Vec::new()).map_err(kube::Error::HttpError)?).await
}

fn code(answer: kube::Result<Value>) -> Result<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Ok(status.code),
        other => bail!("answered with {other:?}"),
    }
}

fn sum(values: &Value) -> Result<i64> {
    let items = values["items"].as_array().context("items")?;
    items.iter().map(|item| Ok(item["value"].as_str().context("a value")?.parse::<i64>()?)).sum()
}
