//! What is measured of cookie affinity: who found the gateway that he was on, and what runs through this one to others.

use prometheus_client::metrics::gauge::Gauge;

use super::names::{Counters, Names, gauge};
use super::{Metrics, Snapshot};
use crate::affinity::choice::{Missed, Outcome};

const TO_OWNER: &str = "to_owner";
const TO_CLIENT: &str = "to_client";

pub(super) struct Affinity {
    handshakes: Counters,
    missed: Counters,
    forwarded: Gauge,
    bytes: Counters,
}

impl Affinity {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            handshakes: new.counters(
                "ws_affinity_handshakes",
                "Handshakes on the public port, by what their cookie led to",
                "outcome",
                &Outcome::LABELS,
            ),
            missed: new.counters(
                "ws_affinity_missed",
                "Clients that were served elsewhere than their cookie says, by the reason",
                "reason",
                &Missed::ALL.map(Missed::label),
            ),
            forwarded: new.gauge("ws_forwarded_connections", "Connections that run through here to another gateway"),
            bytes: new.counters("ws_forwarded_bytes", "Bytes of such connections", "direction", &[TO_OWNER, TO_CLIENT]),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.forwarded.set(gauge(now.forwarded as u64));
    }
}

impl Metrics {
    pub(crate) fn affinity(&self, outcome: Outcome) {
        self.affinity.handshakes.get_or_create(&[("outcome", outcome.label())]).inc();
        if let Outcome::Missed(missed) = outcome {
            self.affinity.missed.get_or_create(&[("reason", missed.label())]).inc();
        }
    }

    pub(crate) fn carried(&self, to_owner: u64, to_client: u64) {
        for (direction, bytes) in [(TO_OWNER, to_owner), (TO_CLIENT, to_client)] {
            if bytes > 0 {
                self.affinity.bytes.get_or_create(&[("direction", direction)]).inc_by(bytes);
            }
        }
    }
}
