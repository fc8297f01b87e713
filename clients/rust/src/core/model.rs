//! A model of gateways, network and time against which the core is run with random interleavings: whatever happens,
//! the application sees every entry after its position once and in order, and what it publishes is written once and in
//! order, also when answers are lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

use super::{Core, Effect, End, LinkId, Settings, Token};
use crate::{Event, MessageId, PublishError, frame::Incoming};

const ROOMS: [&str; 2] = ["lobby", "news"];

/// One thing that may happen in the world. The numbers choose a connection or a room.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    AnswerHandshake(usize),
    RefuseHandshake(usize),
    Serve(usize),
    Deliver(usize, usize),
    Drain(usize, u64, u64),
    CancelDrain(usize),
    Break(usize, Option<u16>),
    Wait(u64),
    Subscribe(usize),
    Publish(usize),
    /// The gateway refuses one publish for a moment.
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize).prop_map(Step::Append),
        4 => any::<usize>().prop_map(Step::AnswerHandshake),
        1 => any::<usize>().prop_map(Step::RefuseHandshake),
        4 => any::<usize>().prop_map(Step::Serve),
        6 => (any::<usize>(), 1..4_usize).prop_map(|(link, count)| Step::Deliver(link, count)),
        2 => (any::<usize>(), 0..300_u64, 0..5000_u64).prop_map(|(link, retry, more)| Step::Drain(link, retry, more)),
        1 => any::<usize>().prop_map(Step::CancelDrain),
        1 => (any::<usize>(), prop::sample::select(vec![None, Some(1001), Some(1012), Some(1013), Some(4408)]))
            .prop_map(|(link, code)| Step::Break(link, code)),
        3 => (1..2000_u64).prop_map(Step::Wait),
        1 => (0..2_usize).prop_map(Step::Subscribe),
        5 => (0..2_usize).prop_map(Step::Publish),
        1 => any::<usize>().prop_map(Step::Limit),
    ]
}

/// A connection as the gateway's end sees it.
#[derive(Debug, Default)]
struct Server {
    open: bool,
    requests: VecDeque<Value>,
    frames: VecDeque<Value>,
    rooms: Vec<String>,
}

/// What became of a publish.
type Fate = Result<MessageId, PublishError>;

struct World {
    core: Core,
    now: Duration,
    logs: BTreeMap<&'static str, Vec<MessageId>>,
    servers: BTreeMap<LinkId, Server>,
    positions: BTreeMap<String, MessageId>,
    seen: BTreeMap<String, Vec<MessageId>>,
    last_id: u64,
    /// What was published: its room, and what became of it.
    published: BTreeMap<Token, (&'static str, Option<Fate>)>,
    /// What was written for a publish, in order.
    written: Vec<(&'static str, Token, MessageId)>,
    keys: BTreeMap<String, MessageId>,
    /// Publishes that were refused for a moment. If the refusal is lost with the connection, they are sent again after
    /// those that followed them.
    limited: BTreeSet<Token>,
    /// What must never happen in this world, where nothing is trimmed and no server is at fault.
    faults: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = Settings { connect_timeout: Duration::from_secs(100_000), ..Settings::default() };
        let mut world = Self {
            core: Core::new(settings, seed),
            now: Duration::ZERO,
            logs: ROOMS.map(|room| (room, Vec::new())).into(),
            servers: BTreeMap::new(),
            positions: BTreeMap::new(),
            seen: BTreeMap::new(),
            last_id: 0,
            published: BTreeMap::new(),
            written: Vec::new(),
            keys: BTreeMap::new(),
            limited: BTreeSet::new(),
            faults: Vec::new(),
        };
        world.core.subscribe("lobby".into(), None, false, world.now);
        world.wait(0);
        world
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(room) => drop(self.append(ROOMS[*room])),
            Step::AnswerHandshake(link) => self.answer_handshake(*link),
            Step::RefuseHandshake(link) => self.refuse_handshake(*link),
            Step::Serve(link) => self.serve(*link),
            Step::Deliver(link, count) => (0..*count).for_each(|_| self.deliver(*link)),
            Step::Drain(link, retry, more) => self.drain(*link, *retry, retry + more),
            Step::CancelDrain(link) => self.cancel_drain(*link),
            Step::Break(link, code) => self.cut(*link, *code),
            Step::Wait(millis) => self.wait(*millis),
            Step::Subscribe(room) => self.core.subscribe(ROOMS[*room].into(), None, false, self.now),
            Step::Publish(room) => self.publish(ROOMS[*room]),
            Step::Limit(link) => self.limit(*link),
        }
        self.carry_out();
    }

