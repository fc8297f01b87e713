//! The Service in front of the gateways, stickiness, and extra ways in.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, rules};

/// The Service in front of the gateways.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::load_balancer_stays(),
    validation = rules::load_balancer_class_stays(),
    validation = rules::load_balancer_fields_need_a_load_balancer(),
    validation = rules::certificate_arn_needs_an_aws_load_balancer(),
    validation = rules::no_source_ip_stickiness_on_a_tls_listener(),
    validation = rules::same_site_none_needs_secure(),
    validation = rules::prefixed_cookie_needs_secure(),
)]
pub struct Service {
    /// Type of the Service. Cannot be changed once it is `LoadBalancer`.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Port that clients connect to. Absent: 443 with `tls`, else 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Whether the load balancer has a public address.
    #[serde(default)]
    pub scheme: Scheme,
    /// Whose load balancer annotations are written.
    #[serde(default)]
    pub provider: ServiceProvider,
    /// Annotations of the Service, merged last over the operator's own, so that any of them can be overridden. Of those that are
    /// lists of attributes (`key=value,…`) each attribute is overridden by itself; the operator's others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// `loadBalancerClass` of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// CIDR ranges that may reach the load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    #[x_kube(validation = Rule::new("self.all(r, isCIDR(r))").message("spec.service.loadBalancerSourceRanges must be CIDR ranges, like 10.0.0.0/8"))]
    pub load_balancer_source_ranges: Vec<String>,
    /// The load balancer sends, and the gateway parses, PROXY protocol version 2.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// CIDR ranges of proxies whose `X-Forwarded-For` or `Forwarded` header is believed when they name a client. Empty: nobody's.
    /// Hot-reloaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    #[x_kube(validation = Rule::new("self.all(r, isCIDR(r))").message("spec.service.trustedProxies must be CIDR ranges, like 10.0.0.0/8"))]
    pub trusted_proxies: Vec<String>,
    /// Where TLS is terminated. Absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServiceTls>,
    /// How a client that comes back reaches the gateway it was on.
    #[serde(default)]
    pub stickiness: Stickiness,
}

impl Service {
    /// The port that clients connect to.
    pub fn effective_port(&self) -> i32 {
        self.port.unwrap_or(if self.tls.is_some() { 443 } else { 80 })
    }
}

/// Type of the Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// A load balancer of the cloud's.
    #[default]
    LoadBalancer,
    /// A port on every node.
    NodePort,
    /// Reachable inside the cluster only.
    ClusterIP,
}

/// Whether the load balancer has a public address.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// A public address.
    #[serde(rename = "internet-facing")]
    InternetFacing,
    /// An address within the network only.
    #[default]
    #[serde(rename = "internal")]
    Internal,
}

/// Whose load balancer annotations are written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceProvider {
    /// AWS Load Balancer Controller: a network load balancer with IP targets.
    #[default]
    #[serde(rename = "aws")]
    Aws,
    /// No annotations of ours.
    #[serde(rename = "none")]
    None,
}

/// Where TLS is terminated.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.certificateArn) != has(self.secretName)")
    .message("spec.service.tls needs exactly one of certificateArn and secretName"))]
pub struct ServiceTls {
    /// Terminated by the network load balancer, with this certificate of AWS Certificate Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.startsWith('arn:')").message("spec.service.tls.certificateArn must begin with arn:"))]
    #[schemars(length(max = 2048))]
    pub certificate_arn: Option<String>,
    /// Terminated by the gateway, with this Secret of type `kubernetes.io/tls`. Reloaded when the Secret changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub secret_name: Option<String>,
}

/// How a client that comes back reaches the gateway it was on.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Stickiness {
    /// `Cookie`: by a signed cookie, honoured by the gateways themselves. `SourceIP`: by the load balancer. `None`: not at all.
    #[serde(default)]
    pub mode: StickinessMode,
    /// The cookie, with mode `Cookie`.
    #[serde(default)]
    pub cookie: Cookie,
}

/// Who keeps a client on its gateway.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StickinessMode {
    /// The gateways, by a signed cookie.
    #[default]
    Cookie,
    /// The load balancer, by the client's address.
    SourceIP,
    /// Nobody.
    None,
}

/// The affinity cookie.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Name of the cookie.
    #[serde(default = "default_cookie_name")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_-]+$')").message("spec.service.stickiness.cookie.name may have letters, digits, _ and - only"))]
    pub name: String,
    /// Seconds that the cookie is valid.
    #[serde(default = "default_cookie_max_age")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_age_seconds: i64,
    /// The cookie's `SameSite` attribute.
    #[serde(default)]
    pub same_site: SameSite,
    /// The cookie's `Secure` attribute. Absent: set when the Service has `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
    /// Key that signs the cookie, of 32 bytes at least. Absent: generated. Another key, or another Secret, is taken over by
    /// running gateways, and cookies of the key before it stay valid until they expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key_secret_ref: Option<SecretKeyRef>,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: default_cookie_name(),
            max_age_seconds: default_cookie_max_age(),
            same_site: SameSite::default(),
            secure: None,
            signing_key_secret_ref: None,
        }
    }
}

/// A cookie's `SameSite` attribute. Source: RFC 6265bis.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Sent from the same site only.
    Strict,
    /// Also sent on top-level navigation.
    #[default]
    Lax,
    /// Always sent. Browsers ask for `Secure` with it.
    None,
}

/// An extra way in, beside the Service: exactly one kind.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.gatewayApi) != has(self.ingress)")
    .message("spec.route needs exactly one of gatewayApi and ingress"))]
pub struct Route {
    /// An `HTTPRoute` of the Gateway API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_api: Option<GatewayApiRoute>,
    /// An `Ingress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressRoute>,
}

/// An `HTTPRoute` of the Gateway API.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApiRoute {
    /// The Gateways that the route attaches to.
    #[schemars(length(min = 1, max = 16))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names that the route matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = rules::hosts("spec.route.gatewayApi.hostnames"))]
    pub hostnames: Vec<String>,
}

/// A Gateway that a route attaches to.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// Namespace of the Gateway. Absent: the WsCluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub namespace: Option<String>,
    /// Name of one listener of the Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub section_name: Option<String>,
}

/// An `Ingress`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IngressRoute {
    /// Name of the IngressClass. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub class_name: Option<String>,
    /// Host name that the rule matches.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::host("spec.route.ingress.host"))]
    pub host: String,
    /// Secret of type `kubernetes.io/tls` for the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub tls_secret_name: Option<String>,
    /// Annotations of the Ingress, merged last over the operator's own, so that any of them can be overridden.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

fn default_cookie_name() -> String {
    "wscluster".to_owned()
}
fn default_cookie_max_age() -> i64 {
    86_400
}
