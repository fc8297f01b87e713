//! What a WsCluster renders to: each manifest under `fixtures/` with all its objects as a snapshot.

use std::collections::BTreeMap;

use serde_json::Value;
use wscluster_crds::WsCluster;
use wscluster_operator::config::Defaults;
use wscluster_operator::desired::keys::Keys;
use wscluster_operator::desired::{POD_TEMPLATE, Wanted, config, workload};
use wscluster_operator::kinds::{Kind, Object};

fn defaults() -> Defaults {
    Defaults {
        gateway_image: "wscluster.dev/wscluster:0.1.0".to_owned(),
        operator_namespace: "wscluster-system".to_owned(),
    }
}

fn read(text: &str) -> WsCluster {
    let mut cluster: WsCluster = serde_yaml::from_str(text).expect("a WsCluster");
    cluster.metadata.namespace = Some("default".to_owned());
    cluster.metadata.uid = Some("00000000-0000-0000-0000-000000000001".to_owned());
    cluster
}

fn objects(cluster: &WsCluster) -> Vec<Object> {
    let keys = Keys::completed(&BTreeMap::new(), &[[1; 32], [2; 32], [3; 32]]);
    Wanted::new(cluster, &defaults(), keys).expect("a valid name").objects()
}

fn find(objects: &[Object], kind: Kind) -> &Value {
    &objects.iter().find(|object| object.kind == kind).expect("the object is wanted").body
}

/// The pod template is shown once, where it belongs, and not again in the annotation that keeps it.
fn shown(object: &Object) -> String {
    let mut body = object.body.clone();
    if let Some(Value::String(kept)) =
        body.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(POD_TEMPLATE))
    {
        "(the pod template)".clone_into(kept);
    }
    serde_yaml::to_string(&body).expect("plain data serialises")
}

#[test]
fn every_manifest_renders_to_its_objects() {
    insta::glob!("fixtures/*.yaml", |path| {
        let cluster = read(&std::fs::read_to_string(path).expect("a readable fixture"));
        let documents: Vec<_> = objects(&cluster).iter().map(shown).collect();
        insta::assert_snapshot!(documents.join("---\n"));
    });
}

#[test]
fn the_gateway_understands_its_settings() {
    insta::glob!("fixtures/*.yaml", |path| {
        let cluster = read(&std::fs::read_to_string(path).expect("a readable fixture"));
        let all = objects(&cluster);
        let text = find(&all, Kind::ConfigMap)["data"][config::FILE].as_str().expect("a settings file");
        let parsed = wscluster_gateway::config::Config::parse(text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(parsed.max_connections, usize::try_from(cluster.spec.gateway.max_connections).unwrap());
    });
}

#[test]
fn a_newer_operator_restarts_nothing() {
    let cluster = read("metadata: {name: chat}\nspec: {redis: {url: 'redis://r:6379'}}");
    let before = objects(&cluster);
    let live = find(&before, Kind::Deployment);

    let newer = Defaults { gateway_image: "wscluster.dev/wscluster:9.9.9".to_owned(), ..defaults() };
    let mut wanted = Wanted::new(&cluster, &newer, Keys::default()).unwrap();
    wanted.template = workload::kept_template(live, &wanted.revision);
    let after = wanted.objects();
    assert_eq!(find(&after, Kind::Deployment), live);

    let mut changed = cluster.clone();
    changed.spec.drain.timeout_seconds = 60;
    let mut wanted = Wanted::new(&changed, &newer, Keys::default()).unwrap();
    wanted.template = workload::kept_template(live, &wanted.revision);
    assert_eq!(wanted.template, None, "a change by the user is a new revision");
    let image = find(&wanted.objects(), Kind::Deployment).pointer("/spec/template/spec/containers/0/image").cloned();
    assert_eq!(image, Some(Value::from("wscluster.dev/wscluster:9.9.9")));
}

#[test]
fn a_users_annotation_wins_over_the_operators() {
    let key = "service.beta.kubernetes.io/aws-load-balancer-scheme";
    let cluster = read(&format!(
        "metadata: {{name: chat}}\nspec: {{redis: {{url: 'redis://r:6379'}}, service: {{annotations: {{{key}: mine}}}}}}"
    ));
    assert_eq!(find(&objects(&cluster), Kind::Service)["metadata"]["annotations"][key], "mine");
}

#[test]
fn labels_that_select_pods_cannot_be_overridden() {
    let cluster = read(
        "metadata: {name: chat}\nspec: {redis: {url: 'redis://r:6379'}, gateway: {podTemplate: {labels: {wscluster.dev/cluster: x, mine: y}}}}",
    );
    let all = objects(&cluster);
    let labels = &find(&all, Kind::Deployment)["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["wscluster.dev/cluster"], &labels["mine"]), (&Value::from("chat"), &Value::from("y")));
}
