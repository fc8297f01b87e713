//! What the status says, from what was observed: the words that a person reads and the reasons that scripts wait on.

mod support;

use serde_json::json;
use support::{cluster, condition, everything, live, nothing, running, status_of, waiting_pod};
use wscluster_crds::status::RevisionState;
use wscluster_operator::desired::ring::Signing;
use wscluster_operator::desired::route::HttpRouteSupport;
use wscluster_operator::kinds::Kind;
use wscluster_operator::references::{self, Lack};
use wscluster_operator::secrets::Address;
use wscluster_operator::streams::report::{Fault, Reachability};

fn brief(status: &wscluster_crds::WsClusterStatus, type_: &str) -> (String, String) {
    let (status, reason, _) = condition(status, type_);
    (status, reason)
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_fleet_that_is_up_says_so() {
    let cluster = cluster("replicas: 3");
    let status = status_of(&cluster, &running(&cluster));
    assert_eq!(status.ready.as_deref(), Some("3/3"));
    assert_eq!((status.replicas, status.ready_replicas, status.connections), (3, 3, 300));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.endpoint.as_deref(), Some("ws://198.51.100.7/ws"));
    assert_eq!(brief(&status, "Ready"), pair("True", "AllGatewaysReady"));
    assert_eq!(brief(&status, "Progressing"), pair("False", "Complete"));
    assert_eq!(brief(&status, "Degraded"), pair("False", "AsExpected"));
    assert_eq!(brief(&status, "RedisReachable"), pair("True", "Connected"));
    assert_eq!(status.revisions.len(), 1);
    assert_eq!((status.revisions[0].ready, status.revisions[0].state), (3, RevisionState::Active));
    assert_eq!(status.rollout.unwrap().phase, "Complete");
    let selector = status.selector.unwrap();
    assert!(selector.contains("wscluster.dev/cluster=chat") && selector.contains("wscluster.dev/revision="));
    assert!(status.conditions.iter().all(|condition| condition.type_ != "ScalingActive"));
}

#[test]
fn a_fleet_with_all_defaults_needs_no_attention() {
    let cluster = cluster("");
    let (_, reason, message) = condition(&status_of(&cluster, &running(&cluster)), "Degraded");
    assert_eq!((reason.as_str(), message.as_str()), ("AsExpected", "Nothing needs attention"));
}

#[test]
fn what_older_gateways_do_not_know_is_named_until_they_are_replaced() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    let deployment = live(&mut observed, Kind::Deployment);
    let kept = deployment["metadata"]["annotations"]["wscluster.dev/pod-template"].as_str().unwrap();
    let older = kept.replace(r#""name":"peer""#, r#""name":"other""#);
    assert_ne!(older, kept);
    deployment["metadata"]["annotations"]["wscluster.dev/pod-template"] = json!(older);
    let (_, reason, message) = condition(&status_of(&cluster, &observed), "Degraded");
    assert_eq!(reason, "AsExpected");
    assert!(message.contains("spec.service.stickiness.cookie") && message.contains("earlier version"), "{message}");
}

#[test]
fn a_route_that_nobody_can_serve_is_a_problem_with_its_remedy() {
    let routed = cluster("route: {gatewayApi: {parentRefs: [{name: public}]}}");
    let mut observed = running(&routed);
    let status = status_of(&routed, &observed);
    assert_eq!(brief(&status, "RouteAccepted"), pair("False", "GatewayApiMissing"));
    let (state, reason, message) = condition(&status, "Degraded");
    assert_eq!((state.as_str(), reason.as_str()), ("True", "GatewayApiMissing"));
    assert!(message.contains("CustomResourceDefinitions") && message.contains("spec.route.ingress"), "{message}");
    assert_eq!(brief(&status, "Ready"), pair("True", "AllGatewaysReady"), "the Service goes on");

    observed.http_routes = Some(HttpRouteSupport::default());
    let status = status_of(&routed, &observed);
    assert_eq!(brief(&status, "RouteAccepted"), pair("Unknown", "Waiting"));
    assert_eq!(brief(&status, "Degraded").1, "AsExpected");
    let plain = cluster("");
    let status = status_of(&plain, &running(&plain));
    assert!(status.conditions.iter().all(|condition| condition.type_ != "RouteAccepted"));
}

