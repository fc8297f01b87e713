//! What the pods and the Deployments say about a fleet, boiled down to facts. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;
use wscluster_crds::labels;
use wscluster_crds::status::{RevisionState, RevisionStatus};

use crate::desired::pod::CONTAINER;
use crate::rollout::{self, Hold, Phase};

/// A fleet as it is.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Gateways wanted.
    pub wanted: i32,
    /// Hash of the revision that is wanted.
    pub revision: String,
    /// Hash of the revision that new connections go to.
    pub active: String,
    /// The pods of all revisions.
    pub pods: Vec<Gateway>,
    /// What the fleet is doing.
    pub phase: Phase,
    /// Why nothing is moved for now.
    pub hold: Option<Hold>,
    /// Sessions per second that the fleet moves now.
    pub connections_per_second: u32,
    /// Gateways that should drain and do not answer.
    pub silent: Vec<String>,
    /// Whether all gateways are of the wanted revision, as many as wanted, and available.
    pub rolled_out: bool,
    /// Whether the wanted revision did not come up in time.
    pub deadline_exceeded: bool,
    /// Why no pod can be made, in the API server's words (a quota, an admission).
    pub creation_failure: Option<String>,
}

/// One gateway pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Name of the pod.
    pub name: String,
    /// Its revision.
    pub revision: String,
    /// The image that it was made with.
    pub image: String,
    /// The node that it runs on.
    pub node: Option<String>,
    /// Whether it takes connections.
    pub ready: bool,
    /// Since when it does not, as the kubelet (or, for a node that is lost, the control plane) noted.
    pub unready_since: Option<Timestamp>,
    /// Whether its container runs.
    pub running: bool,
    /// Whether it was told to end.
    pub terminating: bool,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
}

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The image cannot be pulled; the kubelet's reason and message.
    Image(String),
    /// Something that it mounts or takes from the environment is missing.
    Configuration(String),
    /// The container ends again and again.
    Crashing(String),
    /// No node takes it.
    Unschedulable(String),
}

impl Fleet {
    /// Facts of a fleet. `deployment` is the wanted revision's; `pending`: a Deployment is about to be written, so what it
    /// says of itself is out of date.
    pub fn of(
        wanted: i32,
        revision: &str,
        pods: Vec<Gateway>,
        surge: &rollout::Plan,
        deployment: Option<&Deployment>,
        pending: bool,
    ) -> Self {
        let up = deployment.is_some_and(|deployment| available(deployment) >= wanted);
        Self {
            wanted,
            revision: revision.to_owned(),
            active: surge.active.clone(),
            phase: surge.phase,
            hold: surge.hold,
            connections_per_second: surge.connections_per_second,
            silent: surge.silent.clone(),
            rolled_out: !pending && up && surge.phase == Phase::Idle && surge.active == revision,
            deadline_exceeded: !pending && !up && deployment.is_some_and(deadline_exceeded),
            creation_failure: deployment.and_then(creation_failure),
            pods,
        }
    }

    /// Why the rollout goes no further, in words.
    pub fn stopped(&self) -> Option<String> {
        match (self.phase, self.hold) {
            (_, Some(Hold::Paused)) => Some("spec.paused is set: nothing is changed until it is not".to_owned()),
            (_, Some(Hold::LossBudget)) => Some(
                "It has lost more sessions than spec.rollout.sessionLossBudget allows and stopped; both revisions go on. Go on with `kubectl wscluster resume`, or go back with `kubectl wscluster undo`".to_owned(),
            ),
            (_, Some(Hold::NobodyToTakeOver)) => Some(format!(
                "No gateway of revision {} is ready to take sessions over; nothing is moved until one is",
                self.active
            )),
            (Phase::Failed, None) => Some(format!(
                "Revision {} did not come up within spec.rollout.progressDeadlineSeconds; revision {} serves on",
                self.revision, self.active
            )),
            _ => None,
        }
    }

    /// Pods that stay.
    pub fn staying(&self) -> impl Iterator<Item = &Gateway> {
        self.pods.iter().filter(|pod| !pod.terminating)
    }

    /// Number of pods that are ready and stay, of all revisions.
    pub fn ready(&self) -> i32 {
        count(self.staying().filter(|pod| pod.ready))
    }

    /// Number of pods that new connections go to.
    pub fn serving(&self) -> i32 {
        count(self.staying().filter(|pod| pod.ready && pod.revision == self.active))
    }

    /// Number of ready pods of the wanted revision.
    pub fn updated(&self) -> i32 {
        count(self.staying().filter(|pod| pod.ready && pod.revision == self.revision))
    }

