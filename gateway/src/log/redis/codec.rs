//! Replies of Redis, in either version of its protocol, as entries and states. Takes what foreign writers wrote as well
//! as can be: nothing here fails because of an entry.

use redis::Value;

use crate::entry::{Entry, EntryId, Text};
use crate::error::LogError;
use crate::log::StreamState;

/// An entry as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    /// What was odd about it, as in the metrics' label `oddity`.
    pub(super) oddities: Vec<&'static str>,
}

/// Entries of `XRANGE` or `XREVRANGE`, in their order.
pub(super) fn entries(reply: Value) -> Vec<Found> {
    list(reply).into_iter().filter_map(entry).collect()
}

/// Streams of `XREAD`, by key.
pub(super) fn streams(reply: Value) -> Vec<(String, Vec<Found>)> {
    let pairs: Vec<(Value, Value)> = match reply {
        Value::Map(pairs) => pairs,
        other => list(other).into_iter().filter_map(pair).collect(),
    };
    let stream = |(key, entries): (Value, Value)| {
        let key = String::from_utf8(bytes(key)?).ok()?;
        Some((key, self::entries(entries)))
    };
    pairs.into_iter().filter_map(stream).collect()
}

/// The state of a stream, by `XINFO STREAM`.
pub(super) fn state(reply: Value) -> Result<StreamState, LogError> {
    let odd = || LogError::Refused("XINFO STREAM answered something unknown".into());
    let fields = fields(reply);
    let find = |name: &str| fields.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.clone());
    let number = |name: &str| match find(name) {
        Some(Value::Int(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    let first = find("first-entry").and_then(|value| id(list(value).into_iter().next()?));
    Ok(StreamState {
        first,
        last: find("last-generated-id").and_then(id).ok_or_else(odd)?,
        length: number("length").ok_or_else(odd)?,
        added: number("entries-added"),
        reliable_since: EntryId::ZERO,
    })
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let mut items = list(value).into_iter();
    Some((items.next()?, items.next()?))
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

fn id(value: Value) -> Option<EntryId> {
    std::str::from_utf8(&bytes(value)?).ok()?.parse().ok()
}

/// Pairs of a map, or of a flat list.
fn fields(value: Value) -> Vec<(Vec<u8>, Value)> {
    if let Value::Map(pairs) = value {
        return pairs.into_iter().filter_map(|(key, value)| Some((bytes(key)?, value))).collect();
    }
    let mut items = list(value).into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next()?)))
        .filter_map(|(key, value)| Some((bytes(key)?, value)))
        .collect()
}

fn entry(value: Value) -> Option<Found> {
    let mut oddities = Vec::new();
    let (key, content) = pair(value)?;
    let id = id(key)?;
    let fields: Vec<_> = fields(content).into_iter().filter_map(|(key, value)| Some((key, bytes(value)?))).collect();
    let find = |name: &str| fields.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice());
    let payload = if let Some(payload) = find("payload") {
        text(payload, &mut oddities)
    } else {
        oddities.push("no_payload");
        all_fields(&fields)
    };
    let timestamp = find("timestamp").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    if timestamp.is_none() {
        oddities.push("no_timestamp");
    }
    if find("type") != Some(b"message") {
        oddities.push("type");
    }
    let entry = Entry::new(id, timestamp.unwrap_or(id.ms), payload);
    if !entry.is_json() {
        oddities.push("not_json");
    }
    Some(Found { entry, oddities })
}

fn text(bytes: &[u8], oddities: &mut Vec<&'static str>) -> Text {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    oddities.push("not_utf8");
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// An entry without a payload is delivered as the object of its fields.
fn all_fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Text {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let object: serde_json::Map<_, _> =
        fields.iter().map(|(key, value)| (lossy(key), serde_json::Value::String(lossy(value)))).collect();
    serde_json::Value::Object(object).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::BulkString(text.as_ref().to_vec())
    }

    fn raw_entry(id: &str, fields: &[(&[u8], &[u8])]) -> Value {
        let fields = fields.iter().flat_map(|(key, value)| [bulk(key), bulk(value)]).collect();
        Value::Array(vec![bulk(id), Value::Array(fields)])
    }

    fn check(fields: &[(&[u8], &[u8])], payload: &str, timestamp: u64, odd: &[&str]) {
        let found = entries(Value::Array(vec![raw_entry("7-1", fields)]));
        let Found { entry, oddities } = &found[0];
        assert_eq!((entry.payload.as_str(), entry.timestamp), (payload, timestamp), "{fields:?}");
        assert_eq!(entry.id, EntryId { ms: 7, seq: 1 });
        assert_eq!(oddities, odd, "{fields:?}");
    }

    #[test]
    fn entries_are_delivered_as_well_as_can_be() {
        check(&[(b"type", b"message"), (b"payload", b"{\"x\":1}"), (b"timestamp", b"5")], "{\"x\":1}", 5, &[]);
        check(&[(b"timestamp", b"5"), (b"payload", b"1"), (b"type", b"message"), (b"more", b"")], "1", 5, &[]);
        check(&[(b"type", b"message"), (b"payload", b"hi")], "hi", 7, &["no_timestamp", "not_json"]);
        check(&[(b"payload", b"1"), (b"timestamp", b"soon")], "1", 7, &["no_timestamp", "type"]);
        check(&[(b"a", b"b")], "{\"a\":\"b\"}", 7, &["no_payload", "no_timestamp", "type"]);
        let odd = ["not_utf8", "no_timestamp", "type", "not_json"];
        check(&[(b"payload", b"\xff!")], "\u{fffd}!", 7, &odd);
    }

    #[test]
    fn streams_are_read_in_both_protocol_versions() {
        let one = || Value::Array(vec![raw_entry("7-1", &[(b"payload", b"1")])]);
        let two = Value::Array(vec![Value::Array(vec![bulk("room:a"), one()])]);
        let three = Value::Map(vec![(bulk("room:a"), one())]);
        for reply in [two, three] {
            let streams = streams(reply);
            assert_eq!((streams.len(), streams[0].0.as_str(), streams[0].1.len()), (1, "room:a", 1));
        }
        assert!(streams(Value::Nil).is_empty());
    }

    #[test]
    fn a_state_is_read_with_and_without_the_counter() {
        let base = vec![
            bulk("length"),
            Value::Int(1),
            bulk("last-generated-id"),
            bulk("9-0"),
            bulk("first-entry"),
            raw_entry("7-1", &[]),
        ];
        let mut new = base.clone();
        new.extend([bulk("entries-added"), Value::Int(4)]);
        let expect = StreamState {
            first: Some(EntryId { ms: 7, seq: 1 }),
            last: EntryId { ms: 9, seq: 0 },
            length: 1,
            added: Some(4),
            reliable_since: EntryId::ZERO,
        };
        assert_eq!(state(Value::Array(new)), Ok(expect));
        assert_eq!(state(Value::Array(base)), Ok(StreamState { added: None, ..expect }));
        assert!(state(Value::Nil).is_err());
    }

    proptest! {
        #[test]
        fn no_entry_is_too_strange(fields in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..6)) {
            let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
            let found = entries(Value::Array(vec![raw_entry("1-1", &fields)]));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&found[0].entry.json()).is_ok());
        }
    }
}
