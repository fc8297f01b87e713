//! How each room's stream is kept: the first override that fits, else the common settings. Pure.

use globset::{Glob, GlobMatcher};
use wscluster_crds::spec::{Streams, Trim, TrimPolicy};

/// How one stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How much is kept.
    pub policy: TrimPolicy,
    /// Whether by whole macro-nodes.
    pub approximate: bool,
    /// Seconds after which a stream that nobody writes to is removed.
    pub idle_ttl_seconds: i64,
}

/// The rules of all streams of a cluster.
pub struct Rules {
    prefix: String,
    common: Rule,
    overrides: Vec<(GlobMatcher, Rule)>,
}

impl Rules {
    /// Compiles the settings. A pattern that is no glob matches nothing.
    pub fn new(streams: &Streams) -> Self {
        let common = rule(&streams.trim, streams.idle_ttl_seconds);
        let compile = |pattern: &str| Glob::new(pattern).ok().map(|glob| glob.compile_matcher());
        let overrides = streams.overrides.iter().filter_map(|entry| {
            let trim = entry.trim.as_ref().unwrap_or(&streams.trim);
            let idle = entry.idle_ttl_seconds.unwrap_or(streams.idle_ttl_seconds);
            Some((compile(&entry.pattern)?, rule(trim, idle)))
        });
        Self { prefix: streams.key_prefix.clone(), common, overrides: overrides.collect() }
    }

    /// The rule of a stream, by its key.
    pub fn of(&self, key: &[u8]) -> Rule {
        let room = String::from_utf8_lossy(key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key));
        self.overrides.iter().find(|(glob, _)| glob.is_match(room.as_ref())).map_or(self.common, |(_, rule)| *rule)
    }

    /// The pattern of `SCAN` that finds all streams, with the prefix taken literally.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + "*"
    }
}

fn rule(trim: &Trim, idle_ttl_seconds: i64) -> Rule {
    Rule { policy: trim.policy(), approximate: trim.approximate, idle_ttl_seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &str) -> Rules {
        Rules::new(&serde_yaml::from_str(yaml).unwrap())
    }

    #[test]
    fn the_first_override_that_fits_wins() {
        let rules = rules(
            "overrides: [{match: 'news:*', idleTtlSeconds: 60}, {match: '*', trim: {strategy: MinId, maxAgeSeconds: 5}}]",
        );
        let news = rules.of(b"room:news:world");
        assert_eq!((news.idle_ttl_seconds, news.policy), (60, TrimPolicy::MaxLen { entries: 1000 }));
        assert_eq!(rules.of(b"room:lobby").policy, TrimPolicy::MaxAge { seconds: 5 });
    }

    #[test]
    fn a_prefix_is_taken_literally() {
        assert_eq!(rules("keyPrefix: 'a[b]*?\\'").pattern(), "a\\[b\\]\\*\\?\\\\*");
    }
}
