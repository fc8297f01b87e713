//! What is done to the small world: scenes of random changes and mishaps.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use wscluster_operator::rollout::Wish;

use crate::world::{Kind, NODES, TICK, World};

#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) seed: u64,
    pub(crate) first: (i32, i32),
    pub(crate) kinds: [Kind; 4],
    /// The surge is always as large as the fleet.
    pub(crate) full_surge: bool,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) event: Event,
    pub(crate) ticks: usize,
    pub(crate) operator: Operator,
}

/// How the operator fares meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operator {
    Well,
    /// It is cut off after so many writes, each turn after one more.
    Dies(usize),
    /// Its view of pods is a tick old.
    Lags,
    Away,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Nothing,
    Spec {
        revision: usize,
        replicas: i32,
        max_surge: i32,
    },
    Revise(usize),
    Scale(i32),
    Pause(bool),
    Budget(Option<i64>),
    Drop(i64),
    /// A node takes a gateway down with it.
    Kill(usize),
    /// A container restarts.
    Restart(usize),
    Silence(usize, bool),
    Hang(usize),
    /// It fails its readiness probe for some ticks.
    Falter(usize, u32),
    Cordon(u8),
    Uncordon(u8),
    /// Somebody deletes the Service.
    Unselect,
    /// Somebody deletes a Deployment.
    Undeploy(usize),
    /// A good revision, unpaused, whatever it loses.
    Mend,
}

impl Operator {
    pub(crate) fn turn(self, world: &mut World, tick: usize) {
        match self {
            Operator::Lags if tick > 0 => {
                let seen = world.seen_late();
                world.late_until = world.now + 6 * TICK;
                drop(world.turn_with(&seen, usize::MAX));
            }
            Operator::Well | Operator::Lags => drop(world.turn(usize::MAX)),
            Operator::Dies(writes) => drop(world.turn(writes + tick)),
            Operator::Away => {}
        }
    }
}

pub(crate) fn scene() -> impl Strategy<Value = Scene> {
    let kind = prop_oneof![
        6 => Just(Kind::Good),
        1 => Just(Kind::NeverReady),
        1 => Just(Kind::NeverRuns),
        1 => Just(Kind::OneOnly),
    ];
    let steps = vec((event(), 0usize..14, operator()), 1..14);
    (any::<u64>(), (0i32..7, 1i32..7), [kind.clone(), kind.clone(), kind], steps).prop_map(
        |(seed, first, [a, b, c], steps)| Scene {
            seed,
            first,
            kinds: [Kind::Good, a, b, c],
            full_surge: false,
            steps: steps.into_iter().map(|(event, ticks, operator)| Step { event, ticks, operator }).collect(),
        },
    )
}

/// Only changes of the spec, and an operator that may restart between two turns.
pub(crate) fn orderly_scene() -> impl Strategy<Value = Scene> {
    let event = prop_oneof![3 => spec(), 2 => (0usize..4).prop_map(Event::Revise), 2 => (0i32..7).prop_map(Event::Scale),
        1 => any::<bool>().prop_map(Event::Pause)];
    let operator = prop_oneof![3 => Just(Operator::Well), 1 => Just(Operator::Away)];
    let steps = vec((event, 0usize..20, operator), 1..10);
    (any::<u64>(), (1i32..7, 1i32..7), steps).prop_map(|(seed, first, steps)| Scene {
        seed,
        first,
        kinds: [Kind::Good; 4],
        full_surge: true,
        steps: steps.into_iter().map(|(event, ticks, operator)| Step { event, ticks, operator }).collect(),
    })
}

