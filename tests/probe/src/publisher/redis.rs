//! Publishes with plain `XADD`, as any backend does, and survives a Redis that goes away.
//!
//! All that is due goes out as one pipeline; while it is under way the next one collects. That keeps the numbers of a
//! room in order. A number whose answer was lost is never used again: it is looked up in the stream.

use std::{collections::BTreeMap, time::Duration};

use ::redis::{
    AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection, streams::StreamRangeReply,
};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use wscluster_client::MessageId;

use super::{Message, Plan, Turn};
use crate::{clock, ledger::Fate, payload::Numbered, schedule::Schedule, shared::Shared};

/// Messages in one pipeline.
const BATCH: usize = 1000;
/// Entries that a room's stream keeps, about.
const KEEP: usize = 10_000;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the first connection may be refused.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why publishing was interrupted.
enum Interruption {
    Stopped,
    Broken(RedisError),
}

/// A publisher that is connected.
#[derive(Debug)]
pub struct RedisPublisher {
    client: Client,
    connection: Option<MultiplexedConnection>,
    prefix: String,
    turn: Turn,
    /// Per room: the numbers up to this one have been looked up.
    looked_up: BTreeMap<usize, u64>,
}

impl RedisPublisher {
    /// Connects.
    ///
    /// # Errors
    /// If the URL is wrong, or nobody answers there for a while.
    pub async fn connect(url: &str, prefix: String, plan: Plan) -> RedisResult<Self> {
        let client = Client::open(url)?;
        let give_up = tokio::time::Instant::now() + PATIENCE;
        let connection = loop {
            match connect(&client).await {
                Ok(connection) => break connection,
                Err(error) if tokio::time::Instant::now() >= give_up => return Err(error),
                Err(_) => tokio::time::sleep(FIRST_PAUSE).await,
            }
        };
        let looked_up = BTreeMap::new();
        Ok(Self { client, connection: Some(connection), prefix, turn: Turn::new(plan), looked_up })
    }

    pub(super) async fn run(mut self, shared: &Shared, stop: &CancellationToken) {
        let mut schedule = Schedule::new(self.turn.plan.rate, clock::now());
        loop {
            let Some(mut connection) = self.connection(shared, stop).await else { return };
            let interruption = match self.look_up(&mut connection, shared).await {
                Ok(()) => self.publish(&mut connection, &mut schedule, shared, stop).await,
                Err(error) => Interruption::Broken(error),
            };
            match interruption {
                Interruption::Stopped => return,
                Interruption::Broken(error) => shared.trouble(format!("Redis: {error}")),
            }
        }
    }

    /// A connection, however long it takes; none when it is no longer worth it.
    async fn connection(&mut self, shared: &Shared, stop: &CancellationToken) -> Option<MultiplexedConnection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let mut pause = FIRST_PAUSE;
        let patience = async {
            stop.cancelled().await;
            tokio::time::sleep(self.turn.plan.settle).await;
        };
        tokio::pin!(patience);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut patience => return None,
            }
            match connect(&self.client).await {
                Ok(connection) => return Some(connection),
                Err(error) => shared.trouble(format!("Redis: {error}")),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn publish(
        &mut self,
        connection: &mut MultiplexedConnection,
        schedule: &mut Schedule,
        shared: &Shared,
        stop: &CancellationToken,
    ) -> Interruption {
        schedule.skip_to(clock::now());
        loop {
            tokio::select! {
                () = stop.cancelled() => return Interruption::Stopped,
                () = tokio::time::sleep(schedule.wait(clock::now())) => {}
            }
            let due = schedule.due(clock::now(), BATCH);
            let batch: Vec<_> = due.into_iter().map(|sent_at| self.turn.message(shared, sent_at)).collect();
            if let Err(error) = self.send(connection, &batch, shared).await {
                return Interruption::Broken(error);
            }
        }
    }

    /// Sends a batch. An error answer means that an entry was not written; no answer means that nobody knows.
    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &[Message],
        shared: &Shared,
    ) -> RedisResult<()> {
        let answers = match self.pipeline(batch).query_async::<Vec<RedisResult<String>>>(connection).await {
            Ok(answers) => answers,
            Err(error) => {
                for message in batch {
                    shared.decide(message.room, message.number, Fate::Uncertain);
                }
                return Err(error);
            }
        };
        let mut result = Ok(());
        for (message, answer) in batch.iter().zip(answers) {
            let fate = match answer.map(|id| id.parse()) {
                Ok(Ok(id)) => Fate::Published(id),
                Ok(Err(_)) => Fate::Uncertain,
                Err(error) => {
                    result = Err(error);
                    Fate::Failed
                }
            };
            shared.decide(message.room, message.number, fate);
        }
        result
    }

    fn pipeline(&self, batch: &[Message]) -> ::redis::Pipeline {
        let mut pipeline = ::redis::pipe();
        pipeline.ignore_errors();
        for message in batch {
            let timestamp = clock::now() as u64;
            (pipeline.cmd("XADD").arg(self.key(message.room)).arg("MAXLEN").arg("~").arg(KEEP).arg("*"))
                .arg(&[("type", "message"), ("payload", &message.payload)])
                .arg("timestamp")
                .arg(timestamp);
        }
        pipeline
    }

    /// Reads what became of the numbers whose answer was lost. What is not in the stream stays uncertain: a broken
    /// connection's last bytes may still be on their way into the server.
    async fn look_up(&mut self, connection: &mut MultiplexedConnection, shared: &Shared) -> RedisResult<()> {
        for room in 0..self.turn.plan.rooms.count() {
            let known = self.looked_up.get(&room).copied().unwrap_or(0);
            let Some((last, after)) = doubtful(shared, room, known) else { continue };
            let entries: StreamRangeReply = ::redis::cmd("XRANGE")
                .arg(self.key(room))
                .arg(after.map_or_else(|| "-".to_owned(), |id| format!("({id}")))
                .arg("+")
                .query_async(connection)
                .await?;
            for (number, id) in entries.ids.iter().filter_map(numbered) {
                let mut recorder = shared.lock();
                let ledger = recorder.checker.room(room);
                if ledger.fate(number) == Some(Fate::Uncertain) {
                    ledger.decide(number, Fate::Published(id));
                }
            }
            self.looked_up.insert(room, last);
        }
        Ok(())
    }

    fn key(&self, room: usize) -> String {
        format!("{}{}", self.prefix, self.turn.plan.rooms.name(room))
    }
}

/// The last uncertain number of a room beyond those that were looked up, and the last entry that is before all of them.
fn doubtful(shared: &Shared, room: usize, known: u64) -> Option<(u64, Option<MessageId>)> {
    let mut recorder = shared.lock();
    let ledger = recorder.checker.room(room);
    let uncertain: Vec<_> = ledger.uncertain().filter(|number| *number > known).collect();
    let (first, last) = (*uncertain.first()?, *uncertain.last()?);
    let before = (1..first).rev().find_map(|number| match ledger.fate(number) {
        Some(Fate::Published(id)) => Some(id),
        _ => None,
    });
    Some((last, before))
}

fn numbered(entry: &::redis::streams::StreamId) -> Option<(u64, MessageId)> {
    let payload = entry.get::<String>("payload")?;
    let numbered = Numbered::decode(&RawValue::from_string(payload).ok()?)?;
    Some((numbered.number, entry.id.parse().ok()?))
}

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}
