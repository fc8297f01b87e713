//! The documents that are answered. Pure. Source: `k8s.io/metrics/pkg/apis/custom_metrics` v1beta1 and v1beta2 for values,
//! `k8s.io/apimachinery/pkg/apis/meta/v1` for discovery and errors.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{GROUP, Version};
use crate::desired::autoscaling::METRIC;

/// The resource of our objects, as it stands in paths.
pub const CLUSTERS: &str = "wsclusters.wscluster.dev";
/// That of gateways.
pub const PODS: &str = "pods";

/// The object that a value is of.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// `Pod` or `WsCluster`.
    pub kind: &'a str,
    /// Group and version of that kind.
    pub api_version: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// One value.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Name of the object.
    pub name: String,
    /// Connections.
    pub value: i64,
    /// When it was measured.
    pub at: Timestamp,
}

/// Values of the metric.
pub fn values(version: Version, described: &Described<'_>, values: &[Measured]) -> Value {
    let items: Vec<_> = values.iter().map(|value| item(version, described, value)).collect();
    json!({"kind": "MetricValueList", "apiVersion": version.group_version(), "metadata": {}, "items": items})
}

fn item(version: Version, described: &Described<'_>, measured: &Measured) -> Value {
    let second = Timestamp::from_second(measured.at.as_second()).unwrap_or(measured.at);
    let mut item = json!({
        "describedObject": {
            "kind": described.kind,
            "namespace": described.namespace,
            "name": measured.name,
            "apiVersion": described.api_version,
        },
        "timestamp": second.to_string(),
        "value": measured.value.to_string(),
    });
    match version {
        Version::V1Beta1 => {
            item["metricName"] = json!(METRIC);
            item["selector"] = Value::Null;
        }
        Version::V1Beta2 => item["metric"] = json!({"name": METRIC, "selector": null}),
    }
    item
}

/// The groups that are served.
pub fn groups() -> Value {
    let mut group = group();
    group.as_object_mut().map(|fields| (fields.remove("kind"), fields.remove("apiVersion")));
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
}

/// The group.
pub fn group() -> Value {
    let version = |version: Version| json!({"groupVersion": version.group_version(), "version": version.as_str()});
    let versions = Version::ALL.map(version);
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "preferredVersion": versions[0],
        "versions": versions,
    })
}

/// The metrics of a version.
pub fn resources(version: Version) -> Value {
    let resource = |of: &str| {
        json!({
            "name": format!("{of}/{METRIC}"),
            "singularName": "",
            "namespaced": true,
            "kind": "MetricValueList",
            "verbs": ["get"],
        })
    };
    let resources = [PODS, CLUSTERS].map(resource);
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version.group_version(),
        "resources": resources,
    })
}

/// An OpenAPI document without paths, version 2: the API server asks for one, and nobody looks at it.
pub fn openapi2() -> Value {
    json!({"swagger": "2.0", "info": info(), "paths": {}, "definitions": {}})
}

/// The list of documents, version 3.
pub fn openapi3() -> Value {
    let path = |version: Version| format!("apis/{}", version.group_version());
    let paths = Version::ALL.map(|version| {
        let document = json!({"serverRelativeURL": format!("/openapi/v3/{}", path(version))});
        (path(version), document)
    });
    json!({"paths": serde_json::Map::from_iter(paths)})
}

/// One of them, without paths.
pub fn openapi3_of() -> Value {
    json!({"openapi": "3.0.0", "info": info(), "paths": {}, "components": {"schemas": {}}})
}

fn info() -> Value {
    json!({"title": "wscluster-operator", "version": env!("CARGO_PKG_VERSION")})
}

/// What went wrong, as Kubernetes' clients read it.
pub fn failure(code: StatusCode, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason(code),
        "code": code.as_u16(),
    })
}

fn reason(code: StatusCode) -> &'static str {
    match code {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::NOT_ACCEPTABLE => "NotAcceptable",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Vec<Measured> {
        let at = Timestamp::new(1_767_225_600, 999_000_000).unwrap();
        vec![Measured { name: "chat-gateway-1-a".to_owned(), value: 20_000, at }]
    }

    const POD: Described<'_> = Described { kind: "Pod", api_version: "v1", namespace: "default" };

    #[test]
    fn values_are_as_the_reference_types_have_them() {
        insta::assert_json_snapshot!("values-v1beta2", values(Version::V1Beta2, &POD, &measured()));
        insta::assert_json_snapshot!("values-v1beta1", values(Version::V1Beta1, &POD, &measured()));
    }

    #[test]
    fn no_value_is_an_empty_list_and_not_zero() {
        assert_eq!(values(Version::V1Beta2, &POD, &[])["items"], json!([]));
    }

    #[test]
    fn discovery_names_both_versions_and_both_metrics() {
        insta::assert_json_snapshot!("groups", groups());
        insta::assert_json_snapshot!("group", group());
        insta::assert_json_snapshot!("resources-v1beta2", resources(Version::V1Beta2));
        insta::assert_json_snapshot!("openapi-v3", openapi3());
    }

    #[test]
    fn a_failure_is_a_status() {
        let failure = failure(StatusCode::FORBIDDEN, "no");
        assert_eq!((failure["kind"].as_str(), failure["reason"].as_str()), (Some("Status"), Some("Forbidden")));
        assert_eq!(failure["code"], 403);
    }
}
