//! Who calls, and how often it may: taken from a request before its handler runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;

use super::Api;
use super::allowance::Key;
use super::problem::{Code, Problem};
use crate::auth;
use crate::clock;
use crate::room::RoomId;

/// A caller.
pub(super) struct Caller {
    api: Arc<Api>,
    who: auth::Caller,
    key: Key,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let who = match api.shared.auth.caller(&parts.headers).await {
            Ok(who) => who,
            Err(refused) => {
                let code = if refused.is_temporary() { Code::Unavailable } else { Code::Unauthorized };
                return Err(Problem::new(code, refused.to_string()));
            }
        };
        let user = who.identity().and_then(|identity| identity.user.clone());
        Ok(Self { api: Arc::clone(api), who, key: user.map_or_else(|| Key::of(address), Key::User) })
    }
}

impl Caller {
    /// Whether it may read this room; costs one request.
    pub(super) fn read(&self, room: &RoomId) -> Result<(), Problem> {
        self.spend(1)?;
        allowed(self.who.may_subscribe(room, &self.api.shared.config()), "not allowed to read this room")
    }

    /// Whether it may write so many messages to this room.
    pub(super) fn write(&self, room: &RoomId, messages: usize) -> Result<(), Problem> {
        self.spend(messages)?;
        allowed(self.who.may_publish(room, &self.api.shared.config()), "not allowed to write to this room")
    }

    /// Whether it may do what concerns everybody.
    pub(super) fn backend(&self) -> Result<(), Problem> {
        if self.who == auth::Caller::Anonymous {
            return Err(Problem::new(Code::Unauthorized, "show an API key: Authorization: Bearer KEY"));
        }
        allowed(self.who.is_backend(), "this takes an API key")
    }

    /// A backend answers for itself.
    fn spend(&self, count: usize) -> Result<(), Problem> {
        if self.who.is_backend() {
            return Ok(());
        }
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

fn allowed(may: bool, otherwise: &'static str) -> Result<(), Problem> {
    if may { Ok(()) } else { Err(Problem::new(Code::Forbidden, otherwise)) }
}
