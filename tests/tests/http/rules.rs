//! The rules that the operator makes, judged by promtool: that they are rules, and that each alert fires when it should and
//! not a step before.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Failed;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wscluster_crds::WsCluster;
use wscluster_operator::OperatorConfig;
use wscluster_operator::config::{Arguments, Command as OperatorCommand};
use wscluster_operator::desired::keys::Keys;
use wscluster_operator::desired::{Wanted, rules};
use wscluster_tests::packages;

/// The labels of the cluster that the rules are made for, and of two of its gateways.
pub(crate) const CLUSTER: &str = r#"namespace="default",wscluster="chat""#;
const POD: &str = r#"namespace="default",wscluster="chat",pod="chat-0",revision="a""#;
const OTHER: &str = r#"namespace="default",wscluster="chat",pod="chat-1",revision="b""#;
const SPEC: &str = "{
    redis: {url: 'redis://redis:6379'}, gateway: {maxConnections: 20000}, drain: {minSeconds: 60},
    rollout: {progressDeadlineSeconds: 120}, autoscaling: {minReplicas: 1, maxReplicas: 9, targetConnections: 100},
}";
const RULES: &str = "rules.yaml";
const RUNBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring.md");

/// One case of `rules.cases.yaml`, which says what each field means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    alert: String,
    given: Vec<String>,
    #[serde(default)]
    silent: Vec<u32>,
    #[serde(default)]
    fires: Vec<u32>,
    #[serde(default)]
    labels: Map<String, Value>,
    value: Option<String>,
}

/// The groups of rules of a cluster `chat` in namespace `default`.
pub(crate) fn groups() -> Result<Value> {
    let mut cluster = WsCluster::new("chat", serde_yaml::from_str(SPEC)?);
    cluster.metadata.namespace = Some("default".to_owned());
    let defaults = operator()?.defaults();
    Ok(rules::groups(&Wanted::new(&cluster, &defaults, Keys::default())?))
}

/// An operator without any flag.
fn operator() -> Result<OperatorConfig> {
    use clap::Parser;
    match Arguments::try_parse_from(["wscluster-operator", "run"])?.command {
        OperatorCommand::Run(config) => Ok(*config),
        OperatorCommand::Crd => anyhow::bail!("another command"),
    }
}

