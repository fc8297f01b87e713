//! A span, or none. It names no room, no user and nothing else that a client chose.

use std::borrow::Cow;

use http::StatusCode;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

/// A span that ends when it is dropped; most are none, and do nothing.
#[derive(Default)]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    pub(super) fn start(tracer: &SdkTracer, name: Cow<'static, str>, kind: SpanKind, parent: &Context) -> Self {
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, parent);
        Self(Some(Box::new(span)))
    }

    /// Says something of it.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// How a request was answered; `reason` is the label of a refusal. A client's mistake is no error of this side.
    pub(crate) fn answered(&mut self, status: StatusCode, reason: &'static str) {
        self.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            self.fail(if reason.is_empty() { "server_error" } else { reason });
        } else if !reason.is_empty() {
            self.set("error.type", reason);
        }
    }

    /// Says how many.
    pub(crate) fn count(&mut self, key: &'static str, count: usize) {
        self.set(key, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// It failed, by the label of an error.
    pub(crate) fn fail(&mut self, error: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
    }
}
