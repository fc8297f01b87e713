//! One connection to Redis that is made again whenever it breaks. Commands fail at once while it is away: nobody waits
//! in a queue that may be sent much later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Address;
use super::errors::{classify, describe, is_away};
use super::life::{self, Life};
use super::place::Place;
use crate::clock::{self, Millis};
use crate::error::LogError;
use crate::metrics::Metrics;

const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a link leads.
#[derive(Clone)]
pub(super) enum Target {
    /// To one server.
    Fixed(Place),
    /// To wherever the master is.
    Master(watch::Receiver<Option<Place>>),
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Commands,
    Reads,
}

impl Way {
    fn name(self) -> &'static str {
        if self == Self::Commands { "commands" } else { "reads" }
    }

    /// How long an answer may take. A read may return many megabytes.
    fn patience(self) -> Duration {
        Duration::from_secs(if self == Self::Commands { 5 } else { 15 })
    }
}

/// How often a link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// All in all.
    pub(super) times: u64,
    /// To a server that may not have everything that the one before had acknowledged.
    pub(super) unproven: u64,
}

/// A connection that comes back.
pub(super) struct Link {
    way: Way,
    address: Address,
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
    made: watch::Sender<Made>,
    last_success: AtomicU64,
    metrics: Arc<Metrics>,
}

/// Delay before the next attempt: doubles up to one second, with full jitter.
pub(super) fn backoff(attempt: u32) -> Duration {
    let most = 50u64 << attempt.min(5);
    Duration::from_millis(rand::random_range(10..=most.min(1000)))
}

impl Target {
    /// Where it is now, as soon as that is known.
    pub(super) async fn place(&mut self) -> Place {
        match self {
            Self::Fixed(place) => place.clone(),
            Self::Master(found) => {
                let place = found.wait_for(Option::is_some).await.ok().and_then(|place| place.clone());
                match place {
                    Some(place) => place,
                    // The log stops, and with it whoever asks.
                    None => std::future::pending().await,
                }
            }
        }
    }

    /// Waits until it is no longer there.
    pub(super) async fn leaves(&mut self, place: &Place) {
        let gone = match self {
            Self::Master(found) => found.wait_for(|found| found.as_ref() != Some(place)).await.is_ok(),
            Self::Fixed(_) => false,
        };
        if !gone {
            std::future::pending::<()>().await;
        }
    }

    fn is_followed(&self) -> bool {
        matches!(self, Self::Master(_))
    }
}

impl Link {
    pub(super) fn start(
        way: Way,
        address: &Address,
        target: Target,
        metrics: &Arc<Metrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let link = Arc::new(Self {
            way,
            address: address.clone(),
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            made: watch::Sender::default(),
            last_success: AtomicU64::new(clock::now()),
            metrics: Arc::clone(metrics),
        });
        tokio::spawn(stop.run_until_cancelled_owned(Arc::clone(&link).keep(target)));
        link
    }

    /// Connects, looks after the connection, and connects again.
    async fn keep(self: Arc<Self>, mut target: Target) {
        let (name, mut life, mut lost_at) = (self.way.name(), None, None);
        loop {
            let (place, mut connection) = self.connect(&mut target).await;
            let proven = self.lives_on(&mut life, &mut connection, &place).await;
            self.connection.store(Some(Arc::new(connection)));
            if self.made.borrow().times > 0 {
                self.metrics.redis_reconnected(name);
            }
            self.made.send_modify(|made| {
                made.times += 1;
                made.unproven += u64::from(!proven);
            });
            log_connected(name, &place, lost_at);
            tokio::select! {
                () = self.until_broken() => tracing::warn!(connection = name, redis = %place, "the connection to Redis is lost"),
                () = target.leaves(&place) => tracing::warn!(connection = name, redis = %place, "the master is elsewhere now"),
            }
            self.connection.store(None);
            lost_at = Some(clock::now());
        }
    }

    /// Whether the server has what the one before had acknowledged. Asked for reads only: it is readers that would miss it.
    async fn lives_on(&self, last: &mut Option<Life>, connection: &mut MultiplexedConnection, place: &Place) -> bool {
        if self.way != Way::Reads {
            return true;
        }
        let Some(life) = life::of(connection, place).await else { return true };
        let proven = last.as_ref().is_none_or(|before| life.follows(before));
        if !proven {
            tracing::warn!(redis = %place, "another server, or one that was restarted: what was acknowledged last may be lost");
        }
        *last = Some(life);
        proven
    }