    fn pick(&self, choice: usize, open: bool) -> Option<LinkId> {
        let candidates: Vec<_> = self.servers.iter().filter(|(_, server)| server.open == open).collect();
        (!candidates.is_empty()).then(|| *candidates[choice % candidates.len()].0)
    }

    fn publish(&mut self, room: &'static str) {
        let token = self.published.len() as Token + 1;
        self.published.insert(token, (room, None));
        let payload = RawValue::from_string(token.to_string()).unwrap();
        self.core.publish(token, room.into(), payload, None, self.now);
    }

    /// Writes what is published, unless its key is known.
    fn write(&mut self, request: &Value) -> MessageId {
        let key = request["idempotencyKey"].as_str().unwrap().to_owned();
        if let Some(id) = self.keys.get(&key) {
            return *id;
        }
        let room = ROOMS.into_iter().find(|room| request["room"] == *room).unwrap();
        let id = self.append(room);
        self.keys.insert(key, id);
        self.written.push((room, request["payload"].as_u64().unwrap(), id));
        id
    }

    fn limit(&mut self, choice: usize) {
        let Some(id) = self.pick(choice, true) else { return };
        let server = self.servers.get_mut(&id).unwrap();
        if server.requests.front().is_some_and(|request| request["type"] == "publish") {
            let request = server.requests.pop_front().unwrap();
            self.limited.insert(request["payload"].as_u64().unwrap());
            let refused = json!({"type": "error", "ref": request["ref"], "code": "rate_limited", "message": ""});
            server.frames.push_back(refused);
        }
    }

    fn append(&mut self, room: &'static str) -> MessageId {
        self.last_id += 1;
        let id = MessageId::new(1000 + self.last_id / 3, self.last_id % 3);
        self.logs.get_mut(room).unwrap().push(id);
        for server in self.servers.values_mut().filter(|server| server.rooms.iter().any(|name| name == room)) {
            server.frames.push_back(message(room, id));
        }
        id
    }

    fn answer_handshake(&mut self, choice: usize) {
        let Some(id) = self.pick(choice, false) else { return };
        let server = self.servers.get_mut(&id).unwrap();
        server.open = true;
        // A few gateways, so that the one that is being left is met again.
        let node = format!("n{}", id.0 % 3);
        server.frames.push_back(json!({"type": "welcome", "node": node, "session": "s", "heartbeatMs": 0}));
        self.core.opened(id, self.now);
    }

    fn refuse_handshake(&mut self, choice: usize) {
        let Some(id) = self.pick(choice, false) else { return };
        self.servers.remove(&id);
        self.core.ended(id, &End::Refused { status: Some(503), reason: String::new() }, self.now);
    }

    /// The gateway reads one request.
    fn serve(&mut self, choice: usize) {
        let Some(id) = self.pick(choice, true) else { return };
        let server = self.servers.get_mut(&id).unwrap();
        let Some(request) = server.requests.pop_front() else { return };
        if request["type"] == "publish" {
            let entry = self.write(&request);
            let answer = json!({"type": "ok", "ref": request["ref"], "id": entry});
            return self.servers.get_mut(&id).unwrap().frames.push_back(answer);
        }
        let room = request["room"].as_str().unwrap();
        let log = &self.logs[room];
        let last = log.last().copied().unwrap_or(MessageId::MIN);
        let since = request.get("since").map_or(last, |since| since.as_str().unwrap().parse().unwrap());
        let missed: Vec<_> = log.iter().copied().filter(|entry| *entry > since).collect();
        server.frames.push_back(json!({
            "type": "subscribed", "ref": request["ref"], "room": room, "position": since,
            "recovered": true, "replayed": missed.len(),
        }));
        server.frames.extend(missed.into_iter().map(|entry| message(room, entry)));
        server.rooms.push(room.to_owned());
    }

    fn deliver(&mut self, choice: usize) {
        let Some(id) = self.pick(choice, true) else { return };
        let Some(frame) = self.servers.get_mut(&id).unwrap().frames.pop_front() else { return };
        let text = frame.to_string();
        let frame: Incoming<'_> = serde_json::from_str(&text).unwrap();
        self.core.heard(id, self.now);
        self.core.frame(id, &frame, self.now);
        self.carry_out();
    }

