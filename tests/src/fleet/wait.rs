//! Waiting for a fact, with a deadline and an error that says what was waited for and what was there instead.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use futures::{StreamExt, TryStreamExt};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

/// Time between two looks where the server cannot be watched.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A point in time after which waiting is given up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// Time that is left; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Watches the object `name` until `holds` is true of it, and returns it so.
/// The error names what was waited for and shows the last state that was seen.
pub async fn wait_for<K>(
    api: Api<K>,
    name: &str,
    within: Duration,
    what: &str,
    mut holds: impl FnMut(&K) -> bool,
) -> Result<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + serde::Serialize + 'static,
    K::DynamicType: Default,
{
    let mut last = None;
    let watch = async {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut objects = watcher(api, config).default_backoff().applied_objects().boxed();
        while let Some(object) = objects.try_next().await? {
            if holds(&object) {
                return Ok(object);
            }
            last = Some(object);
        }
        Err(anyhow!("the watch on {name} ended"))
    };
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    match tokio::time::timeout(within, watch).await {
        Ok(found) => found,
        Err(_) => bail!("waited {within:?} for {kind} {name} {what}; {}", describe(last.as_ref())),
    }
}

/// Asks again and again until `look` finds something. An error of `look` counts as "not yet" and stands in the message.
pub async fn until<T, F: Future<Output = Result<Option<T>>>>(
    deadline: Deadline,
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    loop {
        let last_error = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if deadline.left().is_zero() {
            let because = last_error.map_or_else(String::new, |error| format!(": {error:#}"));
            bail!("gave up waiting until {what}{because}");
        }
        tokio::time::sleep(LOOK_EVERY.min(deadline.left())).await;
    }
}

fn describe<K: serde::Serialize>(object: Option<&K>) -> String {
    let Some(object) = object else { return "it does not exist".to_owned() };
    let value = serde_json::to_value(object).unwrap_or_default();
    let status = value.get("status").cloned().unwrap_or_default();
    format!("its status is {}", serde_json::to_string_pretty(&status).unwrap_or_default())
}
