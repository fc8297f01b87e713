//! The chart's life on a cluster: installed, upgraded, uninstalled and installed again, in a namespace of its own and for
//! that namespace only, so that another operator may run beside it. What must stay stays: the CustomResourceDefinition, the
//! WsClusters, and their gateways.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, LogParams, ObjectList, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use wscluster_crds::WsCluster;
use wscluster_tests::fleet::{Deadline, until, wait_for};
use wscluster_tests::image;

use crate::helm::{CHART, helm};
use crate::rendering::Test;
use crate::shared::TestCluster;

/// The tests of this file.
pub(crate) const TESTS: &[Test] =
    &[("life::installed_upgraded_uninstalled_and_installed_again_over_what_stayed", whole_life)];

const PATIENCE: Duration = Duration::from_mins(2);
const RELEASE: &str = "chart-test";
const OPERATOR: &str = "chart-test-wscluster-operator";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CRD: &str = "wsclusters.wscluster.dev";

fn whole_life() -> Result<()> {
    let cluster = TestCluster::find("chart-test")?;
    if let Some(testbed) = cluster.own() {
        let folder = tempfile::tempdir()?;
        testbed.import_image(&image::product()?.write(folder.path(), VERSION, VERSION)?)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let life = Life::begin(&cluster).await?;
        let outcome = life.run().await;
        if outcome.is_err() {
            life.tell().await;
        }
        outcome.and(life.end().await)
    })
}

/// One release in a namespace of its own.
struct Life<'a> {
    cluster: &'a TestCluster,
    client: Client,
    namespace: String,
    /// The CRD as another installation left it, and is to find it again.
    crd_before: Option<CustomResourceDefinition>,
}

