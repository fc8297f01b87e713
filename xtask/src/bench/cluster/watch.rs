//! Looks at the testbed while something happens to it: memory and CPU time of every component, and connections that the nodes
//! track.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use wscluster_tests::cluster::{Cluster, Program};

const EVERY: Duration = Duration::from_secs(2);

/// Memory of the processes of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) processes: u64,
    pub(crate) bytes: u64,
    pub(crate) largest: u64,
}

/// What was there at one time, or the most that was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// By the program's name.
    pub(crate) programs: BTreeMap<String, Memory>,
    /// CPU time that the processes of a program have used, by its name.
    pub(crate) cpu: BTreeMap<String, Duration>,
    /// Connections that the node with the most of them tracks.
    pub(crate) tracked: u64,
}

impl Sample {
    fn new(running: &[Program], tracked: u64) -> Self {
        let mut sample = Self { tracked, ..Self::default() };
        for Program { name, bytes, cpu } in running {
            let memory = sample.programs.entry(name.clone()).or_default();
            memory.processes += 1;
            memory.bytes += bytes;
            memory.largest = memory.largest.max(*bytes);
            *sample.cpu.entry(name.clone()).or_default() += *cpu;
        }
        sample
    }

    /// Keeps the higher figure of each, but for CPU time: processes come and go.
    fn raise(&mut self, other: &Self) {
        for (program, memory) in &other.programs {
            let most = self.programs.entry(program.clone()).or_default();
            most.processes = most.processes.max(memory.processes);
            most.bytes = most.bytes.max(memory.bytes);
            most.largest = most.largest.max(memory.largest);
        }
        self.tracked = self.tracked.max(other.tracked);
    }

    fn take(cluster: &Cluster) -> Self {
        // A node that does not answer for once is looked at again.
        let tracked = (1..=cluster.nodes()).filter_map(|node| cluster.tracked(node).ok()).map(|(count, _)| count).max();
        Self::new(&cluster.programs(), tracked.unwrap_or(0))
    }
}

/// Looks on until it is dropped.
pub(crate) struct Watch {
    cluster: Cluster,
    most: Arc<Mutex<Sample>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let most = Arc::new(Mutex::new(Sample::default()));
        let (seen, watched) = (Arc::clone(&most), cluster.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let cluster = watched.clone();
                if let Ok(sample) = tokio::task::spawn_blocking(move || Sample::take(&cluster)).await {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).raise(&sample);
                }
            }
        });
        Self { cluster: cluster.clone(), most, task }
    }

    /// What is there now.
    pub(crate) async fn now(&self) -> Sample {
        let cluster = self.cluster.clone();
        tokio::task::spawn_blocking(move || Sample::take(&cluster)).await.unwrap_or_default()
    }

    /// The most of each that was there since the start.
    pub(crate) fn most(&self) -> Sample {
        self.most.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, bytes: u64) -> Program {
        Program { name: name.to_owned(), bytes, cpu: Duration::from_secs(bytes) }
    }

    #[test]
    fn programs_are_added_up_and_the_most_is_kept() {
        let mut most = Sample::new(&[program("a", 5), program("a", 7), program("b", 1)], 10);
        assert_eq!(most.programs["a"], Memory { processes: 2, bytes: 12, largest: 7 });
        assert_eq!(most.cpu["a"], Duration::from_secs(12));
        most.raise(&Sample::new(&[program("a", 9), program("c", 2)], 4));
        assert_eq!(most.programs["a"], Memory { processes: 2, bytes: 12, largest: 9 });
        assert_eq!(most.programs["c"].bytes, 2);
        assert_eq!(most.tracked, 10);
    }
}
