//! What is measured of the settings: which ones are in force, and what became of changed files.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::names::{Counters, Names};
use super::{Metrics, Snapshot};

pub(super) struct Config {
    info: Family<[(&'static str, String); 1], Gauge>,
    reloads: Counters,
    refused: Gauge,
}

impl Config {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            info: new.gauge("wscluster_gateway_config_info", "1 for the digest of the settings in force"),
            reloads: new.counters(
                "wscluster_gateway_config_reloads",
                "Changed settings files, by what became of them",
                "result",
                &["applied", "refused"],
            ),
            refused: new.gauge("wscluster_gateway_config_refused", "1 while the settings file is one that was refused"),
        }
    }

    pub(super) fn measure(&self, now: &Snapshot) {
        self.info.clear();
        self.info.get_or_create(&[("hash", now.config_hash.clone())]).set(1);
    }
}

impl Metrics {
    pub(crate) fn config_reloaded(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.config.reloads.get_or_create(&[("result", result)]).inc();
        self.config.refused.set(i64::from(!applied));
    }

    /// The file is good, and changes nothing.
    pub(crate) fn config_accepted(&self) {
        self.config.refused.set(0);
    }
}
