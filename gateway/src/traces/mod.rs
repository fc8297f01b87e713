//! Traces, sent by OTLP to where the settings say: of what strangers ask for, what waits for Redis, and drains; a few of
//! many. A delivery never has a span. While traces are off, asking for one is a look at a pointer.

mod client;
mod span;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanLimits,
};
use parking_lot::Mutex;

use crate::clock;
use crate::config::{Observability, Shared};
use crate::session::Bucket;
use client::Client;
pub use span::Span;

/// Spans per second at most, however many others ask for with a sampled `traceparent`: strangers may, too.
const PER_SECOND: f64 = 200.0;
/// How long ended spans are collected before they are sent.
const COLLECTED: Duration = Duration::from_secs(1);
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the settings name another receiver.
const LOOK: Duration = Duration::from_secs(1);

/// Where spans are begun.
#[derive(Default)]
pub struct Traces {
    running: ArcSwapOption<Running>,
    /// The gateway stops: the settings are followed no more.
    stopped: AtomicBool,
}

/// Traces that have somewhere to go.
struct Running {
    settings: Observability,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    allowance: Mutex<Bucket>,
}

impl Traces {
    /// A span of what nobody else traces: of one in `sampleOneIn`, otherwise none.
    pub(crate) fn root(&self, name: &'static str) -> Span {
        self.begin(|running| {
            let sampled = rand::random_ratio(1, running.settings.sample_one_in);
            sampled.then(|| running.span(name.into(), SpanKind::Internal, &Context::new()))
        })
    }

    /// A span of what happens rarely and matters: always.
    pub(crate) fn rare(&self, name: &'static str) -> Span {
        self.begin(|running| Some(running.span(name.into(), SpanKind::Internal, &Context::new())))
    }

    /// A span of a request. It continues the trace that the request names (`traceparent`,
    /// <https://www.w3.org/TR/trace-context/>), if that one is sampled; without one it is like any other.
    pub(crate) fn server(&self, headers: &HeaderMap, name: impl FnOnce() -> Cow<'static, str>) -> Span {
        self.begin(|running| {
            let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
            let sampled = if parent.has_active_span() {
                parent.span().span_context().is_sampled()
            } else {
                rand::random_ratio(1, running.settings.sample_one_in)
            };
            sampled.then(|| running.span(name(), SpanKind::Server, &parent))
        })
    }

    fn begin(&self, span: impl FnOnce(&Running) -> Option<Option<Span>>) -> Span {
        let running = self.running.load();
        running.as_ref().and_then(|running| span(running)).flatten().unwrap_or_default()
    }

    /// Follows the settings: a running gateway begins to trace, sends elsewhere, or stops.
    pub(crate) async fn follow(&self, settings: Shared, node: Arc<str>) {
        let mut ticks = tokio::time::interval(LOOK);
        while !self.stopped.load(Relaxed) {
            ticks.tick().await;
            let wanted = settings.load().observability.clone();
            let now = self.running.load().as_ref().map(|running| running.settings.clone());
            if now.as_ref() != Some(&wanted) && (now.is_some() || wanted.otlp_endpoint.is_some()) {
                self.change(wanted, &node).await;
            }
        }
    }

    async fn change(&self, wanted: Observability, node: &str) {
        let next = Running::start(wanted, node);
        end(self.running.swap(next.map(Arc::new)), PATIENCE).await;
    }

    /// Sends what is left, and ends.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.stopped.store(true, Relaxed);
        end(self.running.swap(None), patience).await;
    }
}

/// What was collected is still sent.
async fn end(running: Option<Arc<Running>>, patience: Duration) {
    let Some(running) = running else { return };
    // It waits for its own thread, which waits for this runtime.
    let ending = tokio::task::spawn_blocking(move || running.provider.shutdown_with_timeout(patience));
    let _ = tokio::time::timeout(patience, ending).await;
}

impl Running {
    fn start(settings: Observability, node: &str) -> Option<Self> {
        let endpoint = settings.otlp_endpoint.as_ref()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build()
            .inspect_err(|error| tracing::error!(%error, "traces cannot be sent with these settings"))
            .ok()?;
        let batches = BatchConfigBuilder::default().with_scheduled_delay(COLLECTED).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            // Whether a span is made at all is decided before.
            .with_sampler(Sampler::AlwaysOn)
            .with_span_limits(SpanLimits::default())
            .with_resource(resource(node))
            .build();
        tracing::info!(endpoint, sample_one_in = settings.sample_one_in, "traces are sent");
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Some(Self { settings, provider, tracer, allowance: Mutex::new(Bucket::full(clock::now())) })
    }

    /// A span, while there are not too many.
    fn span(&self, name: Cow<'static, str>, kind: SpanKind, parent: &Context) -> Option<Span> {
        let allowed = self.allowance.lock().take(PER_SECOND, PER_SECOND, clock::now());
        allowed.then(|| Span::start(&self.tracer, name, kind, parent))
    }
}

/// Who sends. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are above
/// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
fn resource(node: &str) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", node.to_owned()),
    ];
    let name = named.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
    Resource::builder().with_attributes(own).with_service_name(name).build()
}