/// Writes the rules to a file in a folder.
pub(crate) fn write(folder: &Path) -> Result<Vec<Value>> {
    let groups = groups()?;
    std::fs::write(folder.join(RULES), serde_yaml::to_string(&json!({"groups": groups}))?)?;
    let all = groups.as_array().context("groups")?.iter();
    Ok(all.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
}

/// `promtool check rules`.
pub(crate) fn checked() -> Result<(), Failed> {
    let judge = || {
        packages::ensure_http()?;
        let folder = tempfile::tempdir()?;
        let number = write(folder.path())?.len();
        let said = promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", RULES])?;
        ensure!(said.contains(&format!("SUCCESS: {number} rules found")), "{said}");
        Ok(())
    };
    judge().map_err(|error: anyhow::Error| format!("{error:#}").into())
}

/// `promtool test rules`, on every case.
pub(crate) fn tried() -> Result<(), Failed> {
    let judge = || {
        packages::ensure_http()?;
        let folder = tempfile::tempdir()?;
        let rules = write(folder.path())?;
        let cases: Vec<Case> = serde_yaml::from_str(include_str!("rules.cases.yaml"))?;
        let alerts: BTreeSet<_> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
        for expected in [|case: &Case| !case.fires.is_empty(), |case: &Case| !case.silent.is_empty()] {
            let covered = cases.iter().filter(|case| expected(case)).map(|case| case.alert.as_str()).collect();
            ensure!(alerts == covered, "each alert has a case of both kinds: {alerts:?}, but cases of {covered:?}");
        }
        let tests = cases.iter().map(|case| case.test(&rules)).collect::<Result<Vec<_>>>()?;
        let order = groups()?.as_array().into_iter().flatten().map(|group| group["name"].clone()).collect::<Vec<_>>();
        let file = json!({
            "rule_files": [RULES], "evaluation_interval": "1m", "group_eval_order": order, "tests": tests,
        });
        std::fs::write(folder.path().join("tests.yaml"), serde_yaml::to_string(&file)?)?;
        let said = promtool(folder.path(), &["test", "rules", "tests.yaml"])?;
        ensure!(said.contains("SUCCESS"), "{said}");
        Ok(())
    };
    judge().map_err(|error: anyhow::Error| format!("{error:#}").into())
}

/// Each alert leads to steps that are there.
pub(crate) fn runbooks() -> Result<(), Failed> {
    let look = || {
        let page = std::fs::read_to_string(RUNBOOKS)?;
        let groups = groups()?;
        let rules = groups.as_array().context("groups")?.iter().filter_map(|group| group["rules"].as_array());
        let alerts: Vec<_> = rules.flatten().filter(|rule| rule["alert"].is_string()).collect();
        for rule in &alerts {
            let name = rule["alert"].as_str().unwrap_or_default();
            ensure!(page.contains(&format!("\n### {name}\n")), "docs/monitoring.md has no section {name}");
            let link = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
            ensure!(link.ends_with(&format!("/docs/monitoring.md#{}", name.to_lowercase())), "{link}");
        }
        let sections = page.lines().filter(|line| line.starts_with("### WsCluster")).count();
        ensure!(sections == alerts.len(), "docs/monitoring.md has steps for alerts that are not there");
        Ok(())
    };
    look().map_err(|error: anyhow::Error| format!("{error:#}").into())
}

impl Case {
    /// As a test of promtool's.
    fn test(&self, rules: &[Value]) -> Result<Value> {
        let rule = rules.iter().find(|rule| rule["alert"] == self.alert.as_str());
        let rule = rule.with_context(|| format!("there is no alert {}", self.alert))?;
        let series: Vec<_> = self.given.iter().map(|given| series(given)).collect::<Result<_>>()?;
        let mut labels = json!({"namespace": "default", "wscluster": "chat", "severity": rule["labels"]["severity"]});
        labels.as_object_mut().context("labels")?.extend(self.labels.clone());
        let alert = json!({"exp_labels": labels, "exp_annotations": self.annotations(rule)?});
        let at = |minute: &u32, alerts: &[&Value]| json!({"eval_time": format!("{minute}m"), "alertname": self.alert, "exp_alerts": alerts});
        let silent = self.silent.iter().map(|minute| at(minute, &[]));
        let fires = self.fires.iter().map(|minute| at(minute, &[&alert]));
        let name = format!("{}: {}", self.alert, self.given[0]);
        Ok(
            json!({"name": name, "interval": "1m", "input_series": series, "alert_rule_test": silent.chain(fires).collect::<Vec<_>>()}),
        )
    }

    /// The annotations, with what Prometheus puts into them.
    fn annotations(&self, rule: &Value) -> Result<Value> {
        let mut annotations = rule["annotations"].clone();
        let words = annotations["description"].as_str().context("a description")?;
        let mut told = words.replace("{{ $labels.namespace }}", "default").replace("{{ $labels.wscluster }}", "chat");
        for (label, value) in &self.labels {
            told = told.replace(&format!("{{{{ $labels.{label} }}}}"), value.as_str().unwrap_or_default());
        }
        if let Some((before, rest)) = told.split_once("{{ $value") {
            let (_, after) = rest.split_once("}}").context("an end of the template")?;
            let value = self.value.as_deref().unwrap_or("(no value is expected)");
            told = format!("{before}{value}{after}");
        }
        ensure!(!told.contains("{{") || self.fires.is_empty(), "not all of it is expected: {told}");
        annotations["description"] = json!(told);
        Ok(annotations)
    }
}

/// A line of the cases as promtool has it: the series, and its values.
fn series(given: &str) -> Result<Value> {
    let (name, values) = given.split_once("} ").with_context(|| format!("no series: {given}"))?;
    let name = name.replace("$cluster", CLUSTER).replace("$pod", POD).replace("$other", OTHER);
    Ok(json!({"series": format!("{name}}}"), "values": values}))
}

fn promtool(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool {} says:\n{said}", arguments.join(" "));
    Ok(said)
}