    /// The revisions that have pods, the active one first.
    pub fn revisions(&self, connections: &BTreeMap<String, i64>) -> Vec<RevisionStatus> {
        let mut by_hash: BTreeMap<(bool, &str), RevisionStatus> = BTreeMap::new();
        for pod in &self.pods {
            let entry = by_hash.entry((pod.revision != self.active, &pod.revision)).or_default();
            entry.hash.clone_from(&pod.revision);
            entry.image.clone_from(&pod.image);
            entry.replicas += 1;
            entry.ready += i32::from(pod.ready && !pod.terminating);
            entry.connections += connections.get(&pod.name).copied().unwrap_or_default();
        }
        by_hash.into_values().map(|revision| RevisionStatus { state: self.state(&revision), ..revision }).collect()
    }

    fn state(&self, revision: &RevisionStatus) -> RevisionState {
        let (wanted, active) = (revision.hash == self.revision, revision.hash == self.active);
        match () {
            () if wanted && self.deadline_exceeded => RevisionState::Failed,
            () if active && (revision.ready > 0 || !wanted) => RevisionState::Active,
            () if wanted => RevisionState::Surging,
            () => RevisionState::Draining,
        }
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a Gateway>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}

/// The gateways that run or are to run, by name.
pub fn gateways(pods: &[Arc<Pod>]) -> Vec<Gateway> {
    let mut gateways: Vec<_> = pods.iter().filter_map(|pod| gateway(pod)).collect();
    gateways.sort_by(|a, b| a.name.cmp(&b.name));
    gateways
}

/// What is to be known of a pod; `None` of one that has ended.
pub fn gateway(pod: &Pod) -> Option<Gateway> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let container = spec.containers.iter().find(|container| container.name == CONTAINER)?;
    let state = container_status(pod);
    let readiness = condition(pod, "Ready");
    let ready = readiness.is_some_and(|condition| condition.status == "True");
    Some(Gateway {
        name: pod.name_any(),
        revision: pod.labels().get(labels::REVISION).cloned().unwrap_or_default(),
        image: container.image.clone().unwrap_or_default(),
        node: spec.node_name.clone(),
        ready,
        unready_since: readiness
            .filter(|_| !ready)
            .and_then(|condition| Some(condition.last_transition_time.as_ref()?.0)),
        running: state.and_then(|state| state.state.as_ref()).is_some_and(|state| state.running.is_some()),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        trouble: state.and_then(container_trouble).or_else(|| unschedulable(pod)),
    })
}

fn container_status(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|status| status.name == CONTAINER)
}

fn container_trouble(status: &ContainerStatus) -> Option<Trouble> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or_default();
    let words = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            Some(Trouble::Image(words))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(Trouble::Configuration(words))
        }
        "CrashLoopBackOff" => Some(Trouble::Crashing(last_end(status).unwrap_or(words))),
        _ => None,
    }
}

/// How the container ended last: more telling than "back-off restarting".
fn last_end(status: &ContainerStatus) -> Option<String> {
    let ended = status.last_state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("ended");
    let note = ended.message.as_deref().map(str::trim).filter(|note| !note.is_empty());
    let note = note.map(|note| format!(": {note}")).unwrap_or_default();
    Some(format!("{reason} with exit code {} after {} restarts{note}", ended.exit_code, status.restart_count))
}

fn unschedulable(pod: &Pod) -> Option<Trouble> {
    let scheduled = condition(pod, "PodScheduled")?;
    let message = || scheduled.message.clone().unwrap_or_default();
    (scheduled.status == "False").then(|| Trouble::Unschedulable(message()))
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// Gateways that have been ready for long enough; 0 while the status is older than the spec, or while a template is put back.
pub fn available(deployment: &Deployment) -> i32 {
    let Some(status) = &deployment.status else { return 0 };
    let count = |number: Option<i32>| number.unwrap_or_default();
    let observed = status.observed_generation == deployment.metadata.generation;
    let whole = count(status.replicas) == count(status.updated_replicas);
    if observed && whole { count(status.available_replicas) } else { 0 }
}

/// Whether its gateways did not come up within its deadline.
pub fn deadline_exceeded(deployment: &Deployment) -> bool {
    deployment_condition(deployment, "Progressing").is_some_and(|(reason, _)| reason == "ProgressDeadlineExceeded")
}

fn creation_failure(deployment: &Deployment) -> Option<String> {
    deployment_condition(deployment, "ReplicaFailure").map(|(_, message)| message.to_owned())
}

fn deployment_condition<'a>(deployment: &'a Deployment, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((found.reason.as_deref().unwrap_or_default(), found.message.as_deref().unwrap_or_default()))
}
