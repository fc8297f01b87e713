//! Reads the components' logs: their names, their last lines, and what is added to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::layout::{Layout, node_name};

const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
const TAIL_BYTES: u64 = 256 * 1024;

/// The last lines of a file; empty when there is none.
pub fn last_lines(path: &Path, count: usize) -> String {
    let text = tail(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The log files of a testbed, of one component and of one node if so asked.
pub fn files(layout: &Layout, node: Option<u32>, component: Option<&str>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(&layout.logs(), &mut found);
    found.sort();
    let in_node =
        |path: &Path| node.is_none_or(|node| path.parent().is_some_and(|parent| parent.ends_with(node_name(node))));
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let names: BTreeSet<String> = found.iter().filter(|path| in_node(path)).map(|path| stem(path)).collect();
    found.retain(|path| in_node(path) && component.is_none_or(|name| stem(path) == name));
    if found.is_empty() {
        bail!(
            "no such log. There are: {}",
            if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
        );
    }
    Ok(found)
}

/// Prints the last lines of each, then what is added when following (until interrupted).
pub fn print(files: &[PathBuf], lines: usize, follow: bool, out: &mut dyn Write) -> Result<()> {
    let mut ends = Vec::new();
    for file in files {
        ends.push(fs::metadata(file).map_or(0, |found| found.len()));
        writeln!(out, "==> {} <==", file.display())?;
        writeln!(out, "{}", last_lines(file, lines))?;
    }
    if !follow {
        return Ok(());
    }
    loop {
        for (file, end) in files.iter().zip(&mut ends) {
            *end += print_added(file, *end, out)?;
        }
        thread::sleep(FOLLOW_INTERVAL);
    }
}

/// Whole lines only: the rest of a line comes with the next look.
fn print_added(file: &Path, offset: u64, out: &mut dyn Write) -> Result<u64> {
    let added = read_from(file, offset)?;
    let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    for line in String::from_utf8_lossy(&added[..whole]).lines() {
        writeln!(out, "{name}: {line}")?;
    }
    Ok(whole as u64)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn tail(path: &Path) -> Result<String> {
    let end = fs::metadata(path)?.len();
    Ok(String::from_utf8_lossy(&read_from(path, end.saturating_sub(TAIL_BYTES))?).into_owned())
}

fn read_from(path: &Path, offset: u64) -> Result<Vec<u8>> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_the_last_and_of_a_missing_file_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubelet.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(&path, 2), "two\nthree");
        assert_eq!(last_lines(&path, 9), "one\ntwo\nthree");
        assert_eq!(last_lines(&folder.path().join("none"), 2), "");
    }

    #[test]
    fn only_whole_lines_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.log");
        fs::write(&path, "old\nnew\nhal").unwrap();
        let mut out = Vec::new();
        assert_eq!(print_added(&path, 4, &mut out).unwrap(), 4);
        assert_eq!(String::from_utf8(out).unwrap(), "etcd: new\n");
    }

    #[test]
    fn logs_are_chosen_by_node_and_component() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::at(folder.path().join("demo"));
        for (node, component) in [(1, "etcd"), (1, "kubelet"), (2, "kubelet")] {
            let path = layout.log(node, component);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(files(&layout, None, None).unwrap().len(), 3);
        assert_eq!(files(&layout, None, Some("kubelet")).unwrap().len(), 2);
        assert_eq!(files(&layout, Some(2), Some("kubelet")).unwrap(), [layout.log(2, "kubelet")]);
        assert!(files(&layout, Some(2), Some("etcd")).unwrap_err().to_string().contains("kubelet"));
    }
}
