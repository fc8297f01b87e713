//! Settings made ready for use: patterns compiled once, not once per message.

use std::ops::Deref;

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use super::{Config, Trim};
use crate::client_address::Proxies;

/// Settings in force.
#[derive(Clone, Debug)]
pub struct InForce {
    config: Config,
    subscribe: GlobSet,
    publish: GlobSet,
    overrides: Vec<GlobMatcher>,
    proxies: Proxies,
}

/// How long entries of one room are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How much is kept.
    pub trim: Trim,
    /// A room that nobody writes to for so many seconds is removed.
    pub idle_ttl_seconds: u64,
}

impl From<Config> for InForce {
    /// Compiles settings. Patterns and networks were checked by [`Config::check`]; what was not matches nothing.
    fn from(config: Config) -> Self {
        let anonymous = config.auth.effective_anonymous();
        let matcher =
            |glob: &str| compile(glob).unwrap_or_else(|| compile("[^\\x00-\u{10ffff}]").expect("a valid glob"));
        Self {
            subscribe: set(&anonymous.subscribe),
            publish: set(&anonymous.publish),
            proxies: Proxies::parse(&config.trusted_proxies).unwrap_or_default(),
            overrides: config.streams.overrides.iter().map(|each| matcher(&each.matching).compile_matcher()).collect(),
            config,
        }
    }
}

fn compile(glob: &str) -> Option<Glob> {
    GlobBuilder::new(glob).build().ok()
}

fn set(globs: &[String]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for glob in globs.iter().filter_map(|glob| compile(glob)) {
        builder.add(glob);
    }
    builder.build().unwrap_or_default()
}

impl InForce {
    /// Whether a client without a token may follow a room.
    pub fn may_subscribe(&self, room: &str) -> bool {
        self.subscribe.is_match(room)
    }

    /// Whether a client without a token may write to a room.
    pub fn may_publish(&self, room: &str) -> bool {
        self.publish.is_match(room)
    }

    /// Whether a client without a token may do nothing at all, and so has to show one.
    pub fn token_required(&self) -> bool {
        self.subscribe.is_empty() && self.publish.is_empty()
    }

    /// Who is believed when it names the client.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// What applies to a room: the first override that matches, else the general rule.
    pub fn retention(&self, room: &str) -> Retention {
        let streams = &self.config.streams;
        let fit = self.overrides.iter().position(|glob| glob.is_match(room)).map(|index| &streams.overrides[index]);
        Retention {
            trim: fit.and_then(|each| each.trim.clone()).unwrap_or_else(|| streams.trim.clone()),
            idle_ttl_seconds: fit.and_then(|each| each.idle_ttl_seconds).unwrap_or(streams.idle_ttl_seconds),
        }
    }

    /// How long a room that nobody writes to is kept, in milliseconds.
    pub fn idle_ttl_ms(&self, room: &str) -> u64 {
        self.retention(room).idle_ttl_seconds * 1000
    }
}

impl Deref for InForce {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_override_wins() {
        let yaml = r#"
streams:
  overrides:
    - {match: "news:*", idleTtlSeconds: 60}
    - {match: "news:sport", idleTtlSeconds: 90, trim: {maxLen: 5}}
    - {match: "{a,b}?", trim: {maxLen: 7}}
"#;
        let config = InForce::from(Config::parse(yaml).unwrap());
        let sport = config.retention("news:sport");
        assert_eq!((sport.idle_ttl_seconds, sport.trim.max_len), (60, 1000));
        let a1 = config.retention("a1");
        assert_eq!((a1.idle_ttl_seconds, a1.trim.max_len), (86_400, 7));
        assert_eq!(config.retention("other").trim, Trim::default());
    }

    #[test]
    fn access_follows_the_globs() {
        let yaml = r#"auth: {anonymous: {subscribe: ["public:*", "x"], publish: []}}"#;
        let config = InForce::from(Config::parse(yaml).unwrap());
        for (room, may) in [("public:a/b", true), ("x", true), ("xy", false), ("private", false)] {
            assert_eq!(config.may_subscribe(room), may, "{room}");
            assert!(!config.may_publish(room));
        }
        assert!(InForce::from(Config::default()).may_publish("anything: at/all"));
    }
}
