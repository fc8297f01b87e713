//! An event as one line of JSON: time, level, where, which gateway, the message, then the event's own fields, flat.

use std::fmt::{self, Debug};

use serde::Serializer;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Name of the field that holds an event's message.
const MESSAGE: &str = "message";

/// Lines of JSON.
pub(super) struct Json {
    node: String,
}

impl Json {
    /// With the name of this gateway on each.
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned() }
    }

    fn line(&self, event: &Event<'_>, time: String) -> Option<String> {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let head = [
            ("timestamp", time),
            ("level", meta.level().to_string()),
            ("target", meta.target().to_owned()),
            ("node", self.node.clone()),
            (MESSAGE, fields.message),
        ];
        let head = head.map(|(name, text)| (name, Value::from(text)));
        let mut line = Vec::new();
        serde_json::Serializer::new(&mut line).collect_map(head.into_iter().chain(fields.others)).ok()?;
        String::from_utf8(line).ok()
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        writeln!(out, "{}", self.line(event, time).ok_or(fmt::Error)?)
    }
}

/// The message of an event.
pub(super) fn message(event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    fields.message
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == MESSAGE {
            self.message = text;
        } else {
            self.add(field, text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}
