//! What is planned for a cluster, from what was observed: no server, no clock.

mod support;

use serde_json::json;
use support::{NOW, UID, cluster, everything, live, nothing, plan_of, running};
use wscluster_operator::kinds::{APPLIED_HASH, Kind};
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
    let expected: Vec<_> = Kind::ALL.into_iter().chain([Kind::Dashboard]).map(|kind| (kind, Why::Missing)).collect();
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
    live(&mut observed, Kind::Deployment)["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil:1");
    let plan = plan_of(&cluster, &observed);
    let path = "spec.template.spec.containers.gateway.image".to_owned();
    assert_eq!(writes(&plan), [(Kind::Deployment, Why::Edited(path))]);
    assert!(plan.notices.iter().any(|notice| notice.reason == "PutBack"));
}

#[test]
fn a_field_that_a_webhook_insists_on_is_not_fought_over() {
    let before = cluster("");
    let mut observed = running(&before);
    let deployment = live(&mut observed, Kind::Deployment);
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror.example/gateway:1");
    let digest = deployment["metadata"]["annotations"][APPLIED_HASH].as_str().unwrap().to_owned();
    observed.contested.insert((Kind::Deployment, support::deployment_name(&before)), digest);
    assert!(plan_of(&before, &observed).writes.is_empty());
    let after = cluster("replicas: 3");
    assert_eq!(writes(&plan_of(&after, &observed)), [(Kind::Deployment, Why::Changed)], "a change of ours is written");
}

#[test]
fn fields_of_others_are_no_reason_to_write() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    let service = live(&mut observed, Kind::Service);
    service["metadata"]["annotations"]["other"] = json!("mine");
    service["spec"]["clusterIP"] = json!("10.0.0.9");
    live(&mut observed, Kind::Deployment)["spec"]["template"]["spec"]["dnsPolicy"] = json!("ClusterFirst");
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
    observed
        .children
        .insert((Kind::Service, "chat".to_owned()), json!({"metadata": {"name": "chat", "namespace": "default"}}));
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
    live(&mut observed, Kind::Deployment)["metadata"]["ownerReferences"][0]["uid"] = json!("old");
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
    let config = live(&mut observed, Kind::ConfigMap);
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
    live(&mut observed, Kind::NetworkPolicy)["metadata"]["ownerReferences"] = json!([]);
    live(&mut observed, Kind::NetworkPolicy)["metadata"]["labels"] = json!({});
    assert!(plan_of(&off, &observed).removals.is_empty());
}

#[test]
fn keys_are_kept_and_a_missing_one_is_put_back() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    observed.entropy = [[9; 32]; 3];
    assert!(plan_of(&cluster, &observed).writes.is_empty(), "new randomness changes no key");
    let secret = live(&mut observed, Kind::Secret);
    let kept = secret["data"]["api-key"].clone();
    secret["data"].as_object_mut().unwrap().remove("admin-token");
    let plan = plan_of(&cluster, &observed);
    let write = &plan.writes[0];
    assert_eq!((write.object.kind, write.version.as_deref()), (Kind::Secret, Some("7")), "never over another's write");
    assert_eq!(write.object.body["data"]["api-key"], kept);
    assert!(write.object.body["data"]["admin-token"].is_string());
}

