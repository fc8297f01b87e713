//! The probe as a pod that proves affinity: its clients keep their cookies from one measurement to the next.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use kube::Client;
use wscluster_probe::affinity::{Affinity, Status};

use super::probe_pod::{CONTROL_PORT, ProbePod, manifest};
use super::{Deadline, until};

/// What clients there are.
#[derive(Clone, Debug)]
pub struct AffinityPlan {
    /// Image that holds `/usr/bin/wscluster-probe`.
    pub image: String,
    /// Where the clients connect, as `ws://host:port/ws`.
    pub url: String,
    /// Clients that keep cookies.
    pub clients: u32,
    /// How often each of them comes back in a measurement.
    pub reconnects: u32,
    /// Connections per second, over all clients.
    pub connect_rate: u32,
    /// The node that it is to run on, where that matters.
    pub node: Option<String>,
}

/// Clients with cookies, in the cluster.
pub struct AffinityPod(ProbePod);

impl AffinityPod {
    /// Starts the probe and waits until it answers.
    pub async fn start(client: &Client, namespace: &str, name: &str, plan: &AffinityPlan) -> Result<Self> {
        let pod = manifest(name, &plan.image, plan.node.as_deref(), &arguments(plan))?;
        let probe = Self(ProbePod::run(client, namespace, name, &pod, plan.clients).await?);
        until(Deadline::after(Duration::from_mins(1)), "the probe answers", || async {
            let status: Status = serde_json::from_str(&probe.0.call(Method::GET, "status").await?)?;
            Ok(Some(status))
        })
        .await?;
        Ok(probe)
    }

    /// Has all clients connect and come back, and returns where they came.
    pub async fn measure(&self) -> Result<Affinity> {
        let body = self.0.call(Method::POST, "measure").await?;
        serde_json::from_str(&body).with_context(|| format!("the probe answered {body}"))
    }

    /// Removes the pod, and waits until its name is free again.
    pub async fn delete(self, within: Duration) -> Result<()> {
        self.0.delete(within).await
    }
}

fn arguments(plan: &AffinityPlan) -> Vec<String> {
    vec![
        "--affinity".to_owned(),
        format!("--url={}", plan.url),
        format!("--sessions={}", plan.clients),
        format!("--reconnects={}", plan.reconnects),
        format!("--connect-rate={}", plan.connect_rate),
        format!("--control=0.0.0.0:{CONTROL_PORT}"),
    ]
}
