//! Lists the rooms that have a stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::Caller;
use super::openapi::Problems;
use super::path::InQuery;
use super::problem::Problem;
use crate::error::LogError;
use crate::room::RoomId;

const DEFAULT: usize = 100;
const MOST: usize = 1000;

/// Which page of the list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// `next` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// About so many rooms.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<usize>,
}

/// A page of the rooms.
#[derive(Serialize, ToSchema)]
pub(super) struct Rooms {
    /// Rooms, in no order. A room may be on two pages.
    #[schema(value_type = Vec<String>)]
    rooms: Vec<RoomId>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// List rooms
///
/// Rooms that have a stream, page by page; takes an API key. A page may have somewhat more rooms than asked for, or fewer:
/// the last page is the one without `next`.
#[utoipa::path(
    get, path = "/api/v1/rooms", tag = "rooms", operation_id = "listRooms", params(Which),
    responses((status = 200, description = "Rooms", body = Rooms), Problems),
    security(("bearer" = [])),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    InQuery(which): InQuery<Which>,
) -> Result<Json<Rooms>, Problem> {
    caller.backend()?;
    let limit = which.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad(format!("limit: use 1 to {MOST}")));
    }
    let continued = which.cursor.is_some();
    match api.shared.hub.log().rooms(which.cursor, limit).await {
        Ok((rooms, next)) => Ok(Json(Rooms { rooms, next })),
        Err(LogError::Refused(reason)) if continued => Err(Problem::bad(format!("cursor: {reason}"))),
        Err(error) => Err(error.into()),
    }
}
