//! Several gateways on one roster, with time, losses and deaths as chance has it: in the end everyone here knows who is
//! there, and until then nobody is told of something that cannot be.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::room::{Room, Step, Terms};
use super::super::roster::{Query, Reading, Write};
use super::super::told::Saying;
use super::super::{Change, Listing, Member};

const LEASE: u64 = 30_000;
const MOST: usize = 6;

/// The roster as it ought to be.
#[derive(Default)]
struct Model {
    parts: BTreeMap<usize, Part>,
    away: bool,
}

#[derive(Clone, Default)]
struct Part {
    version: u64,
    members: BTreeSet<String>,
    ends: u64,
}

impl Model {
    fn write(&mut self, gateway: usize, write: &Write, now: u64) -> Result<bool, ()> {
        if self.away {
            return Err(());
        }
        self.expire(now);
        let part = self.parts.entry(gateway).or_default();
        if write.whole {
            part.members.clear();
        } else if part.version != write.before {
            return Ok(false);
        }
        part.members.extend(write.add.iter().map(|each| each.session.clone()));
        part.members.retain(|session| !write.remove.contains(session));
        (part.version, part.ends) = (write.version, now + write.lease);
        self.parts.retain(|_, part| !part.members.is_empty());
        Ok(true)
    }

    fn renew(&mut self, gateway: usize, version: u64, now: u64) -> Result<bool, ()> {
        if self.away {
            return Err(());
        }
        self.expire(now);
        let part = self.parts.get_mut(&gateway).filter(|part| part.version == version);
        Ok(part.map(|part| part.ends = now + LEASE).is_some())
    }

    fn read(&mut self, gateway: usize, query: Query, now: u64) -> Result<Reading, ()> {
        if self.away {
            return Err(());
        }
        self.expire(now);
        let all: Vec<_> = self.parts.values().flat_map(|part| part.members.iter()).collect();
        let named = if all.len() <= query.most || query.partial { query.most } else { 0 };
        let members =
            all.iter().take(named).map(|session| Member { session: (*session).clone(), user: None }).collect();
        let others = self.parts.iter().filter(|(each, _)| **each != gateway);
        Ok(Reading {
            listing: Listing { members, count: all.len() },
            own_version: self.parts.get(&gateway).map(|part| part.version),
            first_expiry: others.map(|(_, part)| part.ends - now).min(),
        })
    }

    fn expire(&mut self, now: u64) {
        self.parts.retain(|_, part| part.ends > now);
    }
}

/// A gateway, and what a client there that is told everything makes of it.
#[derive(Default)]
struct Gateway {
    room: Room,
    here: BTreeSet<String>,
    view: View,
}

#[derive(Debug, Default)]
struct View {
    known: BTreeSet<String>,
    count: Option<usize>,
    named: bool,
    /// How many times someone was told to have left.
    left: usize,
}

impl View {
    fn take(&mut self, sayings: Vec<Saying>) {
        for saying in sayings {
            match saying {
                Saying::Changed(change, members, count) => {
                    self.left += usize::from(change == Change::Leave);
                    if members.is_empty() {
                        self.named = false;
                    }
                    for member in members {
                        let changed = match change {
                            Change::Join => self.known.insert(member.session),
                            Change::Leave => self.known.remove(&member.session),
                        };
                        assert!(changed, "told twice");
                    }
                    self.count = Some(count);
                }
                Saying::All(listing) => {
                    self.known = listing.members.into_iter().map(|each| each.session).collect();
                    (self.count, self.named) = (Some(listing.count), true);
                }
            }
        }
    }
}

struct World {
    now: u64,
    model: Model,
    gateways: BTreeMap<usize, Gateway>,
    born: usize,
    sessions: usize,
    chance: f64,
}

#[derive(Clone, Debug)]
enum Act {
    Join(usize),
    Leave(usize),
    Work(usize),
    Wait(u64),
    Hint(usize),
    Away(bool),
    Lose,
    Kill(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => any::<usize>().prop_map(Act::Join),
        3 => any::<usize>().prop_map(Act::Leave),
        6 => any::<usize>().prop_map(Act::Work),
        3 => prop_oneof![1..100_u64, 1..40_000_u64].prop_map(Act::Wait),
        2 => any::<usize>().prop_map(Act::Hint),
        1 => any::<bool>().prop_map(Act::Away),
        1 => Just(Act::Lose),
        1 => any::<usize>().prop_map(Act::Kill),
    ]
}

impl World {
    fn new(chance: f64) -> Self {
        let mut world =
            Self { now: 1_000_000, model: Model::default(), gateways: BTreeMap::new(), born: 0, sessions: 0, chance };
        (0..3).for_each(|_| world.begin());
        world
    }

    fn begin(&mut self) {
        self.gateways.insert(self.born, Gateway::default());
        self.born += 1;
    }

