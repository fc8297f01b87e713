//! The wire protocol: every frame, parsed and written. Knows nothing of sockets or sessions.
//! `docs/protocol.md` is its prose.

mod frame;
mod request;

use serde::{Deserialize, Serialize};

pub use frame::{Frame, Past, encode, encode_refusal, message};
pub use request::{HISTORY_LIMIT, Refusal, Request, parse};

/// Name of the JSON protocol in `Sec-WebSocket-Protocol`.
pub const V1: &str = "wscluster.v1.json";

/// Name by which the raw way of speaking can be asked for; without any it is spoken unnamed.
pub const RAW: &str = "wscluster.raw";

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Payloads verbatim; no control frames but the drain notice.
    Raw,
    /// `wscluster.v1.json`.
    V1,
}

/// Codes of `error` frames: stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The frame cannot be understood. Don't repeat it.
    BadRequest,
    /// The session may not do this.
    Forbidden,
    /// Too many requests: slow down, then repeat.
    RateLimited,
    /// The session has as many rooms as it may have.
    TooManyRooms,
    /// A message over `maxMessageBytes`.
    TooLarge,
    /// The log cannot be reached: repeat later.
    Unavailable,
    /// The session is not in this room.
    NotSubscribed,
    /// The token is not accepted; the connection is closed with 3000.
    Unauthorized,
}

impl Code {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::TooManyRooms => "too_many_rooms",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::NotSubscribed => "not_subscribed",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// Close codes that the gateway sends (RFC 6455 section 7.4, and our own above 3000).
pub mod close {
    /// The client said good-bye.
    pub const NORMAL: u16 = 1000;
    /// The gateway stops at once.
    pub const GOING_AWAY: u16 = 1001;
    /// Against RFC 6455.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Not text, or not what the protocol allows.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text that is no UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A message over `maxMessageBytes`.
    pub const TOO_BIG: u16 = 1009;
    /// The gateway was drained: come back at once.
    pub const SERVICE_RESTART: u16 = 1012;
    /// The client did not keep up: come back with backoff, and resume.
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// The token is not accepted, or has expired: come back with a fresh one.
    pub const UNAUTHORIZED: u16 = 3000;
    /// Not allowed: don't come back with the same credentials.
    pub const FORBIDDEN: u16 = 3003;
    /// No token in time: come back with one.
    pub const AUTH_TIMEOUT: u16 = 3008;
    /// No pong in time.
    pub const HEARTBEAT_MISSED: u16 = 4408;
}

/// Why a room may have a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Entries were trimmed before they were read.
    Trimmed,
    /// The stream was removed and written anew.
    Vanished,
    /// Ids went back: the log is older than what was delivered (a failover, a restored backup).
    Reset,
    /// The client did not keep up, and what waited for it was dropped.
    Slow,
}

impl Reason {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Vanished => "vanished",
            Self::Reset => "reset",
            Self::Slow => "slow",
        }
    }
}
