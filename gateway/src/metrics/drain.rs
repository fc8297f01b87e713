//! What is measured of a drain: what is left, who was told, who was cut off.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::names::{Float, Names, gauge};
use super::{Metrics, Snapshot};

pub(super) struct Drain {
    remaining: Gauge,
    rate: Float,
    noticed: Counter,
    moved: Counter,
    forced: Counter,
}

impl Drain {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            remaining: new.gauge("ws_drain_remaining", "Connections that a drain still has to move"),
            rate: new.gauge("ws_drain_rate", "Connections per second that a drain tells to move"),
            noticed: new.counter("ws_drain_noticed", "Connections told to move"),
            moved: new.counter("ws_drain_moved", "Connections that left after they were told to move"),
            forced: new.counter("ws_drain_forced", "Connections closed at a drain's deadline"),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.remaining.set(gauge(now.drain_remaining as u64));
        self.rate.set(now.drain_rate);
    }
}

impl Metrics {
    pub(crate) fn drain_noticed(&self) {
        self.drain.noticed.inc();
    }

    pub(crate) fn drain_moved(&self) {
        self.drain.moved.inc();
    }

    pub(crate) fn drain_forced(&self) {
        self.drain.forced.inc();
    }
}