fn spec() -> impl Strategy<Value = Event> {
    (0usize..4, 0i32..7, 1i32..7).prop_map(|(revision, replicas, max_surge)| Event::Spec {
        revision,
        replicas,
        max_surge,
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => spec(),
        4 => (0usize..4).prop_map(Event::Revise),
        3 => (0i32..7).prop_map(Event::Scale),
        1 => Just(Event::Nothing),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => proptest::option::of(0i64..4).prop_map(Event::Budget),
        1 => (1i64..4).prop_map(Event::Drop),
        2 => any::<usize>().prop_map(Event::Kill),
        2 => any::<usize>().prop_map(Event::Restart),
        1 => any::<(usize, bool)>().prop_map(|(index, silent)| Event::Silence(index, silent)),
        1 => any::<usize>().prop_map(Event::Hang),
        2 => (any::<usize>(), 1u32..12).prop_map(|(index, ticks)| Event::Falter(index, ticks)),
        2 => (1..NODES).prop_map(Event::Cordon),
        1 => (1..NODES).prop_map(Event::Uncordon),
        1 => Just(Event::Unselect),
        1 => (0usize..4).prop_map(Event::Undeploy),
    ]
}

fn operator() -> impl Strategy<Value = Operator> {
    prop_oneof![4 => Just(Operator::Well), 2 => (0usize..8).prop_map(Operator::Dies), 1 => Just(Operator::Lags), 1 => Just(Operator::Away)]
}

impl Scene {
    pub(crate) fn world(&self) -> World {
        let (replicas, max_surge) = self.first;
        let wish = Wish {
            revision: name(0),
            replicas,
            max_surge: if self.full_surge { replicas.max(1) } else { max_surge },
            paused: false,
            loss_budget: None,
            min_seconds: 5,
            timeout_seconds: 60,
            connections_per_second: None,
            handshakes_per_second: 100,
            max_connections: 1000,
        };
        let kinds: BTreeMap<_, _> = self.kinds.iter().enumerate().map(|(at, kind)| (name(at), *kind)).collect();
        World::new(wish, kinds, self.seed, self.full_surge)
    }
}

fn name(revision: usize) -> String {
    format!("r{revision}")
}

impl World {
    pub(crate) fn happen(&mut self, event: &Event) {
        let disrupts = !matches!(event, Event::Nothing | Event::Pause(_) | Event::Budget(_) | Event::Drop(_));
        self.allowed_moves += usize::from(disrupts);
        match *event {
            Event::Nothing => {}
            Event::Spec { revision, replicas, max_surge } => {
                self.revise(revision);
                self.wish.max_surge = max_surge;
                self.scale(replicas);
            }
            Event::Revise(revision) => self.revise(revision),
            Event::Scale(replicas) => self.scale(replicas),
            Event::Pause(paused) => self.wish.paused = paused,
            Event::Budget(budget) => self.wish.loss_budget = budget,
            Event::Drop(sessions) => self.dropped += sessions,
            Event::Kill(index) => self.kill(index),
            Event::Restart(index) => self.restart(index),
            Event::Silence(index, silent) => {
                let since = silent.then_some(self.now);
                self.any(index, |gateway| gateway.silent = since);
            }
            Event::Hang(index) => self.any(index, |gateway| gateway.hung = true),
            Event::Falter(index, ticks) => self.any(index, |gateway| gateway.unwell_for = ticks),
            Event::Cordon(node) => drop(self.cordoned.insert(node)),
            Event::Uncordon(node) => drop(self.cordoned.remove(&node)),
            Event::Unselect => self.selector = None,
            Event::Undeploy(revision) => self.undeploy(&name(revision)),
            Event::Mend => self.mend(),
        }
    }

    fn mend(&mut self) {
        (self.wish.paused, self.wish.loss_budget) = (false, None);
        self.revise(0);
    }

    fn revise(&mut self, revision: usize) {
        if self.wish.revision != name(revision) {
            (self.wish.revision, self.dropped) = (name(revision), 0);
        }
    }

    fn scale(&mut self, replicas: i32) {
        self.wish.replicas = replicas;
        if self.full_surge {
            self.wish.max_surge = replicas.max(1);
        }
    }

    fn any(&mut self, index: usize, change: impl FnOnce(&mut crate::world::Gateway)) {
        let count = self.gateways.len().max(1);
        self.gateways.get_mut(index % count).map(change);
    }

    fn undeploy(&mut self, hash: &str) {
        self.deployments.remove(hash);
        let now = self.now;
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.revision == hash) {
            gateway.terminating_since.get_or_insert(now);
        }
    }

    fn kill(&mut self, index: usize) {
        if self.gateways.is_empty() {
            return;
        }
        let at = index % self.gateways.len();
        let name = self.gateways.remove(at).name;
        self.cut(&name);
    }

    fn restart(&mut self, index: usize) {
        let (mut name, now) = (String::new(), self.now);
        self.any(index, |gateway| {
            name.clone_from(&gateway.name);
            gateway.restart(now);
        });
        self.cut(&name);
    }

    pub(crate) fn overspent(&self) -> bool {
        self.wish.loss_budget.is_some_and(|budget| self.dropped > budget)
    }
}
