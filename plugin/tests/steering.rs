//! The commands that change a fleet, against a scripted API server: undo, history, drain, probe.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use kubectl_wscluster::Outcome;
use serde_json::{Value, json};
use support::{Answer, DRAINING, RUNNING, Seen, cluster, command, failure, list, modified, writes};

/// A revision's Deployment, as the operator makes it.
fn deployment(hash: &str, activated: &str, image: &str) -> Value {
    let spec = json!({"gateway": {"image": image, "env": null}, "redis": {"url": "redis://redis:6379"}});
    json!({
        "metadata": {
            "name": format!("chat-gateway-{hash}"), "namespace": "web",
            "labels": {"wscluster.dev/cluster": "chat", "wscluster.dev/revision": hash},
            "annotations": {
                "wscluster.dev/revision-spec": spec.to_string(),
                "wscluster.dev/activated-at": activated,
            },
        },
        "spec": {
            "replicas": 0, "selector": {},
            "template": {"spec": {"containers": [{"name": "gateway", "image": image}]}},
        },
    })
}

/// `chat`, of image 2, which came from image 1.
fn fleet(request: &Seen) -> Answer {
    let mut chat = serde_json::to_value(cluster(RUNNING)).unwrap();
    chat["spec"]["gateway"]["image"] = json!("example.com/gateway:2");
    match () {
        () if request.path.ends_with("/deployments") => list(
            "DeploymentList",
            &json!([
                deployment("1a2b3c4d5e", "2026-01-01T00:00:00Z", "example.com/gateway:1"),
                deployment("3c4d5e6f70", "2026-01-02T00:00:00Z", "example.com/gateway:2"),
            ]),
        ),
        () => (200, chat),
    }
}

#[tokio::test]
async fn undo_patches_the_fields_that_differ_and_says_which() {
    let (outcome, text, seen) = command("undo chat", fleet).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(writes(&seen)[0].body, json!({"spec": {"gateway": {"image": "example.com/gateway:1"}}}));
    assert!(text.contains("goes back to revision 1a2b3c4d5e"), "{text}");
    assert!(text.contains("  spec.gateway.image: example.com/gateway:2 → example.com/gateway:1\n"), "{text}");
    let asked = seen.iter().find(|request| request.path.ends_with("/deployments")).unwrap();
    assert!(asked.query.contains("wscluster.dev%2Fcluster%3Dchat"), "only this cluster's: {}", asked.query);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (_, text, seen) = command("undo chat --dry-run --to-revision 1a", fleet).await;
    assert!(writes(&seen).is_empty());
    assert!(text.contains("nothing was changed") && text.contains("spec.gateway.image"), "{text}");
}

#[tokio::test]
async fn undo_to_where_the_fleet_is_changes_nothing() {
    let (outcome, text, seen) = command("undo chat --to-revision 3c4d5e6f70", fleet).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert!(writes(&seen).is_empty() && text.contains("already"), "{text}");
}

#[tokio::test]
async fn history_lists_the_latest_first() {
    let (_, text, _) = command("history chat", fleet).await;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].starts_with("3c4d5e6f70   Active"), "{text}");
    assert!(lines[2].starts_with("1a2b3c4d5e   Kept") && lines[2].contains("2026-01-01T00:00:00Z"), "{text}");
    let (_, text, _) = command("history chat -o json", fleet).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value[1]["spec"]["gateway"]["image"], "example.com/gateway:1");
}

const POD: &str = "chat-gateway-1a2b3c4d5e-aaaaa";

fn pod(uid: &str) -> Value {
    let labels = json!({"wscluster.dev/cluster": "chat", "app.kubernetes.io/component": "gateway"});
    let metadata = json!({"name": POD, "namespace": "web", "uid": uid, "resourceVersion": "5", "labels": labels});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
}

/// A gateway that is there, then drains, then is gone; `evicted` answers the eviction.
fn leaving(evicted: impl Fn() -> Answer + Send + 'static) -> impl Fn(&Seen) -> Answer + Send + 'static {
    let (clusters, pods) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let counted = move |left: i64| {
        let status =
            DRAINING.replace("state: Draining, connections: 160", &format!("state: Draining, connections: {left}"));
        modified(&cluster(&status))
    };
    move |request| match request.path.as_str() {
        path if path.ends_with("/eviction") => evicted(),
        path if path.ends_with("/wsclusters") && request.watches() => {
            counted(if clusters.fetch_add(1, Ordering::Relaxed) == 0 { 90 } else { 40 })
        }
        path if path.ends_with("/wsclusters") => list("WsClusterList", &json!([cluster(DRAINING)])),
        path if path.ends_with("/pods") && request.watches() => {
            // Once its sessions were seen to leave it goes.
            match () {
                () if pods.fetch_add(1, Ordering::Relaxed) > 2 => (200, json!({"type": "DELETED", "object": pod("u")})),
                () => modified(&pod("u")),
            }
        }
        path if path.ends_with("/pods") => list("PodList", &json!([pod("u")])),
        path if path.contains("/wsclusters/") => (200, serde_json::to_value(cluster(DRAINING)).unwrap()),
        _ => (200, pod("u")),
    }
}

#[tokio::test]
async fn a_gateway_is_evicted_and_its_sessions_are_followed_until_it_is_gone() {
    let willing = || (201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}));
    let (outcome, text, seen) = command(&format!("drain {POD}"), leaving(willing)).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert!(text.contains("Draining, 160 connections left\n"), "{text}");
    assert!(text.ends_with(&format!("{POD} is gone\n")), "{text}");
    let written = writes(&seen);
    assert_eq!(written.len(), 1, "never a plain deletion");
    assert!(written[0].path.ends_with("/eviction"), "{written:?}");
}

