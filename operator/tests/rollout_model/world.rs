//! A small world: Deployments, pods, the Service's selector, gateways and their sessions. Time passes in ticks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use wscluster_operator::rollout::{DrainState, Mark, Pod, Revision, Seen, Wish};

/// Seconds of a tick.
pub(crate) const TICK: i64 = 5;
/// `progressDeadlineSeconds`.
pub(crate) const DEADLINE: i64 = 60;
/// Seconds after which the kubelet restarts a gateway that answers nothing; longer than the operator waits for one.
const LIVENESS: i64 = 125;
/// Nodes. The first is never emptied, or there would be nowhere to go.
pub(crate) const NODES: u8 = 4;

/// Whether a revision's gateways come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    /// They run, but are never ready.
    NeverReady,
    /// Their container never runs.
    NeverRuns,
    /// Only the first comes up.
    OneOnly,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) wish: Wish,
    pub(crate) dropped: i64,
    pub(crate) kinds: BTreeMap<String, Kind>,
    pub(crate) deployments: BTreeMap<String, Deployment>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) selector: Option<String>,
    pub(crate) cordoned: BTreeSet<u8>,
    /// Until when something may happen by an old view of pods.
    pub(crate) late_until: i64,
    /// Pods as they were a tick ago, by revision.
    pub(crate) past: BTreeMap<String, Vec<Pod>>,
    /// The surge follows the number of gateways.
    pub(crate) full_surge: bool,
    /// Moves that each session may have made: one for each change of the spec, and for each disruption.
    pub(crate) allowed_moves: usize,
    random: u64,
    names: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) replicas: i32,
    pub(crate) created_at: i64,
    pub(crate) activated_at: Option<i64>,
    pub(crate) progressed_at: i64,
    pub(crate) complete: bool,
    pub(crate) ready: i32,
    /// Its controller has not seen its newest spec.
    pub(crate) fresh: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) node: u8,
    /// Ticks until it takes connections; `None`: it never will.
    pub(crate) boots_in: Option<u32>,
    pub(crate) running: bool,
    pub(crate) terminating_since: Option<i64>,
    pub(crate) drain: Drain,
    pub(crate) mark: Option<Mark>,
    pub(crate) cheap: bool,
    /// It answers nothing, though it serves, since then.
    pub(crate) silent: Option<i64>,
    /// It answers, but its drains never end.
    pub(crate) hung: bool,
    /// When its container last ended.
    pub(crate) restarted_at: Option<i64>,
    /// Ticks for which it fails its readiness probe.
    pub(crate) unwell_for: u32,
    /// Since when it does not take connections.
    pub(crate) unready_since: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    Serving,
    Since(i64),
    Done,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) at: Option<String>,
    pub(crate) moves: usize,
}

impl World {
    pub(crate) fn new(wish: Wish, kinds: BTreeMap<String, Kind>, seed: u64, full_surge: bool) -> World {
        World {
            now: 1_800_000_000,
            wish,
            dropped: 0,
            kinds,
            deployments: BTreeMap::new(),
            gateways: Vec::new(),
            sessions: vec![Session::default(); 12],
            selector: None,
            cordoned: BTreeSet::new(),
            late_until: 0,
            past: BTreeMap::new(),
            full_surge,
            allowed_moves: 0,
            random: seed | 1,
            names: 0,
        }
    }

    /// What the operator observes.
    pub(crate) fn seen(&self) -> Seen {
        let mut hashes: BTreeSet<_> = self.deployments.keys().collect();
        hashes.extend(self.gateways.iter().map(|gateway| &gateway.revision));
        let revisions = hashes.into_iter().map(|hash| self.revision(hash)).collect();
        Seen { now: at(self.now), active: self.selector.clone(), revisions, dropped: self.dropped }
    }

    /// What it observes when its view of pods lags behind.
    pub(crate) fn seen_late(&self) -> Seen {
        let mut seen = self.seen();
        for revision in &mut seen.revisions {
            revision.pods = self.past.get(&revision.hash).cloned().unwrap_or_default();
        }
        seen
    }

