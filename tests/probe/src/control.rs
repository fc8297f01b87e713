//! The control port: `GET /status` and `POST /finish`. It only reads the records and passes the wish to finish on. What it
//! answers where affinity is proved is `affinity::control`'s.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{breaks::Breaks, report::Report, shared::Shared};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Sessions are being opened.
    Connecting,
    /// Messages are being published.
    Running,
    /// Waiting for what is under way.
    Settling,
    /// The report is there.
    Done,
}

/// What `GET /status` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How far the run is.
    pub phase: Phase,
    /// Sessions that are connected now.
    pub connected: u64,
    /// Messages that are in the streams for certain.
    pub published: u64,
    /// Distinct deliveries so far.
    pub received: u64,
    /// Changes of connection so far.
    pub moves: u64,
    /// Connections that ended while they served their session, by the close code.
    pub breaks: Breaks,
    /// The last thing that went wrong, in words.
    pub last_error: Option<String>,
}

/// A run as the control port and the progress line see it.
#[derive(Debug, Clone)]
pub struct Control {
    /// The records.
    pub shared: Arc<Shared>,
    /// How far the run is.
    pub phase: watch::Receiver<Phase>,
    /// The result, when there is one; the sender is dropped early only if the run failed.
    pub report: watch::Receiver<Option<Report>>,
    /// Asks the run to finish.
    pub finish: CancellationToken,
    /// Tells that somebody has fetched the report.
    pub collected: watch::Sender<bool>,
}

impl Control {
    /// A snapshot.
    pub fn status(&self) -> Status {
        let recorder = self.shared.lock();
        Status {
            phase: *self.phase.borrow(),
            connected: recorder.activity.connected_now() as u64,
            published: recorder.checker.rooms().iter().map(crate::ledger::Ledger::published).sum(),
            received: recorder.checker.received(),
            moves: recorder.activity.moves().total,
            breaks: recorder.activity.breaks.clone(),
            last_error: recorder.last_error.clone(),
        }
    }
}

/// What a run answers.
pub fn routes(control: Control) -> Router {
    Router::new().route("/status", get(status)).route("/finish", post(finish)).with_state(control)
}

/// Serves `routes` until `stop`; returns the address that is being listened on, and the server.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    routes: Router,
    stop: CancellationToken,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let server = async move {
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "the control port failed");
        }
    };
    Ok((address, server))
}

async fn status(State(control): State<Control>) -> Json<Status> {
    Json(control.status())
}

/// Asks the run to finish and answers its report; any number of times.
async fn finish(State(mut control): State<Control>) -> Response {
    control.finish.cancel();
    let report = control.report.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
    match report {
        Some(report) => {
            control.collected.send_replace(true);
            Json(report).into_response()
        }
        None => (StatusCode::INTERNAL_SERVER_ERROR, "the run failed").into_response(),
    }
}
