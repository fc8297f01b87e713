//! What is measured of presence: who is listed here, and how it goes with the roster.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::names::{Counters, Names, gauge};
use super::{Metrics, Snapshot};
use crate::error::LogError;

const OPERATION: &str = "operation";

pub(super) struct Presence {
    members: Gauge,
    rooms: Gauge,
    operations: Counters,
    errors: Counters,
    lost: Counter,
}

impl Presence {
    pub(super) fn new(new: &mut Names) -> Self {
        let operations = ["write", "renew", "read"];
        Self {
            members: new.gauge("ws_presence_members", "Listed memberships of sessions of this gateway"),
            rooms: new.gauge("ws_presence_rooms", "Rooms in which sessions of this gateway are listed"),
            operations: new.counters(
                "ws_presence_operations",
                "Operations on the lists of members that rooms have in Redis",
                OPERATION,
                &operations,
            ),
            errors: new.counters("ws_presence_errors", "Such operations that failed", OPERATION, &operations),
            lost: new
                .counter("ws_presence_lost", "Times that what this gateway had written of a room was not found again"),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.members.set(gauge(now.presence_members as u64));
        self.rooms.set(gauge(now.presence_rooms as u64));
    }

    fn did(&self, operation: &'static str, error: Option<&LogError>) {
        let counters = if error.is_some() { &self.errors } else { &self.operations };
        counters.get_or_create(&[(OPERATION, operation)]).inc();
    }

    fn did_or_lost(&self, operation: &'static str, result: Result<&bool, &LogError>) {
        self.did(operation, result.err());
        if result == Ok(&false) {
            self.lost.inc();
        }
    }
}

impl Metrics {
    pub(crate) fn presence_wrote(&self, result: Result<&bool, &LogError>) {
        self.presence.did_or_lost("write", result);
    }

    pub(crate) fn presence_renewed(&self, result: Result<&bool, &LogError>) {
        self.presence.did_or_lost("renew", result);
    }

    pub(crate) fn presence_read(&self, error: Option<&LogError>) {
        self.presence.did("read", error);
    }
}
