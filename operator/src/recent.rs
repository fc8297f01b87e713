//! What was just written, until the watch says so too: a reconcile that runs before the watch has caught up must not
//! write again what it wrote already. And what the API server changed as it took it, which is not to be tried again and
//! again. Pure bookkeeping.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time after which a contested field is tried again.
const TRUCE: Duration = Duration::from_mins(10);

/// Objects just written, by key.
#[derive(Default)]
pub struct Recent {
    written: Mutex<HashMap<String, Option<Value>>>,
    contested: Mutex<HashMap<String, (String, Instant)>>,
}

/// Key of an object.
pub fn key(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

impl Recent {
    /// Notes the API server's answer to a write (`None`: it is deleted). `stored` is asked for the version that the watch
    /// knows now: if that is no longer `observed`, the watch has moved on and knows better.
    pub fn wrote(
        &self,
        key: String,
        observed: Option<&str>,
        stored: impl FnOnce() -> Option<String>,
        answer: Option<Value>,
    ) {
        // Asked under the lock: an event that comes in now is noted by `seen` after this.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if stored().as_deref() == observed {
            written.insert(key, answer);
        }
    }

    /// The watch has told of an object: from now on it knows better.
    pub fn seen(&self, key: &str) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// The API server took an object of that digest, but changed it on the way in: an admission webhook insists on
    /// something else, and would again.
    pub fn contest(&self, key: String, digest: String) {
        self.contested.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (digest, Instant::now()));
    }

    /// The digest of an object that was contested not long ago.
    pub fn contested(&self, key: &str) -> Option<String> {
        let contested = self.contested.lock().unwrap_or_else(PoisonError::into_inner);
        contested.get(key).filter(|(_, since)| since.elapsed() < TRUCE).map(|(digest, _)| digest.clone())
    }

    /// The newest state known, given what the watch knows.
    pub fn freshest(&self, key: &str, watched: Option<Value>) -> Option<Value> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(key).map_or(watched, Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_write_is_known_before_the_watch_tells_of_it() {
        let recent = Recent::default();
        recent.wrote("k".to_owned(), Some("1"), || Some("1".to_owned()), Some(json!(2)));
        assert_eq!(recent.freshest("k", Some(json!(1))), Some(json!(2)));
        recent.seen("k");
        assert_eq!(recent.freshest("k", Some(json!(1))), Some(json!(1)));
    }

    #[test]
    fn an_answer_that_comes_after_its_event_is_not_kept() {
        let recent = Recent::default();
        recent.wrote("k".to_owned(), Some("1"), || Some("2".to_owned()), Some(json!(2)));
        assert_eq!(recent.freshest("k", Some(json!(3))), Some(json!(3)));
    }
}