    fn terms(&self) -> Terms {
        Terms { lease: LEASE, most: MOST, chance: self.chance }
    }

    fn pick(&self, choice: usize) -> usize {
        *self.gateways.keys().nth(choice % self.gateways.len()).unwrap()
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Join(choice) => self.join(*choice),
            Act::Leave(choice) => self.leave(*choice),
            Act::Work(choice) => {
                let id = self.pick(*choice);
                self.work(id);
            }
            Act::Wait(time) => self.now += time,
            Act::Hint(choice) => {
                let (id, now) = (self.pick(*choice), self.now);
                self.gateways.get_mut(&id).unwrap().room.hinted(now);
            }
            Act::Away(away) => self.model.away = *away,
            Act::Lose => self.model.parts.clear(),
            Act::Kill(choice) => {
                let id = self.pick(*choice);
                self.gateways.remove(&id);
                self.begin();
            }
        }
    }

    fn join(&mut self, choice: usize) {
        let (id, now) = (self.pick(choice), self.now);
        self.sessions += 1;
        let session = format!("s{}", self.sessions);
        let gateway = self.gateways.get_mut(&id).unwrap();
        if gateway.here.is_empty() {
            gateway.view = View::default();
        }
        gateway.here.insert(session.clone());
        gateway.room.join(Member { session, user: None }, now);
    }

    fn leave(&mut self, choice: usize) {
        let (id, now) = (self.pick(choice), self.now);
        let gateway = self.gateways.get_mut(&id).unwrap();
        if let Some(session) = gateway.here.pop_first() {
            gateway.room.leave(&session, now);
        }
    }

    /// All that is due at a gateway.
    fn work(&mut self, id: usize) {
        let (terms, now) = (self.terms(), self.now);
        let gateway = self.gateways.get_mut(&id).unwrap();
        while let Some(step) = gateway.room.next(false, &terms, now) {
            match step {
                Step::Write(write) => {
                    let result = self.model.write(id, &write, now);
                    gateway.room.wrote(&result, &terms, now);
                }
                Step::Renew { version } => {
                    let result = self.model.renew(id, version, now);
                    gateway.room.renewed(&result, &terms, now);
                }
                Step::Read { query, .. } => {
                    let result = self.model.read(id, query, now);
                    let first = gateway.view.count.is_none();
                    let sayings = gateway.room.read(&result, &terms, now);
                    if first && let Ok(reading) = &result {
                        let all = reading.listing.members.iter().map(|each| each.session.clone());
                        gateway.view.known = all.filter(|session| !gateway.here.contains(session)).collect();
                        gateway.view.named = gateway.room.named();
                        gateway.view.count = Some(reading.listing.count);
                    }
                    gateway.view.take(sayings);
                }
            }
        }
    }

    /// Three leases in which nothing else happens.
    fn settle(&mut self) {
        self.model.away = false;
        for _ in 0..(3 * LEASE / 500) {
            self.now += 500;
            let ids: Vec<_> = self.gateways.keys().copied().collect();
            for id in ids {
                self.work(id);
            }
        }
    }

    fn check(&self) {
        let truth: BTreeSet<_> = self.gateways.values().flat_map(|gateway| gateway.here.iter().cloned()).collect();
        for (id, gateway) in self.gateways.iter().filter(|(_, gateway)| !gateway.here.is_empty()) {
            assert_eq!(gateway.view.count, Some(truth.len()), "gateway {id}");
            if gateway.view.named {
                assert_eq!(gateway.view.known, truth, "gateway {id}");
            } else {
                assert!(truth.len() > MOST - 1, "gateway {id} knows no names of {}", truth.len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_everyone_knows_who_is_there(
        chance in 0.0..1.0_f64,
        acts in prop::collection::vec(act(), 1..100),
    ) {
        let mut world = World::new(chance);
        for each in &acts {
            world.act(each);
        }
        world.settle();
        world.check();
    }

    /// As long as no gateway is killed and nobody leaves, nobody is told that anyone has, whatever becomes of the roster.
    #[test]
    fn nobody_leaves_because_the_roster_is_away_or_empty(
        chance in 0.0..1.0_f64,
        acts in prop::collection::vec(act(), 1..100),
    ) {
        let mut world = World::new(chance);
        for each in acts.iter().filter(|each| !matches!(each, Act::Leave(_) | Act::Kill(_))) {
            // A gateway that is alive renews its leases: it works at least every third of one.
            if let Act::Wait(time) = each {
                for _ in 0..time.div_ceil(1000) {
                    world.now += 1000;
                    let ids: Vec<_> = world.gateways.keys().copied().collect();
                    for id in ids {
                        world.work(id);
                    }
                }
            } else {
                world.act(each);
            }
            for gateway in world.gateways.values() {
                prop_assert_eq!(gateway.view.left, 0);
            }
        }
    }
}
