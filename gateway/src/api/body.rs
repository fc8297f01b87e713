//! A request's body: JSON, of bounded length, within a bounded time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;

use super::problem::{Code, Problem};

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    if !is_json(headers) {
        let detail = "send JSON: Content-Type: application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let read = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect()).await;
    match read.map_err(|_| Problem::new(Code::RequestTimeout, "the body did not come in time"))? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(limit)),
        Err(error) => Err(Problem::bad(format!("the body cannot be read: {error}"))),
    }
}

/// Understands a body.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad(format!("the body cannot be understood: {error}")))
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body is longer than {limit} bytes"))
}

/// `application/json`, with whatever parameters (RFC 8259 knows none).
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: Option<&str>) -> HeaderMap {
        kind.into_iter().map(|kind| (header::CONTENT_TYPE, kind.parse().unwrap())).collect()
    }

    #[tokio::test]
    async fn the_length_is_limited_at_below_and_above() {
        let code = async |length: usize| {
            let body = Body::from(vec![b' '; length]);
            json(&headers(Some("application/json")), body, 10).await.map_err(|problem| problem.code).map(|b| b.len())
        };
        assert_eq!(code(9).await, Ok(9));
        assert_eq!(code(10).await, Ok(10));
        assert_eq!(code(11).await, Err(Code::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = json(&headers(Some("application/json")), never, 10).await.unwrap_err();
        assert_eq!(problem.code, Code::RequestTimeout);
    }

    #[test]
    fn only_json_is_json() {
        for (kind, expect) in [
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/jsonl"), false),
            (Some("text/plain"), false),
            (None, false),
        ] {
            assert_eq!(is_json(&headers(kind)), expect, "{kind:?}");
        }
    }
}
