//! Who is in a room.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::Caller;
use super::openapi::Problems;
use super::path::InPath;
use super::problem::Problem;

/// The members of a room: the sessions that asked to be listed.
#[derive(Serialize, ToSchema)]
pub(super) struct Members {
    /// Members, at most `presence.maxListed`.
    members: Vec<Listed>,
    /// How many there are.
    count: usize,
}

/// One session.
#[derive(Serialize, ToSchema)]
struct Listed {
    /// Its id.
    session: String,
    /// Who it is, by its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
}

/// See who is in a room
///
/// The sessions that subscribed with `presence`, on all gateways. A user with two sessions is two members. In a large room
/// not all of them are named, but all are counted.
#[utoipa::path(
    get, path = "/api/v1/rooms/{room}/presence", tag = "rooms", operation_id = "readPresence",
    params(("room" = String, Path, description = "The room: 1 to 200 bytes, no control characters", min_length = 1, max_length = 200)),
    responses((status = 200, description = "Members", body = Members), Problems),
    security((), ("bearer" = [])),
)]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    InPath(room): InPath,
) -> Result<Json<Members>, Problem> {
    caller.read(&room)?;
    let listing = api.shared.presence.members(&room).await?;
    let listed =
        |member: &crate::presence::Member| Listed { session: member.session.clone(), user: member.user.clone() };
    Ok(Json(Members { members: listing.members.iter().map(listed).collect(), count: listing.count }))
}
