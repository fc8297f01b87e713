//! `docs/asyncapi.yaml` and `docs/protocol.md` against the gateway's own parser and encoder: every frame, code and reason
//! that the gateway knows is in them, and every example in them is one that it understands or would send.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wscluster_gateway::entry::{Entry, EntryId};
use wscluster_gateway::presence::Member;
use wscluster_gateway::protocol::{self, Code, Frame, Past, Reason, Request};
use wscluster_gateway::room::RoomId;

const PAGE: &str = include_str!("../../docs/protocol.md");
const SOURCE: &str = include_str!("../src/protocol/mod.rs");

fn document() -> Value {
    serde_yaml::from_str(include_str!("../../docs/asyncapi.yaml")).unwrap()
}

/// What an example or a frame breaks of a schema; nothing if it is as described.
fn faults(document: &Value, schema: &Value, instance: &Value) -> Vec<String> {
    // References are from the document's root.
    let rooted = json!({"$ref": schema["$ref"], "components": document["components"]});
    let rooted = if schema.get("$ref").is_some() { &rooted } else { schema };
    let validator = jsonschema::validator_for(rooted).unwrap();
    validator.iter_errors(instance).map(|error| format!("{error} at {}", error.instance_path())).collect()
}

/// The messages that go one way of `wscluster.v1.json`, by their names in the document.
fn names(document: &Value, action: &str) -> BTreeSet<String> {
    let operations = document["operations"].as_object().unwrap().values();
    let of_v1 = operations.filter(|each| each["channel"]["$ref"] == "#/channels/v1");
    let lists = of_v1.flat_map(|each| {
        let own = (each["action"] == action).then_some(&each["messages"]);
        // An answer goes the other way.
        let reply = (each["action"] != action).then_some(&each["reply"]["messages"]);
        [own, reply].into_iter().flatten().filter_map(Value::as_array).flatten()
    });
    lists.map(|each| each["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

/// The schema for a frame: the one whose `type` is a constant with this value.
fn schema_for<'a>(document: &'a Value, action: &str, kind: &Value) -> Option<&'a Value> {
    names(document, action).iter().find_map(|name| {
        let schema = &document["components"]["messages"][name]["payload"];
        let pointer = schema["$ref"].as_str().unwrap().trim_start_matches('#').to_owned();
        (document.pointer(&pointer)?["properties"]["type"]["const"] == *kind).then_some(schema)
    })
}

fn room() -> RoomId {
    RoomId::parse("lobby").unwrap()
}

/// The name of a request on the wire. A new one is asked for here by the compiler.
fn kind(request: &Request) -> &'static str {
    match request {
        Request::Auth { .. } => "auth",
        Request::Subscribe { .. } => "subscribe",
        Request::Unsubscribe { .. } => "unsubscribe",
        Request::Publish { .. } => "publish",
        Request::History { .. } => "history",
        Request::Presence { .. } => "presence",
        Request::Ping { .. } => "ping",
    }
}

const REQUESTS: [&str; 7] = ["auth", "subscribe", "unsubscribe", "publish", "history", "presence", "ping"];

#[test]
fn every_example_is_as_its_schema_says() {
    let document = document();
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap_or_else(|| panic!("{name} has no example"));
        for example in examples {
            let faults = faults(&document, &message["payload"], &example["payload"]);
            assert!(faults.is_empty(), "{name}: {faults:?}");
        }
    }
}

#[test]
fn the_gateway_understands_every_example_of_a_client() {
    let (document, mut understood) = (document(), BTreeSet::new());
    for name in names(&document, "receive") {
        for example in document["components"]["messages"][&name]["examples"].as_array().unwrap() {
            let payload = &example["payload"];
            match protocol::parse(&payload.to_string()) {
                Ok(request) => understood.insert(kind(&request)),
                Err(refusal) => panic!("{payload}: {}", refusal.message),
            };
        }
    }
    assert_eq!(understood, BTreeSet::from(REQUESTS), "every request is in the document");
}

#[test]
fn what_the_schemas_forbid_to_clients_the_gateway_refuses() {
    let document = document();
    let frames = [
        json!({"type": "auth"}),
        json!({"type": "auth", "token": 5}),
        json!({"type": "subscribe"}),
        json!({"type": "subscribe", "room": ""}),
        json!({"type": "subscribe", "room": "a\n"}),
        json!({"type": "subscribe", "room": "a".repeat(201)}),
        json!({"type": "subscribe", "room": "a", "since": "x"}),
        json!({"type": "subscribe", "room": "a", "presence": "yes"}),
        json!({"type": "subscribe", "room": "a", "ref": -1}),
        json!({"type": "unsubscribe"}),
        json!({"type": "publish", "room": "a"}),
        json!({"type": "publish", "room": "a", "payload": 1, "idempotencyKey": ""}),
        json!({"type": "publish", "room": "a", "payload": 1, "idempotencyKey": "k".repeat(201)}),
        json!({"type": "history", "room": "a", "limit": 0}),
        json!({"type": "history", "room": "a", "limit": 201}),
        json!({"type": "presence"}),
        json!({"type": "ping", "ref": "1"}),
    ];
    for frame in frames {
        let schema = schema_for(&document, "receive", &frame["type"]).unwrap();
        assert!(!faults(&document, schema, &frame).is_empty(), "the schema allows {frame}");
        assert!(protocol::parse(&frame.to_string()).is_err(), "the gateway takes {frame}");
    }
}

