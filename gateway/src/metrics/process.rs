//! What is measured of the process and of its runtime: memory, files, CPU time, tasks. From `/proc`
//! (<https://man7.org/linux/man-pages/man5/proc.5.html>); what is not there stays at zero.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::names::{Float, Names, gauge};

/// Ticks per second in which the kernel tells CPU time: the same on every architecture that this runs on.
const TICKS: f64 = 100.0;

type Seconds = Counter<f64, AtomicU64>;

pub(super) struct Process {
    memory: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    cpu: Seconds,
    started: Float,
    workers: Gauge,
    tasks: Gauge,
    queued: Gauge,
    busy: Seconds,
}

impl Process {
    pub(super) fn new(new: &mut Names) -> Self {
        Self {
            memory: new.gauge("process_resident_memory_bytes", "Memory of this process"),
            open_files: new.gauge("process_open_fds", "Open file descriptors"),
            most_files: new.gauge("process_max_fds", "File descriptors that may be open"),
            cpu: new.add("process_cpu_seconds", "CPU time used", "_total", Seconds::default()),
            started: new.gauge("process_start_time_seconds", "When the process began, since the Unix epoch"),
            workers: new.gauge("tokio_workers", "Threads of the runtime, which serve HTTP and talk to Redis"),
            tasks: new.gauge("tokio_alive_tasks", "Tasks of the runtime"),
            queued: new.gauge("tokio_global_queue_tasks", "Tasks that wait for a thread of the runtime"),
            busy: new.add("tokio_busy_seconds", "Time that the runtime's threads worked", "_total", Seconds::default()),
        }
    }

    pub(super) fn measure(&self) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
        let stat = read("self/stat");
        self.memory.set(gauge(resident_bytes(&read("self/status")).unwrap_or(0)));
        self.open_files.set(gauge(open_files()));
        self.most_files.set(gauge(most_files(&read("self/limits")).unwrap_or(0)));
        raise(&self.cpu, cpu_seconds(&stat).unwrap_or(0.0));
        self.started.set(start_seconds(&stat, &read("stat")).unwrap_or(0.0));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.measure_runtime(&runtime.metrics());
        }
    }

    fn measure_runtime(&self, runtime: &tokio::runtime::RuntimeMetrics) {
        let workers = runtime.num_workers();
        self.workers.set(gauge(workers as u64));
        self.tasks.set(gauge(runtime.num_alive_tasks() as u64));
        self.queued.set(gauge(runtime.global_queue_depth() as u64));
        raise(&self.busy, (0..workers).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum());
    }
}

/// A counter that somebody else counts.
fn raise(counter: &Seconds, to: f64) {
    counter.inc_by((to - counter.get()).max(0.0));
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Newer kernels tell the number as the size of the folder, which costs nothing with many connections.
fn open_files() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    let told = std::fs::metadata(FOLDER).map_or(0, |meta| meta.len());
    if told > 0 { told } else { std::fs::read_dir(FOLDER).map_or(0, |files| files.count() as u64) }
}

fn most_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A field of `/proc/self/stat`, numbered from 1 as in the manual. The second one may hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS)
}

fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + field(stat, 22)? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 12300 1 2 3";

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(cpu_seconds(STAT), Some(3.0));
        assert_eq!(start_seconds(STAT, "cpu 1 2\nbtime 1000\n"), Some(1123.0));
        assert_eq!(resident_bytes("VmSize:\t 9 kB\nVmRSS:\t     12 kB\n"), Some(12_288));
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024     4096      files \n";
        assert_eq!(most_files(limits), Some(1024));
        for empty in [cpu_seconds(""), start_seconds("", "")] {
            assert_eq!(empty, None);
        }
    }

    #[test]
    fn this_process_has_memory_files_and_an_age() {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{file}")).unwrap();
        assert!(resident_bytes(&read("self/status")).unwrap() > 1 << 20);
        let (open, most) = (open_files(), most_files(&read("self/limits")).unwrap());
        assert!(open >= 3 && open <= most, "{open} of {most}");
        let now = crate::clock::now() as f64 / 1000.0;
        let started = start_seconds(&read("self/stat"), &read("stat")).unwrap();
        assert!(started <= now + 1.0 && started > now - 86_400.0, "{started} at {now}");
    }

    #[test]
    fn a_counter_is_never_lowered() {
        let counter = Seconds::default();
        raise(&counter, 2.0);
        raise(&counter, 1.5);
        assert!((counter.get() - 2.0).abs() < 1e-9);
    }
}
