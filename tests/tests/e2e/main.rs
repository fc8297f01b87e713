//! End-to-end tests on a real Kubernetes with real pods: what a user does to a fleet, while the probe holds sessions on it.
//!
//! The cluster is the one that `KUBECONFIG` names. Each test has its own namespace; a failure leaves logs, events and objects.

mod affinity;
mod autoscaling;
mod bad_input;
mod balancing;
mod disruption;
mod lifecycle;
mod operator;
mod plugin;
mod process;
mod rollout;
mod scaling;
mod scenario;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use world::{Test, World, test};

/// Names a test by the path of its function.
macro_rules! facts {
    ($($module:ident :: $fact:ident $(. $how:ident ())*),* $(,)?) => {
        vec![$(test(concat!(stringify!($module), "::", stringify!($fact)), $module::$fact)$(.$how())*),*]
    };
}

/// Two run at a time, so those that share a fleet alternate with those that have their own.
fn tests() -> Vec<Test> {
    facts![
        rollout::an_image_change_moves_each_session_once.on_shared_fleet(),
        balancing::behind_a_slow_load_balancer_each_session_moves_once.on_testbed(),
        rollout::a_changed_environment_moves_each_session_once.on_shared_fleet(),
        rollout::a_setting_that_can_be_reloaded_moves_no_session.on_shared_fleet(),
        rollout::an_image_that_cannot_start_moves_no_session.on_shared_fleet(),
        disruption::a_gateway_that_hangs_holds_a_rollout_up_to_the_deadline.on_testbed(),
        rollout::a_rollback_in_mid_drain_moves_back_only_who_had_moved.on_shared_fleet(),
        rollout::two_changes_in_a_row_move_each_session_once.on_shared_fleet(),
        rollout::a_change_in_mid_drain_is_carried_out_after_it.on_shared_fleet(),
        autoscaling::a_fleet_follows_its_connections_out_and_in.on_testbed(),
        // An owner that is late is passed over, as designed: not beside thousands of sessions that move.
        affinity::cookies_lead_back_before_and_after_a_rollout.alone(),
        plugin::a_fleet_is_followed_and_steered_from_the_shell,
        lifecycle::a_deleted_cluster_can_be_created_again,
        scaling::a_scale_in_moves_only_sessions_of_those_that_go.on_shared_fleet(),
        scaling::a_reversed_scale_in_keeps_the_gateways.on_shared_fleet(),
        lifecycle::a_deleted_cluster_drains_first,
        disruption::a_deleted_pod_moves_its_sessions_once.on_shared_fleet(),
        disruption::a_killed_gateway_costs_time_and_no_message.on_shared_fleet().on_testbed(),
        disruption::a_gateway_out_of_memory_costs_time_and_no_message.on_testbed(),
        bad_input::a_missing_secret_is_named_and_mends,
        disruption::a_redis_restart_loses_nothing.on_shared_fleet(),
        bad_input::an_unreachable_redis_is_named_and_mends,
        disruption::a_redis_restart_in_mid_rollout_loses_nothing.on_shared_fleet(),
        bad_input::an_image_that_cannot_be_pulled_is_named_and_mends,
        balancing::a_plain_deployment_loses_nothing_but_moves_sessions_often.on_shared_fleet(),
        autoscaling::a_spike_in_mid_rollout_is_followed.alone(),
        autoscaling::six_hundred_become_six_thousand_and_six_hundred_again.alone(),
        operator::an_operator_killed_in_the_surge_is_carried_on.on_shared_fleet().alone(),
        operator::an_operator_killed_at_the_turn_is_carried_on.on_shared_fleet().alone(),
        operator::an_operator_killed_in_the_drain_is_carried_on.on_shared_fleet().alone(),
        operator::an_operator_that_is_away_costs_no_session.on_shared_fleet().alone(),
        operator::an_upgrade_of_the_operator_restarts_no_gateway.on_shared_fleet().alone(),
        disruption::a_node_drain_moves_its_sessions_once.on_shared_fleet().alone(),
    ]
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests = tests();
    if arguments.list {
        libtest_mimic::run(&arguments, tests.into_iter().map(Test::listed).collect()).exit();
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