    async fn connect(&self, target: &mut Target) -> (Place, MultiplexedConnection) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(self.way.patience()));
        let mut attempt = 0;
        loop {
            let place = target.place().await;
            match dial(&self.address, &place, &config, target.is_followed()).await {
                Ok(connection) => return (place, connection),
                Err(error) => self.not_connected(&place, &error, attempt),
            }
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// Once per outage at the level that people see.
    fn not_connected(&self, place: &Place, error: &RedisError, attempt: u32) {
        let (connection, reason) = (self.way.name(), describe(error));
        if attempt == 0 {
            tracing::warn!(connection, redis = %place, reason, "Redis cannot be reached; trying on");
        } else {
            tracing::debug!(connection, redis = %place, reason, attempt, "Redis cannot be reached");
        }
    }

    /// A dead peer is noticed by an unanswered ping even when nobody asks for anything.
    async fn until_broken(&self) {
        loop {
            let broken = tokio::time::timeout(LOOK_EVERY, self.broken.notified()).await.is_ok();
            if broken || self.query::<redis::Value>(&mut redis::cmd("PING")).await.is_err_and(|error| is_away(&error)) {
                return;
            }
        }
    }

    /// Whether it is there.
    pub(super) fn connected(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Tells whenever it was made.
    pub(super) fn made(&self) -> watch::Receiver<Made> {
        self.made.subscribe()
    }

    /// Waits for the first connection, for a while.
    pub(super) async fn ready(&self) {
        let mut made = self.made();
        let _ = tokio::time::timeout(CONNECT_PATIENCE, made.wait_for(|made| made.times > 0)).await;
    }

    pub(super) fn seconds_since_success(&self) -> f64 {
        clock::now().saturating_sub(self.last_success.load(Relaxed)) as f64 / 1000.0
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &mut Cmd) -> Result<T, LogError> {
        let mut connection = self.get()?;
        let result = command.query_async(&mut *connection.1).await;
        self.judge(&connection.0, result)
    }

    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, LogError> {
        let mut connection = self.get()?;
        let result = pipeline.query_async(&mut *connection.1).await;
        self.judge(&connection.0, result)
    }

    fn get(&self) -> Result<(Arc<MultiplexedConnection>, Box<MultiplexedConnection>), LogError> {
        let connection = self.connection.load_full().ok_or(LogError::Unavailable("not connected".into()))?;
        let handle = Box::new(MultiplexedConnection::clone(&connection));
        Ok((connection, handle))
    }

    fn judge<T>(&self, used: &Arc<MultiplexedConnection>, result: Result<T, RedisError>) -> Result<T, LogError> {
        match result {
            Ok(value) => {
                self.last_success.store(clock::now(), Relaxed);
                Ok(value)
            }
            Err(error) => {
                let error = classify(&error);
                if is_away(&error) && self.connection.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, used)) {
                    self.broken.notify_one();
                }
                Err(error)
            }
        }
    }

    /// The outcome of one command of a pipeline.
    pub(super) fn outcome<T>(&self, result: Result<T, RedisError>) -> Result<T, LogError> {
        let result = result.map_err(|error| classify(&error));
        if result.as_ref().is_err_and(is_away) {
            self.broken.notify_one();
        }
        result
    }
}

/// After an outage it is told how long that was.
fn log_connected(connection: &str, place: &Place, lost_at: Option<Millis>) {
    match lost_at.map(|lost_at| clock::now().saturating_sub(lost_at) as f64 / 1000.0) {
        None => tracing::info!(connection, redis = %place, "connected to Redis"),
        Some(away_seconds) => tracing::info!(connection, redis = %place, away_seconds, "Redis is back"),
    }
}

/// A server that still loads its data accepts connections, but nothing else; one that Sentinels name is not always a
/// master yet.
async fn dial(
    address: &Address,
    place: &Place,
    config: &AsyncConnectionConfig,
    master: bool,
) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = address.client(place)?.get_multiplexed_async_connection_with_config(config).await?;
    redis::cmd("PING").query_async::<redis::Value>(&mut connection).await?;
    if master && !life::is_master(&mut connection).await {
        return Err(RedisError::from((ErrorKind::Client, "the Sentinels name a server that is no master yet")));
    }
    Ok(connection)
}
