//! When the Service's selector turns to the wanted revision.

use super::Fleet;
use super::leaving::{Leaving, REVISIONS_AT_ONCE, serves};
use super::view::{Part, Side, View};

/// The revision that the selector is to name. Where that is about to change, it is noted on the wanted revision's
/// Deployment first, and the selector turns once the note was seen.
pub(super) fn selector(view: &View<'_>, leaving: &Leaving<'_>, wanted: Option<&mut Fleet>) -> String {
    let (Some(side), Some(fleet)) = (view.side(Part::Wanted), wanted) else { return view.active.to_owned() };
    if !ready_enough(view, side) || waits(view, leaving) || fleet.replicas < side.replicas() {
        return view.active.to_owned();
    }
    fleet.activated = true;
    let noted = side.revision.activated_at.is_some() && active_noted(view);
    if noted { view.wish.revision.clone() } else { view.active.to_owned() }
}

/// Enough gateways to take over. Where the active revision serves nobody, any is better than none.
fn ready_enough(view: &View<'_>, side: &Side<'_>) -> bool {
    let enough = if serves(view) { view.replicas().min(view.max_surge()) } else { view.replicas().min(1) };
    side.revision.deployed && !view.failed() && side.revision.available >= enough && side.ready() >= enough
}

/// With two old revisions draining, the active one would be the third. If they cannot drain until it is replaced, they
/// are not waited for.
fn waits(view: &View<'_>, leaving: &Leaving<'_>) -> bool {
    let busy = view.old().filter(|side| side.live.iter().any(|pod| pod.running));
    busy.count() >= REVISIONS_AT_ONCE && !leaving.stuck
}

/// Without the note, the revision that was active would be taken for one that holds no session.
fn active_noted(view: &View<'_>) -> bool {
    view.side(Part::Active).is_none_or(|side| !side.revision.deployed || side.revision.activated_at.is_some())
}
