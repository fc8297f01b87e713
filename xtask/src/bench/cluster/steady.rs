//! What a fleet costs while nothing happens to it but its messages: CPU of its parts over a stretch of time. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bench::stage::Figures;

/// How far everything was at one time.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    /// Messages published so far.
    pub(crate) published: u64,
    /// Deliveries so far.
    pub(crate) received: u64,
    /// CPU time so far, by the program's name.
    pub(crate) cpu: BTreeMap<String, Duration>,
}

/// What two moments lie apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Steady {
    time: Duration,
    published: u64,
    received: u64,
    cpu: BTreeMap<String, Duration>,
}

impl Steady {
    pub(crate) fn between(before: &Moment, after: &Moment) -> Self {
        let used = |(program, cpu): (&String, &Duration)| {
            let earlier = before.cpu.get(program).copied().unwrap_or_default();
            (program.clone(), cpu.saturating_sub(earlier))
        };
        Self {
            time: after.at - before.at,
            published: after.published.saturating_sub(before.published),
            received: after.received.saturating_sub(before.received),
            cpu: after.cpu.iter().map(used).collect(),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let micros = |program: &str| self.cpu.get(program).copied().unwrap_or_default().as_secs_f64() * 1e6;
        let (redis, gateways) = (micros("redis-server"), micros("wscluster-gateway"));
        let (entries, deliveries) = (self.published.max(1) as f64, self.received.max(1) as f64);
        let seconds = self.time.as_secs_f64().max(0.001);
        let figures = [
            ("messagesPerSecond", self.published as f64 / seconds),
            ("deliveriesPerSecond", self.received as f64 / seconds),
            ("redisCpuMicrosPerEntry", redis / entries),
            ("redisCpuPercent", redis / seconds / 1e4),
            ("cpuMicrosPerMessage", gateways / entries),
            ("cpuMicrosPerDelivery", gateways / deliveries),
            ("gatewaysCpuPercent", gateways / seconds / 1e4),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_shared_out_over_what_was_done_meanwhile() {
        let start = Instant::now();
        let moment = |seconds, published, redis_ms, gateways_ms| Moment {
            at: start + Duration::from_secs(seconds),
            published,
            received: published * 5,
            cpu: [("redis-server", redis_ms), ("wscluster-gateway", gateways_ms)]
                .map(|(program, ms)| (program.to_owned(), Duration::from_millis(ms)))
                .into(),
        };
        let figures = Steady::between(&moment(0, 100, 50, 500), &moment(10, 2100, 250, 2500)).figures();
        let expected = [
            ("messagesPerSecond", 200.0),
            ("deliveriesPerSecond", 1000.0),
            ("redisCpuMicrosPerEntry", 100.0),
            ("redisCpuPercent", 2.0),
            ("cpuMicrosPerMessage", 1000.0),
            ("cpuMicrosPerDelivery", 200.0),
            ("gatewaysCpuPercent", 20.0),
        ];
        for (name, value) in expected {
            assert!((figures[name] - value).abs() < 1e-6, "{name}: {}", figures[name]);
        }
    }
}
