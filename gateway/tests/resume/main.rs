//! Random orders of publishing, trimming, disconnecting, resuming, moving and draining, against a model: never a silent
//! gap, never a duplicate, never out of order, and `recovered: true` only where nothing was missing. Real gateways and
//! sockets; on the embedded log, and with two gateways on a real Redis.

mod model;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use model::{Model, Saw};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseError, TestRunner};
use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{Client, Gateway, soon};
use wscluster_gateway::config::Config;
use wscluster_gateway::entry::EntryId;

/// What happens. Numbers of gateways are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    /// Publish so many messages, and wait for the answers.
    Publish(u8),
    /// Publish so many and don't wait: they are under way while the next thing happens.
    PublishUnheard(u8),
    /// Publish one message that trims the room to so many.
    Trim(u8),
    /// The reader reads up to so many messages of those that are there.
    Read(u8),
    /// The reader's connection breaks, whatever waits in it.
    Disconnect,
    /// The reader connects if it is not, and subscribes with its cursor: a second time if it is.
    Resume(usize),
    /// Make before break: the reader subscribes elsewhere, reads so many more messages on the old connection, leaves it.
    Move(usize, u8),
    /// A drain begins.
    Drain(usize),
    /// A drain is cancelled.
    CancelDrain(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..6u8).prop_map(Op::Publish),
        3 => (1..6u8).prop_map(Op::PublishUnheard),
        2 => (40..80u8).prop_map(Op::PublishUnheard),
        2 => (1..8u8).prop_map(Op::Trim),
        3 => (1..9u8).prop_map(Op::Read),
        3 => Just(Op::Disconnect),
        4 => (0..2usize).prop_map(Op::Resume),
        2 => ((0..2usize), (0..4u8)).prop_map(|(to, more)| Op::Move(to, more)),
        1 => (0..2usize).prop_map(Op::Drain),
        1 => (0..2usize).prop_map(Op::CancelDrain),
    ]
}

/// One run of operations.
struct Run<'a> {
    gateways: &'a [Gateway],
    room: String,
    /// A payload: its size decides how many messages make a passage.
    payload: Value,
    writer: Client,
    unheard: usize,
    reader: Option<Client>,
    /// The newest message that the reader has.
    cursor: EntryId,
    subscriptions: Vec<Vec<Saw>>,
    model: Model,
}

impl<'a> Run<'a> {
    async fn new(gateways: &'a [Gateway], room: String, bytes: usize) -> Self {
        let mut reader = gateways[0].client().await;
        // An entry to begin with: a cursor of a room that was never written to is no cursor.
        let mut writer = gateways[0].client().await;
        let payload = json!("x".repeat(bytes));
        let first = id_of(&writer.publish(&room, payload.clone()).await["id"]);
        reader.resume(&room, "0-0").await;
        reader.message().await;
        let saw = vec![Saw::Subscribed { since: first, recovered: true, replayed: 0, floor: EntryId::ZERO }];
        let model = Model { published: vec![first], floor: EntryId::ZERO };
        let (reader, subscriptions) = (Some(reader), vec![saw]);
        Self { gateways, room, payload, writer, unheard: 0, reader, cursor: first, subscriptions, model }
    }

    async fn perform(&mut self, op: &Op) {
        match *op {
            Op::Publish(count) => {
                self.send(count).await;
                self.hear().await;
            }
            Op::PublishUnheard(count) => self.send(count).await,
            Op::Trim(keep) => self.trim(keep).await,
            Op::Read(count) => self.read(count.into()).await,
            Op::Disconnect => self.reader = None,
            Op::Resume(at) => self.resume(at).await,
            Op::Move(to, more) => self.move_to(to, more.into()).await,
            Op::Drain(at) => drop(self.gateway(at).admin("POST", "/v1/drain").await),
            Op::CancelDrain(at) => drop(self.gateway(at).admin("DELETE", "/v1/drain").await),
        }
    }