#[test]
fn a_key_of_cookies_that_is_too_short_is_named() {
    let cluster = cluster("service: {stickiness: {cookie: {signingKeySecretRef: {name: cookies, key: k}}}}");
    let mut observed = running(&cluster);
    observed.signing = Signing::Unknown;
    let (_, reason, message) = condition(&status_of(&cluster, &observed), "Degraded");
    assert_eq!(reason, "SigningKeyTooShort");
    assert!(message.contains("\"cookies\"") && message.contains("32 bytes"), "{message}");
}

#[test]
fn a_pod_whose_readiness_gate_is_not_met_is_not_ready() {
    let cluster = cluster("");
    let gate = "target-health.elbv2.k8s.aws/k8s-default-chat-0123456789";
    let pod = support::pod(
        &cluster,
        "gated",
        &json!({
            "phase": "Running",
            "conditions": [
                {"type": "ContainersReady", "status": "True"},
                {"type": gate, "status": "False"},
                {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"},
            ],
            "containerStatuses": [{
                "name": "gateway", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": {"running": {}},
            }],
        }),
    );
    assert!(!wscluster_operator::status::fleet::gateway(&pod).unwrap().ready);
}

#[test]
fn a_missing_secret_is_named_with_the_command_that_makes_it() {
    let cluster = cluster("redis: {urlSecretRef: {name: chat-redis, key: url}}");
    let mut observed = everything(&cluster);
    observed.address = Address::SecretMissing { name: "chat-redis".to_owned(), key: "url".to_owned() };
    let status = status_of(&cluster, &observed);
    assert_eq!(brief(&status, "Ready"), pair("False", "SecretMissing"));
    assert_eq!(brief(&status, "RedisReachable"), pair("False", "SecretNotFound"));
    let (state, reason, message) = condition(&status, "Degraded");
    assert_eq!((state.as_str(), reason.as_str()), ("True", "SecretNotFound"));
    assert!(message.contains("kubectl create secret generic chat-redis --from-literal=url="), "{message}");
}

#[test]
fn a_missing_secret_that_gateways_mount_is_named_with_its_field_and_key() {
    let cluster = cluster("auth: {apiKeySecretRef: {name: chat-api, key: key}}");
    let mut observed = everything(&cluster);
    let named = references::of(&cluster.spec);
    observed.lacking = named.into_iter().filter_map(|reference| Lack::of(reference, None)).collect();
    let status = status_of(&cluster, &observed);
    assert_eq!(brief(&status, "Ready"), pair("False", "SecretMissing"));
    assert_eq!(brief(&status, "RedisReachable"), pair("True", "Connected"));
    let (state, reason, message) = condition(&status, "Degraded");
    assert_eq!((state.as_str(), reason.as_str()), ("True", "SecretNotFound"));
    assert!(message.contains("spec.auth.apiKeySecretRef"), "{message}");
    assert!(message.contains("kubectl create secret generic chat-api --from-file=key=FILE"), "{message}");
}

#[test]
fn redis_troubles_are_told_apart() {
    for (fault, reason, degraded) in [
        (Fault::Connection, "ConnectionFailed", Some("RedisUnreachable")),
        (Fault::Authentication, "AuthFailed", Some("RedisAuthFailed")),
        (Fault::Address, "InvalidUrl", Some("RedisUrlInvalid")),
        (Fault::Unsupported, "NotChecked", None),
    ] {
        let cluster = cluster("");
        let mut observed = running(&cluster);
        observed.redis.reachability = Reachability::Failed { fault, message: "Connection refused".to_owned() };
        let status = status_of(&cluster, &observed);
        assert_eq!(condition(&status, "RedisReachable").1, reason);
        let (state, got, message) = condition(&status, "Degraded");
        assert_eq!((state == "True").then_some(got.as_str()), degraded);
        assert!(degraded.is_none() || message.contains("spec.redis.url"), "{message}");
        assert_eq!(brief(&status, "Ready").0, "True", "gateways keep their sessions without Redis");
    }
}

#[test]
fn pods_that_do_not_start_are_told_in_the_kubelets_words() {
    for (waiting, reason, hint) in [
        ("ImagePullBackOff", "ImagePullFailed", "spec.gateway.image"),
        ("ErrImagePull", "ImagePullFailed", "imagePullSecrets"),
        ("CreateContainerConfigError", "PodsFailing", "kubectl logs"),
        ("CrashLoopBackOff", "PodsFailing", "kubectl logs"),
    ] {
        let cluster = cluster("");
        let mut observed = everything(&cluster);
        observed.pods.push(waiting_pod(&cluster, "chat-gateway-0", waiting, "the kubelet's words"));
        observed.pods.push(waiting_pod(&cluster, "chat-gateway-1", waiting, "the kubelet's words"));
        let status = status_of(&cluster, &observed);
        let (state, got, message) = condition(&status, "Degraded");
        assert_eq!((state.as_str(), got.as_str()), ("True", reason), "{waiting}");
        assert!(message.contains(hint) && message.contains("the kubelet's words"), "{message}");
        assert!(message.contains("2 pods, for example chat-gateway-0"), "{message}");
        assert_eq!(status.phase.as_deref(), Some("Degraded"));
    }
}

#[test]
fn pods_that_no_node_takes_are_told() {
    let cluster = cluster("");
    let mut observed = everything(&cluster);
    observed.pods.push(support::pod(
        &cluster,
        "chat-gateway-0",
        &serde_json::json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}],
        }),
    ));
    let (_, reason, message) = condition(&status_of(&cluster, &observed), "Degraded");
    assert_eq!(reason, "PodsUnschedulable");
    assert!(message.contains("0/2 nodes are available"), "{message}");
}

