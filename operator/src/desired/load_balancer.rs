//! What the AWS Load Balancer Controller is told of the Service: its annotations, and how a user's own are merged over them.
//! Knows the controller's and AWS' documented names, and no controller. `docs/load-balancer.md` says why each is as it is.
//!
//! Sources: <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/>, and AWS'
//! `TargetGroupAttribute`, `LoadBalancerAttribute` and `ListenerAttribute`.

use std::collections::BTreeMap;

use wscluster_crds::spec::{Scheme, StickinessMode};

use super::{ADMIN_PORT, Wanted};

/// Prefix of the controller's annotations.
const AWS: &str = "service.beta.kubernetes.io/aws-load-balancer-";
/// Annotations whose value is a list of attributes, but for those of listeners.
const ATTRIBUTES: [&str; 2] = ["attributes", "target-group-attributes"];
/// Annotations of listeners' attributes: protocol and port follow.
const LISTENER: &str = "listener-attributes.";

/// TLS 1.2 and 1.3; the controller's own default would be 1.0 and later.
const TLS_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";
/// Seconds between two health checks, and how many make a target healthy or unhealthy.
const HEALTH_CHECK: [(&str, &str); 3] =
    [("healthcheck-interval", "10"), ("healthcheck-healthy-threshold", "2"), ("healthcheck-unhealthy-threshold", "2")];
/// Seconds without a byte after which AWS forgets a TCP connection when nobody says so, and the most that can be said.
const IDLE_SECONDS: (i32, i32) = (350, 6000);

/// The annotations of a network load balancer.
pub(super) fn annotations(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let service = &wanted.spec.service;
    let scheme = match service.scheme {
        Scheme::InternetFacing => "internet-facing",
        Scheme::Internal => "internal",
    };
    let mut pairs = vec![
        ("type".to_owned(), "external".to_owned()),
        ("nlb-target-type".to_owned(), "ip".to_owned()),
        ("scheme".to_owned(), scheme.to_owned()),
        // Without it a zone's clients share the zone's gateways, however few they are.
        ("attributes".to_owned(), "load_balancing.cross_zone.enabled=true".to_owned()),
        ("target-group-attributes".to_owned(), target_group(wanted)),
    ];
    pairs.extend(health_check(wanted).into_iter().map(|(name, value)| (name.to_owned(), value)));
    pairs.extend(listener(wanted));
    pairs.into_iter().map(|(name, value)| (format!("{AWS}{name}"), value)).collect()
}

/// A user's annotations over ours. A list of attributes is merged attribute by attribute: who adds one to it must not
/// lose those that keep sessions alive in a drain.
pub(super) fn merged(mut ours: BTreeMap<String, String>, users: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (name, value) in users {
        let value = match ours.get(name).filter(|_| is_list(name)) {
            Some(own) => overridden(own, value),
            None => value.clone(),
        };
        ours.insert(name.clone(), value);
    }
    ours
}

fn is_list(name: &str) -> bool {
    name.strip_prefix(AWS).is_some_and(|name| ATTRIBUTES.contains(&name) || name.starts_with(LISTENER))
}

/// `a=1,b=2` over `b=0,c=0` is `b=2,c=0,a=1`.
fn overridden(own: &str, users: &str) -> String {
    let entries =
        |text: &str| text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    let key = |entry: &str| entry.split_once('=').map_or(entry, |(key, _)| key).trim().to_owned();
    let mut all: Vec<String> = entries(own);
    let users: Vec<String> = entries(users);
    for entry in users {
        match all.iter_mut().find(|other| key(other) == key(&entry)) {
            Some(other) => *other = entry,
            None => all.push(entry),
        }
    }
    all.join(",")
}

/// Everything is said, what is off too: the controller leaves an attribute alone that is no longer in the list.
fn target_group(wanted: &Wanted<'_>) -> String {
    let service = &wanted.spec.service;
    let sticky = service.stickiness.mode == StickinessMode::SourceIP;
    // A gateway that drains fails its health checks while it still moves its sessions: AWS must not cut them meanwhile.
    let drain = wanted.budget.min_seconds + wanted.budget.timeout_seconds;
    let mut attributes = vec![
        format!("deregistration_delay.timeout_seconds={}", wanted.budget.deregistration_seconds),
        "deregistration_delay.connection_termination.enabled=false".to_owned(),
        "target_health_state.unhealthy.connection_termination.enabled=false".to_owned(),
        format!("target_health_state.unhealthy.draining_interval_seconds={drain}"),
        "preserve_client_ip.enabled=true".to_owned(),
        format!("proxy_protocol_v2.enabled={}", service.proxy_protocol),
        format!("stickiness.enabled={sticky}"),
    ];
    attributes.extend(sticky.then(|| "stickiness.type=source_ip".to_owned()));
    attributes.join(",")
}

