//! Whether a live object still is what was asked for, tolerant of what the API server fills in and of what others own.
//! Pure: looks at two JSON documents.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::quantity;

/// First place where `live` is not what `desired` says, as a path; `None` when all of it holds.
///
/// Only fields that `desired` names are looked at: defaults of the API server and fields of other managers don't count.
pub fn difference(desired: &Value, live: &Value) -> Option<String> {
    let (Value::Object(wanted), Value::Object(found)) = (desired, live) else {
        return walk(desired, Some(live), &mut Vec::new());
    };
    // Items of a list carry neither version nor kind.
    let fields = wanted.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"));
    fields.into_iter().find_map(|(key, value)| walk(value, found.get(key), &mut vec![key.clone()]))
}

/// A short digest of what is applied. A change of it means: apply again, so that fields no longer wanted go too.
pub fn digest(body: &Value) -> String {
    hex(&Sha256::digest(body.to_string().as_bytes())[..8])
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn walk(desired: &Value, live: Option<&Value>, path: &mut Vec<String>) -> Option<String> {
    let Some(live) = live else { return (!empty(desired)).then(|| join(path)) };
    match (desired, live) {
        (Value::Object(fields), Value::Object(found)) => fields.iter().find_map(|(key, value)| {
            path.push(key.clone());
            let result = walk(value, found.get(key), path);
            path.pop();
            result
        }),
        (Value::Array(items), Value::Array(found)) => list(items, found, path),
        (Value::String(a), Value::String(b)) if a != b && is_quantity(path) => {
            let same = quantity::milli(a).is_some() && quantity::milli(a) == quantity::milli(b);
            (!same).then(|| join(path))
        }
        (a, b) => (a != b).then(|| join(path)),
    }
}

/// Lists whose elements have names are sets by name, in which others may have elements of their own; all others are wholes.
fn list(items: &[Value], found: &[Value], path: &mut Vec<String>) -> Option<String> {
    let named = !items.is_empty() && items.iter().all(|item| item.get("name").is_some());
    if !named && items.len() != found.len() {
        return Some(join(path));
    }
    items.iter().enumerate().find_map(|(index, item)| {
        let name = item.get("name").filter(|_| named);
        let live = match name {
            Some(_) => found.iter().find(|live| live.get("name") == name),
            None => found.get(index),
        };
        path.push(name.and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned));
        let result = walk(item, live, path);
        path.pop();
        result
    })
}

/// The API server writes quantities its own way: `1000m` comes back as `1`.
fn is_quantity(path: &[String]) -> bool {
    path.iter().any(|key| matches!(key.as_str(), "limits" | "requests" | "sizeLimit" | "averageValue"))
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn join(path: &[String]) -> String {
    path.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn live_objects_differ_only_where_a_wanted_field_differs() {
        let cases = [
            (json!({"a": 1}), json!({"a": 1, "default": true}), None),
            (json!({"a": 1}), json!({"a": 2}), Some("a")),
            (json!({"a": {"b": "x"}}), json!({"a": {}}), Some("a.b")),
            (json!({"gone": {}}), json!({}), None),
            (json!({"gone": []}), json!({}), None),
            (json!({"gone": [1]}), json!({}), Some("gone")),
            (json!({"args": ["a", "b"]}), json!({"args": ["a", "b", "c"]}), Some("args")),
            (json!({"args": ["a", "b"]}), json!({"args": ["a", "x"]}), Some("args.1")),
            (json!({"requests": {"cpu": "1000m"}}), json!({"requests": {"cpu": "1"}}), None),
            (json!({"requests": {"cpu": "1001m"}}), json!({"requests": {"cpu": "1"}}), Some("requests.cpu")),
            (json!({"value": "1000m"}), json!({"value": "1"}), Some("value")),
            (json!({"averageValue": "20000"}), json!({"averageValue": "20k"}), None),
            (json!({"maxSurge": "100%"}), json!({"maxSurge": "100%"}), None),
            (json!({"maxSurge": 1}), json!({"maxSurge": "1"}), Some("maxSurge")),
        ];
        for (desired, live, expected) in cases {
            assert_eq!(difference(&desired, &live).as_deref(), expected, "{desired} {live}");
        }
    }

    #[test]
    fn named_list_elements_are_found_by_name_beside_foreign_ones() {
        let live = json!({"containers": [{"name": "injected"}, {"name": "gateway", "image": "b"}]});
        assert_eq!(difference(&json!({"containers": [{"name": "gateway", "image": "b"}]}), &live), None);
        let wanted = json!({"containers": [{"name": "gateway", "image": "a"}]});
        assert_eq!(difference(&wanted, &live).as_deref(), Some("containers.gateway.image"));
        let wanted = json!({"containers": [{"name": "missing"}]});
        assert_eq!(difference(&wanted, &live).as_deref(), Some("containers.missing"));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[a-z]{1,4}".prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_document_is_what_it_says(document in tree()) {
            prop_assert_eq!(difference(&document, &document), None);
        }
    }
}
