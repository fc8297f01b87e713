//! Writes down what is to be known after a failure, by asking kubectl: each answer, or why there is none, in a file.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Cluster;
use super::logs;

/// Kinds whose objects are written down. Secrets are not.
const KINDS: &[&str] = &[
    "pods",
    "services",
    "endpointslices",
    "deployments",
    "replicasets",
    "statefulsets",
    "jobs",
    "configmaps",
    "serviceaccounts",
    "poddisruptionbudgets",
    "networkpolicies",
    "horizontalpodautoscalers",
    "leases",
    "wsclusters.wscluster.dev",
];
const COMPONENT_LINES: usize = 400;

/// Writes everything of a namespace, and the components' logs, into a folder.
pub(super) fn run(cluster: &Cluster, namespace: &str, folder: &Path) -> Result<()> {
    let ask = |arguments: &[&str]| ask(cluster, namespace, arguments);
    write(&folder.join("events.txt"), &ask(&["get", "events", "--sort-by=.lastTimestamp", "-o", "wide"]))?;
    write(&folder.join("pods.txt"), &ask(&["get", "pods", "-o", "wide"]))?;
    write(&folder.join("nodes.txt"), &ask(&["describe", "nodes"]))?;
    let objects = folder.join("objects");
    fs::create_dir_all(&objects)?;
    for kind in KINDS {
        write(&objects.join(format!("{kind}.yaml")), &ask(&["get", kind, "-o", "yaml"]))?;
    }
    dump_pod_logs(cluster, namespace, &folder.join("pods"))?;
    dump_component_logs(cluster, &folder.join("components"))
}

fn dump_pod_logs(cluster: &Cluster, namespace: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let pods: Value =
        serde_json::from_str(&ask(cluster, namespace, &["get", "pods", "-o", "json"])).unwrap_or_default();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        for (container, restarted) in containers(pod) {
            let arguments = ["logs", name, "-c", &container];
            write(&folder.join(format!("{name}.{container}.log")), &ask(cluster, namespace, &arguments))?;
            if restarted {
                let arguments = ["logs", name, "-c", &container, "--previous"];
                write(&folder.join(format!("{name}.{container}.previous.log")), &ask(cluster, namespace, &arguments))?;
            }
        }
    }
    Ok(())
}

/// The containers of a pod, and whether each was started again.
fn containers(pod: &Value) -> Vec<(String, bool)> {
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter();
    let all = statuses.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.filter_map(|status| Some((status["name"].as_str()?.to_owned(), status["restartCount"].as_u64()? > 0))).collect()
}

fn dump_component_logs(cluster: &Cluster, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for file in logs::files(cluster.layout(), None, None).unwrap_or_default() {
        let name = file.strip_prefix(cluster.layout().logs())?.to_string_lossy().replace('/', "-");
        write(&folder.join(name), &logs::last_lines(&file, COMPONENT_LINES))?;
    }
    Ok(())
}

fn ask(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> String {
    let asked = cluster
        .kubectl()
        .args(["--request-timeout=10s", "-n", namespace])
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => format!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("kubectl cannot be run: {error}"),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_tell_whether_there_is_a_log_of_the_one_before() {
        let pod = json!({"status": {
            "initContainerStatuses": [{"name": "init", "restartCount": 0}],
            "containerStatuses": [{"name": "gateway", "restartCount": 2}]}});
        assert_eq!(containers(&pod), [("init".to_owned(), false), ("gateway".to_owned(), true)]);
    }
}
