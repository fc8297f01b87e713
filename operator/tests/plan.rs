//! What is planned for a cluster, from what was observed: no server, no clock.

mod support;

use serde_json::json;
use support::{NOW, UID, cluster, everything, nothing, plan_of, rolled_out, running};
use wscluster_operator::kinds::APPLIED_HASH;
use wscluster_operator::kinds::Kind;
use wscluster_operator::plan::writes::Why;
use wscluster_operator::plan::{Finalizer, Plan};

fn writes(plan: &Plan) -> Vec<(Kind, Why)> {
    plan.writes.iter().map(|write| (write.object.kind, write.why.clone())).collect()
}

#[test]
fn a_new_cluster_gets_its_finalizer_and_all_objects_in_order() {
    let mut cluster = cluster("");
    cluster.metadata.finalizers = None;
    let plan = plan_of(&cluster, &nothing());
    assert_eq!(plan.finalizer, Some(Finalizer::Add));
    let expected: Vec<_> = Kind::ALL.into_iter().map(|kind| (kind, Why::Missing)).collect();
    assert_eq!(writes(&plan), expected);
}

#[test]
fn a_cluster_as_it_should_be_is_left_alone() {
    let mut cluster = cluster("");
    let observed = running(&cluster);
    let first = plan_of(&cluster, &observed);
    assert!(first.writes.is_empty());
    cluster.status = first.status;
    let second = plan_of(&cluster, &observed);
    assert!(second.is_empty() && second.notices.is_empty(), "{}", second.summary());
}

#[test]
fn an_edited_field_is_put_back_and_told() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    observed.children.get_mut(&Kind::Deployment).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("evil:1");
    let plan = plan_of(&cluster, &observed);
    let path = "spec.template.spec.containers.gateway.image".to_owned();
    assert_eq!(writes(&plan), [(Kind::Deployment, Why::Edited(path))]);
    assert!(plan.notices.iter().any(|notice| notice.reason == "PutBack"));
}

#[test]
fn a_field_that_a_webhook_insists_on_is_not_fought_over() {
    let before = cluster("");
    let mut observed = running(&before);
    let deployment = observed.children.get_mut(&Kind::Deployment).unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror.example/gateway:1");
    let digest = deployment["metadata"]["annotations"][APPLIED_HASH].as_str().unwrap().to_owned();
    observed.contested.insert(Kind::Deployment, digest);
    assert!(plan_of(&before, &observed).writes.is_empty());
    let after = cluster("gateway: {image: 'gateway:2'}");
    assert_eq!(writes(&plan_of(&after, &observed)), [(Kind::Deployment, Why::Changed)], "a change of ours is written");
}

#[test]
fn fields_of_others_are_no_reason_to_write() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    let service = observed.children.get_mut(&Kind::Service).unwrap();
    service["metadata"]["annotations"]["other"] = json!("mine");
    service["spec"]["clusterIP"] = json!("10.0.0.9");
    observed.children.get_mut(&Kind::Deployment).unwrap()["spec"]["template"]["spec"]["dnsPolicy"] =
        json!("ClusterFirst");
    assert!(plan_of(&cluster, &observed).writes.is_empty());
}

#[test]
fn a_field_that_is_no_longer_wanted_is_reason_to_write() {
    let observed = running(&cluster("service: {annotations: {gone: soon}}"));
    let plan = plan_of(&cluster(""), &observed);
    assert_eq!(writes(&plan), [(Kind::Service, Why::Changed)]);
}

#[test]
fn settings_go_to_the_config_map_and_leave_the_pods_alone() {
    let observed = running(&cluster(""));
    let plan = plan_of(&cluster("limits: {burst: 5}"), &observed);
    assert_eq!(writes(&plan), [(Kind::ConfigMap, Why::Changed)]);
}

