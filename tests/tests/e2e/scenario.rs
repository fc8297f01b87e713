//! What every end-to-end test stands on: the operator installed once, a namespace of its own, a Redis, and a dump on failure.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;
use wscluster_probe::{Report, Verdict};
use wscluster_tests::fleet::{self, Fleet, ProbePlan, ProbePod};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
/// Within this a wrong input must show in the status.
pub(crate) const SHOWS_WITHIN: Duration = Duration::from_secs(30);

const VERSION: &str = env!("CARGO_PKG_VERSION");

type Body = Box<dyn FnOnce(Scenario) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send>;

/// A named test that has not been given its world yet.
pub(crate) struct Test {
    name: &'static str,
    body: Body,
}

/// Names a test.
pub(crate) fn test<F>(name: &'static str, body: impl FnOnce(Scenario) -> F + Send + 'static) -> Test
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    Test { name, body: Box::new(move |scenario| Box::pin(body(scenario))) }
}

impl Test {
    /// The test as it stands in a list; it is not run.
    pub(crate) fn listed(self) -> Trial {
        Trial::test(self.name, || Ok(()))
    }
}

/// The cluster, with the operator in it.
pub(crate) struct World {
    runtime: Arc<Runtime>,
    client: Client,
}

impl World {
    /// Installs the operator into the cluster that `KUBECONFIG` names.
    pub(crate) fn enter() -> Result<Self> {
        let runtime = Arc::new(Runtime::new()?);
        let client = runtime.block_on(async {
            let client =
                Client::try_default().await.context("KUBECONFIG names no cluster; run `cargo xtask test e2e`")?;
            fleet::install_operator(&client, &repository("charts/install.yaml"), MINUTE).await?;
            anyhow::Ok(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// Takes the operator down again.
    pub(crate) fn leave(self) -> Result<()> {
        self.runtime.block_on(fleet::uninstall_operator(&self.client, &repository("charts/install.yaml"), MINUTE))
    }

    /// Binds a test to the cluster.
    pub(crate) fn trial(&self, test: Test) -> Trial {
        let (runtime, client) = (Arc::clone(&self.runtime), self.client.clone());
        Trial::test(test.name, move || runtime.block_on(run(client, test)).map_err(|error| crate::failed(&error)))
    }
}

async fn run(client: Client, test: Test) -> Result<()> {
    let (_, fact) = test.name.rsplit_once("::").context("a test's name has a module")?;
    let namespace = format!("e2e-{}", fact.replace('_', "-"));
    let scenario = Scenario { fleet: Fleet::new(client.clone(), &namespace, "chat") };
    let started = Instant::now();
    fleet::create_namespace(&client, &namespace).await?;
    let outcome = (test.body)(scenario).await;
    let done = started.elapsed();
    if outcome.is_err() {
        let folder = logs().join(fact);
        match fleet::dump(&client, &namespace, &folder).await {
            Ok(()) => eprintln!("logs, events and objects of {fact} are in {}", folder.display()),
            Err(error) => eprintln!("cannot dump {namespace}: {error:#}"),
        }
    }
    let cleaning = Instant::now();
    let cleaned = fleet::delete_namespace(&client, &namespace, 3 * MINUTE).await;
    let cleaning = cleaning.elapsed();
    eprintln!("{fact}: {:.1} s, and {:.1} s to clean up", done.as_secs_f64(), cleaning.as_secs_f64());
    outcome.and(cleaned)
}

/// One test's namespace and fleet.
pub(crate) struct Scenario {
    /// The WsCluster `chat`.
    pub(crate) fleet: Fleet,
}

impl Scenario {
    /// The image that the fleet starts with.
    pub(crate) fn image() -> String {
        format!("wscluster.dev/wscluster:{VERSION}")
    }

    /// The image that a fleet is upgraded to.
    pub(crate) fn next_image() -> String {
        format!("wscluster.dev/wscluster:{VERSION}-next")
    }

    /// Starts Redis and `examples/chat.yaml`, and waits until the fleet takes connections.
    pub(crate) async fn deploy(&self) -> Result<()> {
        self.apply("examples/redis.yaml").await?;
        self.apply("examples/chat.yaml").await?;
        self.fleet.wait_ready(2 * MINUTE).await?;
        Ok(())
    }

    /// Applies a manifest of the repository.
    pub(crate) async fn apply(&self, path: &str) -> Result<()> {
        fleet::apply_file(self.fleet.client(), self.fleet.namespace(), &repository(path)).await
    }

    /// Connects sessions and publishes for them; returns when all are connected and messages flow.
    pub(crate) async fn probe(&self, sessions: u32) -> Result<ProbePod> {
        let plan = ProbePlan {
            image: Self::image(),
            url: self.fleet.endpoint(MINUTE).await?,
            redis: "redis://redis:6379".to_owned(),
            sessions,
            rooms: sessions.div_ceil(10),
            rate: 100,
        };
        let probe = ProbePod::start(self.fleet.client(), self.fleet.namespace(), "probe", &plan).await?;
        probe.wait_running(MINUTE).await?;
        Ok(probe)
    }
}

/// Asserts that nothing was lost, doubled or reordered.
pub(crate) fn assert_seamless(report: &Report) -> Result<()> {
    anyhow::ensure!(report.verdict == Verdict::Ok, "the sessions did not come through:\n{report}");
    anyhow::ensure!(report.received > 0 && report.published > 0, "nothing was published:\n{report}");
    Ok(())
}

/// A path within the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").join(path)
}

fn logs() -> PathBuf {
    std::env::var_os("WSCLUSTER_TEST_LOGS").map_or_else(|| repository("target/test-logs"), PathBuf::from)
}
