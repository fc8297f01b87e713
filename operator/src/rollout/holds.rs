//! What keeps pods that should leave: a pause, too many lost sessions, nobody to take over.

use std::collections::{BTreeMap, BTreeSet};

use super::leaving::Leaving;
use super::view::View;
use super::{Fleet, Hold, Phase, Plan, Reason};

/// Keeps those that may not leave now. Those that do not run may: they hold no session.
pub(super) fn apply(view: &View<'_>, dropped: i64, leaving: &mut Leaving<'_>) {
    let alone = view.replicas() > 0 && leaving.takers.is_empty();
    let old = view.old().any(|side| side.live.iter().any(|pod| pod.running));
    if alone && (old || leaving.pods.values().any(|leaver| leaver.pod.running)) {
        leaving.hold = Some(Hold::NobodyToTakeOver);
        leaving.pods.retain(|_, leaver| !leaver.pod.running);
        leaving.stuck |= old;
    }
    if overspent(view, dropped) {
        leaving.hold = Some(Hold::LossBudget);
        leaving.pods.retain(|_, leaver| leaver.reason != Reason::Rollout);
    }
}

/// Whether the rollout under way has lost more sessions than it may.
fn overspent(view: &View<'_>, dropped: i64) -> bool {
    let spent = view.wish.loss_budget.is_some_and(|budget| dropped > budget);
    spent && !view.turning() && view.old().any(|side| !side.live.is_empty())
}

/// Everything stays as it is, and what has begun to leave comes back.
pub(super) fn paused(view: &View<'_>) -> Plan {
    let as_is =
        |revision: &super::Revision| Fleet { replicas: revision.replicas, activated: revision.activated_at.is_some() };
    let deployed = view.sides.iter().map(|side| side.revision).filter(|revision| revision.deployed);
    let fleets: BTreeMap<_, _> = deployed.map(|revision| (revision.hash.clone(), as_is(revision))).collect();
    let marked = view.live().filter(|pod| pod.mark.is_some());
    let cancels: BTreeSet<_> = marked.map(|pod| pod.name.clone()).collect();
    let doomed = view.sides.iter().flat_map(|side| &side.doomed);
    Plan {
        phase: Phase::Paused,
        active: view.active.to_owned(),
        fleets,
        cancels,
        cheap: doomed.map(|pod| pod.name.clone()).collect(),
        hold: Some(Hold::Paused),
        ..Plan::default()
    }
}
