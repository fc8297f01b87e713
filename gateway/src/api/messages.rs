//! Writes messages to a room, one or a batch, and reads them back.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body;
use super::caller::Caller;
use super::openapi::Problems;
use super::page::{self, Page};
use super::path::{InPath, InQuery};
use super::problem::{Code, Problem};
use crate::clock;
use crate::entry::{EntryId, Text};
use crate::error::LogError;
use crate::idempotency::IdempotencyKey;
use crate::json;
use crate::room::RoomId;

/// Most messages of one batch.
const MOST_IN_BATCH: usize = 100;
/// A body may be so long whatever `maxMessageBytes` is: room for a batch.
const BODY_AT_LEAST: usize = 1 << 20;
/// What surrounds one payload in a body.
const ENVELOPE: usize = 1024;
/// Longest key in the header: a batch appends to it.
const LONGEST_KEY: usize = 190;

/// A message to be written.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewMessage<'a> {
    /// Any JSON, delivered as it was sent. At most `limits.maxMessageBytes`.
    #[schema(value_type = serde_json::Value)]
    payload: &'a RawValue,
    /// With the same key for the same room within 5 minutes nothing is written again, and the id is the one of then.
    /// It is above the header.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    idempotency_key: Option<IdempotencyKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow, deserialize_with = "present")]
    payload: &'a RawValue,
    idempotency_key: Option<IdempotencyKey>,
}

impl<'de: 'a, 'a> Deserialize<'de> for NewMessage<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { payload, idempotency_key } = json::nested(deserializer)?;
        Ok(Self { payload, idempotency_key })
    }
}

/// `null` is a payload, too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'de RawValue, D::Error> {
    <&RawValue>::deserialize(deserializer)
}

/// One message, or a batch of 1 to 100.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // Describes the body; it is read by hand, because raw payloads cannot pass an untagged enum.
pub(super) enum NewMessages<'a> {
    /// One message.
    One(NewMessage<'a>),
    /// Several, written in this order.
    Batch(Batch<'a>),
}

/// Messages, written in this order.
#[derive(ToSchema)]
#[schema(min_items = 1, max_items = 100)]
#[allow(dead_code)] // As above.
pub(super) struct Batch<'a>(Vec<NewMessage<'a>>);

/// A message that was written.
#[derive(Serialize, ToSchema)]
pub(super) struct Written {
    /// Its id, which is also a cursor.
    #[schema(value_type = String, example = "1764000000000-0")]
    id: EntryId,
}

/// What became of one message of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// It was written.
    Written(Written),
    /// It was not.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchWritten {
    /// One for each message, in order.
    results: Vec<Outcome>,
    /// How many of them failed.
    failed: usize,
}

/// What became of a body.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // Describes the answer.
pub(super) enum AnyWritten {
    /// Of one message.
    One(Written),
    /// Of a batch.
    Batch(BatchWritten),
}

/// Write to a room
///
/// One message, or a batch: its messages are written in order, and each has an answer of its own. A batch is answered
/// with 200 even if some failed: look at `failed`.
#[utoipa::path(
    post, path = "/api/v1/rooms/{room}/messages", tag = "messages", operation_id = "writeMessages",
    params(
        ("room" = String, Path, description = "The room: 1 to 200 bytes, no control characters", min_length = 1, max_length = 200),
        ("Idempotency-Key" = Option<String>, Header, description = "The key of one message; of a batch, `KEY/0`, `KEY/1` and so on are the keys of its messages", min_length = 1, max_length = 190, pattern = "^[!-~]+$"),
    ),
    request_body = NewMessages<'_>,
    responses((status = 200, description = "Written", body = AnyWritten), Problems),
    security((), ("bearer" = [])),
)]
pub(super) async fn write(
    State(api): State<Arc<Api>>,
    caller: Caller,
    InPath(room): InPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let most = api.shared.config().limits.max_message_bytes;
    let key = key_in(&headers)?;
    let body = body::json(&headers, body, BODY_AT_LEAST.max(most + ENVELOPE)).await?;
    if body.trim_ascii_start().starts_with(b"[") {
        let mut messages: Vec<NewMessage<'_>> = body::parse(&body)?;
        if messages.is_empty() || messages.len() > MOST_IN_BATCH {
            return Err(Problem::bad(format!("a batch has 1 to {MOST_IN_BATCH} messages")));
        }
        if let Some(key) = key {
            give_keys(&mut messages, key)?;
        }
        caller.write(&room, messages.len())?;
        return Ok(Json(write_batch(&api, &room, &messages, most).await).into_response());
    }
    let mut message: NewMessage<'_> = body::parse(&body)?;
    if let (None, Some(key)) = (&message.idempotency_key, key) {
        message.idempotency_key = Some(idempotency_key(key)?);
    }
    caller.write(&room, 1)?;
    let id = write_one(&api, &room, &message, most).await?;
    Ok(Json(Written { id }).into_response())
}

