//! One request to one answer: who asks, whether they may, and what the figures are. Knows neither sockets nor TLS.

use std::sync::Arc;

use axum::extract::Query;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use super::access::Access;
use super::identity::{FrontProxy, User};
use super::request::{ALL, Ask, Metric};
use super::shapes::{self, CLUSTERS, Described, Measured, PODS};
use crate::desired::autoscaling::METRIC;
use crate::error::refusal;
use crate::figures::shares::Figure;
use crate::figures::{Figures, FiguresError};

/// Answers requests.
pub struct MetricsApi {
    figures: Arc<Figures>,
    access: Access,
}

/// Which objects a request is about, beside its path.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    label_selector: String,
    metric_label_selector: String,
}

/// Code and document of an answer.
pub type Answer = (StatusCode, Value);

impl MetricsApi {
    /// Answers from these figures.
    pub fn new(client: Client, figures: Arc<Figures>) -> Self {
        Self { figures, access: Access::new(client) }
    }

    /// Answers a request that came with a verified client certificate of that common name, or with none.
    pub async fn answer(&self, proxy: &FrontProxy, certificate: Option<&str>, request: &Parts) -> Answer {
        let path = request.uri.path();
        let Some(user) = proxy.user(certificate, &request.headers) else {
            return failed(StatusCode::UNAUTHORIZED, "ask the API server, which passes requests on");
        };
        if request.method != Method::GET {
            return failed(StatusCode::METHOD_NOT_ALLOWED, "everything here is only read");
        }
        let ask = Ask::parse(path);
        match self.access.may(&user, path, &ask).await {
            Ok(true) => self.document(&ask, request).await,
            Ok(false) => failed(StatusCode::FORBIDDEN, &forbidden(&user, path)),
            Err(error) => {
                tracing::warn!(%error, "cannot ask whether somebody may read metrics");
                failed(StatusCode::SERVICE_UNAVAILABLE, "cannot ask the API server whether you may")
            }
        }
    }

    async fn document(&self, ask: &Ask, request: &Parts) -> Answer {
        let document = match ask {
            // The API server asks for another form first, and takes this one when it hears that there is no other.
            Ask::Groups if !takes_json(&request.headers) => {
                return failed(StatusCode::NOT_ACCEPTABLE, "only plain application/json is served");
            }
            Ask::Groups => shapes::groups(),
            Ask::Group => shapes::group(),
            Ask::Resources(version) => shapes::resources(*version),
            Ask::OpenApi2 => shapes::openapi2(),
            Ask::OpenApi3 => shapes::openapi3(),
            Ask::OpenApi3Of(_) => shapes::openapi3_of(),
            Ask::Metric(metric) => return self.metric(metric, request).await,
            Ask::Other => return failed(StatusCode::NOT_FOUND, "there is no such path"),
        };
        (StatusCode::OK, document)
    }

    async fn metric(&self, metric: &Metric, request: &Parts) -> Answer {
        let Ok(Query(options)) = Query::<Options>::try_from_uri(&request.uri) else {
            return failed(StatusCode::BAD_REQUEST, "the query cannot be read");
        };
        let Some(namespace) = metric.namespace.as_deref().filter(|_| metric.metric == METRIC) else {
            return missing(metric);
        };
        let found = match (metric.resource.as_str(), metric.name.as_str()) {
            (PODS, ALL) => self.of_pods(namespace, &options).await,
            (PODS, name) => self.of_pod(namespace, name).await,
            (CLUSTERS, name) if name != ALL => self.of_cluster(namespace, name).await,
            _ => Ok(None),
        };
        let described = match metric.resource.as_str() {
            PODS => Described { kind: "Pod", api_version: "v1", namespace },
            _ => Described { kind: "WsCluster", api_version: "wscluster.dev/v1alpha1", namespace },
        };
        match found {
            Ok(Some(values)) => (StatusCode::OK, shapes::values(metric.version, &described, &values)),
            Ok(None) => missing(metric),
            Err(error) => unavailable(metric, &error),
        }
    }

    /// Figures have no labels of their own: a selector that asks for some selects none.
    async fn of_pods(&self, namespace: &str, options: &Options) -> Result<Option<Vec<Measured>>, FiguresError> {
        if !options.metric_label_selector.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let figures = self.figures.of_pods(namespace, &options.label_selector).await?;
        Ok(Some(figures.into_iter().map(measured).collect()))
    }

    async fn of_pod(&self, namespace: &str, name: &str) -> Result<Option<Vec<Measured>>, FiguresError> {
        Ok(self.figures.of_pod(namespace, name).await?.map(|figure| vec![measured(figure)]))
    }

    async fn of_cluster(&self, namespace: &str, name: &str) -> Result<Option<Vec<Measured>>, FiguresError> {
        let sum = self.figures.of_cluster(namespace, name).await?;
        Ok(Some(vec![Measured { name: name.to_owned(), value: sum.connections, at: sum.at }]))
    }
}

fn measured(figure: Figure) -> Measured {
    Measured { name: figure.pod, value: figure.connections, at: figure.at }
}

/// Whether plain JSON is among what is accepted.
fn takes_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return true;
    }
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        matches!(media.trim(), "*/*" | "application/*" | "application/json") && !parameters.contains("as=")
    })
}

fn failed(code: StatusCode, message: &str) -> Answer {
    (code, shapes::failure(code, message))
}

fn missing(metric: &Metric) -> Answer {
    let message = format!("there is no metric {} of {} {}", metric.metric, metric.resource, metric.name);
    failed(StatusCode::NOT_FOUND, &message)
}

fn unavailable(metric: &Metric, error: &FiguresError) -> Answer {
    let code = match error {
        FiguresError::Elsewhere(_) | FiguresError::NoCluster(_) => StatusCode::NOT_FOUND,
        // A selector that cannot be read, for one.
        FiguresError::Api(source) if refusal(source).is_some() => StatusCode::BAD_REQUEST,
        FiguresError::Incomplete(_) | FiguresError::Api(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    failed(code, &format!("{} of {} {}: {error}", metric.metric, metric.resource, metric.name))
}

fn forbidden(user: &User, path: &str) -> String {
    format!("User {:?} cannot get path {path:?}", user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_is_told_from_json_of_another_form() {
        for (accept, takes) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/json"), true),
            (Some("application/yaml, application/json;q=0.5"), true),
            (Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"), false),
            (Some("application/vnd.kubernetes.protobuf"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (header::ACCEPT, accept.parse().unwrap())));
            assert_eq!(takes_json(&headers), takes, "{accept:?}");
        }
    }
}
