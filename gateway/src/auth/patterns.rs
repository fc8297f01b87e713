//! Room patterns of one identity: small, comparable, and written down as the globs they came from. Means what globset
//! means; plain names and `prefix*` are matched without a compiled automaton, and compiled ones are shared.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use globset::{GlobBuilder, GlobMatcher};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Globs over room ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Patterns(Arc<[Pattern]>);

/// A glob that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(String);

#[derive(Clone, Debug)]
enum Pattern {
    /// The room of this name.
    Name(Box<str>),
    /// Every room whose name begins so.
    Prefix(Box<str>),
    /// Anything else.
    Glob(Arc<GlobMatcher>),
}

impl Patterns {
    /// Understands globs.
    pub fn parse(globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidPattern> {
        Ok(Self(globs.into_iter().map(|glob| Pattern::parse(glob.as_ref())).collect::<Result<_, _>>()?))
    }

    /// Whether one of them fits.
    pub fn matches(&self, room: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(room))
    }

    /// Whether nothing fits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn globs(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(Pattern::glob)
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.globs().eq(other.globs())
    }
}

impl Eq for Patterns {}

impl TryFrom<Vec<String>> for Patterns {
    type Error = InvalidPattern;
    fn try_from(globs: Vec<String>) -> Result<Self, InvalidPattern> {
        Self::parse(globs)
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Self {
        patterns.globs().collect()
    }
}

impl Pattern {
    fn parse(glob: &str) -> Result<Self, InvalidPattern> {
        let plain = |text: &str| !text.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
        match glob.strip_suffix('*') {
            Some(prefix) if plain(prefix) => Ok(Self::Prefix(prefix.into())),
            None if plain(glob) => Ok(Self::Name(glob.into())),
            _ => compiled(glob).map(Self::Glob),
        }
    }

    fn matches(&self, room: &str) -> bool {
        match self {
            Self::Name(name) => &**name == room,
            Self::Prefix(prefix) => room.starts_with(&**prefix),
            Self::Glob(glob) => glob.is_match(room),
        }
    }

    fn glob(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Prefix(prefix) => format!("{prefix}*"),
            Self::Glob(glob) => glob.glob().glob().to_owned(),
        }
    }
}

/// Automatons in use, by their glob. One takes kilobytes, and many identities hold the same.
static COMPILED: LazyLock<Mutex<HashMap<Box<str>, Weak<GlobMatcher>>>> = LazyLock::new(Mutex::default);

fn compiled(glob: &str) -> Result<Arc<GlobMatcher>, InvalidPattern> {
    let mut known = COMPILED.lock();
    if let Some(shared) = known.get(glob).and_then(Weak::upgrade) {
        return Ok(shared);
    }
    let matcher = GlobBuilder::new(glob).build().map_err(|error| InvalidPattern(error.to_string()))?.compile_matcher();
    let shared = Arc::new(matcher);
    // Sweeping only when the table is about to grow costs a constant per glob.
    if known.len() == known.capacity() {
        known.retain(|_, weak| weak.strong_count() > 0);
    }
    known.insert(glob.into(), Arc::downgrade(&shared));
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(globs: &[&str]) -> Patterns {
        Patterns::parse(globs).unwrap()
    }

    #[test]
    fn a_room_fits_by_name_by_prefix_or_by_glob() {
        let all = patterns(&["lobby", "user:42:*", "game:?:[a-c]"]);
        for (room, fits) in [
            ("lobby", true),
            ("lobby2", false),
            ("user:42:", true),
            ("user:42:x/y", true),
            ("user:421", false),
            ("game:1:b", true),
            ("game:1:d", false),
        ] {
            assert_eq!(all.matches(room), fits, "{room}");
        }
        assert!(patterns(&["*"]).matches("anything: at/all"));
        assert!(!Patterns::default().matches("lobby") && Patterns::default().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for glob in ["[a", "{a", "a\\"] {
            assert!(Patterns::parse([glob]).is_err(), "{glob}");
        }
    }

    #[test]
    fn patterns_are_written_down_as_their_globs() {
        let all = patterns(&["lobby", "user:*", "[ab]?"]);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"["lobby","user:*","[ab]?"]"#);
        assert_eq!(serde_json::from_str::<Patterns>(&text).unwrap(), all);
        assert!(serde_json::from_str::<Patterns>(r#"["["]"#).is_err());
    }

    #[test]
    fn compiled_globs_are_shared_and_forgotten() {
        let (one, two) = (compiled("share[d]1").unwrap(), compiled("share[d]1").unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        let weak = Arc::downgrade(&one);
        drop((one, two));
        assert!(weak.upgrade().is_none());
    }

    proptest! {
        /// The short ways mean what the library means.
        #[test]
        fn patterns_mean_what_globset_means(glob in "[ab/.*?:!]{0,5}", room in "[ab/.:!]{1,6}") {
            let Ok(matcher) = GlobBuilder::new(&glob).build().map(|glob| glob.compile_matcher()) else {
                prop_assert!(Patterns::parse([&glob]).is_err());
                return Ok(());
            };
            prop_assert_eq!(patterns(&[&glob]).matches(&room), matcher.is_match(&room), "{} {}", glob, room);
        }
    }
}
