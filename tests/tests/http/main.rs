//! The HTTP side of a gateway against tools that were not made for it: schemathesis reads the served OpenAPI document
//! and sends what it allows and what it does not; a real Prometheus scrapes, and promtool reads metrics and rules.

mod dashboard;
mod gateway;
mod prometheus;
mod rules;
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
        Trial::test("each_panel_and_each_rule_has_data", dashboard::has_data),
        Trial::test("promtool_finds_nothing_in_the_rules", rules::checked),
        Trial::test("each_alert_fires_when_it_should_and_not_before", rules::tried),
        Trial::test("each_alert_leads_to_steps_that_are_written", rules::runbooks),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