#[test]
fn somebody_elses_object_is_left_alone_and_named() {
    let cluster = cluster("");
    let mut observed = everything(&cluster);
    observed.children.insert(Kind::Service, json!({"metadata": {"name": "chat", "namespace": "default"}}));
    let plan = plan_of(&cluster, &observed);
    assert!(writes(&plan).is_empty());
    let (status, reason, message) = support::condition(plan.status.as_ref().unwrap(), "Degraded");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "NameTaken"));
    assert!(plan.requeue.as_secs() <= 10, "no watch tells when it goes");
    assert!(message.contains("Service \"chat\"") && message.contains("delete or rename"), "{message}");
}

#[test]
fn objects_of_a_cluster_of_the_same_name_that_is_gone_are_waited_for() {
    let cluster = cluster("");
    let mut observed = everything(&cluster);
    observed.children.get_mut(&Kind::Deployment).unwrap()["metadata"]["ownerReferences"][0]["uid"] = json!("old");
    let plan = plan_of(&cluster, &observed);
    assert!(plan.writes.is_empty());
    assert!(plan.requeue.as_secs() <= 2);
    let (_, reason, _) = support::condition(&plan.status.unwrap(), "Degraded");
    assert_eq!(reason, "AsExpected", "nobody needs to do anything");
}

#[test]
fn orphans_with_the_clusters_labels_are_adopted() {
    let cluster = cluster("");
    let mut observed = everything(&cluster);
    let config = observed.children.get_mut(&Kind::ConfigMap).unwrap();
    config["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let path = "metadata.ownerReferences".to_owned();
    assert_eq!(writes(&plan_of(&cluster, &observed)), [(Kind::ConfigMap, Why::Edited(path))]);
}

#[test]
fn a_paused_cluster_changes_nothing_but_status() {
    let mut cluster = cluster("paused: true");
    cluster.metadata.finalizers = None;
    let plan = plan_of(&cluster, &nothing());
    assert!(plan.writes.is_empty() && plan.removals.is_empty() && plan.finalizer.is_none());
    assert_eq!(plan.status.unwrap().phase.as_deref(), Some("Paused"));
}

#[test]
fn what_is_switched_off_is_deleted_if_it_is_ours() {
    let mut observed = running(&cluster(""));
    let off = cluster("networkPolicy: {enabled: false}");
    let plan = plan_of(&off, &observed);
    let removed: Vec<_> = plan.removals.iter().map(|removal| (removal.kind, removal.uid.as_str())).collect();
    assert_eq!(removed, [(Kind::NetworkPolicy, "uid-of-NetworkPolicy")]);
    observed.children.get_mut(&Kind::NetworkPolicy).unwrap()["metadata"]["ownerReferences"] = json!([]);
    observed.children.get_mut(&Kind::NetworkPolicy).unwrap()["metadata"]["labels"] = json!({});
    assert!(plan_of(&off, &observed).removals.is_empty());
}

#[test]
fn keys_are_kept_and_a_missing_one_is_put_back() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    observed.entropy = [[9; 32]; 3];
    assert!(plan_of(&cluster, &observed).writes.is_empty(), "new randomness changes no key");
    let secret = observed.children.get_mut(&Kind::Secret).unwrap();
    let kept = secret["data"]["api-key"].clone();
    secret["data"].as_object_mut().unwrap().remove("cookie-key");
    let plan = plan_of(&cluster, &observed);
    let write = &plan.writes[0];
    assert_eq!((write.object.kind, write.version.as_deref()), (Kind::Secret, Some("7")), "never over another's write");
    assert_eq!(write.object.body["data"]["api-key"], kept);
    assert!(write.object.body["data"]["cookie-key"].is_string());
}

