//! The operator's turn in the small world: it plans, and writes in the order that `plan.rs` names. It may be cut off after
//! any write.

use std::collections::BTreeSet;

use wscluster_operator::rollout::{DrainState, Fleet, Mark, Order, Phase, Plan, Reason, Seen, step};

use crate::world::{Deployment, Drain, World, at};

/// One request.
#[derive(Clone, Debug)]
enum Write {
    Mark(String, Reason),
    Drain(String),
    Cancel(String),
    Unmark(String),
    Cost(String, bool),
    Fleet(String, Fleet),
    Selector(String),
    Delete(String),
}

impl World {
    /// One turn, of which at most `writes` are done.
    pub(crate) fn turn(&mut self, writes: usize) -> Plan {
        let seen = self.seen();
        let served = !self.reachable().is_empty();
        let ready = self.ready(&self.wish.revision);
        let plan = self.turn_with(&seen, writes);
        if self.selector != seen.active && seen.active.is_some() {
            let enough = if served { self.wish.replicas.min(self.wish.max_surge) } else { self.wish.replicas.min(1) };
            assert!(ready >= enough, "turned with {ready} of {enough} gateways ready: {plan:#?}\n{seen:#?}");
        }
        let still = !self.reachable().is_empty() || self.wish.replicas == 0;
        assert!(!served || still, "no gateway is left: {plan:#?}\n{seen:#?}");
        plan
    }

    /// One turn on what was seen, which may be old.
    pub(crate) fn turn_with(&mut self, seen: &Seen, writes: usize) -> Plan {
        let plan = step(&self.wish, seen);
        self.judge(seen, &plan);
        for write in requests(seen, &plan, self.wish.paused).into_iter().take(writes) {
            self.write(write);
        }
        plan
    }

    /// What holds of each plan.
    fn judge(&self, seen: &Seen, plan: &Plan) {
        let pods = || seen.revisions.iter().flat_map(|revision| revision.pods.iter().map(move |pod| (revision, pod)));
        let mut moving = BTreeSet::new();
        for (revision, pod) in pods() {
            let Some(order) = plan.drains.get(&pod.name) else { continue };
            assert!(order.connections_per_second > 0 && !pod.terminating, "{plan:#?}");
            assert!(!plan.cancels.contains(&pod.name), "both drained and called back: {plan:#?}");
            if order.reason == Reason::Rollout {
                let kept = [seen.active.as_ref(), Some(&self.wish.revision)];
                assert!(!kept.contains(&Some(&revision.hash)), "drained for itself: {plan:#?}");
                let moves = pod.drain != DrainState::Drained && pod.connections != Some(0);
                moving.extend(moves.then_some(&revision.hash));
            }
        }
        assert!(moving.len() <= 2, "{} revisions drain: {plan:#?}\n{seen:#?}", moving.len());
        if plan.phase == Phase::Paused && self.wish.paused {
            assert!(plan.drains.is_empty(), "{plan:#?}");
        }
    }

    fn write(&mut self, write: Write) {
        let now = self.now;
        match write {
            Write::Fleet(hash, fleet) => return self.write_fleet(&hash, fleet),
            Write::Selector(hash) => return self.turn_selector(hash),
            Write::Delete(hash) => return self.delete(&hash),
            _ => {}
        }
        let (Write::Mark(name, _)
        | Write::Drain(name)
        | Write::Cancel(name)
        | Write::Unmark(name)
        | Write::Cost(name, _)) = &write
        else {
            unreachable!()
        };
        let Some(gateway) = self.gateway(name) else { return };
        let answers = gateway.running && gateway.silent.is_none() && gateway.live();
        match write {
            Write::Mark(_, reason) => {
                let since = gateway.mark.map_or(at(now), |mark| mark.since);
                gateway.mark = Some(Mark { reason, since });
            }
            Write::Drain(_) if answers && gateway.drain == Drain::Serving => gateway.drain = Drain::Since(now),
            Write::Cancel(_) if answers => gateway.drain = Drain::Serving,
            Write::Unmark(_) => gateway.mark = None,
            Write::Cost(_, cheap) => gateway.cheap = cheap,
            _ => {}
        }
    }

    fn write_fleet(&mut self, hash: &str, fleet: Fleet) {
        let now = self.now;
        let new = Deployment {
            replicas: 0,
            created_at: now,
            activated_at: None,
            progressed_at: now,
            complete: false,
            ready: 0,
            fresh: true,
        };
        let live = self.deployments.entry(hash.to_owned()).or_insert(new);
        if live.replicas != fleet.replicas {
            (live.replicas, live.progressed_at, live.complete, live.fresh) = (fleet.replicas, now, false, true);
        }
        if fleet.activated {
            live.activated_at.get_or_insert(now);
        }
    }

    fn turn_selector(&mut self, hash: String) {
        assert!(self.deployments[&hash].activated_at.is_some(), "turned to {hash} without a note");
        self.selector = Some(hash);
    }

    fn delete(&mut self, hash: &str) {
        assert!(self.selector.as_deref() != Some(hash), "the active revision was deleted");
        self.deployments.remove(hash);
    }
}

/// The requests of a plan, in order: only what differs from what was seen.
fn requests(seen: &Seen, plan: &Plan, paused: bool) -> Vec<Write> {
    let mut writes = Vec::new();
    for pod in seen.revisions.iter().flat_map(|revision| &revision.pods).filter(|pod| !pod.terminating) {
        let name = || pod.name.clone();
        if let Some(Order { reason, .. }) = plan.drains.get(&pod.name) {
            writes.extend((pod.mark.map(|mark| mark.reason) != Some(*reason)).then(|| Write::Mark(name(), *reason)));
            writes.push(Write::Drain(name()));
        }
        if plan.cancels.contains(&pod.name) {
            writes.extend([Write::Cancel(name()), Write::Unmark(name())]);
        }
        let cheap = plan.cheap.contains(&pod.name);
        writes.extend((cheap != pod.cheap).then(|| Write::Cost(name(), cheap)));
    }
    if paused {
        return writes;
    }
    let (mut after, mut gone) = (Vec::new(), Vec::new());
    for (hash, fleet) in &plan.fleets {
        let live = seen.revisions.iter().find(|revision| revision.hash == *hash && revision.deployed);
        let same = live
            .is_some_and(|live| live.replicas == fleet.replicas && (live.activated_at.is_some() || !fleet.activated));
        let shrinks = live.is_some_and(|live| live.replicas > fleet.replicas);
        let write = Write::Fleet(hash.clone(), *fleet);
        if !same {
            if shrinks { after.push(write) } else { writes.push(write) }
        }
    }
    for revision in seen.revisions.iter().filter(|revision| revision.deployed) {
        gone.extend((!plan.fleets.contains_key(&revision.hash)).then(|| Write::Delete(revision.hash.clone())));
    }
    writes.extend((seen.active.as_ref() != Some(&plan.active)).then(|| Write::Selector(plan.active.clone())));
    writes.into_iter().chain(after).chain(gone).collect()
}
