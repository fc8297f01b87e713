//! What a WsCluster renders to: each manifest under `fixtures/` with all its objects as a snapshot.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{CommandFactory, Parser};
use serde_json::Value;
use wscluster_crds::WsCluster;
use wscluster_crds::spec::{Presence, Service, StickinessMode};
use wscluster_gateway::affinity::keys::understand;
use wscluster_gateway::cli::{Cli, Command, Serve};
use wscluster_gateway::config::Config as Settings;
use wscluster_operator::config::Defaults;
use wscluster_operator::desired::keys::Keys;
use wscluster_operator::desired::monitors::{Found, Monitoring};
use wscluster_operator::desired::ring::{Ring, Signing};
use wscluster_operator::desired::route::HttpRouteSupport;
use wscluster_operator::desired::workload::{self, Kept};
use wscluster_operator::desired::{PEER_PORT, POD_TEMPLATE, Wanted, config};
use wscluster_operator::kinds::{APPLIED_HASH, Kind, Object};
use wscluster_operator::revision;

fn defaults() -> Defaults {
    Defaults {
        gateway_image: "wscluster.dev/wscluster:0.1.0".to_owned(),
        operator_namespace: "wscluster-system".to_owned(),
        monitor_labels: BTreeMap::from([("release".to_owned(), "prometheus".to_owned())]),
        dashboard_label: ("grafana_dashboard".to_owned(), "1".to_owned()),
    }
}

fn read(text: &str) -> WsCluster {
    let mut cluster: WsCluster = serde_yaml::from_str(text).expect("a WsCluster");
    cluster.metadata.namespace = Some("default".to_owned());
    cluster.metadata.uid = Some("00000000-0000-0000-0000-000000000001".to_owned());
    cluster
}

fn objects(cluster: &WsCluster) -> Vec<Object> {
    wanted(cluster, &defaults()).objects()
}

fn wanted<'a>(cluster: &'a WsCluster, defaults: &'a Defaults) -> Wanted<'a> {
    let ring = Ring::default().next(&Signing::Generated, &[3; 32], 86_400, jiff::Timestamp::UNIX_EPOCH);
    let keys = Keys::completed(&BTreeMap::new(), &[[1; 32], [2; 32], [3; 32]], ring);
    let http_routes = Some(HttpRouteSupport { session_persistence: true });
    // Where only the fixtures that insist find it, the rules are snapshots once and not in each.
    let found =
        if cluster.spec.observability.pod_monitor == Presence::Enabled { Found::Usable } else { Found::Missing };
    let monitoring = Monitoring { pod_monitors: found, prometheus_rules: found };
    Wanted { http_routes, monitoring, ..Wanted::new(cluster, defaults, keys).expect("a valid name") }
}

fn find(objects: &[Object], kind: Kind) -> &Value {
    &objects.iter().find(|object| object.kind == kind).expect("the object is wanted").body
}

