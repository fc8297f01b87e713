//! What the chart renders, without a cluster. The objects are snapshots: a change of them is reviewed as a diff.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::helm::{CHART, helm};

/// A test and its name.
pub(crate) type Test = (&'static str, fn() -> Result<()>);

/// The tests of this file.
pub(crate) const TESTS: &[Test] = &[
    ("rendering::lint_finds_nothing", lint),
    ("rendering::default_values", || snapshot("default", "crds: {install: false}")),
    ("rendering::one_namespace_gets_a_role_in_place_of_the_cluster_role", || {
        snapshot("one-namespace", "crds: {install: false}\nwatchNamespace: chat")
    }),
    ("rendering::every_option", || snapshot("every-option", EVERY_OPTION)),
    ("rendering::the_metrics_api", || snapshot("metrics-api", METRICS_API)),
    ("rendering::the_dashboard_is_the_file_and_its_panels_ask_by_its_variables", dashboard),
    ("rendering::own_account_and_roles", || snapshot("own-account", OWN_ACCOUNT)),
    ("rendering::the_crd_is_the_generated_one_and_is_kept", crd_is_kept),
    ("rendering::no_role_has_a_wildcard", no_wildcards),
    ("rendering::pods_meet_the_restricted_pod_security_standard", restricted),
    ("rendering::bad_values_are_refused_by_name", bad_values),
    ("rendering::the_install_manifest_is_up_to_date", install_manifest),
    ("rendering::the_notes_say_what_comes_next", notes),
];

const EVERY_OPTION: &str = "
replicas: 2
image:
  repository: registry.example.com/wscluster
  digest: sha256:0000000000000000000000000000000000000000000000000000000000000000
  pullPolicy: Always
imagePullSecrets: [{name: registry}]
gatewayImage: registry.example.com/gateway:1.0.0
crds: {install: false}
serviceAccount: {name: ours, annotations: {eks.amazonaws.com/role-arn: arn}}
logLevel: debug
logFormat: text
metrics: {port: 9999, service: {annotations: {prometheus.io/scrape: 'true'}}, podMonitor: {enabled: true, interval: 15s}}
monitoring: {labels: {release: prometheus}}
dashboards: {label: dashboards, labelValue: ours}
resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}
podDisruptionBudget: {enabled: true, maxUnavailable: 50%}
terminationGracePeriodSeconds: 60
podLabels: {team: chat}
podAnnotations: {note: x}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: system-cluster-critical
nameOverride: wsc
fullnameOverride: wsc-operator
";

const OWN_ACCOUNT: &str = "
crds: {install: false}
serviceAccount: {create: false, name: ours}
rbac: {create: false}
metrics: {service: {enabled: false}}
resources: {}
";

const METRICS_API: &str = "
crds: {install: false}
watchNamespace: chat
metricsApi: {enabled: true, port: 9443}
metrics: {service: {enabled: false}}
";

/// Values, and words that the refusal must hold.
const BAD_VALUES: &[(&str, &str)] = &[
    ("replica: 2", "replica"),
    ("image: {name: x}", "name"),
    ("image: {pullPolicy: Sometimes}", "pullPolicy"),
    ("image: {tag: 'a b'}", "tag"),
    ("replicas: -1", "replicas"),
    ("replicas: two", "replicas"),
    ("watchNamespace: Chat", "watchNamespace"),
    ("logFormat: xml", "logFormat"),
    ("metrics: {port: 80}", "port"),
    ("metrics: {podMonitor: {enabled: true, interval: often}}", "interval"),
    ("monitoring: {labels: {release: 1}}", "release"),
    ("dashboards: {enabled: true, label: ''}", "label"),
    ("dashboards: {labelValue: 'a b'}", "labelValue"),
    ("dashboards: {namespace: Grafana}", "namespace"),
    ("metricsApi: {enabled: 1}", "enabled"),
    ("metricsApi: {port: 443}", "port"),
    ("crds: {install: 'yes'}", "install"),
    ("podDisruptionBudget: {enabled: true, maxUnavailable: 0}", "maxUnavailable"),
    ("resources: {limit: {}}", "limit"),
    ("tolerations: {}", "tolerations"),
];

fn template(values: &str) -> Result<String> {
    helm(&["template", "wscluster-operator", CHART, "--namespace", "wscluster-system"], values, None)
}

fn objects(values: &str) -> Result<Vec<Value>> {
    let text = template(values)?;
    let documents = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    documents.filter(|found| !matches!(found, Ok(Value::Null))).map(|found| Ok(found?)).collect()
}

