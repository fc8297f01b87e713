//! What many WsClusters cost the operator: its turns, its writes and its memory, while they are made, left alone and changed, and
//! when the operator itself is replaced.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use wscluster_crds::WsCluster;
use wscluster_tests::cluster::Cluster;
use wscluster_tests::fleet::{self, Deadline, until};
use wscluster_tests::progress::{Step, during};

use super::cluster::image;
use super::results::Results;
use super::scenario::Scenario;
use super::stage::Figures;
use super::subject::Subject;
use super::told::{self, SYSTEM, Told};
use crate::site::{Site, on_testbed};
use crate::workspace::root;

const NAMESPACE: &str = "wscluster-bench-many";
/// How long nothing is done to the clusters: two rounds of what the operator looks at by itself.
const QUIET: Duration = Duration::from_mins(1);
const WITHIN: Duration = Duration::from_mins(10);
/// A turn is to take no longer, in milliseconds, but for one in a hundred.
const BUDGET_MS: f64 = 500.0;

/// Measures with so many WsClusters, of which so many have a gateway, and adds what came out.
pub(crate) fn run(clusters: u32, gateways: u32, instance: &str, results: &mut Results) -> Result<()> {
    let name = format!("{clusters} WsClusters, {gateways} gateways");
    eprintln!("  {}: {name}", Scenario::Operator.name());
    let phases = on_testbed(instance, async |site: &Site| {
        let cluster = site.cluster().context("this scenario needs the testbed")?;
        let many = Many { client: site.client().await?, cluster: cluster.clone(), clusters, gateways };
        let outcome = many.measure().await;
        if cluster.was_running() {
            // On a testbed that stays, what was made in it goes.
            during("remove the namespace", fleet::delete_namespace(&many.client, NAMESPACE, WITHIN)).await?;
        }
        outcome
    })?;
    for (phase, figures) in phases {
        for broken in broken(phase, clusters, &figures) {
            results.failed(Subject::Ours, &format!("{}, {name}, {phase}: {broken}", Scenario::Operator.name()));
        }
        results.add_phase(Subject::Ours, Scenario::Operator, &name, phase, figures);
    }
    Ok(())
}

/// What was promised of a phase and not kept, in words.
fn broken(phase: &str, clusters: u32, figures: &Figures) -> Vec<String> {
    let of = |name: &str| figures.get(name).copied().unwrap_or(f64::NAN);
    let slow = of("turnP99Ms") > BUDGET_MS;
    // Making a cluster writes each of its objects once and its status a few times; a change, one object and the status. A
    // successor may have something else to say of it than the operator before.
    let most = match phase {
        MADE => 25.0,
        CHANGED => 4.0,
        REPLACED => 2.0,
        _ => 0.0,
    } * f64::from(clusters);
    let storm = of("writes") > most;
    let claims = [
        slow.then(|| format!("a turn in a hundred takes {:.0} ms or more", of("turnP99Ms"))),
        storm.then(|| format!("{:.0} writes to the API server, where {most} are enough", of("writes"))),
    ];
    claims.into_iter().flatten().collect()
}

const MADE: &str = "made";
const ALONE: &str = "left alone for a minute";
const CHANGED: &str = "each changed once";
const REPLACED: &str = "operator replaced";

struct Many {
    client: Client,
    cluster: Cluster,
    clusters: u32,
    gateways: u32,
}

impl Many {
    async fn measure(&self) -> Result<Vec<(&'static str, Figures)>> {
        let manifest = root().join("charts/install.yaml");
        let install = fleet::install_operator(&self.client, &manifest, Duration::from_mins(1));
        during("install the custom resource and the operator", install).await?;
        fleet::delete_namespace(&self.client, NAMESPACE, WITHIN).await?; // what an interrupted run may have left
        fleet::create_namespace(&self.client, NAMESPACE).await?;
        fleet::apply_file(&self.client, NAMESPACE, &root().join("examples/redis.yaml")).await?;
        let pod = told::leader(&self.client).await?;

        let made = self.phase(MADE, &pod, self.make()).await?;
        let quiet = async {
            tokio::time::sleep(QUIET).await;
            Ok(())
        };
        let alone = self.phase(ALONE, &pod, quiet).await?;
        let changed = self.phase(CHANGED, &pod, self.change()).await?;
        let replaced = self.replace(&pod).await?;
        Ok(vec![(MADE, made), (ALONE, alone), (CHANGED, changed), (REPLACED, replaced)])
    }

