//! `drain`: evicts a gateway, and follows its sessions until it is gone.

use std::pin::pin;

use anyhow::{Result, bail};
use futures::stream::select;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{EvictParams, ListParams};
use kube::core::Status;
use wscluster_crds::status::GatewayStatus;
use wscluster_crds::{WsCluster, labels};

use crate::Outcome;
use crate::access::Access;
use crate::fault::Fault;
use crate::ui::Ui;

pub(super) async fn run(name: &str, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let pod = gateway(name, access).await?;
    let Some(cluster) = pod.labels().get(labels::CLUSTER) else { bail!("pod {name} belongs to no WsCluster") };
    match access.all::<Pod>().evict(name, &EvictParams::default()).await {
        Ok(_) => ui.line(format!("{name} is evicted; its sessions move, and its Deployment makes another gateway"))?,
        Err(kube::Error::Api(status)) if status.code == 429 => {
            ui.line(refusal(name, cluster, &status))?;
            return Ok(Outcome::Failed);
        }
        Err(error) => return Err(Fault::of(error, access.wanted("create", "pods/eviction")).into()),
    }
    follow(&pod, cluster, access, ui).await
}

/// The pod, if it is a gateway.
async fn gateway(name: &str, access: &Access) -> Result<Pod> {
    let found = access.all::<Pod>().get_opt(name).await;
    let pod = found.map_err(|error| Fault::of(error, access.wanted("get", "pods")))?;
    if let Some(pod) =
        pod.filter(|pod| pod.labels().get(labels::COMPONENT).is_some_and(|part| part == labels::COMPONENT_GATEWAY))
    {
        return Ok(pod);
    }
    let selector = format!("{},{}={}", labels::CLUSTER, labels::COMPONENT, labels::COMPONENT_GATEWAY);
    let listed = access.all::<Pod>().list(&ListParams::default().labels(&selector)).await;
    let there = listed.map_err(|error| Fault::of(error, access.wanted("list", "pods")))?.items;
    let names: Vec<_> = there.iter().map(ResourceExt::name_any).collect();
    let there = if names.is_empty() { "there is none; look in another with -n".to_owned() } else { names.join(", ") };
    bail!("{name:?} is no gateway of namespace {:?}; gateways: {there}", access.namespace)
}

fn refusal(name: &str, cluster: &str, status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes).map(|cause| cause.message.as_str());
    let why = causes.chain([status.message.as_str()]).find(|text| !text.is_empty()).unwrap_or("it does not say why");
    format!(
        "{name} stays: the PodDisruptionBudget lets no gateway of {cluster} go now ({why}). Try again when all are ready (kubectl wscluster status {cluster}), or raise spec.disruption.maxUnavailable"
    )
}

/// Until the pod is gone: its sessions, as the operator counts them.
async fn follow(pod: &Pod, cluster: &str, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let name = pod.name_any();
    let clusters = access.watch(cluster).map_ok(|cluster| News::Cluster(cluster.map(Box::new)));
    let pods = access.watch_pod(&name).map_ok(|pod| News::Pod(pod.map(Box::new)));
    let mut news = pin!(select(clusters.boxed(), pods.boxed()));
    let (mut last, mut forced) = (String::new(), 0);
    while let Some(news) = news.try_next().await? {
        match news {
            News::Pod(now) if now.as_ref().is_none_or(|now| now.metadata.uid != pod.metadata.uid) => {
                ui.line(match forced {
                    0 => format!("{name} is gone"),
                    cut => format!("{name} is gone; {cut} connections were cut off at the drain deadline"),
                })?;
                return Ok(Outcome::Done);
            }
            News::Cluster(Some(cluster)) => {
                let Some(gateway) = entry(&cluster, &name) else { continue };
                forced = gateway.counts.forced;
                let line = format!("{name}: {:?}, {} connections left", gateway.state, gateway.connections);
                if line != last {
                    ui.line(&line)?;
                    last = line;
                }
            }
            News::Cluster(None) | News::Pod(_) => {}
        }
    }
    Ok(Outcome::Failed)
}

enum News {
    Cluster(Option<Box<WsCluster>>),
    Pod(Option<Box<Pod>>),
}

fn entry<'a>(cluster: &'a WsCluster, name: &str) -> Option<&'a GatewayStatus> {
    cluster.status.as_ref()?.gateways.iter().find(|gateway| gateway.name == name)
}
