//! The control port where affinity is proved: `GET /status` and `POST /measure`. It only passes the wish on.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::Affinity;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing, until somebody asks.
    Waiting,
    /// Clients connect.
    Measuring,
}

/// What `GET /status` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What is being done.
    pub phase: Phase,
}

/// Where a report is to go, or why there is none.
pub(super) type Reply = oneshot::Sender<Result<Affinity, String>>;

#[derive(Clone)]
struct Control {
    phase: watch::Receiver<Phase>,
    asking: mpsc::Sender<Reply>,
}

pub(super) fn routes(phase: watch::Receiver<Phase>, asking: mpsc::Sender<Reply>) -> Router {
    Router::new().route("/status", get(status)).route("/measure", post(measure)).with_state(Control { phase, asking })
}

async fn status(State(control): State<Control>) -> Json<Status> {
    Json(Status { phase: *control.phase.borrow() })
}

/// One measurement after the other.
async fn measure(State(control): State<Control>) -> Response {
    let (reply, report) = oneshot::channel();
    if control.asking.send(reply).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the probe ends\n").into_response();
    }
    match report.await {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(error)) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the probe ends\n").into_response(),
    }
}
