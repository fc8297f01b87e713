//! Reads the settings file, and again whenever it changes: a ConfigMap's volume swaps the symbolic link `..data`, an
//! editor replaces the file. A bad file is refused and the old settings stay.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::changes::{self, Change};
use super::{Config, ConfigError, Shared};
use crate::metrics::Metrics;

const POLL: Duration = Duration::from_secs(1);

/// Reads the settings from a file.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let error = |reason: String| ConfigError::File { path: path.display().to_string(), reason };
    let yaml = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    Config::parse(&yaml).map_err(|cause| error(cause.to_string()))
}

/// What tells one version of a file from another without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let modified = (meta.mtime(), meta.mtime_nsec());
    Some(Stamp { device: meta.dev(), inode: meta.ino(), modified, size: meta.size() })
}

/// Follows the file for ever.
pub async fn follow(path: PathBuf, shared: Shared, metrics: Arc<Metrics>) {
    // The file may have changed since it was read at the start: it is looked at again in any case.
    let mut seen = None;
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        let current = stamp(&path);
        if current != seen {
            seen = current;
            reload(&path, &shared, &metrics);
        }
    }
}

/// Takes a changed file over, or says why not.
pub fn reload(path: &Path, shared: &Shared, metrics: &Metrics) {
    match read(path) {
        Ok(new) => apply(changes::between(&shared.load(), new), shared, metrics),
        Err(error) => {
            tracing::error!(%error, hash = shared.load().hash(), "the changed settings were refused; the old ones stay in force");
            metrics.config_reloaded(false);
        }
    }
}

fn apply(change: Change, shared: &Shared, metrics: &Metrics) {
    let Change { config, keys, after_restart } = change;
    if !after_restart.is_empty() {
        let keys = after_restart.join(", ");
        tracing::warn!(keys, "these changed settings take a restart; the old ones stay in force");
    }
    if keys.is_empty() {
        // Also when a file that was refused is back to what is in force.
        return metrics.config_accepted();
    }
    tracing::info!(keys = keys.join(", "), hash = config.hash(), "settings reloaded");
    shared.store(Arc::new(config.into()));
    metrics.config_reloaded(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::share;

    #[test]
    fn a_good_file_is_taken_over_but_for_the_key_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, "maxConnections: 7\nstreams: {keyPrefix: \"other:\", idleTtlSeconds: 9}").unwrap();
        let shared = share(Config::default());
        reload(&path, &shared, &Metrics::new());
        let config = shared.load();
        assert_eq!((config.max_connections, config.streams.idle_ttl_seconds), (7, 9));
        assert_eq!(config.streams.key_prefix, "room:");
    }

    #[test]
    fn a_bad_or_missing_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        let shared = share(Config { max_connections: 3, ..Config::default() });
        reload(&path, &shared, &Metrics::new());
        std::fs::write(&path, "maxConections: 7").unwrap();
        reload(&path, &shared, &Metrics::new());
        assert_eq!(shared.load().max_connections, 3);
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("gateway.yaml") && error.contains("maxConections"), "{error}");
    }

    #[test]
    fn a_swapped_symbolic_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("one", "maxConnections: 1"), ("two", "maxConnections: 2")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("gateway.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/gateway.yaml", at("gateway.yaml")).unwrap();
        let before = stamp(&at("gateway.yaml"));
        std::os::unix::fs::symlink("two", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        assert!(before != stamp(&at("gateway.yaml")));
        assert_eq!(read(&at("gateway.yaml")).unwrap().max_connections, 2);
    }
}
