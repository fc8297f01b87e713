//! The HTTP side of a gateway against tools that were not made for it: schemathesis reads the served OpenAPI document
//! and sends what it allows and what it does not; a real Prometheus scrapes, and promtool reads the metrics.

mod gateway;
mod prometheus;
mod schemathesis;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("schemathesis_finds_nothing_on_the_embedded_log", || schemathesis::run(false)),
        Trial::test("schemathesis_finds_nothing_on_redis", || schemathesis::run(true)),
        Trial::test("promtool_finds_nothing_in_the_metrics", prometheus::promtool),
        Trial::test("prometheus_scrapes_what_the_gateway_did", prometheus::scrape),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
