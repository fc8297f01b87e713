//! Which pods are to leave, and why: those of old revisions, surplus ones, and those on nodes that are being emptied.
//! Knows nothing of how fast.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::holds;
use super::view::{Part, Side, View, count, under_way};
use super::{DrainState, Hold, Pod, Reason, Wish};

/// Time beyond the drain's own after which a gateway is given up that should have drained.
const PATIENCE_SECONDS: i64 = 30;
/// Time after which a gateway that was to drain should have answered.
const ANSWER_SECONDS: i64 = 15;
/// Time for which a gateway that takes no connections any more still counts for drains that have begun. On a node that is
/// full probes fail now and then, and each drain that is called back begins anew: its clients would be told in vain, and the
/// rollout might never end.
const FALTER_SECONDS: i64 = 30;
/// Revisions whose sessions may be under way at once.
pub(super) const REVISIONS_AT_ONCE: usize = 2;

/// The pods that are to leave.
pub(super) struct Leaving<'a> {
    /// By name.
    pub(super) pods: BTreeMap<&'a str, Leaver<'a>>,
    /// Gateways of the active revision that are ready and stay.
    pub(super) takers: Vec<&'a Pod>,
    /// Why others stay that should leave.
    pub(super) hold: Option<Hold>,
    /// Old gateways hold sessions, but the active revision cannot take any.
    pub(super) stuck: bool,
}

/// A pod that is to leave.
pub(super) struct Leaver<'a> {
    pub(super) pod: &'a Pod,
    pub(super) reason: Reason,
    /// Nothing is left to wait for.
    pub(super) finished: bool,
}

impl<'a> Leaving<'a> {
    pub(super) fn of(view: &View<'a>, dropped: i64) -> Leaving<'a> {
        let mut active = surplus(view).into_iter().map(|pod| (pod, Reason::ScaleIn)).collect();
        let takers = off_nodes(view, &mut active);
        let old = retiring(view, takers.len(), faltering(view, &active));
        let stuck = old.waiting > 0 && old.moving.is_empty();
        let mut leaving = Leaving { pods: BTreeMap::new(), takers, hold: None, stuck };
        let retired = old.moving.into_iter().chain(old.finished).map(|pod| (pod, Reason::Rollout));
        for (pod, reason) in active.into_iter().chain(retired) {
            let finished = finished(pod, view);
            leaving.pods.insert(&pod.name, Leaver { pod, reason, finished });
        }
        holds::apply(view, dropped, &mut leaving);
        leaving
    }

    /// Pods that their Deployment may remove: they go, have finished, and it was seen that they cost the least.
    pub(super) fn removable(&self, side: &Side<'a>) -> i32 {
        let goes = |pod: &&Pod| pod.cheap && self.pods.get(pod.name.as_str()).is_some_and(Leaver::removed);
        let (going, staying): (Vec<&Pod>, Vec<&Pod>) = side.live.iter().copied().partition(goes);
        // A ReplicaSet removes one that is not ready before one that is, whatever they cost.
        let in_front = staying.iter().any(|pod| pod.running && !pod.ready);
        count(going.iter().filter(|pod| !pod.ready || !in_front))
    }
}

impl Leaver<'_> {
    /// Whether it is for us to remove it. One on a node that is being emptied is evicted, and replaced elsewhere.
    pub(super) fn removed(&self) -> bool {
        self.finished && self.reason != Reason::NodeDrain
    }

    /// Whether it is to be told: one that does not run has nobody to move.
    pub(super) fn told(&self) -> bool {
        self.pod.running || self.pod.mark.is_some()
    }
}

/// Whether a pod that is to drain does not answer.
pub(super) fn silent(pod: &Pod, view: &View<'_>) -> bool {
    pod.drain == DrainState::Silent && pod.running && marked_for(pod, view).is_some_and(|age| age > ANSWER_SECONDS)
}

/// Whether a pod that is to leave need not be waited for any longer.
fn finished(pod: &Pod, view: &View<'_>) -> bool {
    let Wish { min_seconds, timeout_seconds, .. } = *view.wish;
    let age = marked_for(pod, view);
    let drained = pod.drain == DrainState::Drained && age.is_some() && pod.connections.unwrap_or(0) == 0;
    let overdue = age.is_some_and(|age| age > min_seconds + timeout_seconds + PATIENCE_SECONDS);
    !pod.running || drained || overdue
}

fn marked_for(pod: &Pod, view: &View<'_>) -> Option<i64> {
    pod.mark.map(|mark| view.now.as_second() - mark.since.as_second())
}

