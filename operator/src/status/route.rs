//! What has become of the extra way in of `spec.route`: nobody here serves it, so what those who do say of it is passed on.
//! Pure.

use serde_json::Value;
use wscluster_crds::WsCluster;

use super::problems::Problem;
use crate::kinds::Kind;
use crate::observe::Observed;

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The cluster does not know `HTTPRoute`.
    Unsupported,
    /// No controller has taken it; what to look at.
    Waiting(String),
    /// A controller does not serve it; its words.
    Refused(String),
    /// It is served.
    Accepted(String),
}

/// What has become of a cluster's route; `None` where the spec asks for none.
pub fn of(cluster: &WsCluster, observed: &Observed) -> Option<Route> {
    let route = cluster.spec.route.as_ref()?;
    if let Some(ingress) = &route.ingress {
        return Some(of_ingress(observed.child(Kind::Ingress), ingress.class_name.as_deref()));
    }
    match observed.http_routes {
        None => Some(Route::Unsupported),
        Some(_) => Some(of_http_route(observed.child(Kind::HttpRoute))),
    }
}

impl Route {
    /// Status, reason and message of the condition.
    pub fn verdict(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::Unsupported => ("False", "GatewayApiMissing", unsupported()),
            Self::Waiting(words) => ("Unknown", "Waiting", words.clone()),
            Self::Refused(words) => ("False", "Refused", words.clone()),
            Self::Accepted(words) => ("True", "Accepted", words.clone()),
        }
    }

    /// What of it needs a person.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Unsupported => Some(Problem { reason: "GatewayApiMissing", message: unsupported() }),
            Self::Refused(words) => Some(Problem { reason: "RouteRefused", message: words.clone() }),
            Self::Waiting(_) | Self::Accepted(_) => None,
        }
    }
}

fn unsupported() -> String {
    "spec.route.gatewayApi needs the Gateway API, and this cluster has no HTTPRoute (gateway.networking.k8s.io/v1): install its CustomResourceDefinitions and a controller, or use spec.route.ingress. The Service goes on without it".to_owned()
}

fn of_ingress(ingress: Option<&Value>, class: Option<&str>) -> Route {
    let addresses = ingress.and_then(|ingress| ingress.pointer("/status/loadBalancer/ingress")?.as_array());
    let address = addresses
        .and_then(|addresses| addresses.first())
        .and_then(|first| first["hostname"].as_str().or_else(|| first["ip"].as_str()));
    match (address, class) {
        (Some(address), _) => Route::Accepted(format!("The Ingress is served at {address}")),
        (None, Some(class)) => Route::Waiting(format!(
            "No controller has given the Ingress an address yet; check that IngressClass {class:?} exists and that its controller runs. Some never give one, and serve all the same"
        )),
        (None, None) => Route::Waiting(
            "No controller has given the Ingress an address yet; name an IngressClass in spec.route.ingress.className where the cluster has no default. Some controllers never give one, and serve all the same".to_owned(),
        ),
    }
}

fn of_http_route(route: Option<&Value>) -> Route {
    let parents = route.and_then(|route| route.pointer("/status/parents")?.as_array()).cloned().unwrap_or_default();
    let refusal = parents.iter().find_map(|parent| Some((parent, refusal(parent)?)));
    if let Some((parent, condition)) = refusal {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        return Route::Refused(format!(
            "Gateway {} does not serve the HTTPRoute ({}): {}",
            gateway(parent),
            text(&condition["reason"]),
            text(&condition["message"]),
        ));
    }
    if parents.is_empty() || !parents.iter().all(accepted) {
        return Route::Waiting(
            "No controller has answered for the HTTPRoute yet: check that the Gateways in spec.route.gatewayApi.parentRefs exist, that a controller runs for their class, and that their listeners let this namespace in (allowedRoutes)".to_owned(),
        );
    }
    let all: Vec<_> = parents.iter().map(gateway).collect();
    Route::Accepted(format!("The HTTPRoute is served by {}", all.join(", ")))
}

fn gateway(parent: &Value) -> String {
    let reference = &parent["parentRef"];
    let name = reference["name"].as_str().unwrap_or_default();
    reference["namespace"].as_str().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn refusal(parent: &Value) -> Option<&Value> {
    let concerns = |condition: &&Value| matches!(condition["type"].as_str(), Some("Accepted" | "ResolvedRefs"));
    parent["conditions"].as_array()?.iter().filter(concerns).find(|condition| condition["status"] == "False")
}

fn accepted(parent: &Value) -> bool {
    let conditions = parent["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|each| each["type"] == "Accepted" && each["status"] == "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn http_route(conditions: &[(&str, &str)]) -> Value {
        let condition =
            |(type_, status): &(&str, &str)| json!({"type": type_, "status": status, "reason": "R", "message": "m"});
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        json!({"status": {"parents": [{"parentRef": {"name": "public", "namespace": "infra"}, "conditions": conditions}]}})
    }

    #[test]
    fn what_the_gateways_say_is_passed_on() {
        let of = |conditions: &[_]| of_http_route(Some(&http_route(conditions)));
        let accepted = Route::Accepted("The HTTPRoute is served by infra/public".to_owned());
        assert_eq!(of(&[("Accepted", "True"), ("ResolvedRefs", "True"), ("Programmed", "False")]), accepted);
        let refused = Route::Refused("Gateway infra/public does not serve the HTTPRoute (R): m".to_owned());
        assert_eq!(of(&[("Accepted", "False")]), refused);
        assert_eq!(of(&[("Accepted", "True"), ("ResolvedRefs", "False")]), refused);
        assert!(matches!(of(&[]), Route::Waiting(_)));
        assert!(matches!(of_http_route(None), Route::Waiting(_)));
    }

    #[test]
    fn an_ingress_with_an_address_is_served() {
        let served = |ingress: Value| {
            of_ingress(Some(&json!({"status": {"loadBalancer": {"ingress": ingress}}})), Some("nginx"))
        };
        assert_eq!(
            served(json!([{"ip": "192.0.2.1"}])),
            Route::Accepted("The Ingress is served at 192.0.2.1".to_owned())
        );
        assert!(matches!(served(json!([])), Route::Waiting(words) if words.contains("\"nginx\"")));
        assert!(matches!(of_ingress(None, None), Route::Waiting(words) if words.contains("className")));
    }
}
