//! What gateways say to each other on the peer port: the headers beside a client's handshake, and the orders about
//! connections that were forwarded. Knows no sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::socket::Item;

/// Name of the gateway that asks.
const FROM: HeaderName = HeaderName::from_static("wscluster-from");
/// Name of the gateway that is asked.
const TO: HeaderName = HeaderName::from_static("wscluster-to");
/// The revision of the gateway that asks.
const REVISION: HeaderName = HeaderName::from_static("wscluster-revision");
/// The client's address and port.
const CLIENT: HeaderName = HeaderName::from_static("wscluster-client");
/// Number of the connection, at the gateway that asks.
const FORWARD: HeaderName = HeaderName::from_static("wscluster-forward");
/// What all our headers begin with; a client's are not passed on.
const OURS: &str = "wscluster-";

/// Where orders go.
pub const ORDERS: &str = "/v1/orders";

/// Who asks whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Name of the gateway that asks.
    pub from: Arc<str>,
    /// Name of the gateway that is asked.
    pub to: Arc<str>,
    /// The revision of both.
    pub revision: Arc<str>,
}

/// The way by which a connection came from another gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Via {
    /// That gateway.
    pub gateway: String,
    /// Number of the connection there.
    pub forward: u64,
}

impl Envelope {
    /// Writes it.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, text) in [(FROM, &self.from), (TO, &self.to), (REVISION, &self.revision)] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
    }

    /// Reads it.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok().map(Arc::from);
        Some(Self { from: text(FROM)?, to: text(TO)?, revision: text(REVISION)? })
    }
}

/// The headers of a handshake that is passed on: all of the client's but those that are between it and us, cookies, and
/// names that only gateways use.
pub fn handshake(from_client: &HeaderMap, client: SocketAddr, forward: u64) -> HeaderMap {
    let between =
        [header::CONNECTION, header::UPGRADE, header::COOKIE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let passed = |name: &HeaderName| !between.contains(name) && !name.as_str().starts_with(OURS);
    let mut headers: HeaderMap = from_client
        .iter()
        .filter(|(name, _)| passed(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CLIENT, HeaderValue::from_str(&client.to_string()).expect("an address"));
    headers.insert(FORWARD, forward.into());
    headers
}

/// Who the client of a handshake is that was passed on, and the connection's number.
pub fn client(headers: &HeaderMap) -> Option<(SocketAddr, u64)> {
    let text = |name| headers.get(name)?.to_str().ok();
    Some((text(CLIENT)?.parse().ok()?, text(FORWARD)?.parse().ok()?))
}

/// What the owner is to do with sessions that came through the gateway that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// What they are told.
    pub say: Say,
    /// Which ones.
    pub to: Vec<Addressee>,
}

/// What a session is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Say {
    /// Move: the gateway that its connection runs through is leaving.
    #[serde(rename_all = "camelCase")]
    Drain {
        /// The connection ends in so many milliseconds.
        deadline_ms: Millis,
    },
    /// No need to move any more.
    DrainCancelled,
    /// The connection is closed now: that gateway's deadline.
    DrainForced,
    /// The connection is closed now: that gateway stops.
    GoingAway,
}

/// A session that is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Addressee {
    /// Number of its connection at the gateway that asks.
    pub forward: u64,
    /// How long it is to wait until it moves, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: Millis,
}

/// The answer to an order: the numbers of those that were told. The others are not here, or not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// Numbers of connections at the gateway that asked.
    pub told: Vec<u64>,
}

impl Say {
    /// The same as a session hears it.
    pub fn item(self, to: Addressee) -> Item {
        match self {
            Self::Drain { deadline_ms } => Item::Drain { retry_after_ms: to.retry_after_ms, deadline_ms },
            Self::DrainCancelled => Item::DrainCancelled,
            Self::DrainForced => Item::DrainForced,
            Self::GoingAway => Item::GoingAway,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_passed_on_without_what_is_not_the_owners_to_see() {
        let from_client: HeaderMap = [
            ("host", "chat.example.com"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("origin", "https://chat.example.com"),
            ("authorization", "Bearer x"),
            ("cookie", "wscluster=v1; theme=dark"),
            ("sec-websocket-protocol", "a"),
            ("sec-websocket-protocol", "b"),
            ("wscluster-from", "a liar"),
            ("wscluster-client", "10.0.0.1:1"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        let mut passed = handshake(&from_client, "203.0.113.7:40000".parse().unwrap(), 42);
        assert_eq!(client(&passed), Some(("203.0.113.7:40000".parse().unwrap(), 42)));
        let envelope = Envelope { from: "a".into(), to: "b".into(), revision: "r1".into() };
        envelope.write(&mut passed);
        assert_eq!(Envelope::read(&passed), Some(envelope));
        let offered: Vec<_> = passed.get_all("sec-websocket-protocol").iter().collect();
        assert_eq!(offered, ["a", "b"]);
        assert_eq!(passed["connection"], "Upgrade");
        assert_eq!((&passed["host"], &passed["authorization"]), (&from_client["host"], &from_client["authorization"]));
        assert!(!passed.contains_key("cookie"));
        assert_eq!(Envelope::read(&from_client), None);
        assert_eq!(client(&from_client), None);
    }

    #[test]
    fn an_order_is_as_other_versions_expect_it() {
        let to = vec![Addressee { forward: 7, retry_after_ms: 5 }];
        let order = Order { say: Say::Drain { deadline_ms: 9 }, to };
        let text = r#"{"say":{"drain":{"deadlineMs":9}},"to":[{"forward":7,"retryAfterMs":5}]}"#;
        assert_eq!(serde_json::to_string(&order).unwrap(), text);
        assert_eq!(serde_json::from_str::<Order>(text).unwrap(), order);
        let cancel = r#"{"say":"drainCancelled","to":[{"forward":7}]}"#;
        assert_eq!(serde_json::from_str::<Order>(cancel).unwrap().say, Say::DrainCancelled);
    }
}