/// One frame of every kind that the gateway sends.
fn sent() -> Vec<Value> {
    let (room, reference, id) = (room(), Some(7), EntryId { ms: 1_764_000_000_000, seq: 3 });
    let entry = Entry::new(id, 1_764_000_000_000, r#"{"x":1}"#.into());
    let members = [Member { session: "s".into(), user: Some("ada".into()) }];
    let members = &members[..];
    let frames = [
        Frame::Welcome {
            session: "s",
            node: "n",
            heartbeat_ms: 25_000,
            max_message_bytes: 65_536,
            resume_window_ms: 120_000,
        },
        Frame::Subscribed { reference, room: &room, position: id, recovered: true, replayed: 1 },
        Frame::Ok { reference, id: Some(id) },
        Frame::Ok { reference: None, id: None },
        Frame::History { reference, room: &room, messages: vec![Past::from(&entry)], more: true },
        Frame::Presence { reference, room: &room, members, count: 1 },
        Frame::Join { room: &room, members, count: 1 },
        Frame::Leave { room: &room, members, count: 0 },
        Frame::Pong { reference },
        Frame::Resync { room: &room, reason: Reason::Slow, position: id },
        Frame::Drain { retry_after_ms: 1, deadline_ms: Some(2) },
        Frame::DrainCancelled {},
        Frame::Error { reference, code: Code::BadRequest, room: None, message: "m" },
        Frame::Error { reference: None, code: Code::Forbidden, room: Some(&room), message: "m" },
    ];
    frames.iter().for_each(covered);
    let encoded = frames.iter().map(protocol::encode).chain([protocol::message(&room, &entry)]);
    encoded.map(|text| serde_json::from_str(text.as_str()).unwrap()).collect()
}

/// A new frame is asked for in [`sent`] by the compiler.
fn covered(frame: &Frame<'_>) {
    match frame {
        Frame::Welcome { .. }
        | Frame::Subscribed { .. }
        | Frame::Ok { .. }
        | Frame::History { .. }
        | Frame::Presence { .. }
        | Frame::Join { .. }
        | Frame::Leave { .. }
        | Frame::Pong { .. }
        | Frame::Resync { .. }
        | Frame::Drain { .. }
        | Frame::DrainCancelled {}
        | Frame::Error { .. } => {}
    }
}

#[test]
fn every_frame_of_the_gateway_is_described_and_nothing_else() {
    let (document, mut kinds) = (document(), BTreeSet::new());
    for frame in sent() {
        let schema = schema_for(&document, "send", &frame["type"]).unwrap_or_else(|| panic!("no message for {frame}"));
        let faults = faults(&document, schema, &frame);
        assert!(faults.is_empty(), "{frame}: {faults:?}");
        let pointer = schema["$ref"].as_str().unwrap().trim_start_matches('#').to_owned();
        let described = document.pointer(&pointer).unwrap()["properties"].as_object().unwrap();
        let unknown = frame.as_object().unwrap().keys().find(|field| !described.contains_key(*field));
        assert_eq!(unknown, None, "a field of {frame} is not described");
        kinds.insert(frame["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.len(), names(&document, "send").len(), "no message is described that is never sent");
    let raw = protocol::encode(&Frame::Drain { retry_after_ms: 1, deadline_ms: None });
    let raw = serde_json::from_str(raw.as_str()).unwrap();
    assert!(faults(&document, &document["components"]["messages"]["rawDrain"]["payload"], &raw).is_empty());
}

/// The names of an enumeration's values in its `as_str`, read from the source: they cannot be listed otherwise.
fn values(of: &str) -> BTreeSet<String> {
    let body = SOURCE.split(&format!("impl {of} {{")).nth(1).unwrap().split("\n}\n").next().unwrap();
    let names = body.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn every_code_and_reason_is_in_the_document_and_on_the_page() {
    let document = document();
    for (kind, schema) in [("Code", "ErrorCode"), ("Reason", "ResyncReason")] {
        let listed = document["components"]["schemas"][schema]["enum"].as_array().unwrap();
        let listed: BTreeSet<_> = listed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        let known = values(kind);
        assert!(known.len() >= 4, "{known:?} was read from the source");
        assert_eq!(listed, known, "{schema}");
        let missing: Vec<_> = known.iter().filter(|name| !PAGE.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "{missing:?} are not on the page");
    }
}

#[test]
fn every_close_code_is_on_the_page_with_what_to_do() {
    let table = PAGE.split("\n## Close codes\n").nth(1).unwrap();
    let constants = SOURCE.split("pub mod close {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let codes: Vec<_> = constants.split(": u16 = ").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    assert!(codes.len() >= 10, "{codes:?} were read from the source");
    for code in codes {
        assert!(table.contains(&format!("\n| {code} | ")), "{code} is not in the table");
    }
}

#[test]
fn every_example_on_the_page_is_one() {
    let (document, mut found) = (document(), 0);
    let in_line = PAGE.split('`').filter(|part| part.starts_with(r#"{"type""#) && !part.contains('\n'));
    let in_block = PAGE.lines().filter(|line| line.starts_with(r#"{"type""#));
    for text in in_line.chain(in_block).filter(|text| !text.contains('…')) {
        let frame: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let ways = [("receive", "as a request"), ("send", "as a frame")];
        let fits = |(action, _): &(&str, &str)| {
            schema_for(&document, action, &frame["type"])
                .is_some_and(|schema| faults(&document, schema, &frame).is_empty())
        };
        let raw = &document["components"]["messages"]["rawDrain"]["payload"];
        assert!(
            ways.iter().any(fits) || faults(&document, raw, &frame).is_empty(),
            "neither request nor frame: {text}"
        );
        found += 1;
    }
    assert!(found >= 20, "{found} examples");
}
