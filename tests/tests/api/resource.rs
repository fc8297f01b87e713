//! What the resource offers beside its schema: names, columns, the scale subresource, merging lists, explanations; and that
//! the examples are accepted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use serde_json::{Value, json};
use wscluster_tests::fleet::{Deadline, until};

use crate::server::{Server, apply_params};

type Test = (&'static str, fn(&Server) -> Result<()>);

const TESTS: &[Test] = &[
    ("resource::schema_is_structural_and_names_are_accepted", schema_is_structural),
    ("resource::columns_are_what_a_person_looks_for", columns),
    ("resource::scale_subresource_reads_and_writes_replicas", scale),
    ("resource::two_managers_share_the_environment", managers_share_a_list),
    ("resource::a_merge_patch_may_turn_the_default_trim_into_an_age", merge_patch_of_trim),
    ("resource::status_is_a_subresource", status_is_a_subresource),
    ("resource::every_example_is_accepted", examples),
    ("resource::drain_is_explained_with_its_defaults", explained),
];

/// Names of the tests.
pub(crate) fn names() -> impl Iterator<Item = String> {
    TESTS.iter().map(|(name, _)| (*name).to_owned())
}

/// The tests.
pub(crate) fn trials(server: &Arc<Server>) -> impl Iterator<Item = Trial> {
    TESTS.iter().map(|(name, test)| {
        let server = Arc::clone(server);
        Trial::test(*name, move || test(&server).map_err(|error| Failed::from(format!("{error:#}"))))
    })
}

fn smallest(name: &str) -> Value {
    json!({
        "apiVersion": "wscluster.dev/v1alpha1", "kind": "WsCluster", "metadata": {"name": name},
        // Nothing is made of it, should an operator run here.
        "spec": {"redis": {"url": "redis://redis:6379"}, "paused": true},
    })
}

fn schema_is_structural(server: &Server) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(server.client.clone());
    let crd = server.block_on(async { Ok(crds.get("wsclusters.wscluster.dev").await?) })?;
    let conditions = crd.status.and_then(|status| status.conditions).context("the CRD has conditions")?;
    for wanted in ["NamesAccepted", "Established"] {
        let found = conditions.iter().any(|condition| condition.type_ == wanted && condition.status == "True");
        ensure!(found, "{wanted} is not true: {conditions:?}");
    }
    ensure!(conditions.iter().all(|condition| condition.type_ != "NonStructuralSchema"), "{conditions:?}");
    Ok(())
}

fn columns(server: &Server) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Table {
        column_definitions: Vec<Column>,
    }
    #[derive(Deserialize)]
    struct Column {
        name: String,
        priority: i32,
    }
    let request = http::Request::get("/apis/wscluster.dev/v1alpha1/wsclusters")
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    let table: Table = server.block_on(async { Ok(server.client.request(request).await?) })?;
    let columns: Vec<_> = table.column_definitions.iter().map(|c| (c.name.as_str(), c.priority)).collect();
    let narrow = ["Name", "Ready", "Connections", "Revision", "Phase", "Redis"].map(|name| (name, 0));
    let expected: Vec<_> = narrow.into_iter().chain([("Endpoint", 1), ("Age", 0)]).collect();
    ensure!(columns == expected, "{columns:?}");
    Ok(())
}

fn scale(server: &Server) -> Result<()> {
    let (clusters, name) = (server.clusters(), server.fresh_name());
    server.block_on(async {
        server.apply(&smallest(&name), false).await?;
        let before = clusters.get_scale(&name).await?;
        ensure!(before.spec.and_then(|spec| spec.replicas) == Some(2), "the default is not shown");
        let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
        clusters.patch_scale(&name, &PatchParams::default(), &five).await?;
        let after = clusters.get(&name).await?;
        ensure!(after.data["spec"]["replicas"] == 5, "{}", after.data["spec"]["replicas"]);
        clusters.delete(&name, &DeleteParams::background()).await?;
        Ok(())
    })
}

fn managers_share_a_list(server: &Server) -> Result<()> {
    let (clusters, name) = (server.clusters(), server.fresh_name());
    let with = |variable: &str, value: &str| {
        let mut object = smallest(&name);
        object["spec"]["gateway"] = json!({"env": [{"name": variable, "value": value}]});
        object
    };
    server.block_on(async {
        clusters.patch(&name, &apply_params("one", false), &Patch::Apply(with("RUST_LOG", "debug"))).await?;
        let both = clusters.patch(&name, &apply_params("two", true), &Patch::Apply(with("TZ", "UTC"))).await?;
        clusters.delete(&name, &DeleteParams::background()).await?;
        let variables = both.data["spec"]["gateway"]["env"].clone();
        ensure!(variables.as_array().is_some_and(|list| list.len() == 2), "{variables}");
        Ok(())
    })
}

fn merge_patch_of_trim(server: &Server) -> Result<()> {
    let (clusters, name) = (server.clusters(), server.fresh_name());
    let by_age = json!({"spec": {"redis": {"streams": {"trim": {"strategy": "MinId", "maxAgeSeconds": 3600}}}}});
    server.block_on(async {
        server.apply(&smallest(&name), false).await?;
        let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
        let patched = clusters.patch(&name, &parameters, &Patch::Merge(by_age)).await;
        clusters.delete(&name, &DeleteParams::background()).await?;
        ensure!(patched?.data["spec"]["redis"]["streams"]["trim"]["strategy"] == "MinId");
        Ok(())
    })
}

fn status_is_a_subresource(server: &Server) -> Result<()> {
    let name = server.fresh_name();
    let mut object = smallest(&name);
    object["status"] = json!({"connections": 7});
    server.block_on(async {
        let stored = server.apply(&object, true).await?;
        ensure!(stored.data["status"]["connections"] != 7, "status was written through the main resource");
        Ok(())
    })
}

fn examples(server: &Server) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Beside the manifests there is the example of a page.
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document)?;
            server
                .block_on(server.dry_run(&object))
                .with_context(|| format!("{} of {} was refused", object["kind"], path.display()))?;
            seen += 1;
        }
    }
    ensure!(seen >= 4, "only {seen} objects among the examples");
    Ok(())
}

/// `kubectl explain` reads the schema that the server publishes.
fn explained(server: &Server) -> Result<()> {
    let what = "the server has published the schema";
    // It is published some seconds after the CRD is established.
    let published: Value = server.block_on(until(Deadline::after(Duration::from_mins(1)), what, || async {
        let request = http::Request::get("/openapi/v3/apis/wscluster.dev/v1alpha1").body(Vec::new())?;
        Ok(Some(server.client.request(request).await?))
    }))?;
    let cluster = &published["components"]["schemas"]["dev.wscluster.v1alpha1.WsCluster"];
    let drain = &cluster["properties"]["spec"]["properties"]["drain"]["properties"];
    let said = |field: &str| drain[field]["description"].as_str().unwrap_or_default().to_owned();
    ensure!(said("timeoutSeconds").ends_with("Default: 300."), "{}", said("timeoutSeconds"));
    ensure!(said("minSeconds").ends_with("Default: auto."), "{}", said("minSeconds"));
    Ok(())
}