#[test]
fn what_the_api_server_refuses_is_told() {
    let cluster = cluster("");
    let mut observed = nothing();
    observed.failures = vec!["Deployment chat-gateway is refused by the API server: no".to_owned()];
    let (state, reason, message) = condition(&status_of(&cluster, &observed), "Degraded");
    assert_eq!((state.as_str(), reason.as_str()), ("True", "ApplyFailed"));
    assert!(message.contains("refused by the API server: no"));
}

#[test]
fn a_rollout_that_does_not_come_up_is_told_while_the_old_gateways_serve() {
    let before = cluster("");
    let mut after = cluster("gateway: {image: 'gateway:2'}");
    after.status = Some(status_of(&before, &running(&before)));
    let mut observed = running(&before);
    let deployment = |((kind, _), _): &(&(Kind, String), &serde_json::Value)| *kind == Kind::Deployment;
    let coming = everything(&after);
    let (key, coming) = coming.children.iter().find(deployment).unwrap();
    observed.children.insert(key.clone(), coming.clone());
    observed.pods.push(waiting_pod(&after, "chat-gateway-9", "ImagePullBackOff", "no such image"));
    observed.children.get_mut(key).unwrap()["status"] = serde_json::json!({
        "observedGeneration": 1,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
    });
    let status = status_of(&after, &observed);
    assert_eq!(brief(&status, "Ready"), pair("True", "AllGatewaysReady"));
    assert_eq!(brief(&status, "Progressing"), pair("False", "ProgressDeadlineExceeded"));
    let (_, reason, message) = condition(&status, "Degraded");
    assert_eq!(reason, "ImagePullFailed");
    assert!(message.contains("progressDeadlineSeconds"), "both are told: {message}");
    let doing: Vec<_> = status.revisions.iter().map(|revision| revision.state).collect();
    assert_eq!(doing, [RevisionState::Active, RevisionState::Failed], "the active one first");
    let rollout = status.rollout.unwrap();
    assert_eq!((rollout.phase.as_str(), rollout.from), ("Failed", after.status.unwrap().active_revision));
}

#[test]
fn a_load_balancer_without_an_address_is_progress_with_a_hint() {
    let cluster = cluster("");
    let mut observed = running(&cluster);
    live(&mut observed, Kind::Service).as_object_mut().unwrap().remove("status");
    let status = status_of(&cluster, &observed);
    assert_eq!(status.endpoint, None);
    assert_eq!(brief(&status, "Progressing"), pair("True", "LoadBalancerPending"));
    assert_eq!(brief(&status, "Ready").0, "True");
}

#[test]
fn endpoints_name_scheme_host_and_an_unusual_port() {
    for (yaml, expected) in [
        ("service: {type: ClusterIP}", "ws://chat.default.svc/ws"),
        ("service: {type: ClusterIP, port: 9000}", "ws://chat.default.svc:9000/ws"),
        ("service: {tls: {certificateArn: 'arn:x'}}", "wss://198.51.100.7/ws"),
        ("service: {port: 443}", "ws://198.51.100.7:443/ws"),
    ] {
        let cluster = cluster(yaml);
        assert_eq!(status_of(&cluster, &running(&cluster)).endpoint.as_deref(), Some(expected), "{yaml}");
    }
}