/// Readiness, as told on the public port: by the path and through the TLS and the PROXY header that clients have, too.
fn health_check(wanted: &Wanted<'_>) -> Vec<(&'static str, String)> {
    let mut pairs: Vec<_> = HEALTH_CHECK.map(|(name, value)| (name, value.to_owned())).into();
    let mut add = |name, value: &str| pairs.push((name, value.to_owned()));
    if wanted.active_has_peer_port() {
        let secure = wanted.spec.service.tls.as_ref().is_some_and(|tls| tls.secret_name.is_some());
        add("healthcheck-protocol", if secure { "https" } else { "http" });
        add("healthcheck-port", "traffic-port");
        add("healthcheck-path", "/readyz");
        add("healthcheck-success-codes", "200");
    } else if wanted.spec.network_policy.enabled {
        // Gateways of an older version answer on the admin port alone, which the policy shields: see whether they listen.
        add("healthcheck-protocol", "tcp");
        add("healthcheck-port", "traffic-port");
    } else {
        add("healthcheck-protocol", "http");
        add("healthcheck-port", &ADMIN_PORT.to_string());
        add("healthcheck-path", "/readyz");
    }
    pairs
}

/// A listener is of TLS where AWS terminates it, else of TCP. Only there can the idle timeout be set: a TLS listener's is
/// 350 seconds, and heartbeats come more often.
fn listener(wanted: &Wanted<'_>) -> Vec<(String, String)> {
    let service = &wanted.spec.service;
    let port = service.effective_port();
    if let Some(arn) = service.tls.as_ref().and_then(|tls| tls.certificate_arn.clone()) {
        return vec![
            ("ssl-cert".to_owned(), arn),
            ("ssl-ports".to_owned(), port.to_string()),
            ("ssl-negotiation-policy".to_owned(), TLS_POLICY.to_owned()),
        ];
    }
    let heartbeat = &wanted.spec.heartbeat;
    // Twice what the gateway itself takes to notice that nobody is there.
    let (least, most) = IDLE_SECONDS;
    let idle = (2 * (heartbeat.interval_seconds + heartbeat.timeout_seconds)).clamp(least, most);
    vec![(format!("{LISTENER}TCP-{port}"), format!("tcp.idle_timeout.seconds={idle}"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_a_list_are_overridden_one_by_one() {
        assert_eq!(overridden("b=0,c=0", "a=1,b=2"), "b=2,c=0,a=1");
        assert_eq!(overridden("b=0", " b = 1 , "), "b = 1", "as loosely as the controller reads it");
        assert_eq!(overridden("b=0", ""), "b=0");
    }

    #[test]
    fn only_lists_of_attributes_are_merged() {
        let name = |name: &str| format!("{AWS}{name}");
        let ours = BTreeMap::from([
            (name("target-group-attributes"), "a=1,b=1".to_owned()),
            (name("listener-attributes.TCP-80"), "tcp.idle_timeout.seconds=350".to_owned()),
            (name("ssl-ports"), "443".to_owned()),
        ]);
        let users = BTreeMap::from([
            (name("target-group-attributes"), "b=2".to_owned()),
            (name("listener-attributes.TCP-80"), "tcp.idle_timeout.seconds=60".to_owned()),
            (name("ssl-ports"), "443,8443".to_owned()),
            (name("attributes"), "deletion_protection.enabled=true".to_owned()),
        ]);
        let merged = merged(ours, &users);
        assert_eq!(merged[&name("target-group-attributes")], "a=1,b=2");
        assert_eq!(merged[&name("listener-attributes.TCP-80")], "tcp.idle_timeout.seconds=60");
        assert_eq!(merged[&name("ssl-ports")], "443,8443");
        assert_eq!(merged[&name("attributes")], "deletion_protection.enabled=true");
    }
}
