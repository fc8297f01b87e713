//! Looks at a fleet once a second, for a picture of the run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use serde_json::Value;
use tokio::task::AbortHandle;
use wscluster_crds::status::GatewayState;
use wscluster_tests::autoscaling::{Mark, Run, Sample};
use wscluster_tests::fleet::Fleet;

const PERIOD: Duration = Duration::from_secs(1);

/// What is seen of a fleet over time.
pub(super) struct Samples {
    fleet: Fleet,
    began: Instant,
    run: Arc<Mutex<Run>>,
    task: AbortHandle,
}

impl Samples {
    /// Begins to look.
    pub(super) fn take(fleet: &Fleet) -> Self {
        let (began, run, looked_at) = (Instant::now(), Arc::<Mutex<Run>>::default(), fleet.clone());
        let log = run.clone();
        let looking = async move {
            let mut ticks = tokio::time::interval(PERIOD);
            loop {
                ticks.tick().await;
                let Ok(cluster) = looked_at.get().await else { continue };
                let status = cluster.status.unwrap_or_default();
                let there = status.gateways.iter().filter(|gateway| gateway.state != GatewayState::NotReady);
                let gateways = there.map(|gateway| (gateway.name.clone(), gateway.connections)).collect();
                let sample = Sample { seconds: began.elapsed().as_secs_f64(), wanted: cluster.spec.replicas, gateways };
                log.lock().unwrap_or_else(PoisonError::into_inner).samples.push(sample);
            }
        };
        Self { fleet: fleet.clone(), began, run, task: tokio::spawn(looking).abort_handle() }
    }

    /// Notes what happens now, and what `kubectl get hpa` says meanwhile.
    pub(super) async fn mark(&self, what: &str) -> Result<()> {
        let uri = format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers", self.fleet.namespace());
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let request = Request::get(uri).header(header::ACCEPT, table).body(Vec::new())?;
        let table: Value = self.fleet.client().request(request).await?;
        let hpa = table["rows"].as_array().and_then(|rows| rows.first()).context("there is an autoscaler")?;
        let names = table["columnDefinitions"].as_array().context("columns")?;
        let cell = |(column, value): (&Value, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // The wide columns are shown on demand only.
            (column["priority"] == 0 && column["name"] != "Age")
                .then(|| Some((column["name"].as_str()?.to_uppercase(), text)))?
        };
        let cells = names.iter().zip(hpa["cells"].as_array().context("cells")?).filter_map(cell).collect();
        let mark = Mark { seconds: self.began.elapsed().as_secs_f64(), what: what.to_owned(), autoscaler: cells };
        self.run.lock().unwrap_or_else(PoisonError::into_inner).marks.push(mark);
        Ok(())
    }

    /// Notes what the metrics API tells of each gateway, as the autoscaler asks it.
    pub(super) async fn ask(&self) -> Result<()> {
        let cluster = self.fleet.get().await?;
        let selector = cluster.status.and_then(|status| status.selector).context("a selector")?;
        let namespace = self.fleet.namespace();
        let uri = format!(
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/pods/*/ws_active_connections?labelSelector={}",
            selector.replace('=', "%3D").replace(',', "%2C").replace('/', "%2F")
        );
        let told: Value = self.fleet.client().request(Request::get(uri).body(Vec::new())?).await?;
        ensure!(told["items"].as_array().is_some_and(|items| !items.is_empty()), "nothing is told: {told}");
        self.run.lock().unwrap_or_else(PoisonError::into_inner).told = Some(told);
        Ok(())
    }

    /// All that was seen.
    pub(super) fn finish(self) -> Run {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.task.abort();
    }
}
