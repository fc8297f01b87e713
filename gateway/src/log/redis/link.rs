//! One connection to Redis that is made again whenever it breaks. Commands fail at once while it is away: nobody waits
//! in a queue that may be sent much later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Address;
use crate::clock;
use crate::error::LogError;
use crate::metrics::Metrics;

const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection that comes back.
pub(super) struct Link {
    name: &'static str,
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
    /// How many times it was made.
    made: watch::Sender<u64>,
    last_success: AtomicU64,
}

/// Delay before the next attempt: doubles up to one second, with full jitter.
pub(super) fn backoff(attempt: u32) -> Duration {
    let most = 50u64 << attempt.min(5);
    Duration::from_millis(rand::random_range(10..=most.min(1000)))
}

impl Link {
    pub(super) fn start(
        name: &'static str,
        address: Address,
        patience: Duration,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let link = Arc::new(Self {
            name,
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            made: watch::Sender::new(0),
            last_success: AtomicU64::new(clock::now()),
        });
        tokio::spawn(stop.run_until_cancelled_owned(Arc::clone(&link).keep(address, patience, metrics)));
        link
    }

    /// Connects, looks after the connection, and connects again.
    async fn keep(self: Arc<Self>, address: Address, patience: Duration, metrics: Arc<Metrics>) {
        loop {
            let connection = self.connect(&address, patience).await;
            self.connection.store(Some(Arc::new(connection)));
            if self.made.borrow().checked_add(1).is_some_and(|made| made > 1) {
                metrics.redis_reconnected(self.name);
            }
            self.made.send_modify(|made| *made += 1);
            tracing::info!(connection = self.name, redis = %address, "connected to Redis");
            self.until_broken().await;
            self.connection.store(None);
            tracing::warn!(connection = self.name, redis = %address, "the connection to Redis is lost");
        }
    }

    async fn connect(&self, address: &Address, patience: Duration) -> MultiplexedConnection {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(patience));
        let mut attempt = 0;
        loop {
            match dial(address, &config).await {
                Ok(connection) => return connection,
                Err(error) => self.not_connected(address, &error, attempt),
            }
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// Once per outage at the level that people see.
    fn not_connected(&self, address: &Address, error: &RedisError, attempt: u32) {
        let reason = describe(error);
        if attempt == 0 {
            tracing::warn!(connection = self.name, redis = %address, reason, "Redis cannot be reached; trying on");
        } else {
            tracing::debug!(connection = self.name, redis = %address, reason, attempt, "Redis cannot be reached");
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
    pub(super) fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
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

/// A server that still loads its data accepts connections, but nothing else.
async fn dial(address: &Address, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = address.client().get_multiplexed_async_connection_with_config(config).await?;
    redis::cmd("PING").query_async::<redis::Value>(&mut connection).await?;
    Ok(connection)
}

fn is_away(error: &LogError) -> bool {
    matches!(error, LogError::Unavailable(_))
}

/// Whose fault: the server's being away (also a server that loads, or that is no master any more), or our asking.
fn classify(error: &RedisError) -> LogError {
    let away = match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
        ),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    };
    let reason = describe(error).into();
    if away { LogError::Unavailable(reason) } else { LogError::Refused(reason) }
}

/// The server's own words, or the system's. Addresses are not repeated.
pub(super) fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}
