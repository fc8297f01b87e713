//! Publishes numbered messages at a steady rate, and finds out what became of each.

mod redis;
mod socket;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::{redis::RedisPublisher, socket::SocketPublisher};
use crate::{
    activity::Millis,
    payload::{Numbered, Rooms},
    shared::Shared,
};

/// What to publish.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to, in turn.
    pub rooms: Rooms,
    /// Messages per second, over all rooms.
    pub rate: f64,
    /// Bytes of payload.
    pub payload_bytes: usize,
    /// How long to look, after the end, for what became of uncertain messages.
    pub settle: Duration,
}

/// Either way of publishing.
#[derive(Debug)]
pub enum Publisher {
    /// Plain `XADD`.
    Redis(Box<RedisPublisher>),
    /// The gateways' own `publish`.
    Socket(SocketPublisher),
}

impl Publisher {
    /// Publishes until `stop`, then until the fate of all that was published is known or given up.
    pub async fn run(self, shared: Arc<Shared>, stop: CancellationToken) {
        match self {
            Self::Redis(publisher) => publisher.run(&shared, &stop).await,
            Self::Socket(publisher) => publisher.run(&shared, &stop).await,
        }
    }
}

/// A message that has its number.
#[derive(Debug)]
struct Message {
    room: usize,
    number: u64,
    payload: String,
}

/// Gives out numbers, to one room after the other.
#[derive(Debug)]
struct Turn {
    plan: Plan,
    next: usize,
}

impl Turn {
    fn new(plan: Plan) -> Self {
        Self { plan, next: 0 }
    }

    fn message(&mut self, shared: &Shared, sent_at: Millis) -> Message {
        let room = self.next;
        self.next = (self.next + 1) % self.plan.rooms.count();
        let number = shared.issue(room);
        let payload = Numbered { number, sent_at }.encode(self.plan.payload_bytes);
        Message { room, number, payload }
    }
}
