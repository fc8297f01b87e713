//! The Helm chart, by the real Helm: what it renders, which values it refuses, and on a cluster its whole life: installed,
//! upgraded, uninstalled, and installed again over the WsClusters that stayed.

#[path = "chart/helm.rs"]
mod helm;
#[path = "chart/life.rs"]
mod life;
#[path = "chart/rendering.rs"]
mod rendering;
#[path = "shared/cluster.rs"]
mod shared;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    wscluster_tests::become_node_if_asked();
    let arguments = Arguments::from_args();
    let tests = rendering::TESTS.iter().chain(life::TESTS);
    let trials = tests.map(|(name, test)| Trial::test(*name, || test().map_err(|e| Failed::from(format!("{e:#}")))));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
