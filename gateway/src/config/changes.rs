//! Which settings differ between two versions, and which of those need a restart. Pure.

use serde_json::Value;

use super::Config;

/// Keys that are read once, at the start: streams under another prefix are other rooms, and connections to Redis are
/// made for one set of certificate files. (The files themselves are read anew with every connection.)
const NEED_A_RESTART: [&str; 2] = ["streams.keyPrefix", "redis"];

/// New settings, as far as they can be taken over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What is to be in force.
    pub(super) config: Config,
    /// Keys that change, from the root: `limits.burst`.
    pub(super) keys: Vec<String>,
    /// Keys that would change with a restart.
    pub(super) after_restart: Vec<String>,
}

/// Compares settings in force with new ones.
pub(super) fn between(old: &Config, mut new: Config) -> Change {
    let wanted = differences(old, &new);
    new.streams.key_prefix.clone_from(&old.streams.key_prefix);
    new.redis.clone_from(&old.redis);
    let keys = differences(old, &new);
    let after_restart = wanted.into_iter().filter(|key| needs_a_restart(key)).collect();
    Change { config: new, keys, after_restart }
}

fn needs_a_restart(key: &str) -> bool {
    NEED_A_RESTART
        .iter()
        .any(|start| key.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn differences(old: &Config, new: &Config) -> Vec<String> {
    let value = |config: &Config| serde_json::to_value(config).expect("settings are JSON");
    let mut keys = Vec::new();
    compare("", &value(old), &value(new), &mut keys);
    keys
}

/// Lists are one value: their entries have no names.
fn compare(path: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    let (Value::Object(olds), Value::Object(news)) = (old, new) else {
        if old != new {
            keys.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = olds.keys().chain(news.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let side = |side: &serde_json::Map<String, Value>| side.get(name).cloned().unwrap_or(Value::Null);
        compare(&path, &side(olds), &side(news), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let change = between(&Config::parse(old).unwrap(), Config::parse(new).unwrap());
        (change.keys, change.after_restart)
    }

    #[test]
    fn changed_keys_are_named_from_the_root() {
        let (applied, later) = keys(
            "limits: {burst: 5}\nmaxConnections: 4\nstreams: {trim: {maxLen: 5}}",
            "limits: {burst: 6}\nmaxConnections: 4\nauth: {allowedOrigins: [\"https://a.example\"]}\n\
             streams: {trim: {strategy: MinId, maxAgeSeconds: 7, maxLen: 5}}",
        );
        assert_eq!(
            applied,
            ["auth.allowedOrigins", "limits.burst", "streams.trim.maxAgeSeconds", "streams.trim.strategy"]
        );
        assert!(later.is_empty());
        assert_eq!(keys("demo: true", "demo: true"), (vec![], vec![]));
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays() {
        let old = Config::parse("streams: {keyPrefix: \"a:\"}").unwrap();
        let new = Config::parse("streams: {keyPrefix: \"b:\", idleTtlSeconds: 9}\nredis: {caFile: ca.pem}").unwrap();
        let change = between(&old, new);
        assert_eq!(change.keys, ["streams.idleTtlSeconds"]);
        assert_eq!(change.after_restart, ["redis.caFile", "streams.keyPrefix"]);
        assert_eq!((change.config.streams.key_prefix.as_str(), change.config.redis.ca_file), ("a:", None));
    }
}