#[test]
fn a_number_of_replicas_that_an_autoscaler_owns_is_not_ours() {
    let cluster = cluster("autoscaling: {minReplicas: 3, maxReplicas: 9, targetConnections: 100}");
    let mut observed = everything(&cluster);
    let deployment = observed.children.get_mut(&Kind::Deployment).unwrap();
    deployment["spec"]["replicas"] = json!(7);
    let edited = plan_of(&cluster, &observed);
    assert_eq!(writes(&edited), [(Kind::Deployment, Why::Edited("spec.replicas".to_owned()))]);

    let deployment = observed.children.get_mut(&Kind::Deployment).unwrap();
    deployment["metadata"]["managedFields"] =
        json!([{"manager": "horizontal-pod-autoscaler", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let first = plan_of(&cluster, &observed);
    let body = &first.writes[0].object.body;
    assert!(body["spec"].get("replicas").is_none(), "{body}");
    let deployment = observed.children.get_mut(&Kind::Deployment).unwrap();
    deployment["metadata"]["annotations"][APPLIED_HASH] = body["metadata"]["annotations"][APPLIED_HASH].clone();
    rolled_out(&mut observed, 7);
    let second = plan_of(&cluster, &observed);
    assert!(second.writes.is_empty());
    assert_eq!(second.status.unwrap().ready.as_deref(), Some("0/7"));
}

#[test]
fn a_hand_scaled_deployment_without_an_autoscaler_is_put_back() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    let deployment = observed.children.get_mut(&Kind::Deployment).unwrap();
    deployment["spec"]["replicas"] = json!(5);
    deployment["metadata"]["managedFields"] =
        json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    assert_eq!(writes(&plan_of(&cluster, &observed)), [(Kind::Deployment, Why::Edited("spec.replicas".to_owned()))]);
}

mod deletion {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use wscluster_crds::WsCluster;
    use wscluster_operator::gateways::Answer;

    fn deleted(seconds_ago: i64) -> WsCluster {
        let mut cluster = cluster("drain: {timeoutSeconds: 60, minSeconds: 0}");
        let when = Timestamp::from_second(NOW - seconds_ago).unwrap();
        cluster.metadata.deletion_timestamp = Some(Time(when));
        cluster
    }

    fn connections(observed: &mut wscluster_operator::observe::Observed, each: i64) {
        observed.gateways.asked_to_drain = true;
        for answer in observed.gateways.answers.values_mut() {
            *answer = Answer { connections: each };
        }
    }

    #[test]
    fn a_fleet_without_gateways_goes_at_once() {
        assert_eq!(plan_of(&deleted(0), &everything(&deleted(0))).finalizer, Some(Finalizer::Remove));
    }

    #[test]
    fn sessions_are_waited_for_until_they_moved() {
        let cluster = deleted(20);
        let mut observed = running(&cluster);
        connections(&mut observed, 3);
        let plan = plan_of(&cluster, &observed);
        assert_eq!(plan.finalizer, None);
        assert!(plan.writes.is_empty());
        let status = plan.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Deleting"));
        let (_, reason, message) = support::condition(&status, "Progressing");
        assert_eq!((reason.as_str(), message.as_str()), ("Draining", "6 connections are left, and 40 s to move them"));
        connections(&mut observed, 0);
        assert_eq!(plan_of(&cluster, &observed).finalizer, Some(Finalizer::Remove));
    }

    #[test]
    fn connections_counted_before_the_drain_was_asked_for_prove_nothing() {
        let cluster = deleted(1);
        let mut observed = running(&cluster);
        connections(&mut observed, 0);
        observed.gateways.asked_to_drain = false;
        assert_eq!(plan_of(&cluster, &observed).finalizer, None);
    }

    #[test]
    fn gateways_that_never_answer_hold_up_nobody_for_long() {
        let mut observed = running(&deleted(0));
        observed.gateways.answers.clear();
        observed.gateways.asked_to_drain = true;
        assert_eq!(plan_of(&deleted(14), &observed).finalizer, None);
        assert_eq!(plan_of(&deleted(15), &observed).finalizer, Some(Finalizer::Remove));
    }

    #[test]
    fn the_drain_deadline_ends_the_wait() {
        let mut observed = running(&deleted(0));
        connections(&mut observed, 50);
        assert_eq!(plan_of(&deleted(59), &observed).finalizer, None);
        assert_eq!(plan_of(&deleted(60), &observed).finalizer, Some(Finalizer::Remove));
    }

    #[test]
    fn without_our_finalizer_there_is_nothing_to_do() {
        let mut cluster = deleted(0);
        cluster.metadata.finalizers = Some(vec!["other".to_owned()]);
        assert!(plan_of(&cluster, &everything(&cluster)).is_empty());
        assert_eq!(cluster.metadata.uid.as_deref(), Some(UID));
    }
}
