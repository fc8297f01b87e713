//! What a request asks for, from its path. Pure, and parsed once: what is authorised is what is answered.
//! Source: `k8s.io/metrics/pkg/client/custom_metrics` for the paths, `k8s.io/apiserver/pkg/endpoints/request` for attributes.

use super::identity::decoded;
use super::{GROUP, Version};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The groups that are served.
    Groups,
    /// The group and its versions.
    Group,
    /// The metrics of a version.
    Resources(Version),
    /// The OpenAPI document, version 2.
    OpenApi2,
    /// The list of OpenAPI documents, version 3.
    OpenApi3,
    /// One of them.
    OpenApi3Of(Version),
    /// Values of a metric.
    Metric(Metric),
    /// Nothing that there is.
    Other,
}

/// Which values of a metric are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// In which version of the API.
    pub version: Version,
    /// Namespace; none for objects that have none.
    pub namespace: Option<String>,
    /// Resource and group of the objects, as in `pods` or `wsclusters.wscluster.dev`.
    pub resource: String,
    /// Name of the object, or `*`.
    pub name: String,
    /// Name of the metric.
    pub metric: String,
}

/// The name that stands for all objects.
pub const ALL: &str = "*";

impl Ask {
    /// Parses a path. Go's clients send the `*` percent-encoded.
    pub fn parse(path: &str) -> Self {
        let parts: Vec<_> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        match parts.strip_suffix(&[""]).unwrap_or(&parts) {
            ["apis"] => Self::Groups,
            ["apis", group] if *group == GROUP => Self::Group,
            ["apis", group, version, rest @ ..] if *group == GROUP => {
                Version::parse(version).map_or(Self::Other, |version| Self::within(version, rest))
            }
            ["openapi", "v2"] => Self::OpenApi2,
            ["openapi", "v3"] => Self::OpenApi3,
            ["openapi", "v3", "apis", group, version] if *group == GROUP => {
                Version::parse(version).map_or(Self::Other, Self::OpenApi3Of)
            }
            _ => Self::Other,
        }
    }

    fn within(version: Version, rest: &[&str]) -> Self {
        let metric = |namespace: Option<&str>, [resource, name, metric]: [&str; 3]| {
            let [resource, name, metric] = [resource, name, metric].map(str::to_owned);
            Self::Metric(Metric { version, namespace: namespace.map(str::to_owned), resource, name, metric })
        };
        match rest {
            [] => Self::Resources(version),
            ["namespaces", namespace, resource, name, name_of] => metric(Some(namespace), [resource, name, name_of]),
            [resource, name, name_of] if *resource != "namespaces" => metric(None, [resource, name, name_of]),
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(namespace: Option<&str>, resource: &str, name: &str) -> Ask {
        Ask::Metric(Metric {
            version: Version::V1Beta2,
            namespace: namespace.map(str::to_owned),
            resource: resource.to_owned(),
            name: name.to_owned(),
            metric: "ws_active_connections".to_owned(),
        })
    }

    #[test]
    fn each_path_asks_for_one_thing() {
        let base = "/apis/custom.metrics.k8s.io";
        for (path, ask) in [
            ("/apis".to_owned(), Ask::Groups),
            (base.to_owned(), Ask::Group),
            (format!("{base}/"), Ask::Group),
            (format!("{base}/v1beta1"), Ask::Resources(Version::V1Beta1)),
            (format!("{base}/v1beta3"), Ask::Other),
            (format!("{base}/v1beta2/namespaces/a/pods/*/ws_active_connections"), metric(Some("a"), "pods", "*")),
            (format!("{base}/v1beta2/namespaces/a/pods/%2A/ws_active_connections"), metric(Some("a"), "pods", "*")),
            (
                format!("{base}/v1beta2/namespaces/a/wsclusters.wscluster.dev/chat/ws_active_connections"),
                metric(Some("a"), "wsclusters.wscluster.dev", "chat"),
            ),
            (format!("{base}/v1beta2/nodes/n/ws_active_connections"), metric(None, "nodes", "n")),
            (format!("{base}/v1beta2/namespaces/a/pods"), Ask::Other),
            (format!("{base}/v1beta2/namespaces/a/pods/x/m/more"), Ask::Other),
            ("/apis/metrics.k8s.io/v1beta1".to_owned(), Ask::Other),
            ("/openapi/v2".to_owned(), Ask::OpenApi2),
            ("/openapi/v3".to_owned(), Ask::OpenApi3),
            (format!("/openapi/v3{base}/v1beta2"), Ask::OpenApi3Of(Version::V1Beta2)),
            ("/".to_owned(), Ask::Other),
            ("/metrics".to_owned(), Ask::Other),
        ] {
            assert_eq!(Ask::parse(&path), ask, "{path}");
        }
    }
}
