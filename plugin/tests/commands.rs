//! Whole commands against a scripted API server: what is asked and written, what is printed, how they end.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use kubectl_wscluster::Outcome;
use serde_json::{Value, json};
use support::{
    Answer, DRAINING, FAILED, PAUSED, RUNNING, SURGING, Seen, cluster, command, failure, list, modified, writes,
};

/// A server with `chat`, which tells watchers of these states one after another.
fn changing(states: &'static [&'static str]) -> impl Fn(&Seen) -> Answer + Send + 'static {
    let told = AtomicUsize::new(0);
    move |request| match () {
        () if request.watches() => {
            let next = told.fetch_add(1, Ordering::Relaxed) + 1;
            modified(&cluster(states[next.min(states.len() - 1)]))
        }
        () if request.path.ends_with("/wsclusters") => list("WsClusterList", &json!([cluster(states[0])])),
        () => (200, serde_json::to_value(cluster(states[0])).unwrap()),
    }
}

#[tokio::test]
async fn a_rollout_is_followed_to_its_end() {
    let (outcome, text, _) = command("rollout status chat", changing(&[SURGING, DRAINING, DRAINING, RUNNING])).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(text.lines().count(), 3, "each state once: {text}");
    assert!(text.ends_with("no session lost, 3/3 ready\n"), "{text}");
}

#[tokio::test]
async fn a_rollout_that_fails_or_pauses_itself_ends_the_wait_with_its_reason() {
    let (outcome, text, _) = command("rollout status chat", changing(&[SURGING, FAILED])).await;
    assert_eq!(outcome.unwrap(), Outcome::Failed);
    assert!(text.contains("ErrImagePull") && text.contains("undo chat"), "{text}");
    let (outcome, text, _) = command("rollout status chat", changing(&[DRAINING, PAUSED])).await;
    assert_eq!(outcome.unwrap(), Outcome::Failed);
    assert!(text.contains("3 lost") && text.contains("resume chat"), "{text}");
}

#[tokio::test]
async fn a_rollout_that_takes_too_long_is_a_timeout() {
    let (outcome, text, _) = command("rollout status chat --timeout 0s", changing(&[SURGING])).await;
    assert_eq!(outcome.unwrap(), Outcome::TimedOut);
    assert!(text.contains("not within the time given"), "{text}");
}

#[tokio::test]
async fn what_is_piped_is_told_once_per_change() {
    let gone = |states: &'static [&'static str]| {
        let inner = changing(states);
        let told = AtomicUsize::new(0);
        move |request: &Seen| match () {
            () if request.watches() && told.fetch_add(1, Ordering::Relaxed) > 1 => {
                (200, json!({"type": "DELETED", "object": cluster(RUNNING)}))
            }
            () => inner(request),
        }
    };
    let (outcome, text, _) = command("status chat --watch", gone(&[DRAINING, DRAINING, RUNNING])).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("chat RollingOut") && lines[1].starts_with("chat Running"), "{text}");
    assert_eq!(lines[2..], ["chat is gone"]);
}

#[tokio::test]
async fn without_a_name_the_only_one_is_shown_and_many_are_listed() {
    let (_, text, _) = command("status", changing(&[RUNNING])).await;
    assert!(text.starts_with("web/chat   Running"), "{text}");
    let mut other = cluster(DRAINING);
    other.metadata.name = Some("feed".to_owned());
    let both = json!([cluster(RUNNING), other]);
    let (_, text, _) = command("status", move |_| list("WsClusterList", &both)).await;
    assert!(text.starts_with("NAME") && text.contains("feed"), "{text}");
}

#[tokio::test]
async fn json_is_the_object_itself() {
    let (_, text, _) = command("status chat -o json", changing(&[RUNNING])).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["kind"], &value["status"]["connections"]), (&json!("WsCluster"), &json!(1450)));
}

#[tokio::test]
async fn pausing_writes_one_field_and_only_if_it_is_not_set() {
    let (_, _, seen) = command("pause chat", changing(&[RUNNING])).await;
    assert_eq!(writes(&seen)[0].body, json!({"spec": {"paused": true}}));
    let mut paused = cluster(RUNNING);
    paused.spec.paused = true;
    let (_, text, seen) = command("pause chat", move |_| (200, json!(paused))).await;
    assert!(writes(&seen).is_empty() && text.contains("already"), "{text}");
}

#[tokio::test]
async fn resuming_a_rollout_that_paused_itself_accepts_its_losses() {
    let (_, text, seen) = command("resume chat", changing(&[PAUSED])).await;
    let wanted =
        json!({"metadata": {"annotations": {"wscluster.dev/accepted-losses": "3"}}, "spec": {"paused": false}});
    assert_eq!(writes(&seen)[0].body, wanted);
    assert!(text.contains("3 lost sessions are accepted"), "{text}");
    let (_, text, seen) = command("resume chat", changing(&[RUNNING])).await;
    assert!(writes(&seen).is_empty() && text.contains("not paused"), "{text}");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_answered_with_those_that_are() {
    let (outcome, _, _) = command("status chta", |request| match () {
        () if request.path.ends_with("/wsclusters") => list("WsClusterList", &json!([cluster(RUNNING)])),
        () => failure(404, "NotFound", "wsclusters.wscluster.dev \"chta\" not found"),
    })
    .await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("no WsCluster \"chta\" in namespace \"web\"; there are: chat"), "{error}");
}

#[tokio::test]
async fn a_server_without_the_operator_and_a_user_without_the_right_are_told_what_helps() {
    let (outcome, _, _) = command("status chat", |_| failure(404, "NotFound", "page not found")).await;
    assert!(outcome.unwrap_err().to_string().contains("install the operator"));
    let (outcome, _, _) = command("pause chat", |request| match request.method {
        Method::GET => (200, serde_json::to_value(cluster(RUNNING)).unwrap()),
        _ => failure(403, "Forbidden", "User \"eve\" cannot patch"),
    })
    .await;
    assert!(outcome.unwrap_err().to_string().contains("you may not patch wsclusters.wscluster.dev"));
    let watch_refused = |request: &Seen| match () {
        () if request.watches() || request.query.contains("fieldSelector") => failure(403, "Forbidden", "no"),
        () => (200, serde_json::to_value(cluster(RUNNING)).unwrap()),
    };
    let (outcome, _, _) = command("rollout status chat", watch_refused).await;
    assert!(outcome.unwrap_err().to_string().contains("you may not watch"));
}
