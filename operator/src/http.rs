//! `/livez`, `/readyz` and `/metrics`, and connections for KEDA. Ready means: able to lead. A standby is ready, a leader whose caches are still
//! filling is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::figures::{Figures, FiguresError};
use crate::metrics::Metrics;

/// Content type of OpenMetrics text. Source: the OpenMetrics specification, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process is ready.
#[derive(Clone, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Says whether the process is ready.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// Serves until told to end.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    figures: Arc<Figures>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state((health, metrics))
        .route("/v1/connections/{namespace}/{cluster}", get(connections))
        .with_state(figures);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn ready(State((health, _)): State<(Health, Metrics)>) -> impl IntoResponse {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "caches are filling")
    }
}

/// Connections of a cluster. An error, and not a part of them, where they are not known: zero would be a reason to shrink.
async fn connections(
    State(figures): State<Arc<Figures>>,
    Path((namespace, cluster)): Path<(String, String)>,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    match figures.of_cluster(&namespace, &cluster).await {
        Ok(sum) => Ok(Json(serde_json::json!({"connections": sum.connections}))),
        Err(error @ (FiguresError::Elsewhere(_) | FiguresError::NoCluster(_))) => {
            Err((StatusCode::NOT_FOUND, error.to_string()))
        }
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

async fn scrape(State((_, metrics)): State<(Health, Metrics)>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render())
}
