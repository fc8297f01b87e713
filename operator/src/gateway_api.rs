//! Whether the cluster knows the Gateway API's `HTTPRoute`, and what the installed version of it has. Looks at the API server's
//! OpenAPI index once a minute: it may be installed, upgraded or removed while the operator runs.

use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use http::{Request, StatusCode};
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use wscluster_crds::WsCluster;

use crate::desired::route::HttpRouteSupport;
use crate::kinds::Kind;

/// Time between two looks.
const PAUSE: Duration = Duration::from_mins(1);
/// The same, until the first one has succeeded.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The API server's own index of what it serves, with a hash in each address.
const INDEX: &str = "/openapi/v3";
/// Where the index has the Gateway API.
const GROUP: &str = "apis/gateway.networking.k8s.io/v1";

/// Looks at what the API server serves.
pub struct Look {
    client: Client,
    /// The address of the last document, and what was in it.
    last: (Option<String>, Option<HttpRouteSupport>),
}

impl Look {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, last: (None, None) }
    }

    /// The first look, which must succeed: what is there already must not be taken for gone.
    pub async fn first(&mut self) -> Option<HttpRouteSupport> {
        loop {
            match self.look().await {
                Ok(found) => return found,
                Err(error) => tracing::warn!(%error, "cannot ask whether there are HTTPRoutes"),
            }
            sleep(FIRST_PAUSE).await;
        }
    }

    /// Goes on looking, and has every cluster reconciled that is concerned by a change.
    pub async fn follow(
        mut self,
        known: watch::Sender<Option<HttpRouteSupport>>,
        clusters: Store<WsCluster>,
        triggers: UnboundedSender<ObjectRef<WsCluster>>,
    ) {
        loop {
            sleep(PAUSE).await;
            let found = match self.look().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "cannot ask whether there are HTTPRoutes");
                    continue;
                }
            };
            if known.send_if_modified(|before| std::mem::replace(before, found) != found) {
                tracing::info!(?found, "what is known of HTTPRoutes changed");
                for cluster in clusters.state_filter(routed) {
                    let _ = triggers.unbounded_send(ObjectRef::from_obj(&*cluster));
                }
            }
        }
    }

    async fn look(&mut self) -> kube::Result<Option<HttpRouteSupport>> {
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

    async fn get(&self, path: &str) -> kube::Result<Value> {
        let request = Request::get(path).header(http::header::ACCEPT, "application/json").body(Vec::new());
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }
}

/// Whoever may not read the index is not told of HTTPRoutes.
fn refused(code: u16) -> bool {
    [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].iter().any(|status| status.as_u16() == code)
}

fn routed(cluster: &WsCluster) -> bool {
    cluster.spec.route.as_ref().is_some_and(|route| route.gateway_api.is_some())
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
