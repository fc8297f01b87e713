//! Rules that span fields or need a computed message, as CEL for the API server.
//!
//! Knows only the schema's field names. Messages show the arithmetic, and say what to change. Numbers go into messages
//! with `format`: the API server's cost estimate refuses a concatenation of strings whose length it cannot bound.

use kube::core::{Message, Rule};

/// Longest `terminationGracePeriodSeconds` that a drain budget may come out as.
pub const MAX_GRACE_PERIOD_SECONDS: i64 = 7200;
/// Seconds between the drain deadline and the kubelet's SIGKILL: for closing what is left, and for exiting.
pub const EXIT_SECONDS: i64 = 30;
/// Bytes around a payload: the JSON envelope with room, id and timestamp, and the frame's header.
pub const ENVELOPE_BYTES: i64 = 1024;

/// A glob that every part of the system reads alike, as a regular expression: no braces, no backslash, every bracket closed,
/// and ranges that ascend, of letters or digits.
fn glob_pattern() -> String {
    let ascending = |all: &str| {
        let last = all.chars().next_back().unwrap_or_default();
        all.chars().map(|first| format!("{first}-[{first}-{last}]")).collect::<Vec<_>>().join("|")
    };
    let ranges = ["0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"].map(ascending).join("|");
    format!(r"^([^\[\]{{}}\\\x00-\x1f]|\[!?({ranges}|[^-!^\[\]{{}}\\\x00-\x1f])+-?\])+$")
}

/// A regular expression as a string of CEL.
fn quoted(pattern: &str) -> String {
    format!("'{}'", pattern.replace('\\', r"\\"))
}

fn explained(rule: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(rule).message(Message::Expression(message.into()))
}

/// A URL that everybody may read who may read the WsCluster. An `@` in path or query is none of a user's.
pub(super) fn no_credentials(message: &str) -> Rule {
    Rule::new("!self.matches('^[^/?#]*//[^/?#]*@')").message(message)
}

/// The same rule as [`crate::names::ClusterName::parse`].
pub(super) fn cluster_name() -> Rule {
    Rule::new(format!("self.metadata.name.matches('{}')", crate::names::PATTERN)).message(
        format!("metadata.name must be a DNS label that starts with a letter and has at most {} characters: it becomes the name of a Service and a prefix of pod names", crate::names::MAX_LENGTH).as_str(),
    )
}

/// An autoscaler with no room to move.
pub(super) fn autoscaling_bounds() -> Rule {
    explained(
        "!has(self.autoscaling) || self.autoscaling.minReplicas <= self.autoscaling.maxReplicas",
        "'spec.autoscaling.minReplicas (%d) must not be greater than spec.autoscaling.maxReplicas (%d)'.format([self.autoscaling.minReplicas, self.autoscaling.maxReplicas])",
    )
}

/// An autoscaler that would wait for more connections than a gateway accepts.
pub(super) fn autoscaling_target_is_reachable() -> Rule {
    explained(
        "!has(self.autoscaling) || self.autoscaling.targetConnections <= self.gateway.maxConnections",
        "'spec.autoscaling.targetConnections (%d) must not be greater than spec.gateway.maxConnections (%d): gateways would refuse clients before the autoscaler adds a pod'.format([self.autoscaling.targetConnections, self.gateway.maxConnections])",
    )
}

/// The HorizontalPodAutoscaler computes utilisation from the request, and fails without one.
pub(super) fn cpu_target_needs_a_request() -> Rule {
    Rule::new(
        "!has(self.autoscaling) || !has(self.autoscaling.targetCPUUtilizationPercentage) || (has(self.gateway.resources) && has(self.gateway.resources.requests) && 'cpu' in self.gateway.resources.requests)",
    )
    .message("spec.autoscaling.targetCPUUtilizationPercentage is a percentage of spec.gateway.resources.requests.cpu: set that request too")
}

/// What a session misses while it moves must still be in the stream when it is back.
pub(super) fn retention_covers_a_move() -> Rule {
    explained(
        "self.redis.streams.trim.strategy != 'MinId' || !has(self.redis.streams.trim.maxAgeSeconds) || self.redis.streams.trim.maxAgeSeconds >= self.drain.timeoutSeconds + self.drain.resumeWindowSeconds",
        "'spec.redis.streams.trim.maxAgeSeconds (%d) must be at least spec.drain.timeoutSeconds (%d) + spec.drain.resumeWindowSeconds (%d) = %d: a session that moves in a drain could not be replayed what it missed'.format([self.redis.streams.trim.maxAgeSeconds, self.drain.timeoutSeconds, self.drain.resumeWindowSeconds, self.drain.timeoutSeconds + self.drain.resumeWindowSeconds])",
    )
}

