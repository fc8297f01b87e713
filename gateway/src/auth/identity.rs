//! Who a client is and what it may do, as plain data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Patterns;
use crate::clock::Millis;
use crate::config::InForce;
use crate::room::RoomId;

/// What a token said of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Claim `sub`.
    pub user: Option<String>,
    /// When the token is no longer accepted.
    pub expires_at: Option<Millis>,
    /// Rooms that may be subscribed to.
    pub subscribe: Patterns,
    /// Rooms that may be published to.
    pub publish: Patterns,
}

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A backend, by its API key: may do everything.
    ApiKey,
    /// The bearer of a token.
    Token(Arc<Identity>),
    /// Someone without either.
    Anonymous,
}

impl Caller {
    /// Whether it may read a room.
    pub fn may_subscribe(&self, room: &RoomId, config: &InForce) -> bool {
        self.is_backend() || may_subscribe(self.identity(), room, config)
    }

    /// Whether it may write to a room.
    pub fn may_publish(&self, room: &RoomId, config: &InForce) -> bool {
        self.is_backend() || may_publish(self.identity(), room, config)
    }

    /// Whether it is one of the user's own backends, which may do everything.
    pub fn is_backend(&self) -> bool {
        *self == Self::ApiKey
    }

    /// What its token said.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Token(identity) => Some(identity),
            Self::ApiKey | Self::Anonymous => None,
        }
    }
}

/// Whether a client may follow a room. A token adds to what everybody may do: who wants less leaves it out.
pub fn may_subscribe(identity: Option<&Identity>, room: &RoomId, config: &InForce) -> bool {
    identity.is_some_and(|identity| identity.subscribe.matches(room.as_str())) || config.may_subscribe(room.as_str())
}

/// Whether a client may write to a room.
pub fn may_publish(identity: Option<&Identity>, room: &RoomId, config: &InForce) -> bool {
    identity.is_some_and(|identity| identity.publish.matches(room.as_str())) || config.may_publish(room.as_str())
}

/// An identity among many sessions that are written down: by its content.
pub(crate) mod written {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Identity;

    #[allow(clippy::ref_option)] // serde calls it with a reference to the field.
    pub(crate) fn serialize<S: Serializer>(shared: &Option<Arc<Identity>>, to: S) -> Result<S::Ok, S::Error> {
        shared.as_deref().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Identity>>, D::Error> {
        Ok(Option::<Identity>::deserialize(from)?.map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn each_caller_may_what_it_may() {
        let config: InForce =
            Config::parse("auth: {anonymous: {subscribe: [\"open:*\"], publish: [\"open:1\"]}}").unwrap().into();
        let identity = Identity {
            subscribe: Patterns::parse(["mine:*"]).unwrap(),
            publish: Patterns::parse(["mine:1"]).unwrap(),
            ..Identity::default()
        };
        let token = Caller::Token(Arc::new(identity));
        for (caller, room, subscribe, publish) in [
            (&Caller::ApiKey, "secret", true, true),
            (&Caller::Anonymous, "open:1", true, true),
            (&Caller::Anonymous, "open:2", true, false),
            (&Caller::Anonymous, "mine:1", false, false),
            (&token, "mine:1", true, true),
            (&token, "mine:2", true, false),
            (&token, "open:1", true, true),
            (&token, "secret", false, false),
        ] {
            let id = RoomId::parse(room).unwrap();
            let may = (caller.may_subscribe(&id, &config), caller.may_publish(&id, &config));
            assert_eq!(may, (subscribe, publish), "{caller:?} {room}");
        }
        assert!(Caller::ApiKey.is_backend() && !token.is_backend() && !Caller::Anonymous.is_backend());
    }
}
