//! Registers metrics and remembers their names as they are exposed. Knows no metric.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub(super) type Label = [(&'static str, &'static str); 1];
pub(super) type Counters = Family<Label, Counter>;
pub(super) type Durations = Family<Label, Histogram, fn() -> Histogram>;
pub(super) type Float = Gauge<f64, AtomicU64>;

/// Where each subject registers what it measures.
#[derive(Default)]
pub(super) struct Names {
    pub(super) registry: Registry,
    pub(super) names: Vec<String>,
}

impl Names {
    pub(super) fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, suffix: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        self.names.push(format!("{name}{suffix}"));
        metric
    }

    pub(super) fn gauge<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, "", M::default())
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.add(name, help, "_total", Counter::default())
    }

    /// All values of a label exist from the start, so that a rate can be computed from the first event on.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[&'static str],
    ) -> Counters {
        let family = self.add(name, help, "_total", Counters::default());
        for value in values {
            drop(family.get_or_create(&[(label, value)]));
        }
        family
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: Histogram) -> Histogram {
        self.add(name, help, "", histogram)
    }
}

/// The library's gauges are signed.
pub(super) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