/// The same, for every override.
pub(super) fn override_retention_covers_a_move() -> Rule {
    explained(
        "!has(self.redis.streams.overrides) || self.redis.streams.overrides.all(o, !has(o.trim) || o.trim.strategy != 'MinId' || !has(o.trim.maxAgeSeconds) || o.trim.maxAgeSeconds >= self.drain.timeoutSeconds + self.drain.resumeWindowSeconds)",
        "'spec.redis.streams.overrides[].trim.maxAgeSeconds must be at least spec.drain.timeoutSeconds (%d) + spec.drain.resumeWindowSeconds (%d) = %d: a session that moves in a drain could not be replayed what it missed'.format([self.drain.timeoutSeconds, self.drain.resumeWindowSeconds, self.drain.timeoutSeconds + self.drain.resumeWindowSeconds])",
    )
}

/// A message larger than a connection's buffer could be published, and delivered to nobody.
pub(super) fn largest_message_fits_the_buffer() -> Rule {
    explained(
        format!("self.limits.maxMessageBytes + {ENVELOPE_BYTES} <= self.backpressure.maxBufferedBytes"),
        format!(
            "'spec.backpressure.maxBufferedBytes (%d) must be at least spec.limits.maxMessageBytes (%d) + {ENVELOPE_BYTES} for its envelope: such a message could be published and delivered to nobody'.format([self.backpressure.maxBufferedBytes, self.limits.maxMessageBytes])"
        ),
    )
}

/// Source: AWS, "Sticky sessions for your Network Load Balancer": not supported with TLS listeners and TLS target groups.
pub(super) fn no_source_ip_stickiness_on_a_tls_listener() -> Rule {
    Rule::new("self.stickiness.mode != 'SourceIP' || !has(self.tls) || !has(self.tls.certificateArn)").message(
        "spec.service.stickiness.mode SourceIP cannot be combined with spec.service.tls.certificateArn: a network load balancer has no source IP stickiness on a TLS listener; use mode Cookie, or terminate TLS in the gateway with spec.service.tls.secretName",
    )
}

/// A certificate that lives in AWS is of use to an AWS load balancer alone.
pub(super) fn certificate_arn_needs_an_aws_load_balancer() -> Rule {
    Rule::new("!has(self.tls) || !has(self.tls.certificateArn) || (self.type == 'LoadBalancer' && self.provider == 'aws')").message(
        "spec.service.tls.certificateArn needs spec.service.type LoadBalancer and spec.service.provider aws: nobody else can terminate TLS with it; use spec.service.tls.secretName",
    )
}

/// Kubernetes refuses these fields on a Service of another type.
pub(super) fn load_balancer_fields_need_a_load_balancer() -> Rule {
    Rule::new("self.type == 'LoadBalancer' || (!has(self.loadBalancerClass) && (!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0))").message(
        "spec.service.loadBalancerClass and spec.service.loadBalancerSourceRanges go with spec.service.type LoadBalancer: remove them, or set the type",
    )
}

/// The proxies of a route reach the same port as the load balancer, and send no PROXY header unless somebody has told them to.
pub(super) fn no_route_with_proxy_protocol() -> Rule {
    Rule::new("!has(self.route) || !self.service.proxyProtocol").message(
        "spec.route cannot be combined with spec.service.proxyProtocol: gateways would close what comes without a PROXY header, and the route's proxies send none; name those proxies in spec.service.trustedProxies instead",
    )
}

/// Source: RFC 6265bis section 5.7: a browser ignores a cookie with `SameSite=None` that is not `Secure`.
pub(super) fn same_site_none_needs_secure() -> Rule {
    Rule::new("self.stickiness.cookie.sameSite != 'None' || (has(self.stickiness.cookie.secure) ? self.stickiness.cookie.secure : has(self.tls))").message(
        "spec.service.stickiness.cookie.sameSite None needs secure: true (or spec.service.tls): browsers ignore such a cookie otherwise",
    )
}

/// Source: RFC 6265bis section 4.1.3: a browser ignores a cookie of such a name that is not `Secure`. Gateways refuse it.
pub(super) fn prefixed_cookie_needs_secure() -> Rule {
    Rule::new("!self.stickiness.cookie.name.matches('^__(Host|Secure)-') || (has(self.stickiness.cookie.secure) ? self.stickiness.cookie.secure : has(self.tls))").message(
        "spec.service.stickiness.cookie.name that begins with __Host- or __Secure- needs secure: true (or spec.service.tls): browsers ignore such a cookie otherwise",
    )
}

/// A Service that stops being a load balancer leaks it where the cloud's controller misses the change.
pub(super) fn load_balancer_stays() -> Rule {
    Rule::new("oldSelf.type != 'LoadBalancer' || self.type == 'LoadBalancer'").message(
        "spec.service.type cannot be changed from LoadBalancer: the cloud's load balancer would be leaked; make a second WsCluster with the new type, move clients to it, and delete this one",
    )
}

/// Kubernetes refuses the change on the Service itself.
pub(super) fn load_balancer_class_stays() -> Rule {
    Rule::new("oldSelf.type != 'LoadBalancer' || self.type != 'LoadBalancer' || (has(oldSelf.loadBalancerClass) == has(self.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))").message(
        "spec.service.loadBalancerClass cannot be changed: Kubernetes refuses it on an existing Service; make a second WsCluster, move clients to it, and delete this one",
    )
}