    fn gateway(&self, number: usize) -> &'a Gateway {
        &self.gateways[number % self.gateways.len()]
    }

    async fn send(&mut self, count: u8) {
        for _ in 0..count {
            let frame = json!({"type": "publish", "ref": 1, "room": self.room, "payload": self.payload});
            self.writer.send(frame).await;
            self.unheard += 1;
        }
    }

    /// Takes the answers to what was published. Answers may overtake each other.
    async fn hear(&mut self) {
        while self.unheard > 0 {
            let frame = self.writer.next().await;
            match frame["type"].as_str() {
                Some("ok") => {
                    self.model.published.push(id_of(&frame["id"]));
                    self.unheard -= 1;
                }
                Some("drain" | "drainCancelled") => {}
                _ => panic!("the writer got {frame}"),
            }
        }
        self.model.published.sort_unstable();
    }

    async fn trim(&mut self, keep: u8) {
        self.hear().await;
        self.keep(keep.into());
        self.send(1).await;
        self.hear().await;
        self.keep(KEEP_ALL);
        let kept = self.model.published.len().saturating_sub(keep.into());
        self.model.floor = self.model.floor.max(self.model.published[kept]);
    }

    fn keep(&self, count: u64) {
        for gateway in self.gateways {
            gateway.settings.store(Arc::new(Config::parse(&settings(count)).unwrap().into()));
        }
    }

    async fn resume(&mut self, at: usize) {
        let mut client = match self.reader.take() {
            Some(client) => client,
            None => self.gateway(at).client().await,
        };
        let since = self.cursor;
        client.send(json!({"type": "subscribe", "ref": 1, "room": self.room, "since": since.to_string()})).await;
        let answer = self.read_to_the_answer(&mut client).await;
        self.reader = Some(client);
        self.begin(since, &answer);
    }

    /// What comes before the answer belongs to the subscription before.
    async fn read_to_the_answer(&mut self, client: &mut Client) -> Value {
        loop {
            let frame = client.next().await;
            if frame["type"] == "subscribed" {
                return frame;
            }
            let newest = self.subscriptions.len() - 1;
            self.take(newest, &frame);
        }
    }

    fn begin(&mut self, since: EntryId, answer: &Value) {
        assert_eq!(answer["position"], since.to_string(), "{answer}");
        self.subscriptions.push(vec![Saw::Subscribed {
            since,
            recovered: answer["recovered"].as_bool().unwrap(),
            replayed: answer["replayed"].as_u64().unwrap(),
            floor: self.model.floor,
        }]);
    }

    async fn move_to(&mut self, to: usize, more: usize) {
        let old = (self.reader.take(), self.subscriptions.len() - 1);
        self.resume(to).await;
        let (Some(mut client), subscription) = old else { return };
        // What is there on the old connection: to its answer to a ping, and no more than wanted.
        client.send(json!({"type": "ping"})).await;
        for _ in 0..more {
            let frame = client.next().await;
            if frame["type"] == "pong" {
                return;
            }
            self.take(subscription, &frame);
        }
    }

    async fn read(&mut self, count: usize) {
        let newest = self.subscriptions.len() - 1;
        let Some(mut client) = self.reader.take() else { return };
        client.send(json!({"type": "ping"})).await;
        for _ in 0..count {
            let frame = client.next().await;
            if frame["type"] == "pong" {
                break;
            }
            self.take(newest, &frame);
        }
        self.reader = Some(client);
    }

    fn take(&mut self, subscription: usize, frame: &Value) {
        let saw = match frame["type"].as_str() {
            Some("message") => Saw::Message(id_of(&frame["id"])),
            Some("resync") => Saw::Resync(id_of(&frame["position"])),
            Some("drain" | "drainCancelled" | "pong") => return,
            _ => panic!("the reader got {frame}"),
        };
        if let Saw::Message(id) | Saw::Resync(id) = saw {
            self.cursor = self.cursor.max(id);
        }
        self.subscriptions[subscription].push(saw);
    }

    /// Comes back if it must, reads everything, and judges what was seen.
    async fn finish(mut self) -> Result<(), String> {
        self.hear().await;
        for at in 0..self.gateways.len() {
            self.perform(&Op::CancelDrain(at)).await;
        }
        if self.reader.is_none() {
            self.resume(0).await;
        }
        let (newest, last) = (self.subscriptions.len() - 1, *self.model.published.last().unwrap());
        let mut client = self.reader.take().unwrap();
        let reading = async {
            while self.model.judge(&self.subscriptions[newest])? < last {
                let frame = client.next().await;
                self.take(newest, &frame);
            }
            Ok::<_, String>(())
        };
        // What went wrong on the way is found again, and shown, below.
        let read = soon(reading).await;
        for saw in &self.subscriptions {
            self.model.judge(saw).map_err(|fault| self.explain(&fault, saw))?;
        }
        read
    }

    /// The fault, and what was seen around it.
    fn explain(&self, fault: &str, saw: &[Saw]) -> String {
        let at = fault.split(':').next().and_then(|number| number.parse().ok()).unwrap_or(0usize);
        let around = at.saturating_sub(5)..saw.len().min(at + 3);
        let seen: String = around.fold(String::new(), |all, index| all + &format!("  {index}: {}\n", saw[index]));
        format!("{fault}\n  0: {}\n  …\n{seen}kept from {} at the end\n", saw[0], self.model.floor)
    }
}

