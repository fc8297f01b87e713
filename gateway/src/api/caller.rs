//! Who calls, where from, and how often they may: taken from a request before its handler runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;

use super::Api;
use super::allowance::Key;
use super::problem::{Code, Problem};
use crate::clock;
use crate::room::RoomId;

/// A caller.
pub(super) struct Caller {
    api: Arc<Api>,
    key: Key,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        Ok(Self { api: Arc::clone(api), key: Key::of(address) })
    }
}

impl Caller {
    /// Whether it may read this room; costs one request.
    pub(super) fn read(&self, room: &RoomId) -> Result<(), Problem> {
        self.spend(1)?;
        let may = self.api.shared.config().may_subscribe(room.as_str());
        if may { Ok(()) } else { Err(forbidden()) }
    }

    /// Whether it may write so many messages to this room.
    pub(super) fn write(&self, room: &RoomId, messages: usize) -> Result<(), Problem> {
        self.spend(messages)?;
        let may = self.api.shared.config().may_publish(room.as_str());
        if may { Ok(()) } else { Err(forbidden()) }
    }

    fn spend(&self, count: usize) -> Result<(), Problem> {
        let limits = &self.api.shared.config().limits;
        if count > limits.burst as usize {
            return Err(Problem::bad(format!("without an API key at most {} messages at once", limits.burst)));
        }
        let (rate, burst) = (f64::from(limits.messages_per_second), f64::from(limits.burst));
        if self.api.allowance.take(&self.key, count, rate, burst, clock::now()) {
            return Ok(());
        }
        Err(Problem::new(Code::RateLimited, "too many requests: slow down, or use an API key"))
    }
}

fn forbidden() -> Problem {
    Problem::new(Code::Forbidden, "not allowed in this room")
}