/// Under another prefix every room would be empty, and a cursor from before would prove nothing.
pub(super) fn key_prefix_stays() -> Rule {
    Rule::new("self.keyPrefix == oldSelf.keyPrefix").message(
        "spec.redis.streams.keyPrefix cannot be changed: every room would be empty under the new prefix; make a second WsCluster with it, or rename the keys in Redis, delete this WsCluster (its rooms stay) and create it anew",
    )
}

/// The grace period that the drain budget comes out as is bounded.
pub(super) fn drain_fits_the_grace_period() -> serde_json::Value {
    let min = "(type(self.minSeconds) == int ? int(self.minSeconds) : 180)";
    serde_json::json!([{
        "rule": format!("{min} + self.timeoutSeconds + {EXIT_SECONDS} <= {MAX_GRACE_PERIOD_SECONDS}"),
        "messageExpression": format!("'spec.drain: minSeconds (%d) + timeoutSeconds (%d) + {EXIT_SECONDS} = %d seconds of grace period must not be more than {MAX_GRACE_PERIOD_SECONDS}: no node waits longer for a pod'.format([{min}, self.timeoutSeconds, {min} + self.timeoutSeconds + {EXIT_SECONDS}])"),
    }])
}

/// A ping must be answered, or given up, before the next is due.
pub(super) fn heartbeat_is_answered_in_time() -> serde_json::Value {
    serde_json::json!([{
        "rule": "self.timeoutSeconds < self.intervalSeconds",
        "messageExpression": "'spec.heartbeat.timeoutSeconds (%d) must be less than spec.heartbeat.intervalSeconds (%d)'.format([self.timeoutSeconds, self.intervalSeconds])",
    }])
}

/// One connection's bound lies within the pod's.
pub(super) fn connection_buffer_fits_the_pods() -> serde_json::Value {
    serde_json::json!([{
        "rule": "type(self.totalBufferBytes) != int || self.maxBufferedBytes <= int(self.totalBufferBytes)",
        "messageExpression": "'spec.backpressure.maxBufferedBytes (%d) must not be more than spec.backpressure.totalBufferBytes (%d): one connection cannot buffer more than its pod'.format([self.maxBufferedBytes, int(self.totalBufferBytes)])",
    }])
}

/// A list of globs, `field` named in the message.
pub(super) fn globs(field: &str) -> Rule {
    Rule::new(format!("self.all(g, g.matches({}))", quoted(&glob_pattern()))).message(glob_message(field).as_str())
}

/// One glob, `field` named in the message.
pub(super) fn glob(field: &str) -> Rule {
    Rule::new(format!("self.matches({})", quoted(&glob_pattern()))).message(glob_message(field).as_str())
}

fn glob_message(field: &str) -> String {
    format!(
        "{field} must hold globs: * is any run of characters, ? any one, [a-z] or [!a-z] a set with ascending ranges; close every bracket, and write ? for a brace or a backslash"
    )
}

/// A host name, with `*.` in front where a whole domain is meant.
pub(super) const HOST: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Name of a Kubernetes object (RFC 1123 subdomain).
pub(super) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// The value names a Kubernetes object.
pub(super) fn object_name() -> Rule {
    Rule::new(format!("self.matches({})", quoted(OBJECT_NAME)))
        .message("must be the name of an object: lower case letters, digits, - and . only")
}

/// Printable text: the value travels in keys, channels and logs.
pub(super) fn no_control_characters(field: &str) -> Rule {
    Rule::new(format!("self.matches({})", quoted(r"^[^\x00-\x1f\x7f-\x9f]*$")))
        .message(format!("{field} must not hold control characters").as_str())
}

/// The value is a host name; `wildcard` allows `*.` in front.
pub(super) fn host(field: &str) -> Rule {
    Rule::new(format!("self.matches({})", quoted(HOST)))
        .message(format!("{field} must be a host name like chat.example.com").as_str())
}

/// Every value is a host name.
pub(super) fn hosts(field: &str) -> Rule {
    Rule::new(format!("self.all(h, h.matches({}))", quoted(HOST)))
        .message(format!("{field} must be host names like chat.example.com or *.example.com").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use globset::Glob;
    use proptest::prelude::*;
    use regex::Regex;

    fn is_glob(text: &str) -> bool {
        Regex::new(&glob_pattern()).expect("a regular expression").is_match(text)
    }

    #[test]
    fn usual_globs_are_accepted() {
        for glob in ["*", "room", "news:*", "user:??", "room-[0-9]", "[a-zA-Z_-]*", "[!a-c]x", "ä*", "a b", "1-0"] {
            assert!(is_glob(glob) && Glob::new(glob).is_ok(), "{glob}");
        }
    }

    #[test]
    fn what_has_another_meaning_elsewhere_is_refused() {
        for text in ["", "[", "]", "[]", "a[b", "[z-a]", "[a-Z]", "{a,b}", "a\\*", "[[a]", "a\nb", "[!]"] {
            assert!(!is_glob(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_the_schema_accepts_compiles(text in r"[-*?a-c!^\[\]{}\\0-2:]{1,12}") {
            prop_assert!(!is_glob(&text) || Glob::new(&text).is_ok(), "{:?}", Glob::new(&text));
        }
    }
}