impl<'a> Life<'a> {
    async fn begin(cluster: &'a TestCluster) -> Result<Self> {
        let client = cluster.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"generateName": "chart-test-"}}))?;
        let namespace = namespaces.create(&PostParams::default(), &namespace).await?.name_any();
        let crd_before = Api::<CustomResourceDefinition>::all(client.clone()).get_opt(CRD).await?;
        Ok(Self { cluster, client, namespace, crd_before })
    }

    async fn run(&self) -> Result<()> {
        self.installs().await.context("install")?;
        let gateways = self.manages_a_cluster().await.context("a WsCluster after the install")?;
        self.upgrades(&gateways).await.context("upgrade")?;
        self.uninstalls(&gateways).await.context("uninstall")?;
        self.adopts(&gateways).await.context("install over what stayed")?;
        self.leaves_nothing().await.context("delete the WsCluster and uninstall")
    }

    async fn installs(&self) -> Result<()> {
        self.helm(&["install", "--wait"], "replicas: 1")?;
        ensure!(self.operator().await?.status.and_then(|status| status.available_replicas) == Some(1));
        until(Deadline::after(PATIENCE), "the operator holds its Lease", || async {
            let lease = self.api::<Lease>().get_opt(OPERATOR).await?;
            Ok(lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()))
        })
        .await?;
        Ok(())
    }

    /// Redis need not be there: gateways come up without.
    async fn manages_a_cluster(&self) -> Result<Deployment> {
        let spec = json!({"replicas": 1, "redis": {"url": "redis://nowhere:6379"}, "service": {"type": "ClusterIP", "provider": "none"}, "drain": {"minSeconds": 0, "timeoutSeconds": 5}});
        let kept = json!({"apiVersion": "wscluster.dev/v1alpha1", "kind": "WsCluster", "metadata": {"name": "kept"}, "spec": spec});
        self.api::<WsCluster>().create(&PostParams::default(), &serde_json::from_value(kept)?).await?;
        let name = self.gateways().await?;
        wait_for(self.api::<Deployment>(), &name, PATIENCE, "to be available", |deployment| {
            deployment.status.as_ref().and_then(|status| status.available_replicas) == Some(1)
        })
        .await
    }

    /// Name of the Deployment of the revision that the spec asks for.
    async fn gateways(&self) -> Result<String> {
        let spec = self.api::<WsCluster>().get("kept").await?.spec;
        Ok(format!("kept-gateway-{}", wscluster_operator::revision::hash(&spec)))
    }

    /// The operator changes; the gateways do not.
    async fn upgrades(&self, gateways: &Deployment) -> Result<()> {
        self.helm(&["upgrade", "--wait"], "replicas: 2\nlogLevel: debug")?;
        let status = self.operator().await?.status.context("a status")?;
        ensure!(status.available_replicas == Some(2) && status.updated_replicas == Some(2), "{status:?}");
        let pods = self.operator_pods().await?;
        let running = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        for pod in running {
            let text = serde_json::to_string(&pod.spec)?;
            ensure!(text.contains("debug"), "{} has the old settings", pod.name_any());
        }
        self.is_unharmed(gateways).await
    }

    async fn uninstalls(&self, gateways: &Deployment) -> Result<()> {
        self.nothing_was_forbidden().await?;
        self.uninstall()?;
        self.operator_is_gone().await?;
        ensure!(
            Api::<CustomResourceDefinition>::all(self.client.clone()).get_opt(CRD).await?.is_some(),
            "the CRD is gone"
        );
        let kept = self.api::<WsCluster>().get("kept").await?;
        ensure!(kept.metadata.deletion_timestamp.is_none(), "the WsCluster is being deleted");
        self.is_unharmed(gateways).await
    }

    /// A new operator takes over the WsCluster that stayed, and acts on it.
    async fn adopts(&self, gateways: &Deployment) -> Result<()> {
        self.helm(&["install", "--wait"], "replicas: 1")?;
        let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
        self.api::<WsCluster>().patch("kept", &PatchParams::default(), &two).await?;
        let scaled =
            wait_for(self.api::<Deployment>(), &gateways.name_any(), PATIENCE, "to have two replicas", |deployment| {
                deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(2)
            })
            .await?;
        ensure!(scaled.uid() == gateways.uid(), "the gateways were made anew");
        let template = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.template.clone());
        ensure!(template(&scaled) == template(gateways), "the gateways were restarted");
        Ok(())
    }

    async fn leaves_nothing(&self) -> Result<()> {
        self.api::<WsCluster>().delete("kept", &DeleteParams::default()).await?;
        until(Deadline::after(PATIENCE), "the WsCluster is gone", || async {
            Ok(self.api::<WsCluster>().get_opt("kept").await?.is_none().then_some(()))
        })
        .await?;
        self.nothing_was_forbidden().await?;
        self.uninstall()?;
        self.operator_is_gone().await
    }

    async fn end(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let finalizers = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        if self.api::<WsCluster>().get_opt("kept").await?.is_some() {
            self.api::<WsCluster>().patch("kept", &PatchParams::default(), &finalizers).await?;
        }
        namespaces.delete(&self.namespace, &DeleteParams::background()).await?;
        self.restore_crd().await
    }

    /// Labels and annotations say who installed the CRD: the next installation must not meet ours.
    async fn restore_crd(&self) -> Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let (Some(before), Some(now)) = (&self.crd_before, crds.get_opt(CRD).await?) else { return Ok(()) };
        let mut metadata = json!({"labels": before.labels(), "annotations": before.annotations()});
        for (kind, keys) in [("labels", now.labels()), ("annotations", now.annotations())] {
            for key in keys.keys().filter(|key| metadata[kind].get(key.as_str()).is_none()).cloned().collect::<Vec<_>>()
            {
                metadata[kind][key] = serde_json::Value::Null;
            }
        }
        crds.patch(CRD, &PatchParams::default(), &Patch::Merge(json!({"metadata": metadata}))).await?;
        Ok(())
    }

    async fn is_unharmed(&self, gateways: &Deployment) -> Result<()> {
        let now = self.api::<Deployment>().get(&gateways.name_any()).await?;
        ensure!(now.metadata.generation == gateways.metadata.generation, "the gateways were changed");
        ensure!(now.uid() == gateways.uid(), "the gateways were made anew");
        ensure!(now.status.and_then(|status| status.available_replicas) == Some(1), "the gateway is not available");
        Ok(())
    }

    /// The Lease is the operator's own, not the chart's, and stays until the namespace goes.
    async fn operator_is_gone(&self) -> Result<()> {
        until(Deadline::after(PATIENCE), "the operator's pods are gone", || async {
            Ok(self.operator_pods().await?.items.is_empty().then_some(()))
        })
        .await?;
        ensure!(self.api::<Deployment>().get_opt(OPERATOR).await?.is_none(), "the Deployment is left");
        ensure!(self.api::<ServiceAccount>().get_opt(OPERATOR).await?.is_none(), "the ServiceAccount is left");
        ensure!(self.api::<Service>().get_opt(&format!("{OPERATOR}-metrics")).await?.is_none(), "the Service is left");
        let selector = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
        ensure!(self.api::<Role>().list(&selector).await?.items.is_empty(), "a Role is left");
        ensure!(self.api::<RoleBinding>().list(&selector).await?.items.is_empty(), "a RoleBinding is left");
        Ok(())
    }

    /// The roles grant all that the operator asks for.
    async fn nothing_was_forbidden(&self) -> Result<()> {
        for pod in self.operator_pods().await? {
            let log = self.api::<Pod>().logs(&pod.name_any(), &LogParams::default()).await?;
            let refused = log.lines().find(|line| line.to_lowercase().contains("forbidden"));
            ensure!(refused.is_none(), "the operator was refused: {}", refused.unwrap_or_default());
        }
        Ok(())
    }

    fn helm(&self, command: &[&str], values: &str) -> Result<String> {
        let values = format!("watchNamespace: {}\n{values}\n", self.namespace);
        let (verb, flags) = command.split_first().context("a command")?;
        let mut arguments = vec![*verb, RELEASE, CHART, "--namespace", &self.namespace, "--timeout", "120s"];
        arguments.extend(flags);
        if self.crd_before.is_some() {
            // The CRD is somebody else's: taken over for as long as the test runs.
            arguments.extend(["--take-ownership", "--force-conflicts"]);
        }
        helm(&arguments, &values, Some(self.cluster.kubeconfig()))
    }

    fn uninstall(&self) -> Result<()> {
        let arguments = ["uninstall", RELEASE, "--namespace", &self.namespace, "--wait", "--timeout", "120s"];
        crate::helm::plain(&arguments, self.cluster.kubeconfig()).map(drop)
    }

    async fn operator(&self) -> Result<Deployment> {
        Ok(self.api::<Deployment>().get(OPERATOR).await?)
    }

    async fn operator_pods(&self) -> Result<ObjectList<Pod>> {
        let selector = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
        Ok(self.api::<Pod>().list(&selector).await?)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What a person would look at after a failure.
    async fn tell(&self) {
        for pod in self.operator_pods().await.into_iter().flatten() {
            let name = pod.name_any();
            eprintln!("{name}: {}", serde_json::to_string(&pod.status).unwrap_or_default());
            let log = self.api::<Pod>().logs(&name, &LogParams { tail_lines: Some(50), ..LogParams::default() }).await;
            eprintln!("{}", log.unwrap_or_else(|error| error.to_string()));
        }
        let cluster = self.api::<WsCluster>().get_opt("kept").await.ok().flatten();
        eprintln!("kept: {}", serde_json::to_string(&cluster.and_then(|cluster| cluster.status)).unwrap_or_default());
    }
}
