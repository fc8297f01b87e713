//! Every number of gateways that was ever asked for.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::task::AbortHandle;

use crate::scenario::Scenario;

/// The numbers in their order, as a watch tells of them.
pub(super) struct Sizes {
    seen: Arc<Mutex<Vec<i32>>>,
    task: AbortHandle,
}

impl Sizes {
    /// Begins to watch.
    pub(super) fn watch(scenario: &Scenario) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (clusters, log) = (scenario.fleet.clusters(), seen.clone());
        let watching = async move {
            let mut changes = watcher(clusters, watcher::Config::default()).default_backoff().applied_objects().boxed();
            while let Some(change) = changes.next().await {
                let Ok(cluster) = change else { continue };
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                if log.last() != Some(&cluster.spec.replicas) {
                    log.push(cluster.spec.replicas);
                }
            }
        };
        Self { seen, task: tokio::spawn(watching).abort_handle() }
    }

    /// What was asked for until now.
    pub(super) fn seen(&self) -> Vec<i32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asserts that it went up and then down, and returns how often it went down.
    pub(super) fn turned_once(&self, from: i32, peak: i32, to: i32) -> Result<u64> {
        let seen = self.seen();
        let (up, down): (Vec<_>, Vec<_>) = seen.windows(2).partition(|pair| pair[0] < pair[1]);
        let turns = seen.windows(3).filter(|three| (three[0] < three[1]) != (three[1] < three[2])).count();
        let as_wanted = (seen.first(), seen.iter().max(), seen.last()) == (Some(&from), Some(&peak), Some(&to));
        ensure!(as_wanted && turns == 1 && !up.is_empty(), "the number of gateways went {seen:?}");
        Ok(down.len() as u64)
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
