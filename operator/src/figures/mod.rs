//! How many connections the gateways of a cluster hold, for whoever scales on it. The gateways are asked when somebody wants
//! to know, and not again for a few seconds: so every replica of the operator can tell, whether it leads or not, and a
//! cluster that nobody scales costs nothing. Knows no protocol of an autoscaler.

pub mod shares;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex as Turn;
use tokio::time::{Instant, timeout};
use wscluster_crds::{WsCluster, labels};

use crate::gateways::{self, Http};
use shares::{Answers, Figure, Gateway};

/// Time for which what was asked holds.
const FRESH: Duration = Duration::from_secs(3);
/// Longest wait for one gateway.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for all of a cluster: those that have not been asked until then have no new figure.
const ROUND: Duration = Duration::from_secs(5);
/// Gateways of a cluster that are asked at once.
const AT_ONCE: usize = 64;
/// Time after which a cluster that nobody asked about is forgotten.
const FORGET: Duration = Duration::from_mins(5);

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum FiguresError {
    /// This operator does not look after that namespace.
    #[error("this operator does not look after namespace {0:?}")]
    Elsewhere(String),
    /// There is no such WsCluster.
    #[error("there is no WsCluster {0:?}")]
    NoCluster(String),
    /// A gateway does not say how many connections it holds: a sum without it would be wrong.
    #[error("gateway {0} does not answer")]
    Incomplete(String),
    /// The API server could not be asked, or refused.
    #[error("{0}")]
    Api(#[from] kube::Error),
}

/// What a cluster held in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Connections of all its gateways.
    pub connections: i64,
    /// When the oldest of the figures was taken.
    pub at: Timestamp,
}

/// Asks gateways. One for the whole process.
pub struct Figures {
    client: Client,
    namespace: Option<String>,
    http: Http,
    port: u16,
    clusters: Mutex<HashMap<(String, String), Place>>,
}

/// Where a cluster's gateways are held, and who asks them waits for whoever does already.
type Place = Arc<Turn<Option<Fleet>>>;

/// A cluster's gateways, as of an instant.
#[derive(Clone)]
struct Fleet {
    asked: Instant,
    /// Whether there is such a WsCluster.
    exists: bool,
    /// The revision that new connections go to.
    active: Option<String>,
    gateways: Vec<Gateway>,
    /// Last answers.
    answers: Answers,
}

impl Figures {
    /// Knows nothing yet. `namespace`: the only one that is looked after; `port`: the gateways' admin port.
    pub fn new(client: Client, namespace: Option<String>, port: u16) -> Self {
        Self { client, namespace, http: gateways::client(), port, clusters: Mutex::default() }
    }

    /// Connections of each gateway that a label selector selects, that serves and has a fresh figure.
    pub async fn of_pods(&self, namespace: &str, selector: &str) -> Result<Vec<Figure>, FiguresError> {
        self.covers(namespace)?;
        let all = format!("{}={},{}", labels::COMPONENT, labels::COMPONENT_GATEWAY, labels::CLUSTER);
        let selector = if selector.is_empty() { all } else { format!("{all},{selector}") };
        let selected = self.pods(namespace, &selector).await?;
        self.of_selected(namespace, &selected).await
    }

    /// The same of one gateway.
    pub async fn of_pod(&self, namespace: &str, name: &str) -> Result<Option<Figure>, FiguresError> {
        self.covers(namespace)?;
        let found = Api::<Pod>::namespaced(self.client.clone(), namespace).get_opt(name).await?;
        let selected: Vec<_> = found.into_iter().collect();
        Ok(self.of_selected(namespace, &selected).await?.pop())
    }

    /// Connections of a whole cluster, those of gateways that drain included. An error where one of them is not known.
    pub async fn of_cluster(&self, namespace: &str, name: &str) -> Result<Sum, FiguresError> {
        self.covers(namespace)?;
        let fleet = self.fleet(namespace, name).await?;
        if !fleet.exists {
            return Err(FiguresError::NoCluster(name.to_owned()));
        }
        shares::sum(&fleet.gateways, fleet_time(&fleet))
    }

    async fn of_selected(&self, namespace: &str, selected: &[Pod]) -> Result<Vec<Figure>, FiguresError> {
        let mut figures = BTreeMap::new();
        let mut clusters: Vec<_> = selected.iter().filter_map(|pod| pod.labels().get(labels::CLUSTER)).collect();
        clusters.sort();
        clusters.dedup();
        for cluster in clusters {
            let fleet = self.fleet(namespace, cluster).await?;
            figures.extend(shares::figures(&fleet.gateways, fleet.active.as_deref()));
        }
        Ok(selected.iter().filter_map(|pod| figures.remove(&pod.name_any())).collect())
    }

