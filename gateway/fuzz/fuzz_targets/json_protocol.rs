//! What clients send is understood or refused in words that are themselves a sound frame; a payload is passed on verbatim.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscluster_gateway::protocol::{self, HISTORY_LIMIT, Request};

fuzz_target!(|text: &str| {
    match protocol::parse(text) {
        Ok(Request::Publish { payload, .. }) => {
            assert!(text.contains(payload.as_str()));
            serde_json::from_str::<&serde_json::value::RawValue>(payload.as_str()).expect("a payload is JSON");
        }
        Ok(Request::History { limit, .. }) => assert!(limit <= HISTORY_LIMIT),
        Ok(_) => {}
        Err(refusal) => {
            let frame = protocol::encode_refusal(&refusal);
            let frame: serde_json::Value = serde_json::from_str(frame.as_str()).expect("a refusal is JSON");
            assert_eq!(frame["type"], "error");
        }
    }
});