#[test]
fn a_hand_scaled_deployment_without_an_autoscaler_is_put_back() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    let deployment = live(&mut observed, Kind::Deployment);
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
    use wscluster_operator::gateways::{Answer, Drain, Phase};

    fn deleted(seconds_ago: i64) -> WsCluster {
        let mut cluster = cluster("drain: {timeoutSeconds: 60, minSeconds: 0}");
        let when = Timestamp::from_second(NOW - seconds_ago).unwrap();
        cluster.metadata.deletion_timestamp = Some(Time(when));
        cluster
    }

    fn connections(observed: &mut wscluster_operator::observe::Observed, each: i64) {
        for answer in observed.gateways.answers.values_mut() {
            *answer = Answer {
                connections: each,
                drain: Drain { state: Phase::Draining, ..Drain::default() },
                ..Answer::default()
            };
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
        observed.gateways.answers.values_mut().for_each(|answer| answer.drain.state = Phase::Running);
        assert_eq!(plan_of(&cluster, &observed).finalizer, None);
    }

    #[test]
    fn gateways_that_never_answer_hold_up_nobody_for_long() {
        let mut observed = running(&deleted(0));
        observed.gateways.answers.clear();
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

mod surge {
    use super::*;
    use std::sync::Arc;
    use support::{deployment_name, ready_pod};
    use wscluster_crds::WsCluster;
    use wscluster_operator::gateways::Answer;
    use wscluster_operator::observe::Observed;

    fn image(image: &str) -> WsCluster {
        cluster(&format!("gateway: {{image: '{image}'}}"))
    }

    /// The fleet of `old`, and that of `new` beside it with all its gateways up.
    fn both_up(old: &WsCluster, new: &WsCluster) -> Observed {
        let mut observed = running(old);
        let coming = running(new);
        let (key, coming) = coming.children.into_iter().find(|((kind, _), _)| *kind == Kind::Deployment).unwrap();
        observed.children.insert(key, coming);
        for number in 0..new.spec.replicas {
            let name = format!("new-{number}");
            observed.pods.push(ready_pod(new, &name));
            observed.gateways.answers.insert(name, Answer::default());
        }
        observed
    }

    fn annotate(observed: &mut Observed, cluster: &WsCluster, key: &str, value: serde_json::Value) {
        let key_of = (Kind::Deployment, deployment_name(cluster));
        observed.children.get_mut(&key_of).unwrap()["metadata"]["annotations"][key] = value;
    }

    #[test]
    fn a_new_revision_comes_up_beside_the_old_and_nothing_else_changes() {
        let (old, new) = (image("gateway:1"), image("gateway:2"));
        let plan = plan_of(&new, &running(&old));
        assert_eq!(writes(&plan), [(Kind::Deployment, Why::Missing)]);
        assert_eq!(plan.writes[0].object.name, deployment_name(&new));
        assert!(plan.pods.is_empty() && plan.drains.is_empty() && plan.removals.is_empty());
        assert_eq!(plan.status.unwrap().rollout.unwrap().phase, "Surging");
    }

    #[test]
    fn it_is_noted_before_the_way_in_turns_to_it() {
        let (old, new) = (image("gateway:1"), image("gateway:2"));
        let mut observed = both_up(&old, &new);
        let noted = observed.children[&(Kind::Deployment, deployment_name(&new))].clone();
        annotate(&mut observed, &new, "wscluster.dev/activated-at", serde_json::Value::Null);
        annotate(&mut observed, &new, APPLIED_HASH, json!("before"));
        assert_eq!(writes(&plan_of(&new, &observed)), [(Kind::Deployment, Why::Changed)]);

        observed.children.insert((Kind::Deployment, deployment_name(&new)), noted);
        let turned = writes(&plan_of(&new, &observed));
        assert_eq!(turned, [(Kind::PodDisruptionBudget, Why::Changed), (Kind::Service, Why::Changed)]);
    }

    #[test]
    fn old_gateways_are_marked_and_told_once_the_way_in_has_turned() {
        let (old, new) = (image("gateway:1"), image("gateway:2"));
        let mut observed = both_up(&old, &new);
        let turned = running(&new);
        for kind in [Kind::Service, Kind::PodDisruptionBudget] {
            *live(&mut observed, kind) = turned.child(kind).unwrap().clone();
        }
        let plan = plan_of(&new, &observed);
        let marked: Vec<_> = plan.pods.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(marked, ["chat-gateway-0", "chat-gateway-1"]);
        assert_eq!(plan.pods[0].labels["wscluster.dev/serving"], "false");
        assert!(plan.pods[0].annotations["wscluster.dev/drain"].as_str().unwrap().contains("Rollout"));
        assert_eq!(plan.drains.keys().collect::<Vec<_>>(), marked);
        assert!(writes(&plan).is_empty() && plan.removals.is_empty(), "nothing goes before it is empty");
        let status = plan.status.unwrap();
        assert_eq!((status.rollout.unwrap().remaining, status.gateways.len()), (200, 4));

        let undone = plan_of(&old, &observed);
        assert!(undone.drains.is_empty(), "the revision that is wanted again does not drain");
    }

    #[test]
    fn a_gateway_that_should_serve_and_carries_a_mark_is_called_back() {
        let cluster = image("gateway:1");
        let mut observed = running(&cluster);
        let pod = Arc::make_mut(&mut observed.pods[0]);
        let mark = r#"{"reason":"ScaleIn","since":"2026-01-01T00:00:00Z"}"#;
        pod.metadata.annotations = Some([("wscluster.dev/drain".to_owned(), mark.to_owned())].into());
        pod.metadata.labels.as_mut().unwrap().insert("wscluster.dev/serving".to_owned(), "false".to_owned());
        let plan = plan_of(&cluster, &observed);
        assert_eq!(plan.cancels.iter().collect::<Vec<_>>(), ["chat-gateway-0"]);
        assert_eq!(plan.pods[0].annotations["wscluster.dev/drain"], serde_json::Value::Null);
        assert_eq!(plan.pods[0].labels["wscluster.dev/serving"], "true");
    }
}

mod keys_of_cookies {
    use super::*;
    use jiff::{SignedDuration, Timestamp};
    use wscluster_operator::desired::ring::Signing;

    fn secret(plan: &Plan) -> Option<&serde_json::Value> {
        plan.writes.iter().find(|write| write.object.kind == Kind::Secret).map(|write| &write.object.body)
    }

    #[test]
    fn another_key_goes_to_running_gateways_in_two_steps_and_to_the_secret_alone() {
        let cluster = cluster("service: {stickiness: {cookie: {signingKeySecretRef: {name: cookies, key: k}}}}");
        let mut observed = running(&cluster);
        observed.signing = Signing::Own(vec![7; 32]);
        let plan = plan_of(&cluster, &observed);
        assert_eq!(writes(&plan), [(Kind::Secret, Why::Changed)], "no gateway is replaced");
        let first = secret(&plan).unwrap().clone();
        live(&mut observed, Kind::Secret)["data"] = first["data"].clone();
        live(&mut observed, Kind::Secret)["metadata"]["annotations"] = first["metadata"]["annotations"].clone();
        assert!(secret(&plan_of(&cluster, &observed)).is_none(), "nothing is to be done before every gateway has it");
        observed.now = Timestamp::from_second(NOW).unwrap() + SignedDuration::from_mins(3);
        let second = plan_of(&cluster, &observed);
        assert_ne!(secret(&second).unwrap()["data"]["cookie-keys"], first["data"]["cookie-keys"]);
        assert_eq!(secret(&second).unwrap()["data"]["admin-token"], first["data"]["admin-token"]);
    }
}

mod peers {
    use super::*;
    use std::sync::Arc;
    use wscluster_operator::plan::peers::listeners;

    fn with_port(observed: &mut wscluster_operator::observe::Observed, number: usize, last: u8) {
        let pod = Arc::make_mut(&mut observed.pods[number]);
        let port = json!([{"name": "peer", "containerPort": 8081}]);
        pod.spec.as_mut().unwrap().containers[0].ports = serde_json::from_value(port).unwrap();
        pod.status.as_mut().unwrap().pod_ip = Some(format!("10.0.0.{last}"));
    }

    #[test]
    fn a_peer_is_ready_of_the_active_revision_stays_and_has_the_port() {
        let cluster = cluster("replicas: 4");
        let mut observed = running(&cluster);
        (0..3).for_each(|number| with_port(&mut observed, number, u8::try_from(number).unwrap() + 1));
        let of = |observed: &_| -> Vec<_> {
            plan_of(&cluster, observed).peers.into_iter().map(|(pod, at)| format!("{pod} {at}")).collect()
        };
        let (first, second, third) =
            ("chat-gateway-0 10.0.0.1:8081", "chat-gateway-1 10.0.0.2:8081", "chat-gateway-2 10.0.0.3:8081");
        assert_eq!(of(&observed), [first, second, third], "the fourth is of a version without the port");
        assert_eq!(listeners(&observed).len(), 3);

        let mut unready = observed.clone();
        Arc::make_mut(&mut unready.pods[0]).status.as_mut().unwrap().conditions = None;
        assert_eq!(of(&unready), [second, third]);

        let mut other = observed.clone();
        let labels = Arc::make_mut(&mut other.pods[1]).metadata.labels.as_mut().unwrap();
        labels.insert("wscluster.dev/revision".to_owned(), "older".to_owned());
        assert_eq!(of(&other), [first, third]);

        let fewer = support::cluster("replicas: 2");
        let staying = plan_of(&fewer, &observed);
        assert!(!staying.drains.is_empty() && staying.peers.keys().all(|pod| !staying.drains.contains_key(pod)));
    }

    #[test]
    fn a_new_process_in_the_same_pod_is_told_apart() {
        let mut observed = running(&cluster(""));
        with_port(&mut observed, 0, 1);
        let before = listeners(&observed);
        let status = Arc::make_mut(&mut observed.pods[0]).status.as_mut().unwrap();
        status.container_statuses.as_mut().unwrap()[0].restart_count += 1;
        assert_ne!(listeners(&observed), before);
    }
}

mod routes {
    use super::*;
    use wscluster_operator::desired::route::HttpRouteSupport;

    const GATEWAY: &str = "route: {gatewayApi: {parentRefs: [{name: public}]}}";

    #[test]
    fn an_http_route_is_made_where_there_is_such_a_kind_only() {
        let (without, routed) = (cluster(""), cluster(GATEWAY));
        let mut observed = running(&without);
        let kinds = |plan: &Plan| plan.writes.iter().map(|write| write.object.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&plan_of(&routed, &observed)), [Kind::Service], "its port is named for proxies all the same");
        observed.http_routes = Some(HttpRouteSupport::default());
        let plan = plan_of(&routed, &observed);
        assert_eq!(kinds(&plan), [Kind::Service, Kind::HttpRoute]);
        let rule = &plan.writes[1].object.body["spec"]["rules"][0];
        assert!(rule.get("sessionPersistence").is_none(), "an older HTTPRoute would be refused with it: {rule}");
    }

    #[test]
    fn a_route_of_the_other_kind_or_of_none_is_deleted() {
        let ingress = cluster("route: {ingress: {host: a.example}}");
        let observed = running(&ingress);
        let removed = |yaml: &str| {
            let plan = plan_of(&cluster(yaml), &observed);
            plan.removals.iter().map(|removal| removal.kind).collect::<Vec<_>>()
        };
        assert_eq!(removed("route: {ingress: {host: b.example}}"), []);
        assert_eq!(removed(""), [Kind::Ingress]);
        assert_eq!(removed(GATEWAY), [Kind::Ingress]);
    }
}
