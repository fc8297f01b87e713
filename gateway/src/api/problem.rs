//! What went wrong, as problem details (RFC 9457). The codes are stable: programs decide by them.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::LogError;

/// Where `type` of a problem leads: the page explains each code.
const PAGE: &str = "https://github.com/wscluster/wscluster/blob/main/docs/api-http.md";

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemCode)]
pub(super) enum Code {
    /// The request cannot be understood. Don't repeat it.
    BadRequest,
    /// No key or token was shown, or it is not valid.
    Unauthorized,
    /// The key or token does not allow this.
    Forbidden,
    /// There is nothing under this path.
    NotFound,
    /// This path does not know this method; `Allow` names those it knows.
    MethodNotAllowed,
    /// The request's body did not come in time.
    RequestTimeout,
    /// A body or a payload over its limit.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Too many requests: wait as `Retry-After` says.
    RateLimited,
    /// The log cannot be reached or the answer took too long: try again as `Retry-After` says.
    Unavailable,
}

impl Code {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Problem details (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Explains the code.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// For programs; stable.
    pub(super) code: Code,
    /// For people: what is wrong, and what to do.
    pub(super) detail: String,
    /// Seconds to wait, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "retryAfter")]
    #[schema(nullable = false)]
    retry_after: Option<u32>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = code.status();
        Self {
            kind: format!("{PAGE}#{}", code.name()),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            retry_after: match code {
                Code::RateLimited => Some(1),
                // Spread, or all come back in the same second.
                Code::Unavailable => Some(rand::random_range(1..=5)),
                _ => None,
            },
        }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem is JSON");
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_what_the_rfc_and_the_client_need() {
        let response = Problem::new(Code::RateLimited, "slow down").into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let problem = serde_json::to_value(Problem::new(Code::Forbidden, "no")).unwrap();
        let expect = serde_json::json!({"type": format!("{PAGE}#forbidden"), "title": "Forbidden", "status": 403, "code": "forbidden", "detail": "no"});
        assert_eq!(problem, expect);
    }

    #[test]
    fn every_code_is_explained_on_the_page() {
        let page = include_str!("../../../docs/api-http.md");
        for code in [
            Code::BadRequest,
            Code::Unauthorized,
            Code::Forbidden,
            Code::NotFound,
            Code::MethodNotAllowed,
            Code::RequestTimeout,
            Code::TooLarge,
            Code::UnsupportedMediaType,
            Code::RateLimited,
            Code::Unavailable,
        ] {
            let heading = format!("### {}\n", code.name());
            assert!(page.contains(&heading), "{heading}");
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