    fn revision(&self, hash: &str) -> Revision {
        let deployment = self.deployments.get(hash);
        let late = |live: &Deployment| {
            !live.complete && live.ready < live.replicas && self.now - live.progressed_at > DEADLINE
        };
        Revision {
            hash: hash.to_owned(),
            deployed: deployment.is_some(),
            replicas: deployment.map_or(0, |live| live.replicas),
            available: deployment.filter(|live| !live.fresh).map_or(0, |live| live.ready),
            created_at: at(deployment.map_or(0, |live| live.created_at)),
            // Without a Deployment nobody knows.
            activated_at: deployment.map_or(Some(self.now), |live| live.activated_at).map(at),
            deadline_exceeded: deployment.is_some_and(late),
            pods: self.of(hash).map(|gateway| self.pod(gateway)).collect(),
        }
    }

    fn pod(&self, gateway: &Gateway) -> Pod {
        let answers = gateway.running && gateway.silent.is_none();
        let drain = match gateway.drain {
            _ if !answers => DrainState::Silent,
            Drain::Serving => DrainState::Serving,
            Drain::Since(_) => DrainState::Draining,
            Drain::Done => DrainState::Drained,
        };
        Pod {
            name: gateway.name.clone(),
            ready: gateway.ready(),
            unready_since: gateway.unready_since.filter(|_| !gateway.ready()).map(at),
            running: gateway.running,
            terminating: gateway.terminating_since.is_some(),
            connections: answers.then(|| i64::try_from(self.held(&gateway.name)).unwrap()),
            drain,
            mark: gateway.mark,
            cheap: gateway.cheap,
            leaving_node: self.cordoned.contains(&gateway.node),
        }
    }

    pub(crate) fn of<'a>(&'a self, hash: &'a str) -> impl Iterator<Item = &'a Gateway> + 'a {
        self.gateways.iter().filter(move |gateway| gateway.revision == hash)
    }

    pub(crate) fn gateway(&mut self, name: &str) -> Option<&mut Gateway> {
        self.gateways.iter_mut().find(|gateway| gateway.name == name)
    }

    /// Sessions that a gateway holds.
    pub(crate) fn held(&self, name: &str) -> usize {
        self.sessions.iter().filter(|session| session.at.as_deref() == Some(name)).count()
    }

    pub(crate) fn ready(&self, hash: &str) -> i32 {
        i32::try_from(self.of(hash).filter(|gateway| gateway.ready()).count()).unwrap()
    }

    /// Gateways that new connections reach.
    pub(crate) fn reachable(&self) -> Vec<String> {
        let active = self.selector.as_deref().unwrap_or_default();
        self.of(active).filter(|gateway| gateway.ready()).map(|gateway| gateway.name.clone()).collect()
    }

    pub(crate) fn fresh_name(&mut self, hash: &str) -> String {
        self.names += 1;
        format!("{hash}-{}", self.names)
    }

    /// Xorshift: a world that was played twice is the same twice.
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }
}

impl Gateway {
    /// Whether the kubelet finds it ready.
    pub(crate) fn ready(&self) -> bool {
        let up = self.running && self.boots_in == Some(0) && self.unwell_for == 0;
        up && self.terminating_since.is_none() && self.drain == Drain::Serving
    }

    /// Its container starts anew: it knows of no drain.
    pub(crate) fn restart(&mut self, now: i64) {
        self.restarted_at = Some(now);
        (self.running, self.drain, self.silent, self.hung) = (false, Drain::Serving, None, false);
        self.boots_in = self.boots_in.map(|_| 2);
    }

    pub(crate) fn unresponsive(&self, now: i64) -> bool {
        self.silent.is_some_and(|since| now - since > LIVENESS)
    }

    pub(crate) fn live(&self) -> bool {
        self.terminating_since.is_none()
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}