fn snapshot(name: &str, values: &str) -> Result<()> {
    // The version is in many labels and changes with each release.
    let rendered = template(values)?.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/snapshots");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, rendered));
    Ok(())
}

fn lint() -> Result<()> {
    helm(&["lint", CHART, "--strict"], "{}", None).map(drop)
}

fn crd_is_kept() -> Result<()> {
    let all = objects("{}")?;
    let mut crd = all.into_iter().find(|o| o["kind"] == "CustomResourceDefinition").context("no CRD was rendered")?;
    let metadata = crd["metadata"].take();
    ensure!(metadata["annotations"]["helm.sh/resource-policy"] == "keep", "{metadata}");
    let mut generated = serde_json::to_value(wscluster_crds::crd())?;
    generated["metadata"] = Value::Null;
    ensure!(crd == generated, "the chart's CRD is stale: run `cargo xtask codegen`");
    Ok(())
}

fn dashboard() -> Result<()> {
    let values = "dashboards: {enabled: true, namespace: grafana, label: shown, labelValue: here, annotations: {grafana_folder: x}}";
    let all = objects(values)?;
    let map = all.iter().find(|object| object["kind"] == "ConfigMap").context("no ConfigMap")?;
    let metadata = &map["metadata"];
    ensure!(metadata["name"] == "wscluster-operator-dashboard" && metadata["namespace"] == "grafana", "{metadata}");
    ensure!(metadata["labels"]["shown"] == "here" && metadata["annotations"]["grafana_folder"] == "x", "{metadata}");
    let rendered: Value = serde_json::from_str(map["data"]["wscluster.json"].as_str().context("no file")?)?;
    let file = Path::new(CHART).join("dashboards/wscluster.json");
    ensure!(rendered == serde_json::from_str::<Value>(&std::fs::read_to_string(file)?)?, "Helm changed it");
    let panels = rendered["panels"].as_array().context("no panels")?;
    let mut numbers: Vec<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    ensure!(numbers.len() == panels.len(), "each panel has a number of its own");
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten()) {
        let query = target["expr"].as_str().unwrap_or_default();
        // What is the operator's own is not about one cluster.
        let own = query.contains("wscluster_operator_") && !query.contains('{');
        let asks = query.contains(r#"namespace="$namespace",wscluster="$wscluster""#);
        ensure!(own || asks, "a panel asks for more than its cluster: {query}");
        ensure!(target["datasource"]["uid"] == "${datasource}", "{target}");
    }
    Ok(())
}

fn no_wildcards() -> Result<()> {
    for object in objects("{metricsApi: {enabled: true}}")?.iter().chain(&objects("watchNamespace: chat")?) {
        if object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")) {
            let rules = object["rules"].to_string();
            ensure!(!rules.contains('*'), "{} has a wildcard: {rules}", object["metadata"]["name"]);
        }
    }
    Ok(())
}

/// Source: "Pod Security Standards", Restricted.
fn restricted() -> Result<()> {
    let all = objects("{}")?;
    let deployment = all.iter().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    let pod = &deployment["spec"]["template"]["spec"];
    ensure!(pod["securityContext"]["runAsNonRoot"] == true);
    ensure!(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault");
    for container in pod["containers"].as_array().into_iter().flatten() {
        let context = &container["securityContext"];
        ensure!(context["allowPrivilegeEscalation"] == false && context["readOnlyRootFilesystem"] == true);
        ensure!(context["capabilities"]["drop"] == serde_json::json!(["ALL"]));
    }
    Ok(())
}

fn bad_values() -> Result<()> {
    for (values, word) in BAD_VALUES {
        let Err(error) = template(values) else { anyhow::bail!("accepted: {values}") };
        let text = error.to_string();
        ensure!(text.contains("schema") && text.contains(word), "{values} was refused, but with these words: {text}");
    }
    Ok(())
}

fn install_manifest() -> Result<()> {
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/install.yaml"))?;
    ensure!(committed.ends_with(&template("{}")?), "charts/install.yaml is stale: run `cargo xtask codegen`");
    Ok(())
}

fn notes() -> Result<()> {
    let arguments = ["install", "wscluster-operator", CHART, "--namespace", "chat", "--dry-run=client"];
    let shown = helm(&arguments, "{crds: {install: false}, watchNamespace: chat}", None)?;
    let notes = shown.split_once("NOTES:").context("there are no notes")?.1;
    for words in
        ["rollout status deployment/wscluster-operator", "kubectl -n chat get wscluster", "crds.install is false"]
    {
        ensure!(notes.contains(words), "{words:?} is not in the notes:\n{notes}");
    }
    Ok(())
}
