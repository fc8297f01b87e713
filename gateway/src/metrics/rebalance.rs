//! What is measured of rebalances: who was told to move, and who did.

use prometheus_client::metrics::counter::Counter;

use super::Metrics;
use super::names::Names;

pub(super) struct Rebalance {
    noticed: Counter,
    moved: Counter,
}

impl Rebalance {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            noticed: new.counter("ws_rebalance_noticed", "Connections told to move to gateways that have fewer"),
            moved: new.counter("ws_rebalance_moved", "Connections that left after a rebalance told them to move"),
        }
    }
}

impl Metrics {
    pub(crate) fn rebalance_noticed(&self) {
        self.rebalance.noticed.inc();
    }

    pub(crate) fn rebalance_moved(&self) {
        self.rebalance.moved.inc();
    }
}
