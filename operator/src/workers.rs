//! Background tasks, one per cluster: each is told its target, leaves a report behind, and pokes the controller when the
//! report changed. Knows neither Redis nor gateways.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What a poke does: asks for a reconcile of the worker's cluster.
pub type Poke = Arc<dyn Fn() + Send + Sync>;

/// The workers of one kind, by the uid of their cluster.
pub struct Workers<T, R> {
    running: Mutex<HashMap<String, Worker<T, R>>>,
}

struct Worker<T, R> {
    targets: watch::Sender<T>,
    report: Arc<Mutex<R>>,
    task: AbortHandle,
}

/// Where a worker leaves its report.
pub struct Publisher<R> {
    report: Arc<Mutex<R>>,
    poke: Poke,
}

impl<R: Clone + PartialEq> Publisher<R> {
    /// A publisher of a report, and the report.
    pub fn new(first: R, poke: Poke) -> (Self, Arc<Mutex<R>>) {
        let report = Arc::new(Mutex::new(first));
        (Self { report: report.clone(), poke }, report)
    }

    /// Changes the report; pokes if that made a difference.
    pub fn update(&mut self, change: impl FnOnce(&mut R)) {
        let changed = {
            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            let before = report.clone();
            change(&mut report);
            *report != before
        };
        if changed {
            (self.poke)();
        }
    }
}

impl<T, R> Default for Workers<T, R> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<T, R> Workers<T, R>
where
    T: PartialEq + Send + Sync + 'static,
    R: Clone + PartialEq + Send + 'static,
{
    /// Tells the worker of a cluster its target, starting it if need be, and returns its report.
    pub fn ensure<F, Fut>(&self, uid: &str, target: T, first: R, poke: &Poke, start: F) -> R
    where
        F: FnOnce(watch::Receiver<T>, Publisher<R>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = running.get(uid) {
            worker.targets.send_if_modified(|current| {
                let changed = *current != target;
                *current = target;
                changed
            });
            return worker.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let (targets, receiver) = watch::channel(target);
        let (publisher, report) = Publisher::new(first.clone(), poke.clone());
        let task = tokio::spawn(start(receiver, publisher)).abort_handle();
        running.insert(uid.to_owned(), Worker { targets, report, task });
        first
    }

    /// The report of a cluster's worker, if it runs.
    pub fn report(&self, uid: &str) -> Option<R> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let report = &running.get(uid)?.report;
        Some(report.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Ends the worker of a cluster.
    pub fn end(&self, uid: &str) {
        self.retain(|other| other != uid);
    }

    /// Ends the workers of clusters that are gone.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|uid, worker| {
            let keep = exists(uid);
            if !keep {
                worker.task.abort();
            }
            keep
        });
    }
}

impl<T, R> Drop for Workers<T, R> {
    fn drop(&mut self) {
        for worker in self.running.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
            worker.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::mpsc;

    fn counted() -> (Poke, Arc<AtomicU32>) {
        let pokes = Arc::new(AtomicU32::new(0));
        let counter = pokes.clone();
        (
            Arc::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
            pokes,
        )
    }

    #[test]
    fn a_report_that_did_not_change_pokes_nobody() {
        let (poke, pokes) = counted();
        let (mut publisher, _) = Publisher::new(1, poke);
        publisher.update(|report| *report = 1);
        publisher.update(|report| *report = 2);
        assert_eq!(pokes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_worker_is_started_once_and_told_of_new_targets() {
        let (workers, (poke, _)) = (Workers::<u32, u32>::default(), counted());
        let (seen, mut saw) = mpsc::unbounded_channel();
        let start = |mut targets: watch::Receiver<u32>, mut reports: Publisher<u32>| async move {
            loop {
                let target = *targets.borrow_and_update();
                reports.update(|report| *report = target);
                seen.send(target).unwrap();
                if targets.changed().await.is_err() {
                    return;
                }
            }
        };
        assert_eq!(workers.ensure("a", 1, 0, &poke, start), 0);
        assert_eq!(saw.recv().await, Some(1));
        let never = |_, _| async { unreachable!("it runs already") };
        workers.ensure("a", 2, 0, &poke, never);
        assert_eq!(saw.recv().await, Some(2));
        assert_eq!(workers.ensure("a", 2, 0, &poke, never), 2);
        workers.end("a");
        assert_eq!(saw.recv().await, None, "its task is gone");
    }
}
