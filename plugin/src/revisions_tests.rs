use serde_json::json;

use super::*;

fn cluster(spec: &Value, status: &Value) -> WsCluster {
    let object = json!({
        "apiVersion": "wscluster.dev/v1alpha1", "kind": "WsCluster",
        "metadata": {"name": "chat", "namespace": "web", "generation": 2},
        "spec": spec, "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn spec(image: &str) -> Value {
    json!({"redis": {"url": "redis://r:6379"}, "gateway": {"image": image}})
}

fn revision(hash: &str, activated: Option<&str>, image: &str) -> Revision {
    Revision {
        hash: hash.to_owned(),
        state: None,
        activated_at: activated.map(|at| at.parse().unwrap()),
        image: image.to_owned(),
        replicas: 0,
        spec: Some(json!({"gateway": {"image": image, "podTemplate": null}, "redis": {"url": "redis://r:6379"}})),
    }
}

/// Three that were active one after another, and one that never was; the latest first.
fn revisions() -> Vec<Revision> {
    vec![
        revision("ccc", Some("2026-01-03T00:00:00Z"), "g:3"),
        revision("bbb", Some("2026-01-02T00:00:00Z"), "g:2"),
        revision("aaa", Some("2026-01-01T00:00:00Z"), "g:1"),
        revision("ddd", None, "g:bad"),
    ]
}

fn back(image: &str, status: &Value) -> Option<String> {
    let revisions = revisions();
    target(&cluster(&spec(image), status), &revisions, None).ok().map(|revision| revision.hash.clone())
}

#[test]
fn after_a_rollout_the_way_back_is_the_revision_it_came_from() {
    let status = |from: Option<&str>, to: &str| json!({"observedGeneration": 2, "activeRevision": to, "rollout": {"phase": "Complete", "from": from, "to": to}});
    assert_eq!(back("g:3", &status(Some("bbb"), "ccc")).as_deref(), Some("bbb"));
    assert_eq!(back("g:1", &status(Some("ccc"), "aaa")).as_deref(), Some("ccc"), "undone, and back again");
    assert_eq!(back("g:3", &status(None, "ccc")).as_deref(), Some("bbb"), "the latest activated before");
    assert_eq!(back("g:3", &status(Some("gone"), "ccc")).as_deref(), Some("bbb"), "its Deployment is gone");
}

#[test]
fn while_a_rollout_is_under_way_or_failed_the_way_back_is_where_it_came_from() {
    for (phase, active) in [("Surging", "bbb"), ("Failed", "bbb"), ("Draining", "ddd"), ("Paused", "ddd")] {
        let rollout = json!({"phase": phase, "from": "bbb", "to": "ddd"});
        let status = json!({"observedGeneration": 2, "activeRevision": active, "rollout": rollout});
        assert_eq!(back("g:bad", &status).as_deref(), Some("bbb"), "{phase}");
    }
}

#[test]
fn a_change_that_the_operator_has_not_seen_yet_is_taken_back_alone() {
    let rollout = json!({"phase": "Complete", "from": "bbb", "to": "ccc"});
    let status = json!({"observedGeneration": 1, "activeRevision": "ccc", "rollout": rollout});
    assert_eq!(back("g:bad", &status).as_deref(), Some("ccc"), "not two steps back");
    assert_eq!(back("g:3", &status).as_deref(), Some("bbb"), "the unseen change makes no revision");
}

#[test]
fn a_fleet_with_one_revision_has_no_way_back() {
    let status =
        json!({"observedGeneration": 2, "activeRevision": "aaa", "rollout": {"phase": "Complete", "to": "aaa"}});
    let one = vec![revision("aaa", Some("2026-01-01T00:00:00Z"), "g:1")];
    let refused = target(&cluster(&spec("g:1"), &status), &one, None);
    assert_eq!(refused, Err(NoWayBack::NoneBefore("chat".to_owned())));
}

#[test]
fn a_revision_may_be_named_by_its_beginning() {
    let (cluster, revisions) = (cluster(&spec("g:3"), &json!({})), revisions());
    assert_eq!(target(&cluster, &revisions, Some("a")).unwrap().hash, "aaa");
    let error = target(&cluster, &revisions, Some("x")).unwrap_err().to_string();
    assert!(error.contains("there are: ccc, bbb, aaa, ddd"), "{error}");
    assert!(target(&cluster, &revisions, Some("")).is_err(), "more than one begins so");
}

#[test]
fn going_back_sets_what_differs_and_leaves_the_rest_of_the_spec_alone() {
    let mut now = spec("g:3");
    now["replicas"] = json!(9);
    let patch = patch(&cluster(&now, &json!({})), &revision("aaa", None, "g:1")).unwrap();
    assert_eq!(patch, json!({"gateway": {"image": "g:1"}}));
}

#[test]
fn a_map_that_the_revision_had_otherwise_is_replaced_not_merged() {
    let mut now = spec("g:1");
    now["gateway"]["podTemplate"] = json!({"labels": {"new": "1", "both": "1"}});
    let mut old = revision("aaa", None, "g:1");
    old.spec = Some(json!({"gateway": {"image": "g:1", "podTemplate": {"labels": {"old": "1", "both": "1"}}}}));
    let cluster = cluster(&now, &json!({}));
    let made = patch(&cluster, &old).unwrap();
    assert_eq!(made, json!({"gateway": {"podTemplate": {"labels": {"new": null, "old": "1"}}}}));
    let fields: Vec<_> = changes(&cluster, &made).into_iter().map(|change| change.field).collect();
    assert_eq!(fields, ["spec.gateway.podTemplate.labels.new", "spec.gateway.podTemplate.labels.old"]);
}

#[test]
fn a_field_that_the_revision_did_not_set_is_removed() {
    let mut now = spec("g:1");
    now["gateway"]["podTemplate"] = json!({"nodeSelector": {"a": "b"}});
    let cluster = cluster(&now, &json!({}));
    let made = patch(&cluster, &revision("aaa", None, "g:1")).unwrap();
    assert_eq!(made, json!({"gateway": {"podTemplate": null}}));
    assert_eq!(changes(&cluster, &made)[0].after, Value::Null);
}

#[test]
fn the_same_revision_changes_nothing_and_an_unknown_spec_is_said_to_be_unknown() {
    let cluster = cluster(&spec("g:1"), &json!({}));
    assert!(is_empty(&patch(&cluster, &revision("aaa", None, "g:1")).unwrap()));
    let unknown = Revision { spec: None, ..revision("aaa", None, "g:1") };
    assert_eq!(patch(&cluster, &unknown), Err(NoWayBack::SpecUnknown("aaa".to_owned())));
}
