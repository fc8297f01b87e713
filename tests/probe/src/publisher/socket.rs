//! Publishes through WebSockets of its own, where there is no Redis to write to.
//!
//! A gateway allows a connection only so many messages a second, so there are as many connections as the rate needs;
//! each room has one of them, which keeps its numbers in order.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wscluster_client::{BuildError, Client, Event, MessageId, PublishError};

use super::{Message, Plan, Turn};
use crate::{
    clock,
    ledger::Fate,
    schedule::Schedule,
    shared::Shared,
    token::{self, Source},
};

/// Below a gateway's default of 50 messages per second and connection.
const RATE_PER_CONNECTION: f64 = 40.0;
const MOST_CONNECTIONS: f64 = 256.0;
/// Messages that may be due at once.
const BATCH: usize = 1000;

/// A publisher that is connecting.
#[derive(Debug)]
pub struct SocketPublisher {
    clients: Vec<Client>,
    /// A permit for each time that one of them has connected.
    connected: Arc<Semaphore>,
    turn: Turn,
}

impl SocketPublisher {
    /// Starts its connections.
    ///
    /// # Errors
    /// If the URL is not one of a WebSocket.
    pub fn connect(url: &str, token: Option<&Source>, plan: Plan) -> Result<Self, BuildError> {
        let count = (plan.rate / RATE_PER_CONNECTION).ceil().clamp(1.0, MOST_CONNECTIONS) as usize;
        let connected = Arc::new(Semaphore::new(0));
        let client = |_| {
            let connected = connected.clone();
            token::show(Client::builder(url), token).connect_with(move |event| {
                if let Event::Connected { .. } = event {
                    connected.add_permits(1);
                }
            })
        };
        let clients = (0..count.min(plan.rooms.count())).map(client).collect::<Result<_, _>>()?;
        Ok(Self { clients, connected, turn: Turn::new(plan) })
    }

    pub(super) async fn run(mut self, shared: &Shared, stop: &CancellationToken) {
        let all = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        tokio::select! {
            _ = self.connected.acquire_many(all) => {}
            () = stop.cancelled() => return,
        }
        let mut schedule = Schedule::new(self.turn.plan.rate, clock::now());
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(schedule.wait(clock::now())) => {
                    for sent_at in schedule.due(clock::now(), BATCH) {
                        let message = self.turn.message(shared, sent_at);
                        under_way.push(self.publish(message));
                    }
                }
                Some((room, number, result)) = under_way.next() => decide(shared, room, number, result),
            }
        }
        let rest = async {
            while let Some((room, number, result)) = under_way.next().await {
                decide(shared, room, number, result);
            }
        };
        if tokio::time::timeout(self.turn.plan.settle, rest).await.is_err() {
            shared.trouble("some publishes were not answered".to_owned());
        }
    }

    /// Goes out now; what is awaited is the answer.
    fn publish(&self, message: Message) -> impl Future<Output = (usize, u64, Result<MessageId, PublishError>)> + use<> {
        let Message { room, number, payload } = message;
        let payload = RawValue::from_string(payload).expect("numbered messages are JSON");
        let client = &self.clients[room % self.clients.len()];
        let answer = client.publish_raw(self.turn.plan.rooms.name(room), payload);
        async move { (room, number, answer.await) }
    }
}

fn decide(shared: &Shared, room: usize, number: u64, result: Result<MessageId, PublishError>) {
    let fate = match result {
        Ok(id) => Fate::Published(id),
        Err(error) => {
            shared.trouble(format!("publish: {error}"));
            if may_be_written(&error) { Fate::Uncertain } else { Fate::Failed }
        }
    };
    shared.decide(room, number, fate);
}

/// `unavailable` is what a gateway says that lost Redis; the entry may have been written before.
fn may_be_written(error: &PublishError) -> bool {
    match error {
        PublishError::Uncertain => true,
        PublishError::NotConnected | PublishError::QueueFull => false,
        PublishError::Rejected { code, .. } => code == "unavailable",
    }
}
