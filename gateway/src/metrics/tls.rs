//! What is measured of TLS on the public port: handshakes, and what became of certificates.

use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::names::{Counters, Names};

const FAILURES: &[&str] = &[
    "timeout",
    "busy",
    "lost",
    "plain_http",
    "incompatible",
    "protocol",
    "certificate",
    "alert",
    "malformed",
    "no_certificate",
    "other",
];

pub(super) struct Tls {
    handshakes: Counters,
    failures: Counters,
    reads: Counters,
    refused: Gauge,
}

impl Tls {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            handshakes: new.counters("tls_handshakes", "TLS handshakes that were done", "version", &["1.2", "1.3"]),
            failures: new.counters("tls_handshake_failures", "TLS handshakes that failed", "reason", FAILURES),
            reads: new.counters(
                "tls_certificate_reads",
                "New contents of the certificate's files",
                "result",
                &["applied", "refused"],
            ),
            refused: new.gauge("tls_certificate_refused", "1 while the certificate's files are ones that were refused"),
        }
    }
}

impl Metrics {
    pub(crate) fn tls_established(&self, version: &'static str) {
        self.tls.handshakes.get_or_create(&[("version", version)]).inc();
    }

    pub(crate) fn tls_failed(&self, reason: &'static str) {
        self.tls.failures.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn certificate_read(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.tls.reads.get_or_create(&[("result", result)]).inc();
        self.tls.refused.set(i64::from(!applied));
    }

    /// None is wanted any more.
    pub(crate) fn certificate_dropped(&self) {
        self.tls.refused.set(0);
    }
}