    /// Does the work, and says what the operator did meanwhile.
    async fn phase(&self, name: &str, pod: &str, work: impl Future<Output = Result<()>>) -> Result<Figures> {
        let (before, began) = (told::ask(&self.client, pod).await?, Instant::now());
        during(name, work).await?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(self.figures(&(told::ask(&self.client, pod).await? - &before), seconds))
    }

    fn figures(&self, told: &Told, seconds: f64) -> Figures {
        let operators = self.cluster.programs().into_iter().filter(|program| program.name == "wscluster-operator");
        let figures = [
            ("turns", told.turns()),
            ("turnP50Ms", told.turn(0.5) * 1000.0),
            ("turnP99Ms", told.turn(0.99) * 1000.0),
            ("writes", told.writes),
            ("writesPerCluster", told.writes / f64::from(self.clusters)),
            ("seconds", seconds),
            ("operatorMegabytes", operators.map(|program| program.bytes).max().unwrap_or(0) as f64 / 1e6),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    async fn make(&self) -> Result<()> {
        for number in 0..self.clusters {
            let manifest = json!({
                "apiVersion": "wscluster.dev/v1alpha1",
                "kind": "WsCluster",
                "metadata": {"name": name(number)},
                "spec": {
                    "replicas": u32::from(number < self.gateways),
                    "gateway": {
                        "image": image(""),
                        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}},
                    },
                    "redis": {"url": "redis://redis:6379"},
                    "service": {"type": "ClusterIP"},
                },
            });
            fleet::apply(&self.client, NAMESPACE, &[serde_json::from_value(manifest)?]).await?;
        }
        self.until_settled().await
    }

    /// A change that the gateways take without a new revision.
    async fn change(&self) -> Result<()> {
        let patch = json!({"spec": {"redis": {"streams": {"trim": {"strategy": "MaxLen", "maxLen": 777}}}}});
        for number in 0..self.clusters {
            self.api().patch(&name(number), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        self.until_settled().await
    }

    /// Another operator takes over, and reads everything anew.
    async fn replace(&self, pod: &str) -> Result<Figures> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        let began = Instant::now();
        let step = Step::start(REPLACED, None);
        pods.delete(pod, &DeleteParams::default()).await?;
        let successor = until(Deadline::after(WITHIN), "another operator leads", || async {
            Ok(told::leader(&self.client).await.ok().filter(|name| name != pod))
        })
        .await?;
        let told = until(Deadline::after(WITHIN), "it has looked at every WsCluster", || async {
            let told = told::ask(&self.client, &successor).await?;
            Ok((told.turns() >= f64::from(self.clusters)).then_some(told))
        })
        .await?;
        step.done();
        Ok(self.figures(&told, began.elapsed().as_secs_f64()))
    }

    fn api(&self) -> Api<WsCluster> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Waits until every WsCluster's status is about its newest spec and nothing is being rolled out.
    async fn until_settled(&self) -> Result<()> {
        until(Deadline::after(WITHIN), "every WsCluster is settled", || async {
            let all = self.api().list(&ListParams::default()).await?.items;
            let settled = all.iter().filter(|cluster| is_settled(cluster)).count();
            Ok((settled == self.clusters as usize).then_some(()))
        })
        .await
    }
}

fn name(number: u32) -> String {
    format!("many-{number:04}")
}

/// Without gateways a WsCluster is not ready, and yet all that is to be done is done.
fn is_settled(cluster: &WsCluster) -> bool {
    cluster.status.as_ref().is_some_and(|status| {
        status.observed_generation == cluster.metadata.generation
            && status.rollout.as_ref().is_some_and(|rollout| rollout.phase == "Complete")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_turns_and_needless_writes_break_the_promise() {
        let figures =
            |p99: f64, writes: f64| Figures::from([("turnP99Ms".to_owned(), p99), ("writes".to_owned(), writes)]);
        assert_eq!(broken(MADE, 10, &figures(500.0, 250.0)), [] as [String; 0]);
        assert_eq!(broken(MADE, 10, &figures(501.0, 251.0)).len(), 2);
        assert_eq!(broken(ALONE, 10, &figures(1.0, 0.0)), [] as [String; 0]);
        assert_eq!(broken(ALONE, 10, &figures(1.0, 1.0)), ["1 writes to the API server, where 0 are enough"]);
        assert_eq!(broken(CHANGED, 10, &figures(1.0, 41.0)).len(), 1);
    }
}