    fn drain(&mut self, choice: usize, retry: u64, deadline: u64) {
        if let Some(id) = self.pick(choice, true) {
            let frame = json!({"type": "drain", "retryAfterMs": retry, "deadlineMs": deadline});
            self.servers.get_mut(&id).unwrap().frames.push_back(frame);
        }
    }

    fn cancel_drain(&mut self, choice: usize) {
        if let Some(id) = self.pick(choice, true) {
            self.servers.get_mut(&id).unwrap().frames.push_back(json!({"type": "drainCancelled"}));
        }
    }

    fn cut(&mut self, choice: usize, code: Option<u16>) {
        let Some(id) = self.pick(choice, true) else { return };
        self.servers.remove(&id);
        self.core.ended(id, &End::Closed { code, reason: String::new() }, self.now);
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.core.tick(self.now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.effect() {
            match effect {
                Effect::Open(id) => {
                    self.servers.insert(id, Server::default());
                    assert!(self.servers.len() <= 2, "more than two connections");
                }
                Effect::Send(id, text) => {
                    let request = serde_json::from_str(&text).unwrap();
                    self.servers.get_mut(&id).unwrap().requests.push_back(request);
                }
                Effect::Leave(id) | Effect::Abort(id) => drop(self.servers.remove(&id).unwrap()),
                Effect::Emit(event) => self.see(event),
                Effect::Published(token, result) => {
                    let twice = self.published.get_mut(&token).unwrap().1.replace(result);
                    assert_eq!(twice, None, "{token} answered twice");
                }
                Effect::Answered(..) | Effect::Refresh(_) | Effect::Finish => {
                    self.faults.push(format!("{effect:?}"));
                }
            }
        }
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Subscribed { room, position } => {
                let twice = self.positions.insert(room.to_string(), position);
                assert_eq!(twice, None, "{room} subscribed twice");
            }
            Event::Message { room, id, .. } => self.seen.entry(room.to_string()).or_default().push(id),
            fault @ (Event::Repeated { .. } | Event::Resync { .. } | Event::SubscribeFailed { .. }) => {
                self.faults.push(format!("{fault:?}"));
            }
            _ => {}
        }
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.wait(20_000);
            for link in 0..2 {
                self.answer_handshake(link);
                self.carry_out();
                for _ in 0..self.published.len() + 4 {
                    self.serve(link);
                    (0..self.last_id + 20).for_each(|_| self.deliver(link));
                }
            }
            let done = self.servers.values().all(|server| server.frames.is_empty() && server.requests.is_empty());
            let all = self.servers.values().any(|server| server.rooms.len() == self.core.rooms.len());
            let answered = self.published.values().all(|(_, result)| result.is_some());
            if done && all && answered && self.core.next.is_none() {
                return;
            }
        }
        panic!("the session did not come to rest");
    }

    /// Each publish once or never, as it was answered; those of a room in their order.
    fn check_published(&self) {
        for (token, (room, result)) in &self.published {
            let written: Vec<_> = self.written.iter().filter(|(_, number, _)| number == token).collect();
            match result.as_ref().unwrap() {
                Ok(id) => assert_eq!(written, [&(*room, *token, *id)]),
                Err(PublishError::Rejected { .. }) => assert_eq!(written, [&(*room, *token, MessageId::MIN); 0]),
                Err(PublishError::Uncertain) => assert!(written.len() <= 1),
                Err(error) => panic!("{token}: {error}"),
            }
        }
        for room in ROOMS {
            let tokens: Vec<_> = self
                .written
                .iter()
                .filter(|(name, token, _)| *name == room && !self.limited.contains(token))
                .map(|(_, token, _)| token)
                .collect();
            assert!(tokens.is_sorted(), "in {room}: {tokens:?}");
        }
    }

    fn check(&self) {
        self.check_published();
        assert_eq!(self.faults, Vec::<String>::new());
        for (room, position) in &self.positions {
            let expected: Vec<_> = self.logs[room.as_str()].iter().copied().filter(|id| id > position).collect();
            assert_eq!(self.seen.get(room).cloned().unwrap_or_default(), expected, "in {room} after {position}");
        }
        assert_eq!(self.positions.len(), self.core.rooms.len(), "every room was subscribed in the end");
    }
}

fn message(room: &str, id: MessageId) -> Value {
    json!({"type": "message", "room": room, "id": id, "timestamp": 0, "payload": null})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_entry_is_seen_once_and_in_order(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(seed);
        for step in &steps {
            world.apply(step);
        }
        world.settle();
        world.check();
    }
}
