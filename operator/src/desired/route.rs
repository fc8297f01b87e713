//! The extra way in of `spec.route`: an HTTPRoute or an Ingress to the Service, and what the controllers that serve them
//! are told of cookies and timeouts. Each controller reads its own annotations and no others, so all are written: which one
//! serves a class is not ours to know. `docs/routes.md` has the table.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{GatewayApiRoute, IngressRoute, ParentRef, SameSite, StickinessMode};

use super::{Wanted, some};
use crate::kinds::Kind;

/// Name of the cookie by which a proxy keeps a client on its gateway. Not the gateways' own: each reads its own.
const COOKIE: &str = "wscluster-route";
/// What clients ask for.
const PATHS: [&str; 2] = ["/ws", "/api/v1"];
/// Seconds without a byte after which a proxy may cut a connection: heartbeats come far more often.
const IDLE_SECONDS: i64 = 3600;
/// Longest life of an ALB's cookie, in seconds. Source: AWS, target group attribute `stickiness.lb_cookie.duration_seconds`.
const ALB_COOKIE_SECONDS: i64 = 604_800;

/// What the installed `HTTPRoute` has beyond what every one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpRouteSupport {
    /// `sessionPersistence` in a rule (GEP-1619).
    pub session_persistence: bool,
}

/// The kind of the route that the spec asks for; `None` also where the cluster does not know it.
pub(super) fn kind(wanted: &Wanted<'_>) -> Option<Kind> {
    let route = wanted.spec.route.as_ref()?;
    if route.ingress.is_some() {
        return Some(Kind::Ingress);
    }
    wanted.http_routes.map(|_| Kind::HttpRoute)
}

/// The route that the spec asks for.
pub(super) fn object(wanted: &Wanted<'_>) -> Option<Value> {
    let route = wanted.spec.route.as_ref()?;
    match (&route.ingress, &route.gateway_api) {
        (Some(route), _) => Some(ingress(wanted, route)),
        (None, Some(route)) => Some(http_route(wanted, route, wanted.http_routes?)),
        (None, None) => None,
    }
}

fn http_route(wanted: &Wanted<'_>, route: &GatewayApiRoute, support: HttpRouteSupport) -> Value {
    let service = &wanted.spec.service;
    let matches = PATHS.map(|path| json!({"path": {"type": "PathPrefix", "value": path}}));
    let backend = json!({
        "group": "",
        "kind": "Service",
        "name": wanted.name.service(),
        "port": service.effective_port(),
    });
    let sticky = support.session_persistence && by_cookie(wanted.spec);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": wanted.metadata(Kind::HttpRoute, &BTreeMap::new()),
        "spec": {
            "parentRefs": route.parent_refs.iter().map(parent).collect::<Vec<_>>(),
            "hostnames": some(&route.hostnames),
            "rules": [{
                "matches": matches,
                "backendRefs": [backend],
                "sessionPersistence": sticky.then(|| persistence(service.stickiness.cookie.max_age_seconds)),
            }],
        },
    })
}

fn parent(parent: &ParentRef) -> Value {
    json!({
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": parent.name,
        "namespace": parent.namespace,
        "sectionName": parent.section_name,
    })
}

fn persistence(max_age_seconds: i64) -> Value {
    json!({
        "sessionName": COOKIE,
        "type": "Cookie",
        "absoluteTimeout": duration(max_age_seconds),
        "cookieConfig": {"lifetimeType": "Permanent"},
    })
}

/// A duration of the Gateway API's (GEP-2257): no number has more than five digits.
fn duration(seconds: i64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let text = parts.map(|(number, unit)| format!("{number}{unit}")).collect::<Vec<_>>().concat();
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn ingress(wanted: &Wanted<'_>, route: &IngressRoute) -> Value {
    let backend = json!({"service": {
        "name": wanted.name.service(),
        "port": {"number": wanted.spec.service.effective_port()},
    }});
    let paths = PATHS.map(|path| json!({"path": path, "pathType": "Prefix", "backend": backend}));
    let mut annotations = ingress_annotations(wanted);
    annotations.extend(route.annotations.clone());
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": wanted.metadata(Kind::Ingress, &annotations),
        "spec": {
            "ingressClassName": route.class_name,
            "rules": [{"host": route.host, "http": {"paths": paths}}],
            "tls": route.tls_secret_name.as_ref().map(|secret| json!([{"hosts": [route.host], "secretName": secret}])),
        },
    })
}

/// What proxies of a Gateway API's are to take the port for (GEP-1911); nobody else is told.
pub(super) fn app_protocol(spec: &WsClusterSpec) -> Option<&'static str> {
    spec.route.as_ref()?.gateway_api.as_ref()?;
    Some(if secure(spec) { "kubernetes.io/wss" } else { "kubernetes.io/ws" })
}

