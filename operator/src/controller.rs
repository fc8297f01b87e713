//! Wiring: HTTP, lease, watches and reconciler, brought up in that order and taken down in the other.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::{FutureExt, StreamExt};
use kube::Client;
use kube::runtime::controller::{Config, Error as ControllerError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{applier, reflector};
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use wscluster_crds::WsCluster;

use crate::apply::Writer;
use crate::config::OperatorConfig;
use crate::desired::ADMIN_PORT;
use crate::figures::Figures;
use crate::gateway_api;
use crate::http::{self, Health};
use crate::lease::Candidate;
use crate::look::Look;
use crate::metrics::Metrics;
use crate::metrics_api;
use crate::monitoring;
use crate::nodes::Nodes;
use crate::observe::Observer;
use crate::recent::Recent;
use crate::reconcile::{Context, on_error, reconcile};
use crate::scalers::Known;
use crate::secrets::Secrets;
use crate::watches::Watches;
use crate::workers::Workers;

/// Clusters reconciled at once.
const AT_ONCE: u16 = 8;
/// Events of one cluster that come within this time make one turn.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Longest wait for running turns when told to end.
const LAST_TURNS: Duration = Duration::from_millis(800);
/// Time between two looks for what was left behind.
const TIDY: Duration = Duration::from_secs(30);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address of `/metrics` is taken.
    #[error("cannot listen on --metrics-listen {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// The address of the metrics API is taken.
    #[error("cannot listen on --metrics-api-listen {0}: {1}")]
    ListenMetricsApi(std::net::SocketAddr, std::io::Error),
    /// Another process leads now, or the API server could not be reached for too long.
    #[error("the lease was lost: another operator may lead")]
    LeaseLost,
    /// The watches ended.
    #[error("the watches ended unexpectedly")]
    Watches,
}

/// Runs until told to end. Leads at most once: a lost lease is an error, and the process is to be started anew.
pub async fn run(config: OperatorConfig, client: Client, shutdown: CancellationToken) -> Result<(), RunError> {
    let (health, metrics) = (Health::default(), Metrics::default());
    let listener = TcpListener::bind(config.metrics_listen).await;
    let listener = listener.map_err(|error| RunError::Listen(config.metrics_listen, error))?;
    // Of its own, so that probes are answered until the very end.
    let end = CancellationToken::new();
    let _guard = end.clone().drop_guard();
    let figures = Arc::new(Figures::new(client.clone(), config.namespace.clone(), ADMIN_PORT));
    let known = Known::new(config.scalers());
    tokio::spawn(http::serve(listener, health.clone(), metrics.clone(), figures.clone(), end.clone()));
    if let Some(address) = config.metrics_api.listen {
        let listener = TcpListener::bind(address).await.map_err(|error| RunError::ListenMetricsApi(address, error))?;
        let service = metrics_api::Service {
            config: config.metrics_api.clone(),
            namespace: config.lease_namespace.clone(),
            client: client.clone(),
            figures,
            known: known.clone(),
            metrics: metrics.clone(),
        };
        tokio::spawn(service.run(listener, end));
    }
    health.set(true);

    let identity = format!("{}_{:08x}", config.identity, rand::random::<u32>());
    let candidate = Candidate::new(client.clone(), &config.lease_namespace, &config.lease_name, identity.clone());
    if !candidate.acquire(&shutdown).await {
        return Ok(());
    }
    metrics.leads(true);
    let result = tokio::select! {
        result = lead(&config, client, &identity, &health, &metrics, known, &shutdown) => result,
        () = candidate.keep() => Err(RunError::LeaseLost),
    };
    metrics.leads(false);
    if result.is_ok() {
        candidate.release().await;
    }
    result
}

async fn lead(
    config: &OperatorConfig,
    client: Client,
    identity: &str,
    health: &Health,
    metrics: &Metrics,
    known: Known,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    health.set(false);
    let (triggers, queue) = unbounded();
    let recent = Arc::new(Recent::default());
    let mut routes = gateway_api::HttpRoutes::new(client.clone());
    let mut monitors = monitoring::Monitors::new(client.clone(), config.namespace.clone());
    let first = tokio::select! {
        first = async { (routes.first().await, monitors.first().await) } => first,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (support, http_routes) = tokio::sync::watch::channel(first.0);
    let (found, monitoring) = tokio::sync::watch::channel(first.1);
    let watches = Watches {
        client: client.clone(),
        namespace: config.namespace.clone(),
        triggers: triggers.clone(),
        recent: recent.clone(),
        metrics: metrics.clone(),
        http_routes: http_routes.clone(),
        monitoring: monitoring.clone(),
        scalers: known.clone(),
    };
    let (stores, mut tasks) = watches.start();
    tasks.spawn(routes.follow(support, stores.clusters.clone(), triggers.clone()));
    tasks.spawn(monitors.follow(found, stores.clusters.clone(), triggers.clone()));
    tokio::select! {
        ready = stores.ready(&known) => ready.map_err(|_| RunError::Watches)?,
        () = shutdown.cancelled() => return Ok(()),
    }
    health.set(true);
    let clusters = stores.clusters.clone();
    let reporter = Reporter { controller: "wscluster-operator".to_owned(), instance: Some(identity.to_owned()) };
    let context = Arc::new(Context {
        observer: Observer {
            client: client.clone(),
            secrets: Arc::new(Secrets::new(client.clone(), stores.secrets.clone())),
            stores,
            recent: recent.clone(),
            http_routes,
            monitoring,
        },
        nodes: Nodes::new(client.clone()),
        writer: Writer { recorder: Recorder::new(client.clone(), reporter), client, metrics: metrics.clone(), recent },
        defaults: config.defaults(),
        metrics: metrics.clone(),
        triggers,
        redis: Workers::default(),
        gateways: Workers::default(),
        scalers: known,
        failures: Mutex::default(),
    });
    turns(clusters, queue, context, shutdown).await;
    Ok(())
}

/// Takes turns until told to end; what runs then may finish, but not for long.
async fn turns(
    clusters: reflector::Store<WsCluster>,
    queue: UnboundedReceiver<ObjectRef<WsCluster>>,
    context: Arc<Context>,
    shutdown: &CancellationToken,
) {
    let queue = queue.map(Ok::<_, Infallible>).take_until(shutdown.clone().cancelled_owned());
    let config = Config::default().concurrency(AT_ONCE).debounce(DEBOUNCE);
    let turn = |cluster, context| reconcile(cluster, context).boxed();
    let after_error = |cluster: Arc<WsCluster>, error: &_, context: Arc<Context>| on_error(&cluster, error, &context);
    let mut turns = applier(turn, after_error, context.clone(), clusters, queue, config).boxed();
    let (mut tidy, mut scalers) = (interval(TIDY), context.scalers.changes());
    loop {
        tokio::select! {
            done = turns.next() => match done {
                // Failures are told of by the error policy; a cluster that is gone needs no turn.
                Some(Ok(_) | Err(ControllerError::ReconcilerFailed(..) | ControllerError::ObjectNotFound(_))) => {}
                Some(Err(error)) => tracing::warn!(%error, "controller"),
                None => return,
            },
            _ = tidy.tick() => context.tidy(),
            Ok(()) = scalers.changed() => context.scalers_changed(),
            () = shutdown.cancelled() => break,
        }
    }
    let rest = turns.for_each(|_| std::future::ready(()));
    if timeout(LAST_TURNS, rest).await.is_err() {
        tracing::warn!("ending in the middle of a turn; the next leader takes it up");
    }
}
