//! The machine and the versions on it, and the number of files that a process may open.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The most sessions of one process, and some for everything else.
const FILES: u64 = 19_500;

/// What the figures depend on.
pub(crate) fn describe() -> BTreeMap<String, String> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or("unknown").trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let memory = line(&file("/proc/meminfo"), "MemTotal:");
    let gigabytes = memory.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) >> 20;
    BTreeMap::from([
        ("cpu".into(), line(&file("/proc/cpuinfo"), "model name")),
        ("cores".into(), std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory".into(), format!("{gigabytes} GiB")),
        ("kernel".into(), file("/proc/sys/kernel/osrelease").trim().into()),
        ("redis-server".into(), version("redis-server", "--version")),
        ("node.js".into(), version("node", "--version")),
        ("go".into(), version("go", "version")),
        ("rustc".into(), version("rustc", "--version")),
        ("commit".into(), commit()),
        ("load before".into(), load_average()),
    ])
}

/// The first word of a program's answer that looks like a version.
fn version(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    let words = text.split_whitespace().map(|word| word.trim_start_matches("v=").trim_start_matches("go"));
    let found = words
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    found.unwrap_or("none").to_owned()
}

fn commit() -> String {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(crate::workspace::root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// What the machine was doing in the last minute, in processes.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = text.split(' ').next().unwrap_or("unknown").to_owned();
    if busy.parse::<f64>().is_ok_and(|busy| busy > 0.7) {
        eprintln!("  the machine is busy (load {busy}): CPU times hold somewhat, latencies do not");
    }
    busy
}

/// Lets this process and those that it starts open as many files as it may.
pub(crate) fn allow_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(most >= FILES, "at most {most} files may be open here: raise the limit to {FILES} (ulimit -n, as root)");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot raise the limit of open files")
}
