//! What gateways tell one another. A signal is a hint: it may be lost, or come twice.

use serde::{Deserialize, Serialize};

use crate::room::RoomId;

/// A hint to every gateway of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Signal {
    /// A session is to be closed, wherever it is.
    CloseSession {
        /// Its id.
        id: String,
    },
    /// Who is in a room has changed.
    PresenceChanged {
        /// The room.
        room: RoomId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_survives_its_text() {
        let room = RoomId::parse("lobby").unwrap();
        for (signal, text) in [
            (Signal::CloseSession { id: "s1".into() }, r#"{"type":"closeSession","id":"s1"}"#),
            (Signal::PresenceChanged { room }, r#"{"type":"presenceChanged","room":"lobby"}"#),
        ] {
            assert_eq!(serde_json::to_string(&signal).unwrap(), text);
            assert_eq!(serde_json::from_str::<Signal>(text).unwrap(), signal);
        }
        assert!(serde_json::from_str::<Signal>(r#"{"type":"later"}"#).is_err(), "what a newer gateway says is ignored");
    }
}
