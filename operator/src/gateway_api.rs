//! Whether the cluster knows the Gateway API's `HTTPRoute`, and what the installed version of it has, by the API server's OpenAPI
//! index.

use std::time::Duration;

use http::{Request, StatusCode};
use kube::Client;
use serde_json::Value;
use wscluster_crds::WsCluster;

use crate::desired::route::HttpRouteSupport;
use crate::kinds::Kind;
use crate::look::Look;

/// The API server's own index of what it serves, with a hash in each address.
const INDEX: &str = "/openapi/v3";
/// Where the index has the Gateway API.
const GROUP: &str = "apis/gateway.networking.k8s.io/v1";

/// Looks for HTTPRoutes.
pub struct HttpRoutes {
    client: Client,
    /// The address of the last document, and what was in it.
    last: (Option<String>, Option<HttpRouteSupport>),
}

impl HttpRoutes {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, last: (None, None) }
    }

    async fn get(&self, path: &str) -> kube::Result<Value> {
        let request = Request::get(path).header(http::header::ACCEPT, "application/json").body(Vec::new());
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }
}

impl Look for HttpRoutes {
    type Found = Option<HttpRouteSupport>;
    const WHAT: &str = "HTTPRoutes";
    const PAUSE: Duration = Duration::from_mins(1);

    async fn look(&mut self) -> kube::Result<Self::Found> {
        let index = match self.get(INDEX).await {
            Ok(index) => index,
            Err(kube::Error::Api(status)) if refused(status.code) => Value::Null,
            Err(error) => return Err(error),
        };
        let address = index["paths"][GROUP]["serverRelativeURL"].as_str().map(str::to_owned);
        if address != self.last.0 {
            let found = match &address {
                Some(address) => support(&self.get(address).await?),
                None => None,
            };
            self.last = (address, found);
        }
        Ok(self.last.1)
    }

    fn concerns(cluster: &WsCluster) -> bool {
        cluster.spec.route.as_ref().is_some_and(|route| route.gateway_api.is_some())
    }
}

/// Whoever may not read the index is not told of HTTPRoutes.
fn refused(code: u16) -> bool {
    [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].iter().any(|status| status.as_u16() == code)
}

/// What an OpenAPI document says of `HTTPRoute`.
fn support(document: &Value) -> Option<HttpRouteSupport> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    let schema = schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] == Kind::HttpRoute.as_str()))
    })?;
    let rule = schema.pointer("/properties/spec/properties/rules/items/properties");
    Some(HttpRouteSupport { session_persistence: rule.is_some_and(|rule| rule["sessionPersistence"].is_object()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(rule: &Value) -> Value {
        json!({"components": {"schemas": {
            "io.k8s.networking.gateway.v1.GatewayList": {"x-kubernetes-group-version-kind": [{"kind": "GatewayList"}]},
            "io.k8s.networking.gateway.v1.HTTPRoute": {
                "x-kubernetes-group-version-kind": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "version": "v1"}],
                "properties": {"spec": {"properties": {"rules": {"items": {"properties": rule}}}}},
            },
        }}})
    }

    #[test]
    fn what_an_http_route_has_is_read_from_its_schema() {
        let plain = document(&json!({"matches": {"type": "array"}}));
        assert_eq!(support(&plain), Some(HttpRouteSupport { session_persistence: false }));
        let experimental = document(&json!({"sessionPersistence": {"type": "object"}}));
        assert_eq!(support(&experimental), Some(HttpRouteSupport { session_persistence: true }));
        assert_eq!(support(&json!({"components": {"schemas": {}}})), None, "other kinds of the group");
        assert_eq!(support(&Value::Null), None);
    }
}