#[tokio::test]
async fn a_disruption_budget_that_refuses_is_named_and_nothing_is_deleted() {
    let refused = || {
        let mut status =
            failure(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        status.1["details"] = json!({"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget chat-gateway needs 2 healthy pods and has 2 currently"}]});
        status
    };
    let (outcome, text, seen) = command(&format!("drain {POD}"), leaving(refused)).await;
    assert_eq!(outcome.unwrap(), Outcome::Failed);
    assert!(text.contains("needs 2 healthy pods") && text.contains("spec.disruption.maxUnavailable"), "{text}");
    assert_eq!(writes(&seen).len(), 1);
}

#[tokio::test]
async fn a_pod_that_is_no_gateway_is_not_evicted() {
    let answer = |request: &Seen| match () {
        () if request.path.ends_with("/pods") => list("PodList", &json!([pod("u")])),
        () => (200, json!({"metadata": {"name": "redis-0", "namespace": "web"}})),
    };
    let (outcome, _, seen) = command("drain redis-0", answer).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("no gateway") && error.contains(POD), "{error}");
    assert!(writes(&seen).is_empty());
}

/// A cluster that runs a probe which ends with this status; `words` are its log.
fn probing(code: i32, words: &'static str, report: &'static str) -> impl Fn(&Seen) -> Answer + Send + 'static {
    move |request| {
        let probe = |state: &Value| {
            let container =
                json!({"name": "probe", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
            let metadata = json!({"name": "chat-probe-x", "namespace": "web", "uid": "p", "resourceVersion": "6"});
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"containerStatuses": [container]}})
        };
        let ended = json!({"terminated": {"exitCode": code, "message": report}});
        match request.path.as_str() {
            path if path.ends_with("/log") => (200, Value::String(words.to_owned())),
            path if path.ends_with("/pods") && request.method == Method::POST => (201, probe(&json!({}))),
            path if path.ends_with("/pods") && request.watches() => modified(&probe(&ended)),
            path if path.ends_with("/pods") => list("PodList", &json!([probe(&json!({"running": {}}))])),
            path if path.contains("/pods/") => (200, probe(&ended)),
            _ => fleet(request),
        }
    }
}

fn deleted(seen: &[Seen]) -> bool {
    seen.last().is_some_and(|last| last.method == Method::DELETE && last.path.ends_with("/pods/chat-probe-x"))
}

#[tokio::test]
async fn a_probe_runs_in_the_gateways_image_and_is_taken_away_again() {
    let (outcome, text, seen) =
        command("probe chat --sessions 7", probing(0, "connected 7\nOK: nothing lost", "")).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(text, "connected 7\nOK: nothing lost\n");
    assert_eq!(writes(&seen)[0].body["spec"]["containers"][0]["image"], "example.com/gateway:2");
    assert!(deleted(&seen), "{seen:?}");
}

#[tokio::test]
async fn the_verdict_of_a_probe_is_the_exit_status() {
    let (outcome, _, seen) = command("probe chat", probing(1, "LOST", "")).await;
    assert_eq!(outcome.unwrap(), Outcome::Failed);
    assert!(deleted(&seen));
    let (outcome, _, seen) = command("probe chat", probing(2, "cannot reach Redis", "")).await;
    assert!(outcome.unwrap_err().to_string().contains("could not run"));
    assert!(deleted(&seen), "a probe that fails is taken away too");
}

#[tokio::test]
async fn the_report_of_a_probe_as_json_is_alone_on_standard_output() {
    let (_, text, _) = command("probe chat -o json", probing(0, "connected 7", "{\"lost\": 0}")).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"lost": 0}));
    let (outcome, _, seen) = command("probe chat -o json", probing(1, "connected 7", "{\"los")).await;
    assert!(format!("{:#}", outcome.unwrap_err()).contains("without -o json"));
    assert!(deleted(&seen));
}
