//! What the kernel says of a process: CPU time of all its threads, and its memory. Reads `/proc` only.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// The kernel's clock tick, which `/proc/PID/stat` counts in: 100 per second on every Linux (`USER_HZ`).
const TICK_NANOS: u64 = 10_000_000;

/// CPU time of a process up to now.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    /// Nanoseconds by thread: exact, but threads that ended are missing.
    threads: BTreeMap<String, u64>,
    /// Of the process, with threads that ended: in ticks of 10 ms.
    ticks: u64,
}

impl Cpu {
    /// Of a process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = read(&format!("/proc/{pid}/stat"))?;
        let ticks = ticks(&stat).with_context(|| format!("/proc/{pid}/stat is not understood"))?;
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).context("the process has ended")?.flatten() {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            threads.insert(entry.file_name().to_string_lossy().into_owned(), nanos);
        }
        Ok(Self { threads, ticks })
    }

    /// Nanoseconds since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        if earlier.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            return (self.ticks - earlier.ticks) * TICK_NANOS;
        }
        let sum = |cpu: &Self| cpu.threads.values().sum::<u64>();
        sum(self).saturating_sub(sum(earlier))
    }
}

/// `utime` and `stime` (proc_pid_stat(5)). The program's name comes before them, and may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Bytes of anonymous memory that a process holds: heap and stacks, without the program's file.
pub(crate) fn anonymous_bytes(pid: u32) -> Result<u64> {
    kilobytes(&read(&format!("/proc/{pid}/status"))?, "RssAnon:").context("no RssAnon")
}

/// Bytes that the kernel holds in its own small objects: sockets at both ends, of all processes.
pub(crate) fn slab_bytes() -> Result<u64> {
    kilobytes(&read("/proc/meminfo")?, "Slab:").context("no Slab")
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}: the process has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_a_process_grows_with_its_work() {
        let before = Cpu::of(std::process::id()).unwrap();
        let mut spent = 0;
        while spent < 30_000_000 {
            spent = Cpu::of(std::process::id()).unwrap().since(&before);
        }
        assert!(spent < 30_000_000_000);
    }

    #[test]
    fn a_thread_that_ended_makes_the_coarse_count_hold() {
        let cpu = |threads: &[(&str, u64)], ticks| Cpu {
            threads: threads.iter().map(|(name, nanos)| ((*name).to_owned(), *nanos)).collect(),
            ticks,
        };
        let before = cpu(&[("1", 100), ("2", 50)], 3);
        assert_eq!(cpu(&[("1", 150), ("2", 50), ("3", 7)], 3).since(&before), 57);
        assert_eq!(cpu(&[("1", 150)], 5).since(&before), 2 * TICK_NANOS);
    }

    #[test]
    fn fields_are_counted_behind_the_programs_name() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 60 40 0 0 20 0 1 0"), Some(100));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(kilobytes("VmRSS:\t 9 kB\nRssAnon:\t     123 kB\n", "RssAnon:"), Some(123 * 1024));
        assert!(anonymous_bytes(std::process::id()).unwrap() > 0);
    }
}
