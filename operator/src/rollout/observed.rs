//! What the state machine looks at. Plain facts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the user wants of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Hash of the revision that the spec asks for.
    pub revision: String,
    /// Gateways that the spec (or an autoscaler, by the `scale` subresource) asks for.
    pub replicas: i32,
    /// Gateways that may exist beyond `replicas` while a revision comes up; at least 1.
    pub max_surge: i32,
    /// `spec.paused`: nothing is created, moved or removed.
    pub paused: bool,
    /// Sessions that a rollout may lose before it stops by itself; `None`: it never does (`autoPause` is off).
    pub loss_budget: Option<i64>,
    /// Seconds that a draining gateway goes on accepting before it tells anybody to move.
    pub min_seconds: i64,
    /// Seconds within which a gateway moves its sessions after that.
    pub timeout_seconds: i64,
    /// Sessions per second that the whole fleet moves; `None`: as its headroom allows.
    pub connections_per_second: Option<u32>,
    /// Handshakes per second that one gateway accepts.
    pub handshakes_per_second: u32,
    /// Connections that one gateway accepts.
    pub max_connections: i64,
}

/// What is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The time.
    pub now: Timestamp,
    /// The revision that the Service's selector names; `None` where there is no Service yet, or it names none.
    pub active: Option<String>,
    /// The revisions that have a Deployment or a pod, in any order.
    pub revisions: Vec<Revision>,
    /// Sessions that the rollout under way has lost so far.
    pub dropped: i64,
}

/// A revision's Deployment and pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its hash.
    pub hash: String,
    /// Whether its Deployment exists and is not being deleted. Without one there is nothing to scale or delete.
    pub deployed: bool,
    /// `spec.replicas` of its Deployment.
    pub replicas: i32,
    /// Gateways that have been ready for long enough; 0 while the Deployment's status is older than its spec.
    pub available: i32,
    /// When its Deployment was made.
    pub created_at: Timestamp,
    /// When it was first about to become active. `None`: the Service never selected it, so nobody is connected to it.
    pub activated_at: Option<Timestamp>,
    /// Its gateways did not come up within `progressDeadlineSeconds`.
    pub deadline_exceeded: bool,
    /// Its pods, those that are ending included.
    pub pods: Vec<Pod>,
}

/// A gateway pod.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Whether it takes connections (readiness gates included).
    pub ready: bool,
    /// Since when it does not; `None`: it does, or nobody noted when it stopped.
    pub unready_since: Option<Timestamp>,
    /// Whether its container runs.
    pub running: bool,
    /// Whether it was told to end. It drains by itself then, and cannot be told otherwise.
    pub terminating: bool,
    /// Connections that it holds; `None`: it did not answer in the last round.
    pub connections: Option<i64>,
    /// What it says of its drain.
    pub drain: DrainState,
    /// The operator's mark: it is to drain.
    pub mark: Option<Mark>,
    /// Whether it carries the deletion cost that makes its Deployment remove it before others.
    pub cheap: bool,
    /// Whether its node is being emptied: it is cordoned, and a gateway on it was told to end.
    pub leaving_node: bool,
}

/// What a gateway says of its drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainState {
    /// It did not answer in the last round.
    #[default]
    Silent,
    /// It does not drain.
    Serving,
    /// It drains.
    Draining,
    /// It has drained: no connection is left, and load balancers have had their time.
    Drained,
}

/// The operator's mark on a pod that is to drain (annotation `wscluster.dev/drain`), so that a successor goes on with the
/// same pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
}

/// Why a gateway is to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Its revision is no longer wanted.
    Rollout,
    /// Fewer gateways are wanted.
    ScaleIn,
    /// Its node is being emptied.
    NodeDrain,
}
