//! Commands for what is kept beside the rooms: presence, leases. Knows neither.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue};

use super::Inner;
use super::link::Way;
use crate::error::LogError;
use crate::room::RoomId;

/// A way to the Redis that holds the rooms. Cheap to clone.
#[derive(Clone)]
pub struct Commands(Arc<Inner>);

impl Commands {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Does a command whose keys share a slot. Fails at once while Redis is away.
    pub async fn query<T: FromRedisValue>(&self, command: &mut Cmd) -> Result<T, LogError> {
        self.0.servers.query(Way::Commands, command).await
    }

    /// A key that is kept in the same slot as the stream of a room. No two rooms or kinds share one.
    pub fn key_beside(&self, room: &RoomId, kind: &str) -> String {
        self.0.keys.beside(room, kind)
    }
}
