//! Who asks. The API server has authenticated them; it says who they are in headers, and proves by a client certificate that
//! it is the API server who says so. Pure. Source: Kubernetes, "Configure the Aggregation Layer", authentication flow.

use std::collections::BTreeMap;

use http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;

/// Where the API server publishes whom extension servers are to believe.
pub const NAMESPACE: &str = "kube-system";
/// Name of that ConfigMap.
pub const CONFIG_MAP: &str = "extension-apiserver-authentication";

/// Whom to believe, and where they say whom they speak for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontProxy {
    /// Authorities of its client certificate, as PEM.
    pub authorities: String,
    /// Common names that its certificate may have; empty: any that the authorities have signed.
    pub names: Vec<String>,
    /// Headers with the user, the first that is set counts.
    pub user_headers: Vec<String>,
    /// Headers with groups.
    pub group_headers: Vec<String>,
    /// What headers with something else begin with.
    pub extra_prefixes: Vec<String>,
}

/// Somebody whom the API server has authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// Name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Whatever else the API server tells of them.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Everybody whose name is known.
const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else.
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Who is nobody.
const ANONYMOUS: &str = "system:anonymous";

impl FrontProxy {
    /// Reads the ConfigMap; `None` where the API server has no aggregation layer.
    pub fn of(published: &ConfigMap) -> Option<Self> {
        let data = published.data.as_ref()?;
        let list = |key: &str| -> Vec<String> {
            data.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        };
        Some(Self {
            authorities: data.get("requestheader-client-ca-file").filter(|pem| !pem.is_empty())?.clone(),
            names: list("requestheader-allowed-names"),
            user_headers: list("requestheader-username-headers"),
            group_headers: list("requestheader-group-headers"),
            extra_prefixes: list("requestheader-extra-headers-prefix"),
        })
    }

    /// Who asks, given the common name of the verified client certificate (if there was one) and the headers.
    pub fn user(&self, certificate: Option<&str>, headers: &HeaderMap) -> Option<User> {
        let certificate = certificate?;
        if !self.names.is_empty() && !self.names.iter().any(|name| name == certificate) {
            return None;
        }
        let values = |names: &[String]| -> Vec<String> {
            let all = names.iter().flat_map(|name| headers.get_all(name.as_str()));
            all.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
        };
        let name = values(&self.user_headers).into_iter().find(|name| !name.is_empty())?;
        let groups = with_authenticated(&name, values(&self.group_headers));
        Some(User { name, groups, extra: self.extra(headers) })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            let mut prefixes = self.extra_prefixes.iter().map(|prefix| prefix.to_ascii_lowercase());
            let key = prefixes.find_map(|prefix| header.as_str().strip_prefix(&prefix).map(decoded));
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                extra.entry(key).or_default().push(value.to_owned());
            }
        }
        extra
    }
}

/// Whoever is somebody is in this group, also where the API server speaks for itself and names none, as it does when it looks
/// for what is served. Source: `k8s.io/apiserver/pkg/authentication/group`.
fn with_authenticated(user: &str, mut groups: Vec<String>) -> Vec<String> {
    let known = [AUTHENTICATED, UNAUTHENTICATED];
    if user != ANONYMOUS && !groups.iter().any(|group| known.contains(&group.as_str())) {
        groups.push(AUTHENTICATED.to_owned());
    }
    groups
}

/// What is percent-encoded: keys where a header's name cannot hold them, and parts of paths. What is not is taken as it is.
pub(super) fn decoded(key: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), key.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok()).filter(|_| *first == b'%');
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

/// Common name of a certificate.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> FrontProxy {
        let published = serde_json::json!({"data": {
            "client-ca-file": "other",
            "requestheader-client-ca-file": "PEM",
            "requestheader-allowed-names": r#"["front-proxy"]"#,
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        }});
        FrontProxy::of(&serde_json::from_value(published).unwrap()).unwrap()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const ADA: &[(&str, &str)] = &[
        ("x-remote-user", "ada"),
        ("x-remote-group", "system:authenticated"),
        ("x-remote-group", "dev"),
        ("x-remote-extra-example.com%2fscope", "a"),
    ];

    #[test]
    fn the_front_proxy_says_who_asks() {
        let user = proxy().user(Some("front-proxy"), &headers(ADA)).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups),
            ("ada", vec!["system:authenticated".to_owned(), "dev".to_owned()])
        );
        assert_eq!(user.extra["example.com/scope"], ["a"]);
    }

    #[test]
    fn the_api_server_itself_is_somebody() {
        let groups = |user: &'static str| {
            let user = proxy().user(Some("front-proxy"), &headers(&[("x-remote-user", user)]));
            user.map(|user| user.groups).unwrap_or_default()
        };
        assert_eq!(groups("system:kube-aggregator"), ["system:authenticated"]);
        assert!(groups("system:anonymous").is_empty());
    }

    #[test]
    fn headers_of_somebody_else_are_not_believed() {
        assert_eq!(proxy().user(None, &headers(ADA)), None, "no certificate");
        assert_eq!(proxy().user(Some("admin"), &headers(ADA)), None, "another certificate of the same authority");
        assert_eq!(proxy().user(Some("front-proxy"), &headers(&[])), None, "nobody");
        let any = FrontProxy { names: Vec::new(), ..proxy() };
        assert!(any.user(Some("whoever"), &headers(ADA)).is_some(), "no name is asked for");
    }

    #[test]
    fn without_an_aggregation_layer_nobody_is_believed() {
        assert_eq!(FrontProxy::of(&ConfigMap::default()), None);
    }
}
