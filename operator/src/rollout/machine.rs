//! One turn of the rollout: what is wanted and what was observed, to what is to be done next.
//!
//! | observed | done | phase |
//! | --- | --- | --- |
//! | the active revision is wanted, no other has pods | it follows `replicas` | Idle, ScalingIn |
//! | another revision is wanted | it grows beside the active one; once enough are ready, that is noted, then the selector turns | Surging |
//! | that one did not come up in time | nothing; the active one serves on | Failed |
//! | the active revision is wanted, old ones have pods | they drain, and are removed when they have | Draining |
//! | `paused`, or a rollout that lost too much | what drains serves again | Paused |

use super::leaving::{Leaver, Leaving, silent};
use super::pace::{Pace, pace};
use super::view::{View, under_way};
use super::{Hold, Order, Phase, Plan, Reason, Seen, Wish, holds, sizes, turn};

/// Plans one turn.
pub fn step(wish: &Wish, seen: &Seen) -> Plan {
    let view = View::of(wish, seen);
    if wish.paused {
        return holds::paused(&view);
    }
    let leaving = Leaving::of(&view, seen.dropped);
    let mut fleets = sizes::fleets(&view, &leaving);
    let active = turn::selector(&view, &leaving, fleets.get_mut(&wish.revision));
    let mut plan = Plan { phase: phase(&view, &leaving), active, fleets, hold: leaving.hold, ..Plan::default() };
    drain(&view, &leaving, &mut plan);
    plan
}

/// Who drains at what rate, who is called back, and who is removed first.
fn drain(view: &View<'_>, leaving: &Leaving<'_>, plan: &mut Plan) {
    let told: Vec<&Leaver<'_>> = leaving.pods.values().filter(|leaver| leaver.told()).collect();
    let moving: Vec<_> = told.iter().filter(|leaver| !leaver.finished).map(|leaver| leaver.pod).collect();
    let Pace { fleet, shares } = pace(view.wish, view.now, &moving, &leaving.takers);
    plan.connections_per_second = fleet;
    let share = |name: &str| moving.iter().position(|pod| pod.name == name).map_or(1, |at| shares[at]);
    for Leaver { pod, reason, .. } in told {
        let order = Order { reason: *reason, connections_per_second: share(&pod.name) };
        plan.drains.insert(pod.name.clone(), order);
        plan.silent.extend(silent(pod, view).then(|| pod.name.clone()));
    }
    let back = view.live().filter(|pod| under_way(pod) && !plan.drains.contains_key(&pod.name));
    plan.cancels = back.map(|pod| pod.name.clone()).collect();
    let removed = leaving.pods.values().filter(|leaver| leaver.removed()).map(|leaver| leaver.pod);
    let doomed = view.sides.iter().flat_map(|side| side.doomed.iter().copied());
    plan.cheap = removed.chain(doomed).map(|pod| pod.name.clone()).collect();
}

fn phase(view: &View<'_>, leaving: &Leaving<'_>) -> Phase {
    let old = view.old().any(|side| side.replicas() > 0 || !side.live.is_empty());
    let surplus = leaving.pods.values().any(|leaver| leaver.reason == Reason::ScaleIn)
        || view.active_pods().len() > view.replicas() as usize;
    match () {
        () if leaving.hold == Some(Hold::LossBudget) => Phase::Paused,
        () if view.failed() => Phase::Failed,
        () if view.turning() => Phase::Surging,
        () if old => Phase::Draining,
        () if surplus => Phase::ScalingIn,
        () => Phase::Idle,
    }
}
