//! The operator against a real API server: what it creates, keeps, leaves alone and reports. It runs in this process, on one
//! namespace per test; no gateway need come up for it. A test that changes what the API server serves runs alone: every
//! operator notices.

#[path = "operator/autoscaling.rs"]
mod autoscaling;
#[path = "operator/bad_input.rs"]
mod bad_input;
#[path = "operator/leadership.rs"]
mod leadership;
#[path = "operator/many.rs"]
mod many;
#[path = "operator/monitors.rs"]
mod monitors;
#[path = "operator/objects.rs"]
mod objects;
#[path = "operator/redis.rs"]
mod redis;
#[path = "operator/routes.rs"]
mod routes;
#[path = "shared/cluster.rs"]
mod shared;
#[path = "operator/stage.rs"]
mod stage;

use std::future::Future;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::shared::TestCluster;
use crate::stage::Stage;

fn main() -> Result<ExitCode> {
    wscluster_tests::become_node_if_asked();
    let arguments = Arguments::from_args();
    let tests = all();
    if arguments.list {
        // Names are known without a cluster.
        let names = tests.into_iter().map(|test| Trial::test(test.name, || Ok(())));
        return Ok(libtest_mimic::run(&arguments, names.collect()).exit_code());
    }
    wscluster_operator::logging::init();
    let runtime = Arc::new(Runtime::new()?);
    let cluster = TestCluster::find("operator-test")?;
    runtime.block_on(async { stage::install_crd(&cluster.client().await?).await })?;
    let cluster = Arc::new(cluster);
    let trials = tests.into_iter().map(|test| test.trial(&runtime, &cluster)).collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn all() -> Vec<Test> {
    vec![
        test("objects::a_cluster_is_made_changed_and_deleted", objects::made_changed_and_deleted),
        test("objects::a_child_deleted_by_hand_comes_back", objects::deleted_children_come_back),
        test("objects::a_field_edited_by_hand_is_put_back", objects::edited_fields_are_put_back),
        test("objects::a_foreign_managers_field_is_left_alone", objects::foreign_fields_stay),
        test("objects::an_unchanged_object_is_not_written_again", objects::nothing_is_written_twice),
        test("objects::a_missing_key_comes_back_and_the_others_stay", objects::keys_stay),
        test("objects::a_paused_cluster_is_left_alone", objects::paused),
        test("routes::an_ingress_is_made_and_goes_with_the_spec", routes::ingress),
        alone("routes::an_http_route_is_made_where_the_gateway_api_is", routes::http_route),
        test("routes::keys_of_cookies_change_without_a_new_revision", routes::keys_of_cookies),
        test("autoscaling::an_autoscaler_comes_changes_and_goes", autoscaling::comes_changes_and_goes),
        alone("autoscaling::an_adapter_of_somebody_elses_is_left_alone", autoscaling::foreign_adapter),
        alone("monitors::monitors_are_made_where_their_kinds_are", monitors::made_where_their_kinds_are),
        test("many::clusters_are_each_written_once_and_then_left_alone", many::no_storm_of_writes),
        test("bad_input::a_missing_secret_is_named_and_mends", bad_input::missing_secret),
        test("bad_input::an_unreachable_redis_is_named_and_mends", bad_input::unreachable_redis),
        test("bad_input::what_the_api_server_refuses_is_named_and_mends", bad_input::refused),
        test("bad_input::a_taken_name_is_named_and_mends", bad_input::taken_name),
        test("leadership::a_second_operator_waits_and_takes_over", leadership::second_takes_over),
        test("leadership::an_operator_that_lost_its_lease_ends_with_an_error", leadership::lost_lease),
    ]
}

type Body = Box<dyn FnOnce(Arc<Runtime>, Arc<Stage>) -> Result<()> + Send>;

struct Test {
    name: &'static str,
    alone: bool,
    body: Body,
}

/// Held for writing by a test that changes what the API server serves, for reading by the others.
static SERVED: RwLock<()> = RwLock::new(());

/// A test that changes what the API server serves.
fn alone<F>(name: &'static str, body: impl FnOnce(Arc<Stage>) -> F + Send + 'static) -> Test
where
    F: Future<Output = Result<()>> + Send,
{
    Test { alone: true, ..test(name, body) }
}

fn test<F>(name: &'static str, body: impl FnOnce(Arc<Stage>) -> F + Send + 'static) -> Test
where
    F: Future<Output = Result<()>> + Send,
{
    Test { name, alone: false, body: Box::new(move |runtime, stage| runtime.block_on(body(stage))) }
}

impl Test {
    fn trial(self, runtime: &Arc<Runtime>, cluster: &Arc<TestCluster>) -> Trial {
        let (runtime, cluster) = (runtime.clone(), cluster.clone());
        Trial::test(self.name, move || {
            let _alone = self.alone.then(|| SERVED.write().unwrap_or_else(PoisonError::into_inner));
            let _beside = (!self.alone).then(|| SERVED.read().unwrap_or_else(PoisonError::into_inner));
            let set = || {
                let stage = Arc::new(runtime.block_on(Stage::set(&cluster, self.name))?);
                let result = (self.body)(runtime.clone(), stage.clone());
                runtime.block_on(stage.strike(result.is_err()));
                result
            };
            set().map_err(|error| Failed::from(format!("{error:#}")))
        })
    }
}
