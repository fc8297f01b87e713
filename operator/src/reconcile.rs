//! One turn for one cluster: observe, plan, apply. Holds what outlives a turn; decides nothing itself.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use wscluster_crds::WsCluster;

use crate::apply::Writer;
use crate::config::Defaults;
use crate::desired::{ADMIN_PORT, Wanted, keys::Keys};
use crate::error::ReconcileError;
use crate::gateways::Carried;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::observe::{Observed, Observer};
use crate::plan::{self, Finalizer, Plan};
use crate::scalers::Known;
use crate::secrets::{Address, Certificates};
use crate::workers::{Poke, Workers};
use crate::{gateways, streams};

/// A turn that takes longer is told of.
const SLOW_TURN: Duration = Duration::from_secs(2);
/// Shortest and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// What outlives a turn.
pub struct Context {
    /// Reads.
    pub observer: Observer,
    /// Writes.
    pub writer: Writer,
    /// Which nodes are being emptied.
    pub nodes: Nodes,
    /// What comes from the operator.
    pub defaults: Defaults,
    /// Counts.
    pub metrics: Metrics,
    /// Asks for a reconcile.
    pub triggers: UnboundedSender<ObjectRef<WsCluster>>,
    /// Tasks that look at Redis.
    pub redis: Workers<streams::Target, streams::report::Report>,
    /// Tasks that ask gateways.
    pub gateways: Workers<gateways::Target, gateways::Report>,
    /// What there is to scale with.
    pub scalers: Known,
    /// Failures in a row, by cluster.
    pub failures: Mutex<HashMap<String, u32>>,
}

/// One turn.
pub async fn reconcile(stored: Arc<WsCluster>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let result = turn(&stored, &context).await;
    context.metrics.reconciled(result.as_ref().err().map_or("ok", ReconcileError::label), started.elapsed());
    if result.is_ok() {
        context.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&stored.uid().unwrap_or_default());
    }
    result.map(Action::requeue)
}

/// What happens after a failed turn.
pub fn on_error(cluster: &Arc<WsCluster>, error: &ReconcileError, context: &Arc<Context>) -> Action {
    tracing::warn!(cluster = cluster.name_any(), namespace = cluster.namespace(), %error, "reconcile failed");
    if !error.retry() {
        return Action::await_change();
    }
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(cluster.uid().unwrap_or_default()).or_default();
    *count = count.saturating_add(1);
    Action::requeue(BACKOFF.0.saturating_mul(1 << (*count - 1).min(6)).min(BACKOFF.1))
}

async fn turn(stored: &Arc<WsCluster>, context: &Context) -> Result<Duration, ReconcileError> {
    let (cluster, began) = (context.observer.freshest(stored), Instant::now());
    let mut observed = context.observe(&cluster).await?;
    let looked = Instant::now();
    let plan = plan::plan(&cluster, &observed, &context.defaults)?;
    if !plan.is_empty() {
        tracing::info!(cluster = cluster.name_any(), namespace = cluster.namespace(), plan = plan.summary(), "plan");
    }
    let (namespace, version) = (cluster.namespace().unwrap_or_default(), stored.resource_version());
    let (writer, known) = (&context.writer, &context.observer);
    writer.pods(&namespace, &plan.pods).await?;
    context.tell_gateways(&cluster, &observed, &plan)?;
    if let Some(Finalizer::Add) = plan.finalizer {
        writer.finalizer(&cluster, Finalizer::Add).await?;
    }
    let refusals = writer.objects(&namespace, &plan.writes, &observed, known).await?;
    writer.removals(&namespace, &plan.removals, &observed, known).await?;
    let written = Instant::now();
    let plan = if refusals.is_empty() {
        plan
    } else {
        observed.failures.clone_from(&refusals);
        plan::plan(&cluster, &observed, &context.defaults)?
    };
    context.conclude(&cluster, &plan, version.as_deref()).await?;
    tell_if_slow(&cluster, [looked.duration_since(began), written.duration_since(looked), written.elapsed()]);
    if refusals.is_empty() { Ok(plan.requeue) } else { Err(ReconcileError::Refused(refusals)) }
}

/// A turn waits for the API server, for CPU and for nothing else.
fn tell_if_slow(cluster: &WsCluster, [looked, written, told]: [Duration; 3]) {
    if looked + written + told > SLOW_TURN {
        let (looked, written, told) = (looked.as_secs_f64(), written.as_secs_f64(), told.as_secs_f64());
        let (cluster, namespace) = (cluster.name_any(), cluster.namespace());
        tracing::warn!(
            cluster,
            namespace,
            looked_seconds = looked,
            written_seconds = written,
            told_seconds = told,
            "a turn took long: the API server answers slowly, or the operator lacks CPU"
        );
    }
}

impl Context {
    /// Status, Events, and the end.
    async fn conclude(&self, cluster: &WsCluster, plan: &Plan, stored: Option<&str>) -> Result<(), ReconcileError> {
        if let Some(status) = plan.status.as_ref().or(cluster.status.as_ref()) {
            self.metrics.shows(cluster, status);
        }
        if let Some(status) = &plan.status {
            self.writer.status(cluster, status, &self.observer, stored).await?;
        }
        self.writer.tell(cluster, &plan.notices).await;
        if let Some(Finalizer::Remove) = plan.finalizer {
            self.writer.finalizer(cluster, Finalizer::Remove).await?;
            self.forget(&cluster.uid().unwrap_or_default());
        }
        Ok(())
    }