fn id_of(value: &Value) -> EntryId {
    value.as_str().unwrap_or_else(|| panic!("no id but {value}")).parse().unwrap()
}

const KEEP_ALL: u64 = 100_000;

fn settings(keep: u64) -> String {
    format!(
        "streams: {{trim: {{maxLen: {keep}, approximate: false}}}}\n\
         limits: {{messagesPerSecond: 1000000, burst: 1000000}}\n\
         backpressure: {{maxBufferedBytes: 100000000}}\ndrain: {{connectionsPerSecond: 1000}}"
    )
}

/// Messages of so few bytes come back in one passage.
const SMALL: usize = 1;
/// Of so many, about ten make a passage.
const LARGE: usize = 6000;

/// Lets random runs go over `gateways`, each in a room of its own, with messages of so many bytes.
fn check(runtime: &tokio::runtime::Runtime, gateways: &[Gateway], cases: u32, bytes: usize) {
    // Runs race with the gateway: a stored seed would not bring a failure back.
    let config = Cases { cases, failure_persistence: None, ..Cases::default() };
    let mut runner = TestRunner::new(config);
    let rooms = std::cell::Cell::new(0);
    let outcome = runner.run(&proptest::collection::vec(op(), 1..40), |ops| {
        rooms.set(rooms.get() + 1);
        let result = runtime.block_on(async {
            let mut run = Run::new(gateways, format!("room-{bytes}-{}", rooms.get()), bytes).await;
            for op in &ops {
                run.perform(op).await;
            }
            run.finish().await
        });
        result.map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn on_the_embedded_log_every_gap_is_told_and_nothing_comes_twice() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gateways = [runtime.block_on(Gateway::start(&settings(KEEP_ALL), None))];
    check(&runtime, &gateways, 200, SMALL);
    check(&runtime, &gateways, 60, LARGE);
}

#[test]
fn over_two_gateways_on_redis_every_gap_is_told_and_nothing_comes_twice() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_redis, gateways) = runtime.block_on(async {
        let redis = RedisServer::start(&[]).await;
        let start = async || Gateway::start(&settings(KEEP_ALL), Some(&redis.url())).await;
        let gateways = [start().await, start().await];
        for gateway in &gateways {
            gateway.connected().await;
        }
        (redis, gateways)
    });
    check(&runtime, &gateways, 40, SMALL);
    check(&runtime, &gateways, 20, LARGE);
}