/// The pod template is shown once, where it belongs, and not again in the annotation that keeps it; the dashboard, which is a
/// file of the chart's, not at all.
fn shown(object: &Object) -> String {
    let mut body = object.body.clone();
    if let Some(Value::String(kept)) =
        body.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(POD_TEMPLATE))
    {
        "(the pod template)".clone_into(kept);
    }
    if object.kind == Kind::Dashboard {
        body["metadata"]["annotations"][APPLIED_HASH] = Value::from("(its digest)");
        for file in body["data"].as_object_mut().expect("files").values_mut() {
            *file = Value::from("(the dashboard)");
        }
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

/// A pod template as operators made it before gateways had a peer port.
fn of_the_first_generation(deployment: &Value) -> Kept {
    let mut kept = workload::kept(deployment).expect("the template is kept");
    let container = &mut kept.template["spec"]["containers"][0];
    container["ports"].as_array_mut().expect("ports").retain(|port| port["name"] != "peer");
    let variables = container["env"].as_array_mut().expect("variables");
    variables
        .retain(|variable| variable["name"] != "WSCLUSTER_PEER_LISTEN" && variable["name"] != "WSCLUSTER_REVISION");
    let file = variables.iter_mut().find(|variable| variable["name"] == "WSCLUSTER_CONFIG").expect("the settings file");
    file["value"] = Value::from(format!("/etc/wscluster/gateway/{}", config::FIRST_FILE));
    kept
}

#[test]
fn gateways_of_the_first_generation_understand_their_settings_whatever_the_spec() {
    insta::glob!("fixtures/*.yaml", |path| {
        let (cluster, defaults) = (read(&std::fs::read_to_string(path).expect("a readable fixture")), defaults());
        let mut wanted = wanted(&cluster, &defaults);
        wanted.fleets[0].kept = Some(of_the_first_generation(find(&wanted.objects(), Kind::Deployment)));
        let all = wanted.objects();
        let text = find(&all, Kind::ConfigMap)["data"][config::FIRST_FILE].as_str().expect("a settings file");
        let parsed = Settings::parse(text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(parsed.max_connections, usize::try_from(cluster.spec.gateway.max_connections).unwrap());
        assert!(!text.contains("affinity") && !text.contains("tls:") && !text.contains("trustedProxies"), "{text}");
    });
}

/// The command line and environment of the gateways, by the names that a gateway has for them.
fn started(template: &Value) -> Serve {
    let command = <Cli as CommandFactory>::command();
    let serve = command.find_subcommand("serve").expect("a subcommand");
    let container = &template["spec"]["containers"][0];
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut line = vec!["wscluster-gateway".to_owned()];
    line.extend(container["args"].as_array().expect("arguments").iter().map(text));
    let variables = container["env"].as_array().expect("variables").iter();
    for variable in variables.filter(|variable| text(&variable["name"]).starts_with("WSCLUSTER_")) {
        let name = text(&variable["name"]);
        let known = serve.get_arguments().find(|each| each.get_env().is_some_and(|env| env == name.as_str()));
        let flag = known.and_then(|each| each.get_long()).unwrap_or_else(|| panic!("gateways know no {name}"));
        if let Some(value) = variable["value"].as_str() {
            line.push(format!("--{flag}={value}"));
        }
    }
    match Cli::try_parse_from(line).map(Cli::command) {
        Ok(Command::Serve(serve)) => serve,
        other => panic!("{other:?}"),
    }
}

/// What the file at `path` in a gateway's pod holds, or nothing where it is of an object that is not ours.
fn mounted(all: &[Object], path: &Path) -> Option<String> {
    let spec = &find(all, Kind::Deployment)["spec"]["template"]["spec"];
    let named = |list: &Value, key: &str, value: &str| {
        let found = list.as_array().expect("a list").iter().find(|each| each[key] == value).cloned();
        found.unwrap_or_else(|| panic!("nothing is mounted for {}", path.display()))
    };
    let folder = path.parent().and_then(Path::to_str).expect("a folder");
    let mount = named(&spec["containers"][0]["volumeMounts"], "mountPath", folder);
    let volume = named(&spec["volumes"], "name", mount["name"].as_str().expect("a name"));
    let object = volume.pointer("/secret/secretName").or_else(|| volume.pointer("/configMap/name")).expect("an object");
    let object = all.iter().find(|each| each.body["metadata"]["name"] == *object && !each.body["data"].is_null())?;
    let file = path.file_name().and_then(|name| name.to_str()).expect("a file");
    let content = object.body["data"][file].as_str().unwrap_or_else(|| panic!("nothing is in {}", path.display()));
    let decoded = || String::from_utf8(STANDARD.decode(content).expect("base64")).expect("text");
    Some(if object.kind == Kind::Secret { decoded() } else { content.to_owned() })
}

#[test]
fn gateways_understand_all_that_they_are_given() {
    insta::glob!("fixtures/*.yaml", |path| {
        let cluster = read(&std::fs::read_to_string(path).expect("a readable fixture"));
        let all = objects(&cluster);
        let serve = started(&find(&all, Kind::Deployment)["spec"]["template"]);
        assert_eq!(serve.revision, Some(revision::hash(&cluster.spec)));
        assert_eq!(serve.peer_listen.map(|address| address.port()), Some(PEER_PORT));
        let token = mounted(&all, &serve.admin_token_file.expect("gateways prove themselves by it"));
        assert!(token.is_some_and(|token| !token.trim().is_empty()));
        let text = mounted(&all, &serve.config.expect("a settings file")).expect("it is ours");
        let parsed = Settings::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_settings(&parsed, &cluster.spec.service, &all);
        assert_eq!(parsed.observability.otlp_endpoint, cluster.spec.observability.otlp_endpoint);
    });
}

fn assert_settings(parsed: &Settings, service: &Service, all: &[Object]) {
    assert_eq!(parsed.trusted_proxies, service.trusted_proxies);
    assert_eq!(parsed.proxy_protocol, service.proxy_protocol);
    let secret = service.tls.as_ref().and_then(|tls| tls.secret_name.as_ref());
    assert_eq!(parsed.tls.is_some(), secret.is_some());
    for file in parsed.tls.iter().flat_map(|tls| [&tls.cert_file, &tls.key_file]) {
        assert_eq!(mounted(all, file), None, "the user's own");
    }
    assert_eq!(parsed.affinity.is_some(), service.stickiness.mode == StickinessMode::Cookie);
    let Some(affinity) = &parsed.affinity else { return };
    let (told, wanted) = (&affinity.cookie, &service.stickiness.cookie);
    assert_eq!((&told.name, told.max_age_seconds), (&wanted.name, wanted.max_age_seconds.unsigned_abs()));
    assert_eq!(format!("{:?}", told.same_site), format!("{:?}", wanted.same_site));
    assert_eq!(told.secure, wanted.secure.unwrap_or(service.tls.is_some()));
    let keys = mounted(all, &affinity.keys_file).expect("it is ours");
    understand(keys.as_bytes()).unwrap_or_else(|error| panic!("the keys' file {error}"));
}

#[test]
fn each_generation_has_its_file_as_long_as_it_has_pods() {
    let (cluster, defaults) = (read("metadata: {name: chat}\nspec: {redis: {url: 'redis://r:6379'}}"), defaults());
    let mut wanted = wanted(&cluster, &defaults);
    let files = |wanted: &Wanted<'_>| {
        let all = wanted.objects();
        find(&all, Kind::ConfigMap)["data"].as_object().expect("files").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(files(&wanted), [config::FILE]);
    let kept = Some(of_the_first_generation(find(&wanted.objects(), Kind::Deployment)));
    wanted.fleets.push(workload::Revision { hash: "older".to_owned(), kept, ..workload::Revision::default() });
    assert_eq!(files(&wanted), [config::FILE, config::FIRST_FILE]);
}

#[test]
fn health_checks_are_what_the_active_gateways_answer() {
    let (cluster, defaults) = (read("metadata: {name: chat}\nspec: {redis: {url: 'redis://r:6379'}}"), defaults());
    let mut wanted = wanted(&cluster, &defaults);
    let protocol = |wanted: &Wanted<'_>| {
        let all = wanted.objects();
        let annotations = &find(&all, Kind::Service)["metadata"]["annotations"];
        annotations["service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol"].clone()
    };
    let kept = Some(of_the_first_generation(find(&wanted.objects(), Kind::Deployment)));
    let older = workload::Revision { hash: "older".to_owned(), kept, ..workload::Revision::default() };
    wanted.fleets.push(older);
    assert_eq!(protocol(&wanted), "http");
    wanted.active = "older".to_owned();
    assert_eq!(protocol(&wanted), "tcp", "they answer on the admin port alone, and that is shielded");
}

#[test]
fn a_newer_operator_restarts_nothing() {
    let cluster = read("metadata: {name: chat}\nspec: {redis: {url: 'redis://r:6379'}}");
    let before = objects(&cluster);
    let live = find(&before, Kind::Deployment);

    let newer = Defaults { gateway_image: "wscluster.dev/wscluster:9.9.9".to_owned(), ..defaults() };
    let mut later = wanted(&cluster, &newer);
    later.fleets[0].kept = workload::kept(live);
    let after = later.objects();
    assert_eq!(find(&after, Kind::Deployment), live);

    let mut changed = cluster.clone();
    changed.spec.drain.timeout_seconds = 60;
    let wanted = wanted(&changed, &newer);
    let names = |objects: &[Object]| objects.iter().find(|each| each.kind == Kind::Deployment).unwrap().name.clone();
    assert_ne!(names(&wanted.objects()), names(&before), "a change by the user is a new revision");
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
