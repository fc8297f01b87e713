//! Log output on standard error: one JSON object a line where a machine reads, text where a person does. However many
//! events there are, lines of one kind are bounded. Knows no subject.

mod json;
mod quota;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::clock;
use json::Json;
use quota::Quota;

/// How often it is told how many lines were left out.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The log that was started.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Quota<Identifier>>>);

/// Starts logging as `WSCLUSTER_LOG` and `WSCLUSTER_LOG_FORMAT` say. `node` is on every line of JSON.
pub fn start(node: &str) -> Log {
    let log = Log::default();
    let filter = EnvFilter::try_from_env("WSCLUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter).with(log.clone());
    if wants_text() {
        registry.with(lines).init();
    } else {
        registry.with(lines.event_format(Json::new(node))).init();
    }
    tokio::spawn(log.clone().tell());
    log
}

fn wants_text() -> bool {
    match std::env::var("WSCLUSTER_LOG_FORMAT").as_deref() {
        Ok("text") => true,
        Ok("json") => false,
        _ => std::io::stderr().is_terminal(),
    }
}

impl Log {
    async fn tell(self) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            self.tell_suppressed();
        }
    }

    /// Says how many lines were left out since it was last said.
    pub fn tell_suppressed(&self) {
        let suppressed = self.0.lock().take_suppressed();
        for (kind, count) in suppressed {
            tracing::warn!(kind, suppressed = count, "suppressed {count} lines of one kind");
        }
    }
}

impl<S: Subscriber> Layer<S> for Log {
    /// A kind is a place in the program that logs.
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let meta = event.metadata();
        meta.target() == module_path!() || self.0.lock().admit(meta.callsite(), clock::now(), || json::message(event))
    }
}