/// The header `Idempotency-Key`, as it was sent.
fn key_in(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let fits =
        |text: &&str| (1..=LONGEST_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let text = value.to_str().ok().filter(fits);
    let remedy = || format!("Idempotency-Key: use 1 to {LONGEST_KEY} characters of ASCII without spaces");
    text.map(Some).ok_or_else(|| Problem::bad(remedy()))
}

fn idempotency_key(text: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::parse(text).map_err(|error| Problem::bad(format!("Idempotency-Key: {error}")))
}

/// A batch that is sent again has its messages at the same places.
fn give_keys(messages: &mut [NewMessage<'_>], key: &str) -> Result<(), Problem> {
    for (index, message) in messages.iter_mut().enumerate().filter(|(_, message)| message.idempotency_key.is_none()) {
        message.idempotency_key = Some(idempotency_key(&format!("{key}/{index}"))?);
    }
    Ok(())
}

/// All are handed to the log before the first answer is awaited, in their order.
async fn write_batch(api: &Api, room: &RoomId, messages: &[NewMessage<'_>], most: usize) -> BatchWritten {
    let writes = messages.iter().map(|message| write_one(api, room, message, most));
    let results: Vec<_> = join_all(writes).await.into_iter().map(outcome).collect();
    let failed = results.iter().filter(|outcome| matches!(outcome, Outcome::Failed { .. })).count();
    BatchWritten { results, failed }
}

fn outcome(result: Result<EntryId, Problem>) -> Outcome {
    match result {
        Ok(id) => Outcome::Written(Written { id }),
        Err(error) => Outcome::Failed { error },
    }
}

async fn write_one(api: &Api, room: &RoomId, message: &NewMessage<'_>, most: usize) -> Result<EntryId, Problem> {
    let payload = message.payload.get();
    if payload.len() > most {
        return Err(Problem::new(Code::TooLarge, format!("payload: {} bytes, at most {most}", payload.len())));
    }
    let payload = Text::from(payload);
    let result: Result<EntryId, LogError> =
        api.shared.hub.log().append(room, &payload, message.idempotency_key.as_ref(), clock::now()).await;
    api.shared.metrics.published(result.as_ref().err());
    Ok(result?)
}

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// Messages after this id, oldest first. Without it, the newest.
    #[param(value_type = Option<String>, pattern = r"^\d{1,15}(-\d{1,15})?$", nullable = false)]
    after: Option<EntryId>,
    /// Messages before this id.
    #[param(value_type = Option<String>, pattern = r"^\d{1,15}(-\d{1,15})?$", nullable = false)]
    before: Option<EntryId>,
    /// At most so many; fewer come where they are long.
    #[param(minimum = 1, maximum = 200, default = 50, nullable = false)]
    limit: Option<usize>,
}

/// Read a room
///
/// Oldest first. With `after`, the messages that follow it; without, the newest (before `before`). `more` says that the
/// range holds more than was returned.
#[utoipa::path(
    get, path = "/api/v1/rooms/{room}/messages", tag = "messages", operation_id = "readMessages",
    params(("room" = String, Path, description = "The room: 1 to 200 bytes, no control characters", min_length = 1, max_length = 200), Range),
    responses((status = 200, description = "Messages", body = Page), Problems),
    security((), ("bearer" = [])),
)]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    InPath(room): InPath,
    InQuery(range): InQuery<Range>,
) -> Result<Json<Page>, Problem> {
    let limit = page::limit(range.limit)?;
    caller.read(&room)?;
    let log = api.shared.hub.log();
    let before = range.before.unwrap_or(EntryId::MAX);
    let page = match range.after {
        Some(after) => page::oldest(log.read_after(&room, after, limit + 1).await?, before, limit),
        None => page::newest(&log.read_before(&room, before, limit + 1).await?, limit),
    };
    Ok(Json(page))
}
