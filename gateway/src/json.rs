//! JSON objects from strangers. The library reads a struct from an array, too, field by field; a client that sends one
//! has made a mistake, and is told so.

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

/// Reads an object.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    if text.trim_ascii_start().starts_with('[') {
        return Err(serde_json::Error::custom("an array, where an object is expected"));
    }
    serde_json::from_str(text)
}

/// The same within something that is being read.
pub(crate) fn nested<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    object(<&RawValue>::deserialize(deserializer)?.get()).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: u8,
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!(object::<Point>(" {\"x\": 1}").unwrap(), Point { x: 1 });
        for text in ["[1]", " [1]", "1", "null", "\"x\""] {
            assert!(object::<Point>(text).is_err(), "{text}");
        }
    }
}