/// What controllers look for on the Service rather than on the Ingress.
pub(super) fn service_annotations(spec: &WsClusterSpec) -> BTreeMap<String, String> {
    let Some(route) = spec.route.as_ref().and_then(|route| route.ingress.as_ref()) else { return BTreeMap::new() };
    let mut pairs = Vec::new();
    if secure(spec) {
        pairs.push(("traefik.ingress.kubernetes.io/service.serversscheme", "https".to_owned()));
    }
    if by_cookie(spec) {
        pairs.push(("haproxy.org/cookie-persistence", COOKIE.to_owned()));
        pairs.extend(traefik_cookie(spec, route));
    }
    owned(pairs)
}

fn traefik_cookie(spec: &WsClusterSpec, route: &IngressRoute) -> [(&'static str, String); 6] {
    const TRUE: &str = "true";
    let cookie = &spec.service.stickiness.cookie;
    let encrypted = cookie.secure.unwrap_or(route.tls_secret_name.is_some());
    [
        ("traefik.ingress.kubernetes.io/service.sticky.cookie", TRUE.to_owned()),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie.name", COOKIE.to_owned()),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie.httponly", TRUE.to_owned()),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie.maxage", cookie.max_age_seconds.to_string()),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie.samesite", same_site(spec).to_lowercase()),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie.secure", encrypted.to_string()),
    ]
}

fn ingress_annotations(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let spec = wanted.spec;
    let mut pairs = vec![
        ("nginx.ingress.kubernetes.io/proxy-read-timeout", IDLE_SECONDS.to_string()),
        ("nginx.ingress.kubernetes.io/proxy-send-timeout", IDLE_SECONDS.to_string()),
        ("haproxy-ingress.github.io/timeout-tunnel", format!("{IDLE_SECONDS}s")),
        ("alb.ingress.kubernetes.io/target-type", "ip".to_owned()),
        ("alb.ingress.kubernetes.io/load-balancer-attributes", format!("idle_timeout.timeout_seconds={IDLE_SECONDS}")),
    ];
    if wanted.active_has_peer_port() {
        pairs.push(("haproxy.org/check-http", "/readyz".to_owned()));
        pairs.push(("alb.ingress.kubernetes.io/healthcheck-path", "/readyz".to_owned()));
    }
    if secure(spec) {
        pairs.push(("nginx.ingress.kubernetes.io/backend-protocol", "HTTPS".to_owned()));
        pairs.push(("haproxy-ingress.github.io/backend-protocol", "h1-ssl".to_owned()));
        pairs.push(("haproxy.org/server-ssl", "true".to_owned()));
        pairs.push(("alb.ingress.kubernetes.io/backend-protocol", "HTTPS".to_owned()));
    }
    if by_cookie(spec) {
        pairs.extend(ingress_cookie(spec));
    }
    owned(pairs)
}

fn ingress_cookie(spec: &WsClusterSpec) -> [(&'static str, String); 8] {
    let seconds = spec.service.stickiness.cookie.max_age_seconds;
    let alb = seconds.min(ALB_COOKIE_SECONDS);
    [
        ("nginx.ingress.kubernetes.io/affinity", "cookie".to_owned()),
        ("nginx.ingress.kubernetes.io/session-cookie-name", COOKIE.to_owned()),
        ("nginx.ingress.kubernetes.io/session-cookie-max-age", seconds.to_string()),
        ("nginx.ingress.kubernetes.io/session-cookie-samesite", same_site(spec).to_owned()),
        ("nginx.ingress.kubernetes.io/session-cookie-change-on-failure", "true".to_owned()),
        ("haproxy-ingress.github.io/affinity", "cookie".to_owned()),
        ("haproxy-ingress.github.io/session-cookie-name", COOKIE.to_owned()),
        (
            "alb.ingress.kubernetes.io/target-group-attributes",
            format!("stickiness.enabled=true,stickiness.type=lb_cookie,stickiness.lb_cookie.duration_seconds={alb}"),
        ),
    ]
}

fn by_cookie(spec: &WsClusterSpec) -> bool {
    spec.service.stickiness.mode == StickinessMode::Cookie
}

/// Whether the gateways speak TLS themselves.
fn secure(spec: &WsClusterSpec) -> bool {
    spec.service.tls.as_ref().is_some_and(|tls| tls.secret_name.is_some())
}

fn same_site(spec: &WsClusterSpec) -> &'static str {
    match spec.service.stickiness.cookie.same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    }
}

fn owned(pairs: Vec<(&str, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_the_gateway_api_reads_them() {
        let written = [0, 1, 60, 3661, 86_400, 31_536_000].map(duration);
        assert_eq!(written, ["0s", "1s", "1m", "1h1m1s", "24h", "8760h"]);
    }
}
