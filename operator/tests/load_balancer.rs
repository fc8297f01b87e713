//! What the AWS Load Balancer Controller is told, against the names and values that it and AWS document.
//!
//! Sources: <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/>, and of the
//! Elastic Load Balancing API reference `TargetGroupAttribute`, `LoadBalancerAttribute` and `ListenerAttribute`.

mod support;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use support::{cluster, everything};
use wscluster_operator::kinds::Kind;

const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// What a value must be.
enum Form {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A number.
    Number(RangeInclusive<i64>),
    /// `traffic-port`, or a port.
    Port,
    /// An HTTP path.
    Path,
    /// HTTP status codes, or ranges of them.
    Codes,
    /// The name of a certificate.
    Arn,
    /// Ports, or names of ports.
    Ports,
    /// The name of a TLS policy of AWS'.
    Policy,
    /// `key=value,…` with these keys.
    Attributes(&'static [(&'static str, Form)]),
}
use Form::{Arn, Attributes, Codes, Number, OneOf, Path, Policy, Port, Ports};

const BOOL: Form = OneOf(&["true", "false"]);

/// The documented annotations that are ours to write.
const DOCUMENTED: [(&str, Form); 16] = [
    ("type", OneOf(&["external", "nlb-ip"])),
    ("nlb-target-type", OneOf(&["ip", "instance"])),
    ("scheme", OneOf(&["internal", "internet-facing"])),
    ("attributes", Attributes(&[("load_balancing.cross_zone.enabled", BOOL)])),
    ("target-group-attributes", Attributes(&TARGET_GROUP)),
    ("listener-attributes.TCP-80", LISTENER),
    ("listener-attributes.TCP-443", LISTENER),
    ("ssl-cert", Arn),
    ("ssl-ports", Ports),
    ("ssl-negotiation-policy", Policy),
    ("healthcheck-protocol", OneOf(&["tcp", "http", "https"])),
    ("healthcheck-port", Port),
    ("healthcheck-path", Path),
    ("healthcheck-success-codes", Codes),
    ("healthcheck-interval", Number(5..=300)),
    ("healthcheck-healthy-threshold", Number(2..=10)),
];
const UNHEALTHY_THRESHOLD: (&str, Form) = ("healthcheck-unhealthy-threshold", Number(2..=10));
const LISTENER: Form = Attributes(&[("tcp.idle_timeout.seconds", Number(60..=6000))]);
const TARGET_GROUP: [(&str, Form); 8] = [
    ("deregistration_delay.timeout_seconds", Number(0..=3600)),
    ("deregistration_delay.connection_termination.enabled", BOOL),
    ("target_health_state.unhealthy.connection_termination.enabled", BOOL),
    ("target_health_state.unhealthy.draining_interval_seconds", Number(0..=360_000)),
    ("preserve_client_ip.enabled", BOOL),
    ("proxy_protocol_v2.enabled", BOOL),
    ("stickiness.enabled", BOOL),
    ("stickiness.type", OneOf(&["source_ip"])),
];

impl Form {
    fn allows(&self, value: &str) -> bool {
        match self {
            OneOf(values) => values.contains(&value),
            Number(range) => value.parse().is_ok_and(|number| range.contains(&number)),
            Port => value == "traffic-port" || value.parse::<u16>().is_ok(),
            Path => value.starts_with('/'),
            Codes => value.split([',', '-']).all(|code| code.parse().is_ok_and(|code| (200..=599).contains(&code))),
            Arn => value.starts_with("arn:"),
            Ports => value.split(',').all(|port| !port.trim().is_empty()),
            Policy => value.starts_with("ELBSecurityPolicy-"),
            Attributes(known) => value.split(',').all(|entry| {
                let found = entry
                    .split_once('=')
                    .and_then(|(key, value)| Some((known.iter().find(|(name, _)| *name == key)?, value)));
                found.is_some_and(|((_, form), value)| form.allows(value))
            }),
        }
    }
}

/// The annotations of a cluster's Service, without their prefix.
fn told(yaml: &str) -> BTreeMap<String, String> {
    let observed = everything(&cluster(yaml));
    let service = observed.child(Kind::Service).expect("a Service");
    let all = service["metadata"]["annotations"].as_object().expect("annotations");
    let ours = all.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str()?)));
    ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn attribute<'a>(told: &'a BTreeMap<String, String>, list: &str, key: &str) -> Option<&'a str> {
    told.get(list)?.split(',').find_map(|entry| entry.strip_prefix(key)?.strip_prefix('='))
}

fn target_group<'a>(told: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    attribute(told, "target-group-attributes", key)
}

const SPECS: [&str; 7] = [
    "",
    "service: {scheme: internet-facing, tls: {certificateArn: 'arn:aws:acm:eu-west-1:1:certificate/x'}}",
    "service: {tls: {secretName: t}, stickiness: {mode: SourceIP}}",
    "service: {proxyProtocol: true, stickiness: {mode: None}}\nheartbeat: {intervalSeconds: 600}",
    "networkPolicy: {enabled: false}\ndrain: {timeoutSeconds: 3600, minSeconds: 3500}",
    "heartbeat: {intervalSeconds: 3600, timeoutSeconds: 100}",
    "drain: {timeoutSeconds: 5, minSeconds: 0}",
];