/// Gateways of the active revision beyond those that are wanted. While another revision comes up only those leave that
/// have begun to: the others' sessions will move then anyhow, and would move twice.
fn surplus<'a>(view: &View<'a>) -> Vec<&'a Pod> {
    let mut pods = view.active_pods().to_vec();
    let surplus = pods.len().saturating_sub(view.replicas() as usize);
    let begun = |pod: &Pod| pod.mark.is_some_and(|mark| mark.reason == Reason::ScaleIn);
    pods.sort_by_key(|pod| (!begun(pod), pod.ready, !pod.leaving_node, few(pod), pod.name.as_str()));
    pods.truncate(surplus);
    if view.turning() && !view.failed() {
        pods.retain(|pod| begun(pod));
    }
    pods
}

/// Adds those whose node is being emptied, if others can take over; returns those that are ready and stay.
fn off_nodes<'a>(view: &View<'a>, leavers: &mut Vec<(&'a Pod, Reason)>) -> Vec<&'a Pod> {
    let stays = |pod: &&&Pod| !leavers.iter().any(|(leaver, _)| leaver.name == pod.name);
    let (mut exposed, safe): (Vec<&Pod>, Vec<&Pod>) =
        view.active_pods().iter().filter(stays).copied().partition(|pod| pod.leaving_node);
    let takers: Vec<_> = safe.into_iter().filter(|pod| pod.ready && pod.mark.is_none()).collect();
    if takers.is_empty() {
        exposed.retain(|pod| pod.ready && pod.mark.is_none());
        return exposed;
    }
    leavers.extend(exposed.into_iter().map(|pod| (pod, Reason::NodeDrain)));
    takers
}

/// Gateways of the active revision that stay and were ready a moment ago, or have only just begun to run.
fn faltering(view: &View<'_>, leavers: &[(&Pod, Reason)]) -> usize {
    let stays = |pod: &Pod| !pod.leaving_node && !leavers.iter().any(|(leaver, _)| leaver.name == pod.name);
    let lately = |since: Timestamp| view.now.as_second() - since.as_second() < FALTER_SECONDS;
    let falters = |pod: &Pod| pod.running && !pod.ready && !under_way(pod) && pod.unready_since.is_some_and(lately);
    view.active_pods().iter().filter(|pod| stays(pod) && falters(pod)).count()
}

/// What becomes of the pods of old revisions.
struct Retiring<'a> {
    finished: Vec<&'a Pod>,
    moving: Vec<&'a Pod>,
    waiting: usize,
}

/// As many leave as the active revision and those that stay make up for, from the oldest revision on. Those that have begun
/// to go on while gateways that make up for them are faltering.
fn retiring<'a>(view: &View<'a>, takers: usize, faltering: usize) -> Retiring<'a> {
    let mut old: Vec<_> = view.old().collect();
    old.sort_by_key(|side| !side.live.iter().any(|pod| pod.mark.is_some()));
    let ranked = old.iter().enumerate().flat_map(|(rank, side)| side.live.iter().map(move |pod| (rank, *pod)));
    let (finished, mut staying): (Vec<_>, Vec<_>) = ranked.partition(|(_, pod)| finished(pod, view));
    staying.sort_by_key(|(rank, pod)| (!under_way(pod), *rank, few(pod), pod.name.as_str()));
    let spare = |takers: usize| (takers + staying.len()).saturating_sub(view.replicas() as usize);
    let (may_begin, may_go_on) = (spare(takers), spare(takers + faltering));
    let revisions: BTreeSet<_> = staying.iter().map(|(rank, _)| *rank).collect();
    let first: Vec<_> = revisions.into_iter().take(REVISIONS_AT_ONCE).collect();
    let candidates = staying.iter().filter(|(rank, _)| first.contains(rank)).map(|(_, pod)| *pod).enumerate();
    let goes = |(place, pod): &(usize, &Pod)| *place < if under_way(pod) { may_go_on } else { may_begin };
    let moving = candidates.filter(goes).map(|(_, pod)| pod).collect();
    Retiring { finished: finished.into_iter().map(|(_, pod)| pod).collect(), waiting: staying.len(), moving }
}

/// Fewest connections first; those that did not tell, last.
fn few(pod: &Pod) -> i64 {
    pod.connections.unwrap_or(i64::MAX)
}

/// Whether the active revision has any gateway that takes connections.
pub(super) fn serves(view: &View<'_>) -> bool {
    view.side(Part::Active).is_some_and(|side| side.live.iter().any(|pod| pod.ready))
}
