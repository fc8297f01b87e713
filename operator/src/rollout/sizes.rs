//! How many gateways each revision is to have. Knows nothing of which pods leave but how many may be removed.

use std::collections::BTreeMap;

use super::Fleet;
use super::leaving::Leaving;
use super::view::{Part, Side, View};

/// Revisions that were active before and are kept at no gateways, to go back to.
const HISTORY: usize = 5;

/// The Deployments that are to exist.
pub(super) fn fleets(view: &View<'_>, leaving: &Leaving<'_>) -> BTreeMap<String, Fleet> {
    let mut fleets = BTreeMap::new();
    let forgotten = forgotten(view);
    let mut put = |hash: &str, replicas, activated| fleets.insert(hash.to_owned(), Fleet { replicas, activated });
    for side in view.old().filter(|side| side.revision.deployed && !forgotten.contains(&side.revision.hash.as_str())) {
        put(&side.revision.hash, old(side, leaving), true);
    }
    let active_size = active(view, leaving);
    if !view.turning() || view.side(Part::Active).is_some_and(|side| side.revision.deployed) {
        put(view.active, active_size, true);
    }
    if view.turning() {
        let noted = view.side(Part::Wanted).is_some_and(|side| side.revision.activated_at.is_some());
        put(&view.wish.revision, wanted(view, leaving, active_size), noted);
    }
    fleets
}

/// An old revision has no more gateways than it has pods: none is made anew.
fn old(side: &Side<'_>, leaving: &Leaving<'_>) -> i32 {
    match leaving.hold {
        Some(_) => side.replicas(),
        None => side.replicas().min(side.size() - leaving.removable(side)),
    }
}

/// The active revision follows what is wanted, within the surge while old gateways are there.
fn active(view: &View<'_>, leaving: &Leaving<'_>) -> i32 {
    let Some(side) = view.side(Part::Active) else { return view.replicas() };
    let (present, replicas) = (side.replicas(), view.replicas());
    if present < replicas {
        return present.max(replicas.min(room(view, Part::Active)).max(1));
    }
    if side.revision.activated_at.is_none() {
        return present;
    }
    replicas.max(present.min(side.size() - leaving.removable(side)))
}

/// What is left of `replicas` and the surge beside the revisions that were ever active, but for the one that asks.
fn room(view: &View<'_>, part: Part) -> i32 {
    let others = view.sides.iter().filter(|side| side.part != part && side.revision.activated_at.is_some());
    view.replicas() + view.max_surge() - others.map(Side::replicas).sum::<i32>()
}

/// The wanted revision grows within the surge. One that failed stays as it is until the spec changes.
fn wanted(view: &View<'_>, leaving: &Leaving<'_>, active: i32) -> i32 {
    let side = view.side(Part::Wanted);
    let present = side.map_or(0, Side::replicas);
    if view.failed() {
        return present;
    }
    let replicas = view.replicas();
    let others: i32 = view.sides.iter().map(|side| beside(side, view, leaving, active)).sum();
    let within = replicas.min((replicas + view.max_surge() - others).max(1));
    let used = side.is_some_and(|side| side.revision.activated_at.is_some());
    if used { within.max(present) } else { within.max(present.min(replicas)) }
}

/// What another revision takes of the surge. Surplus gateways of the active one go after it was replaced, and must not
/// keep that from happening; nor must old ones that are stuck until it is.
fn beside(side: &Side<'_>, view: &View<'_>, leaving: &Leaving<'_>, active: i32) -> i32 {
    match side.part {
        Part::Wanted => 0,
        Part::Active if side.revision.deployed => active.max(side.replicas()).min(view.replicas()),
        Part::Old if leaving.stuck => 0,
        Part::Active | Part::Old | Part::Unused => side.replicas(),
    }
}

/// Old revisions at rest beyond those that are kept to go back to.
fn forgotten<'a>(view: &View<'a>) -> Vec<&'a str> {
    let at_rest = |side: &&Side<'_>| side.replicas() == 0 && side.revision.pods.is_empty();
    view.old().rev().skip(HISTORY).filter(at_rest).map(|side| side.revision.hash.as_str()).collect()
}