#[test]
fn every_annotation_and_value_is_a_documented_one() {
    let mut used = Vec::new();
    for yaml in SPECS {
        for (name, value) in told(yaml) {
            let mut known = DOCUMENTED.iter().chain([&UNHEALTHY_THRESHOLD]);
            let (_, form) = known.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is none: {yaml}"));
            assert!(form.allows(&value), "{name}: {value} ({yaml})");
            used.push(name);
        }
    }
    let unused: Vec<_> =
        DOCUMENTED.iter().map(|(name, _)| name).filter(|name| !used.iter().any(|used| used == **name)).collect();
    assert!(unused.is_empty(), "listed above, and never written: {unused:?}");
}

#[test]
fn sessions_that_a_gateway_still_moves_are_not_cut() {
    for yaml in SPECS {
        let told = told(yaml);
        let get = |key| target_group(&told, key).unwrap_or_else(|| panic!("no {key}: {yaml}"));
        assert_eq!(get("deregistration_delay.connection_termination.enabled"), "false");
        assert_eq!(get("target_health_state.unhealthy.connection_termination.enabled"), "false");
    }
    let told = told("drain: {timeoutSeconds: 600, minSeconds: 200}");
    assert_eq!(target_group(&told, "target_health_state.unhealthy.draining_interval_seconds"), Some("800"));
    assert_eq!(target_group(&told, "deregistration_delay.timeout_seconds"), Some("800"));
}

#[test]
fn what_is_off_is_said_so_that_it_goes_off() {
    let on = told("service: {proxyProtocol: true, stickiness: {mode: SourceIP}}");
    let off = told("");
    for key in ["proxy_protocol_v2.enabled", "stickiness.enabled"] {
        assert_eq!((target_group(&on, key), target_group(&off, key)), (Some("true"), Some("false")), "{key}");
    }
    assert_eq!(target_group(&on, "stickiness.type"), Some("source_ip"));
    assert_eq!(target_group(&off, "stickiness.type"), None);
}

#[test]
fn readiness_is_asked_for_where_clients_come_in() {
    let plain = told("");
    let check = |told: &BTreeMap<String, String>, name: &str| told.get(&format!("healthcheck-{name}")).cloned();
    let words = |told: &BTreeMap<String, String>| {
        ["protocol", "port", "path"].map(|name| check(told, name).unwrap_or_default())
    };
    assert_eq!(words(&plain), ["http", "traffic-port", "/readyz"]);
    assert_eq!(words(&told("networkPolicy: {enabled: false}")), ["http", "traffic-port", "/readyz"]);
    assert_eq!(words(&told("service: {tls: {secretName: t}}")), ["https", "traffic-port", "/readyz"]);
    let terminated = told("service: {tls: {certificateArn: 'arn:x'}}");
    assert_eq!(
        words(&terminated),
        ["http", "traffic-port", "/readyz"],
        "AWS terminates TLS, and checks what is behind"
    );
}

#[test]
fn a_tcp_listener_stays_idle_for_longer_than_any_heartbeat() {
    let idle = |yaml: &str, port: u16| {
        let told = told(yaml);
        let list = format!("listener-attributes.TCP-{port}");
        attribute(&told, &list, "tcp.idle_timeout.seconds").and_then(|text| text.parse::<i64>().ok())
    };
    assert_eq!(idle("", 80), Some(350));
    assert_eq!(idle("heartbeat: {intervalSeconds: 600, timeoutSeconds: 10}", 80), Some(1220));
    assert_eq!(idle("service: {tls: {secretName: t}}", 443), Some(350));
    assert_eq!(idle("service: {tls: {certificateArn: 'arn:x'}}", 443), None, "a TLS listener's cannot be set");
}

#[test]
fn nobody_elses_load_balancer_is_told_anything() {
    for yaml in ["service: {provider: none}", "service: {type: ClusterIP}", "service: {type: NodePort}"] {
        assert!(told(yaml).is_empty(), "{yaml}");
    }
}

#[test]
fn a_users_annotation_wins_and_a_list_is_merged() {
    let told = told(
        "service: {annotations: {
            service.beta.kubernetes.io/aws-load-balancer-healthcheck-interval: '30',
            service.beta.kubernetes.io/aws-load-balancer-name: mine,
            service.beta.kubernetes.io/aws-load-balancer-target-group-attributes: 'preserve_client_ip.enabled=false',
        }}",
    );
    assert_eq!((told["healthcheck-interval"].as_str(), told["name"].as_str()), ("30", "mine"));
    assert_eq!(target_group(&told, "preserve_client_ip.enabled"), Some("false"));
    assert_eq!(target_group(&told, "target_health_state.unhealthy.connection_termination.enabled"), Some("false"));
}
