//! The keys of affinity cookies and how they change without a client losing its gateway: a new key is read by every gateway
//! before the first one signs with it, and an old one is read until its last cookie has expired. Pure: `(ring, what is
//! wanted, now) → ring`. Knows no Secret; where it is kept, and where randomness comes from, is the caller's business.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compare::hex;

/// Fewest bytes of a secret: the size of the hash (RFC 2104 section 3), which gateways ask for, too.
pub const SHORTEST_SECRET: usize = 32;
/// Longest name of a key, in letters, digits, `-` and `_`: all that gateways take.
const LONGEST_ID: usize = 16;
/// Time after which every gateway has what is in a mounted Secret. The kubelet looks once a minute, and may hold what it has
/// read for another. Source: Kubernetes, "Mounted Secrets are updated automatically" (sync period and cache's time to live).
const SPREAD: SignedDuration = SignedDuration::from_mins(3);
/// Most keys that are kept. Whoever rotates more often than this within the age of a cookie ends the oldest.
const MOST: usize = 16;

/// What the user wants to sign with.
#[derive(Clone, PartialEq, Eq)]
pub enum Signing {
    /// A key of the operator's own.
    Generated,
    /// This one.
    Own(Vec<u8>),
    /// One that cannot be had now: everything stays as it is.
    Unknown,
}

impl Signing {
    /// The user's own key, as its Secret has it. A line's end that an editor has left is none of it.
    pub fn of(secret: Option<&[u8]>) -> Self {
        let trimmed = secret.map(<[u8]>::trim_ascii).filter(|secret| secret.len() >= SHORTEST_SECRET);
        trimmed.map_or(Self::Unknown, |secret| Self::Own(secret.to_vec()))
    }
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generated => "Generated",
            Self::Own(_) => "Own",
            Self::Unknown => "Unknown",
        })
    }
}

/// The keys, the one that signs first. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ring(Vec<Key>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: String,
    secret: Vec<u8>,
    life: Life,
}

/// What is remembered of a key beside itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Life {
    /// When gateways could first see it.
    since: Timestamp,
    /// When another one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired: Option<Timestamp>,
    /// Whether it is the operator's own.
    generated: bool,
}

impl Ring {
    /// Reads what was kept: `text` is the gateways' file, `lives` what [`Ring::lives`] gave. A key of which nothing is known
    /// has been there for ever; if it does not sign, it stopped doing so just now. A line for which gateways would refuse
    /// the whole file is left out.
    pub fn read(text: &str, lives: &str, now: Timestamp) -> Self {
        let lives: BTreeMap<String, Life> = serde_json::from_str(lives).unwrap_or_default();
        let mut ids = BTreeSet::new();
        let keys = text.lines().filter_map(understand).filter(|(id, _)| ids.insert(id.clone()));
        let key = |(place, (id, secret)): (usize, (String, Vec<u8>))| {
            let unknown = Life { since: Timestamp::UNIX_EPOCH, retired: (place > 0).then_some(now), generated: true };
            Key { life: lives.get(&id).cloned().unwrap_or(unknown), id, secret }
        };
        Self(keys.enumerate().map(key).collect())
    }

    /// The gateways' file: `ID SECRET`, a key a line, the one that signs first.
    pub fn text(&self) -> String {
        let line = |key: &Key| [&key.id, " ", &URL_SAFE_NO_PAD.encode(&key.secret), "\n"].concat();
        self.0.iter().map(line).collect()
    }

    /// What is to be remembered beside the file, as JSON. Nothing in it is secret.
    pub fn lives(&self) -> String {
        let lives: BTreeMap<_, _> = self.0.iter().map(|key| (&key.id, &key.life)).collect();
        serde_json::to_string(&lives).expect("plain data serialises")
    }

    /// The next state. `fresh` is randomness, for a key of the operator's own where one is needed; a cookie is valid for
    /// `max_age_seconds`.
    #[must_use]
    pub fn next(mut self, wanted: &Signing, fresh: &[u8; 32], max_age_seconds: i64, now: Timestamp) -> Self {
        if self.0.is_empty() {
            let first = wanted_key(wanted, now).unwrap_or_else(|| Key::new(fresh, true, now));
            return Self(vec![first]);
        }
        if let Some(wanted) = self.place(wanted, fresh, now) {
            self.promote(wanted, now);
        }
        self.forget(wanted, max_age_seconds, now);
        self
    }

    /// Where the wanted key is, after it was put there.
    fn place(&mut self, wanted: &Signing, fresh: &[u8; 32], now: Timestamp) -> Option<usize> {
        let found = self.0.iter().position(|key| is_wanted(key, wanted));
        if found.is_some() || *wanted == Signing::Unknown {
            return found;
        }
        self.0.push(wanted_key(wanted, now).unwrap_or_else(|| Key::new(fresh, true, now)));
        Some(self.0.len() - 1)
    }

    /// Has a key sign once every gateway can read it.
    fn promote(&mut self, place: usize, now: Timestamp) {
        if place == 0 || now.duration_since(self.0[place].life.since) < SPREAD {
            return;
        }
        let mut key = self.0.remove(place);
        key.life.retired = None;
        self.0[0].life.retired = Some(now);
        self.0.insert(0, key);
    }

    /// Drops keys of which no valid cookie is left, and those that were never signed with.
    fn forget(&mut self, wanted: &Signing, max_age_seconds: i64, now: Timestamp) {
        // Gateways that had not heard of the change yet signed with the old key for a while.
        let valid = SignedDuration::from_secs(max_age_seconds).saturating_add(SPREAD);
        let lives = |key: &Key| key.life.retired.is_some_and(|retired| now.duration_since(retired) <= valid);
        let mut place = 0;
        self.0.retain(|key| {
            place += 1;
            place == 1
                || is_wanted(key, wanted)
                || lives(key)
                || (*wanted == Signing::Unknown && key.life.retired.is_none())
        });
        // Those that were retired last come first, and a key that waits to sign must not be the one that is cut off.
        self.0[1..].sort_by_key(|key| std::cmp::Reverse(key.life.retired.unwrap_or(Timestamp::MAX)));
        self.0.truncate(MOST);
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    /// Its name comes from its secret, so that the same secret is the same key; too little of a hash to tell anything of it.
    fn new(secret: &[u8], generated: bool, now: Timestamp) -> Self {
        let hash = Sha256::new_with_prefix(b"wscluster cookie key\0").chain_update(secret).finalize();
        let life = Life { since: now, retired: None, generated };
        Self { id: hex(&hash[..6]), secret: secret.to_vec(), life }
    }
}

fn understand(line: &str) -> Option<(String, Vec<u8>)> {
    let (id, secret) = line.trim().split_once(' ')?;
    let secret = URL_SAFE_NO_PAD.decode(secret.trim()).ok()?;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let named = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(sound);
    (named && secret.len() >= SHORTEST_SECRET).then(|| (id.to_owned(), secret))
}

fn wanted_key(wanted: &Signing, now: Timestamp) -> Option<Key> {
    match wanted {
        Signing::Own(secret) => Some(Key::new(secret, false, now)),
        Signing::Generated | Signing::Unknown => None,
    }
}

/// Of the operator's own keys the one that signs, or is to; never one that was retired, which its cookies may have outlived.
fn is_wanted(key: &Key, wanted: &Signing) -> bool {
    match wanted {
        Signing::Generated => key.life.generated && key.life.retired.is_none(),
        Signing::Own(secret) => key.secret == *secret,
        Signing::Unknown => false,
    }
}

#[cfg(test)]
mod tests;
