//! What happens in the world by itself: controllers make and remove pods, gateways drain, nodes empty, clients return.

use crate::world::{Drain, Gateway, Kind, NODES, TICK, World};

impl World {
    /// One tick, without the operator.
    pub(crate) fn tick(&mut self) {
        self.past = self.seen().revisions.into_iter().map(|revision| (revision.hash, revision.pods)).collect();
        self.now += TICK;
        self.collect();
        self.evict();
        self.replica_sets();
        self.liveness();
        self.boot();
        self.move_sessions();
        self.end();
        self.connect();
        self.report();
    }

    /// Pods whose Deployment has gone end, some sooner than others. None of them may hold a session.
    fn collect(&mut self) {
        let orphans = self.gateways.iter().filter(|gateway| !self.deployments.contains_key(&gateway.revision));
        for gateway in orphans.filter(|gateway| gateway.live()).cloned().collect::<Vec<_>>() {
            if self.random(4) > 0 {
                self.remove(&gateway);
            }
        }
    }

    /// Nodes that are emptied lose what the disruption budget (one at a time, of the active revision) lets go.
    fn evict(&mut self) {
        let ready = self.reachable().len();
        let active = self.selector.clone().unwrap_or_default();
        let (now, enough) = (self.now, ready >= self.wish.replicas.max(0) as usize);
        let mut evicted = false;
        for gateway in self.gateways.iter_mut().filter(|gateway| self.cordoned.contains(&gateway.node)) {
            let allowed = gateway.revision != active || !gateway.ready() || (enough && !evicted);
            if gateway.live() && allowed {
                evicted |= gateway.ready() && gateway.revision == active;
                gateway.terminating_since = Some(now);
            }
        }
    }

    /// Each ReplicaSet in its own time.
    fn replica_sets(&mut self) {
        for hash in self.deployments.keys().cloned().collect::<Vec<_>>() {
            if self.random(4) > 0 {
                self.replica_set(&hash);
            }
        }
    }

    fn replica_set(&mut self, hash: &str) {
        let replicas = self.deployments[hash].replicas as usize;
        let live = self.of(hash).filter(|gateway| gateway.live()).count();
        for _ in live..replicas {
            self.create(hash);
        }
        let mut ranked: Vec<_> = self.of(hash).filter(|gateway| gateway.live()).cloned().collect();
        ranked.reverse();
        ranked.sort_by_key(|gateway| (gateway.running, gateway.ready(), !gateway.cheap));
        let reachable = self.reachable().len();
        for gateway in ranked.iter().take(live.saturating_sub(replicas)) {
            self.remove(gateway);
        }
        let served = reachable == 0 || !self.reachable().is_empty() || self.wish.replicas == 0;
        assert!(served, "a smaller Deployment left no gateway: {hash}");
    }

    fn create(&mut self, hash: &str) {
        let first = self.of(hash).next().is_none();
        let boots_in = match self.kinds[hash] {
            Kind::Good => Some(1 + self.random(4) as u32),
            Kind::OneOnly if first => Some(1),
            Kind::OneOnly | Kind::NeverReady | Kind::NeverRuns => None,
        };
        let mut node = self.random(u64::from(NODES)) as u8;
        if self.cordoned.contains(&node) {
            node = 0;
        }
        let gateway = Gateway {
            name: self.fresh_name(hash),
            revision: hash.to_owned(),
            node,
            boots_in,
            running: self.kinds[hash] != Kind::NeverRuns,
            terminating_since: None,
            drain: Drain::Serving,
            mark: None,
            cheap: false,
            silent: None,
            hung: false,
            restarted_at: None,
            unwell_for: 0,
            unready_since: Some(self.now),
        };
        self.gateways.push(gateway);
    }

    /// A pod that the operator had removed. It must be empty, or beyond hope, or else have changed too lately to be known
    /// of: then the preStop hook drains it.
    pub(crate) fn remove(&mut self, gateway: &Gateway) {
        let overdue = gateway.mark.is_some_and(|mark| self.now - mark.since.as_second() > self.drain_budget());
        let held = self.held(&gateway.name);
        let back = gateway.restarted_at.is_some_and(|at| self.now - at < 6 * TICK);
        let late = self.now < self.late_until;
        assert!(held == 0 || overdue || back || late, "removed with {held} sessions: {gateway:?}");
        let now = self.now;
        self.gateway(&gateway.name).unwrap().terminating_since = Some(now);
    }

