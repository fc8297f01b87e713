//! What the end-to-end tests stand on: the operator installed once, namespaces of their own or one fleet that several share,
//! a dump on failure.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, RwLock};
use wscluster_tests::fleet::{self, Fleet};

use crate::scenario::{Scenario, home};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// The namespace of the fleet that tests share.
const SHARED: &str = "e2e-fleet";

type Body = Box<dyn FnOnce(Scenario) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send>;

/// Whose fleet a test works on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A namespace of its own, empty.
    Own,
    /// The fleet of six gateways that tests use one after the other.
    Shared,
}

/// A named test that has not been given its world yet.
pub(crate) struct Test {
    name: &'static str,
    place: Place,
    alone: bool,
    on_testbed: bool,
    body: Body,
}

/// Names a test that has a namespace of its own.
pub(crate) fn test<F>(name: &'static str, body: impl FnOnce(Scenario) -> F + Send + 'static) -> Test
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let body: Body = Box::new(move |scenario| Box::pin(body(scenario)));
    Test { name, place: Place::Own, alone: false, on_testbed: false, body }
}

impl Test {
    /// It works on the fleet of six gateways that is there, and leaves it well.
    pub(crate) fn on_shared_fleet(self) -> Self {
        Self { place: Place::Shared, ..self }
    }

    /// What it does would disturb others.
    pub(crate) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// It needs what only the testbed has.
    pub(crate) fn on_testbed(self) -> Self {
        Self { on_testbed: true, ..self }
    }

    /// The test as it stands in a list; it is not run.
    pub(crate) fn listed(self) -> Trial {
        Trial::test(self.name, || Ok(()))
    }
}

/// The cluster, with the operator in it.
pub(crate) struct World {
    runtime: Arc<Runtime>,
    stage: Arc<Stage>,
}

/// What tests that run at the same time have in common.
struct Stage {
    client: Client,
    /// Whether the shared fleet stands and is well.
    shared: Mutex<bool>,
    /// Held for writing by a test that runs alone.
    company: RwLock<()>,
}

impl World {
    /// Installs the operator into the cluster that `KUBECONFIG` names.
    pub(crate) fn enter() -> Result<Self> {
        let runtime = Arc::new(Runtime::new()?);
        let client = runtime.block_on(async {
            let client =
                Client::try_default().await.context("KUBECONFIG names no cluster; run `cargo xtask test e2e`")?;
            fleet::install_operator(&client, &operator()?, MINUTE).await?;
            anyhow::Ok(client)
        })?;
        let stage = Stage { client, shared: Mutex::new(false), company: RwLock::new(()) };
        Ok(Self { runtime, stage: Arc::new(stage) })
    }

    /// Takes the shared fleet and the operator down again.
    pub(crate) fn leave(self) -> Result<()> {
        let client = &self.stage.client;
        self.runtime.block_on(async {
            fleet::delete_namespace(client, SHARED, 3 * MINUTE).await?;
            fleet::uninstall_operator(client, &operator()?, MINUTE).await
        })
    }

    /// Binds a test to the cluster.
    pub(crate) fn trial(&self, test: Test) -> Trial {
        let (runtime, stage) = (Arc::clone(&self.runtime), Arc::clone(&self.stage));
        let ignored = test.on_testbed && std::env::var_os("WSCLUSTER_INSTANCE").is_none();
        let name = test.name;
        let run = move || runtime.block_on(stage.run(test)).map_err(|error| crate::failed(&error));
        Trial::test(name, run).with_ignored_flag(ignored)
    }
}

impl Stage {
    async fn run(&self, test: Test) -> Result<()> {
        let mut shared = match test.place {
            Place::Own => None,
            Place::Shared => Some(self.shared.lock().await),
        };
        // Held until the test has ended.
        let (_alone, _company);
        if test.alone {
            _alone = self.company.write().await;
        } else {
            _company = self.company.read().await;
        }
        match &mut shared {
            None => self.on_its_own(test).await,
            Some(stands) => self.on_shared(test, stands).await,
        }
    }

    async fn on_its_own(&self, test: Test) -> Result<()> {
        let fact = test.fact()?;
        let namespace = format!("e2e-{}", fact.replace('_', "-"));
        let scenario = self.scenario(&namespace).await?;
        let started = Instant::now();
        let outcome = (test.body)(scenario).await;
        self.tell(fact, &namespace, started, &outcome).await;
        let cleaned = fleet::delete_namespace(&self.client, &namespace, 3 * MINUTE).await;
        outcome.and(cleaned)
    }

    /// A fleet that a test has left unwell is replaced for the next one.
    async fn on_shared(&self, test: Test, stands: &mut bool) -> Result<()> {
        let fact = test.fact()?;
        if !*stands {
            fleet::delete_namespace(&self.client, SHARED, 3 * MINUTE).await?;
        }
        let scenario = self.scenario(SHARED).await?;
        let started = Instant::now();
        let prepared = if *stands { scenario.settle().await } else { scenario.deploy(&six_gateways()).await };
        let outcome = match prepared {
            Ok(()) => (test.body)(scenario).await,
            Err(error) => Err(error.context("the fleet of six gateways")),
        };
        *stands = outcome.is_ok();
        self.tell(fact, SHARED, started, &outcome).await;
        outcome
    }

    async fn scenario(&self, namespace: &str) -> Result<Scenario> {
        fleet::create_namespace(&self.client, namespace).await?;
        Ok(Scenario { fleet: Fleet::new(self.client.clone(), namespace, "chat"), home: home(&self.client).await? })
    }

    async fn tell(&self, fact: &str, namespace: &str, started: Instant, outcome: &Result<()>) {
        eprintln!("{fact}: {:.1} s", started.elapsed().as_secs_f64());
        if outcome.is_err() {
            let folder = logs().join(fact);
            match fleet::dump(&self.client, namespace, &folder).await {
                Ok(()) => eprintln!("logs, events and objects of {fact} are in {}", folder.display()),
                Err(error) => eprintln!("cannot dump {namespace}: {error:#}"),
            }
        }
    }
}

impl Test {
    fn fact(&self) -> Result<&'static str> {
        Ok(self.name.rsplit_once("::").context("a test's name has a module")?.1)
    }
}

/// A pace at which a rollout of the full load takes long enough to be met in its midst.
fn six_gateways() -> serde_json::Value {
    json!({
        "replicas": 6,
        "drain": {"minSeconds": 5, "timeoutSeconds": 60, "connectionsPerSecond": 400},
    })
}

/// The operator's manifests in one: as it is installed by default, and with the metrics API.
fn operator() -> Result<PathBuf> {
    let manifests = ["charts/install.yaml", "charts/metrics-api.yaml"].map(repository);
    let texts: Vec<_> = manifests.iter().map(std::fs::read_to_string).collect::<Result<_, _>>()?;
    let path = logs().join("operator.yaml");
    std::fs::create_dir_all(logs())?;
    std::fs::write(&path, texts.join("---\n"))?;
    Ok(path)
}

/// A path within the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").join(path)
}

/// The folder for what tests leave.
pub(crate) fn logs() -> PathBuf {
    std::env::var_os("WSCLUSTER_TEST_LOGS").map_or_else(|| repository("target/test-logs"), PathBuf::from)
}
