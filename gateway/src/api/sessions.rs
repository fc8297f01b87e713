//! Ends a session, wherever in the cluster it is.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use tokio::sync::broadcast::error::RecvError;

use super::Api;
use super::caller::Caller;
use super::openapi::Problems;
use super::problem::{Code, Problem};
use crate::log::{Mode, Signal};
use crate::shared::Shared;
use crate::socket::Item;

/// End a session
///
/// Its connection is closed with 3003: the client does not come back by itself. A session of this gateway is closed at
/// once (204). Otherwise all gateways of the cluster are told (202); whether one of them has it is not known here. Takes
/// an API key.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "sessions", operation_id = "endSession",
    params(("id" = String, Path, description = "The session's id, as in `welcome` and in presence", pattern = "^[0-9a-f]{32}$")),
    responses(
        (status = 204, description = "Closed"),
        (status = 202, description = "Every gateway was told"),
        (status = 404, description = "No such session", body = Problem, content_type = "application/problem+json"),
        Problems,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Problem> {
    caller.backend()?;
    let unknown = || Problem::new(Code::NotFound, "there is no such session");
    let id = id.ok().and_then(|Path(id)| parse(&id)).ok_or_else(unknown)?;
    if close(&api.shared, id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let log = api.shared.hub.log();
    if log.health().mode == Mode::Embedded {
        return Err(unknown());
    }
    log.signal(&Signal::CloseSession { id: format!("{id:032x}") }).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Closes sessions of this gateway that another one was asked to end. For ever.
pub(crate) async fn follow_signals(shared: Arc<Shared>) {
    let mut signals = shared.hub.signals();
    loop {
        match signals.recv().await {
            Ok(Signal::CloseSession { id }) => drop(parse(&id).map(|id| close(&shared, id))),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// 128 bits in hexadecimal.
fn parse(id: &str) -> Option<u128> {
    let canonical = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u128::from_str_radix(id, 16).ok() } else { None }
}

fn close(shared: &Shared, id: u128) -> bool {
    let Some(connection) = shared.connections.of_session(id) else { return false };
    connection.tell(Item::Kicked);
    true
}