    fn drain_budget(&self) -> i64 {
        self.wish.min_seconds + self.wish.timeout_seconds + 30
    }

    fn liveness(&mut self) {
        let now = self.now;
        let mut restarted = Vec::new();
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.unresponsive(now)) {
            gateway.restart(now);
            restarted.push(gateway.name.clone());
        }
        for name in &restarted {
            self.cut(name);
        }
    }

    fn boot(&mut self) {
        for gateway in &mut self.gateways {
            gateway.unwell_for = gateway.unwell_for.saturating_sub(1);
            if !gateway.running && self.kinds[&gateway.revision] != Kind::NeverRuns {
                gateway.running = true;
            } else if gateway.running {
                gateway.boots_in = gateway.boots_in.map(|left| left.saturating_sub(1));
            }
        }
    }

    /// A draining gateway moves a session a tick; at its deadline all. One that was told to end drains too.
    fn move_sessions(&mut self) {
        for gateway in self.gateways.clone() {
            let ((Drain::Since(since), _) | (Drain::Serving, Some(since))) = (gateway.drain, gateway.terminating_since)
            else {
                continue;
            };
            let age = self.now - since;
            if gateway.hung || (gateway.silent.is_some() && gateway.live()) || age < self.wish.min_seconds {
                continue;
            }
            self.move_some(&gateway.name, if age > self.wish.timeout_seconds { usize::MAX } else { 1 });
            if self.held(&gateway.name) == 0 {
                self.gateway(&gateway.name).unwrap().drain = Drain::Done;
            }
        }
    }

    fn move_some(&mut self, from: &str, limit: usize) {
        let mut targets = self.reachable();
        targets.retain(|name| name != from);
        if targets.is_empty() && limit == 1 {
            return;
        }
        let count = targets.len() as u64;
        let mut left = limit;
        for index in 0..self.sessions.len() {
            if self.sessions[index].at.as_deref() == Some(from) && left > 0 {
                left -= 1;
                let target = (count > 0).then(|| targets[self.random(count) as usize].clone());
                self.sessions[index].moves += usize::from(target.is_some());
                self.sessions[index].at = target;
            }
        }
    }

    /// Pods that were told to end do so when empty, or when their time is over.
    fn end(&mut self) {
        let (now, budget) = (self.now, self.drain_budget());
        let ends = |gateway: &Gateway, held: usize| {
            gateway.terminating_since.is_some_and(|since| !gateway.running || held == 0 || now - since > budget)
        };
        let gone: Vec<_> =
            self.gateways.iter().filter(|gateway| ends(gateway, self.held(&gateway.name))).cloned().collect();
        self.gateways.retain(|gateway| !gone.iter().any(|other| other.name == gateway.name));
        for gateway in &gone {
            self.cut(&gateway.name);
        }
    }

    /// Its sessions' connections break.
    pub(crate) fn cut(&mut self, name: &str) {
        let held = self.sessions.iter_mut().filter(|session| session.at.as_deref() == Some(name));
        held.for_each(|session| session.at = None);
    }

    /// Who has no connection takes one.
    fn connect(&mut self) {
        let targets = self.reachable();
        for index in 0..self.sessions.len() {
            if self.sessions[index].at.is_none() && !targets.is_empty() {
                let target = targets[self.random(targets.len() as u64) as usize].clone();
                self.sessions[index].at = Some(target);
            }
        }
    }

    fn report(&mut self) {
        let now = self.now;
        for gateway in &mut self.gateways {
            gateway.unready_since = (!gateway.ready()).then(|| gateway.unready_since.unwrap_or(now));
        }
        for (hash, deployment) in &mut self.deployments {
            let ready = self.gateways.iter().filter(|gateway| gateway.revision == *hash && gateway.ready()).count();
            let ready = i32::try_from(ready).unwrap();
            if ready > deployment.ready {
                deployment.progressed_at = self.now;
            }
            deployment.ready = ready;
            deployment.complete |= deployment.ready >= deployment.replicas;
            deployment.fresh = false;
        }
    }
}