    /// Who asks while somebody else does waits, and gets the same answer.
    async fn fleet(&self, namespace: &str, cluster: &str) -> Result<Fleet, FiguresError> {
        let place = self.place(namespace, cluster);
        let mut held = place.lock().await;
        match held.as_ref() {
            Some(fleet) if fleet.asked.elapsed() < FRESH => Ok(fleet.clone()),
            before => {
                let fleet = self.ask(namespace, cluster, before.map(|fleet| &fleet.answers)).await?;
                *held = Some(fleet.clone());
                Ok(fleet)
            }
        }
    }

    fn place(&self, namespace: &str, cluster: &str) -> Place {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = |fleet: &Option<Fleet>| fleet.as_ref().is_none_or(|fleet| fleet.asked.elapsed() > FORGET);
        clusters
            .retain(|_, place| Arc::strong_count(place) > 1 || !place.try_lock().is_ok_and(|held| forgotten(&held)));
        clusters.entry((namespace.to_owned(), cluster.to_owned())).or_default().clone()
    }

    async fn ask(&self, namespace: &str, cluster: &str, before: Option<&Answers>) -> Result<Fleet, FiguresError> {
        let asked = Instant::now();
        let found = Api::<WsCluster>::namespaced(self.client.clone(), namespace).get_opt(cluster).await?;
        let exists = found.is_some();
        let active = found.and_then(|found| found.status?.active_revision);
        let pods = self.pods(namespace, &format!("{}={cluster}", labels::CLUSTER)).await?;
        let fresh = self.answers(&pods).await;
        let here = pods.iter().filter_map(ResourceExt::uid).collect();
        let answers = shares::still_told(before, fresh, &here, Timestamp::now());
        let gateways = pods.iter().filter_map(|pod| gateway(pod, &answers)).collect();
        Ok(Fleet { asked, exists, active, gateways, answers })
    }

    /// What the gateways answer, by uid of their pod. One that is late holds up nobody.
    async fn answers(&self, pods: &[Pod]) -> Answers {
        let running: Vec<_> = pods.iter().filter_map(|pod| Some((pod.uid()?, address(pod)?))).collect();
        let asking = running.into_iter().map(|(uid, ip)| {
            let (http, port) = (self.http.clone(), self.port);
            async move { Some((uid, (answer(&http, ip, port).await?, Timestamp::now()))) }
        });
        let mut answers = Answers::new();
        let round = stream::iter(asking).buffer_unordered(AT_ONCE).for_each(|answer| {
            answers.extend(answer);
            std::future::ready(())
        });
        // Late ones are left out; what came before them counts.
        let _ = timeout(ROUND, round).await;
        answers
    }

    /// From the API server's cache, which is what a watch would tell.
    async fn pods(&self, namespace: &str, selector: &str) -> kube::Result<Vec<Pod>> {
        let params = ListParams::default().labels(selector).match_any();
        Ok(Api::<Pod>::namespaced(self.client.clone(), namespace).list(&params).await?.items)
    }

    fn covers(&self, namespace: &str) -> Result<(), FiguresError> {
        match &self.namespace {
            Some(only) if only != namespace => Err(FiguresError::Elsewhere(namespace.to_owned())),
            _ => Ok(()),
        }
    }
}

async fn answer(http: &Http, ip: IpAddr, port: u16) -> Option<i64> {
    match timeout(PATIENCE, gateways::connections(http, ip, port)).await {
        Ok(Ok(connections)) => Some(connections),
        Ok(Err(error)) => {
            tracing::debug!(%ip, %error, "a gateway does not tell its connections");
            None
        }
        Err(_) => None,
    }
}

fn fleet_time(fleet: &Fleet) -> Timestamp {
    fleet.answers.values().map(|(_, at)| *at).min().unwrap_or_else(Timestamp::now)
}

/// Address of a gateway that runs.
fn address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
    status.pod_ip.as_ref()?.parse().ok()
}

/// A gateway that has begun to run, and whose end is not overdue: before and after that it holds no session.
fn gateway(pod: &Pod, answers: &Answers) -> Option<Gateway> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let started = containers.iter().any(|container| container.started == Some(true));
    // On a node that is lost it never ends.
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|end| end.0 < Timestamp::now());
    let answer = answers.get(pod.metadata.uid.as_ref()?);
    if answer.is_none() && (!started || overdue) {
        return None;
    }
    let label = |key| pod.labels().get(key).cloned().unwrap_or_default();
    Some(Gateway {
        name: pod.name_any(),
        revision: label(labels::REVISION),
        serves: label(labels::SERVING) == "true" && pod.metadata.deletion_timestamp.is_none(),
        answer: answer.copied(),
    })
}
