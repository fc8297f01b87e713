//! End-to-end tests on a real Kubernetes with real pods: what a user does to a fleet, while the probe holds sessions on it.
//!
//! The cluster is the one that `KUBECONFIG` names. Each test has its own namespace; a failure leaves logs, events and objects.

mod bad_input;
mod disruption;
mod lifecycle;
mod rollout;
mod scenario;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use scenario::{World, test};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests = vec![
        test("rollout::an_image_change_loses_nothing", rollout::an_image_change_loses_nothing),
        test(
            "rollout::a_setting_that_can_be_reloaded_moves_no_session",
            rollout::a_reloadable_setting_moves_no_session,
        ),
        test("lifecycle::a_deleted_cluster_can_be_created_again", lifecycle::a_deleted_cluster_can_be_created_again),
        test("disruption::an_operator_killed_in_mid_rollout_is_carried_on", disruption::operator_killed_in_mid_rollout),
        test("disruption::a_redis_restart_loses_nothing", disruption::a_redis_restart_loses_nothing),
        test("bad_input::a_missing_secret_is_named_and_mends", bad_input::a_missing_secret_is_named_and_mends),
        test("bad_input::an_unreachable_redis_is_named_and_mends", bad_input::an_unreachable_redis_is_named_and_mends),
        test("bad_input::an_image_that_cannot_be_pulled_is_named_and_mends", bad_input::a_bad_image_is_named_and_mends),
    ];
    if arguments.list {
        libtest_mimic::run(&arguments, tests.into_iter().map(scenario::Test::listed).collect()).exit();
    }
    let world = match World::enter() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("the end-to-end tests cannot begin: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials: Vec<Trial> = tests.into_iter().map(|test| world.trial(test)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = world.leave() {
        eprintln!("cannot take the operator down: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Turns an error with its causes into what the test runner prints.
fn failed(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
