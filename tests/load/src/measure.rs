//! What the kernel says of a process and its children: CPU time of all threads, memory, open files. Reads `/proc` only.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// The kernel's clock tick, which `/proc/PID/stat` counts in: 100 per second on every Linux (`USER_HZ`).
const TICK_NANOS: u64 = 10_000_000;

/// CPU time of a process and its children up to now.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    /// Nanoseconds by process and thread: exact, but threads that ended are missing.
    threads: BTreeMap<String, u64>,
    /// Of the process, with threads that ended: in ticks of 10 ms.
    ticks: u64,
}

impl Cpu {
    /// Of a process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut all = Self { threads: BTreeMap::new(), ticks: 0 };
        all.add(pid)?;
        // A child may end meanwhile.
        family(pid).into_iter().skip(1).for_each(|child| drop(all.add(child)));
        Ok(all)
    }

    fn add(&mut self, pid: u32) -> Result<()> {
        let stat = read(&format!("/proc/{pid}/stat"))?;
        self.ticks += ticks(&stat).with_context(|| format!("/proc/{pid}/stat is not understood"))?;
        for entry in fs::read_dir(format!("/proc/{pid}/task")).context("the process has ended")?.flatten() {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            self.threads.insert(entry.path().to_string_lossy().into_owned(), nanos);
        }
        Ok(())
    }

    /// Nanoseconds since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        if earlier.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            return self.ticks.saturating_sub(earlier.ticks) * TICK_NANOS;
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

/// A process, its children, and theirs: a server may have a worker that does the work.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let found: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.extend(found);
        next += 1;
    }
    all
}

/// Bytes of memory that a process and its children hold: heap and stacks, and what they share with each other; without the
/// program's file.
pub(crate) fn anonymous_bytes(pid: u32) -> Result<u64> {
    let of = |pid| {
        let status = read(&format!("/proc/{pid}/status"))?;
        let [own, shared] = ["RssAnon:", "RssShmem:"].map(|name| kilobytes(&status, name));
        Ok(own.context("no RssAnon")? + shared.unwrap_or(0))
    };
    of_family(pid, of)
}

/// The sum over a process and its children, of whom one may end meanwhile.
fn of_family(pid: u32, of: impl Fn(u32) -> Result<u64>) -> Result<u64> {
    let children = family(pid).into_iter().skip(1).filter_map(|child| of(child).ok());
    Ok(of(pid)? + children.sum::<u64>())
}

/// Files that a process and its children have open.
pub(crate) fn open_files(pid: u32) -> Result<u64> {
    let of = |pid| Ok(fs::read_dir(format!("/proc/{pid}/fd")).context("the process has ended")?.count() as u64);
    of_family(pid, of)
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

    #[test]
    fn children_count_as_the_process() {
        let before = family(std::process::id());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let after = family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(after.contains(&child.id()) && !before.contains(&child.id()), "{after:?}");
    }
}
