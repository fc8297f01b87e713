//! The API server under test: installs the CustomResourceDefinition, and applies what a case says, as
//! `kubectl apply --server-side` would. Everything is a dry run but the "before" of a change.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::Status;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wscluster_crds::WsCluster;

use crate::cases::{Answer, Case, Verdict, filled_in};
use crate::shared::TestCluster;

const MANAGER: &str = "api-test";
const CRD: &str = "wsclusters.wscluster.dev";

/// A connection to the API server, and the namespace that the tests have to themselves.
pub(crate) struct Server {
    /// Where it is a testbed of our own it ends with us.
    _cluster: TestCluster,
    runtime: Runtime,
    /// The client, for tests that ask for more than a case does.
    pub(crate) client: Client,
    namespace: String,
    names: AtomicUsize,
}

impl Server {
    /// Connects, installs the CRD, and makes a namespace.
    pub(crate) fn prepare() -> Result<Self> {
        let cluster = TestCluster::find("api-test")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(cluster.client())?;
        let namespace = runtime.block_on(async {
            install_crd(&client).await?;
            make_namespace(&client).await
        })?;
        Ok(Self { _cluster: cluster, runtime, client, namespace, names: AtomicUsize::new(0) })
    }

    /// Deletes the namespace, and everything in it with it.
    pub(crate) fn leave(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let deleted =
            self.block_on(async { Ok(namespaces.delete(&self.namespace, &DeleteParams::background()).await?) });
        if let Err(error) = deleted {
            eprintln!("namespace {} is left behind: {error:#}", self.namespace);
        }
    }

    /// Runs a test's own questions.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    /// WsClusters of the tests' namespace, as plain data.
    pub(crate) fn clusters(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<WsCluster>(&()))
    }

    /// A name that no other test uses.
    pub(crate) fn fresh_name(&self) -> String {
        format!("case-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// The one check of the table: what the server answers is what the case expects.
    pub(crate) fn check(&self, case: &Case) -> Result<()> {
        let answer = self.answer(case)?;
        ensure!(
            answer == case.expected,
            "expected {:?}:\n  {}\ngot {:?}:\n  {}",
            case.expected.verdict,
            case.expected.lines.join("\n  "),
            answer.verdict,
            answer.lines.join("\n  ")
        );
        Ok(())
    }

    /// What the server makes of a case.
    pub(crate) fn answer(&self, case: &Case) -> Result<Answer> {
        let objects = case.objects(&self.fresh_name())?;
        self.block_on(async {
            match objects.as_slice() {
                [object] => self.ask(object, case).await,
                [before, after] => self.ask_for_change(before, after, case).await,
                _ => bail!("a case has one manifest, or two"),
            }
        })
    }

    async fn ask_for_change(&self, before: &Value, after: &Value, case: &Case) -> Result<Answer> {
        let stored = self.apply(before, false).await.context("the manifest before the change was refused")?;
        let answer = self.ask(after, case).await;
        self.clusters().delete(&stored.name_any(), &DeleteParams::background()).await?;
        answer
    }

    async fn ask(&self, object: &Value, case: &Case) -> Result<Answer> {
        match self.apply(object, true).await {
            Ok(filled) => {
                let whole = case.expected.verdict == Verdict::AcceptedWhole;
                let verdict = if whole { Verdict::AcceptedWhole } else { Verdict::Accepted };
                Ok(Answer { verdict, lines: filled_in(&object["spec"], &filled.data["spec"], whole) })
            }
            Err(kube::Error::Api(status)) if is_refusal(&status) => {
                Ok(Answer { verdict: Verdict::Refused, lines: reasons(&status) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Server-side apply, with unknown fields refused.
    pub(crate) async fn apply(&self, object: &Value, dry_run: bool) -> kube::Result<DynamicObject> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.clusters().patch(name, &apply_params(MANAGER, dry_run), &Patch::Apply(object)).await
    }

    /// Applies any object, whatever its kind, as a dry run in the tests' namespace.
    pub(crate) async fn dry_run(&self, object: &Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let types = object.types.clone().context("an object has a kind")?;
        let kind = kube::core::GroupVersionKind::try_from(&types)?;
        let (resource, _) = kube::discovery::pinned_kind(&self.client, &kind).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        api.patch(&object.name_any(), &apply_params(MANAGER, true), &Patch::Apply(&object)).await?;
        Ok(())
    }
}

/// Parameters of a strict server-side apply by the named manager.
pub(crate) fn apply_params(manager: &str, dry_run: bool) -> PatchParams {
    PatchParams {
        dry_run,
        force: true,
        field_manager: Some(manager.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    }
}

/// Whether the server blames the manifest. It answers 500 where server-side apply meets a field that no schema has.
fn is_refusal(status: &Status) -> bool {
    (400..500).contains(&status.code) || status.message.starts_with("failed to create typed patch object")
}

/// The reasons of a refusal, a line each, in a stable order.
fn reasons(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    // Beside a wrong type the server says, of no field, that it has not come to the rules.
    let causes = causes.filter(|cause| cause.field != "<nil>");
    let mut lines: Vec<String> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    if lines.is_empty() {
        // A wrong type or a bad name comes as one message of no field, that begins with the object's name.
        let mut parts =
            ["): ", " is invalid: <nil>: "].into_iter().filter_map(|start| status.message.split_once(start));
        let message = parts.next().map_or(status.message.as_str(), |(_, reason)| reason);
        lines = message.lines().map(str::to_owned).collect();
    }
    lines.sort();
    lines.dedup();
    lines
}

async fn install_crd(client: &Client) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/wsclusters.yaml"))?;
    let mut crd: CustomResourceDefinition = serde_yaml::from_str(&text)?;
    crd.meta_mut().managed_fields = None;
    crds.patch(CRD, &apply_params(MANAGER, false), &Patch::Apply(&crd)).await.context("the CRD was refused")?;
    let established = await_condition(crds, CRD, conditions::is_crd_established());
    tokio::time::timeout(std::time::Duration::from_secs(30), established).await.context("the CRD is not served")??;
    Ok(())
}

async fn make_namespace(client: &Client) -> Result<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"generateName": "api-test-"}}))?;
    Ok(namespaces.create(&PostParams::default(), &namespace).await?.name_any())
}