    /// Everything that a plan looks at.
    async fn observe(&self, cluster: &WsCluster) -> Result<Observed, ReconcileError> {
        let known = &self.observer;
        let namespace = cluster.namespace().unwrap_or_default();
        let (http_routes, scalers) = (*known.http_routes.borrow(), self.scalers.now());
        let monitoring = *known.monitoring.borrow();
        let wanted = Wanted::new(cluster, &self.defaults, Keys::default())?;
        let wanted = Wanted { http_routes, monitoring, scalers: scalers.clone(), ..wanted };
        let (children, versions) = known.children(&wanted).await?;
        let pods = known.pods(&namespace, &cluster.name_any());
        let now = Timestamp::now();
        let before = Carried::of(cluster.status.as_ref().filter(|_| !pods.is_empty()), now);
        let gateways = self.gateways.report(&cluster.uid().unwrap_or_default());
        let mut observed = Observed {
            now,
            contested: known.contested(&namespace, children.keys().cloned()),
            children,
            versions,
            cordoned: self.nodes.cordoned(plan::surge::ending_nodes(&pods)).await,
            pods,
            address: known.address(cluster).await?,
            redis: streams::report::Report::default(),
            gateways: gateways.unwrap_or_else(|| before.report()),
            entropy: std::array::from_fn(|_| rand::random()),
            signing: known.signing(cluster).await?,
            lacking: known.lacking(cluster).await?,
            http_routes,
            scalers,
            monitoring,
            failures: Vec::new(),
        };
        observed.redis = self.redis(cluster, &observed.address, known.certificates(cluster).await?);
        Ok(observed)
    }

    /// What is known of Redis; sees to it that somebody looks.
    fn redis(&self, cluster: &WsCluster, address: &Address, certificates: Certificates) -> streams::report::Report {
        let uid = cluster.uid().unwrap_or_default();
        let Address::Known(url) = address else {
            self.redis.end(&uid);
            return streams::report::Report::default();
        };
        let target = streams::Target {
            url: url.clone(),
            certificates,
            namespace: cluster.namespace().unwrap_or_default(),
            streams: cluster.spec.redis.streams.clone(),
            resume_window_seconds: cluster.spec.drain.resume_window_seconds,
            sweep: !cluster.spec.paused && cluster.metadata.deletion_timestamp.is_none(),
        };
        let first = streams::report::Report::remembered(cluster.status.as_ref(), streams::host(&target));
        let metrics = self.metrics.clone();
        self.redis.ensure(&uid, target, first, &self.poke(cluster), move |targets, reports| {
            streams::follow(targets, reports, metrics)
        })
    }

    /// Sees to it that somebody asks the gateways, and tells them what the plan wants of them.
    fn tell_gateways(&self, cluster: &WsCluster, observed: &Observed, plan: &Plan) -> Result<(), ReconcileError> {
        let uid = cluster.uid().unwrap_or_default();
        let keys = plan::writes::wanted(cluster, observed, &self.defaults)?.keys;
        let target = gateways::Target {
            pods: observed.pods.iter().filter_map(address).collect(),
            port: ADMIN_PORT,
            token: keys.admin_token(),
            drains: plan.drains.clone(),
            cancels: plan.cancels.clone(),
            peers: plan.peers.clone(),
            listeners: plan::peers::listeners(observed),
            rebalance: plan.rebalance.clone(),
        };
        if target.pods.is_empty() {
            self.gateways.end(&uid);
        } else {
            let carried = Carried::of(cluster.status.as_ref(), observed.now);
            self.gateways.ensure(&uid, target, carried.report(), &self.poke(cluster), move |targets, reports| {
                gateways::follow(targets, reports, carried)
            });
        }
        Ok(())
    }

    fn poke(&self, cluster: &WsCluster) -> Poke {
        let (triggers, reference) = (self.triggers.clone(), ObjectRef::from_obj(cluster));
        Arc::new(move || {
            let _ = triggers.unbounded_send(reference.clone());
        })
    }

    /// Has every cluster that is scaled take a turn: there is something else to scale with.
    pub fn scalers_changed(&self) {
        let clusters = self.observer.stores.clusters.state();
        for cluster in clusters.iter().filter(|cluster| cluster.spec.autoscaling.is_some()) {
            self.poke(cluster)();
        }
    }

    /// Ends what runs for a cluster that is gone.
    fn forget(&self, uid: &str) {
        self.redis.end(uid);
        self.gateways.end(uid);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Ends what runs for clusters that are gone without a farewell (their finalizer was taken off by hand).
    pub fn tidy(&self) {
        let clusters = self.observer.stores.clusters.state();
        let alive: BTreeSet<_> = clusters.iter().map(|cluster| cluster.uid().unwrap_or_default()).collect();
        let exists = |uid: &str| alive.contains(uid);
        self.redis.retain(exists);
        self.gateways.retain(exists);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| exists(uid));
        self.metrics.clusters(alive.len());
        self.metrics.retain(exists);
    }
}

/// Name and address of a pod that runs.
fn address(pod: &Arc<Pod>) -> Option<(String, IpAddr)> {
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    let ip = status.pod_ip.as_ref().filter(|_| running)?.parse().ok()?;
    Some((pod.name_any(), ip))
}
