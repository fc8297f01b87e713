//! A file with keys, followed while running. One that cannot be read, or not be understood, changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::metrics::Metrics;

/// Keys of type `T`, in a file.
pub(crate) struct KeyFile<T> {
    path: PathBuf,
    understand: fn(&[u8]) -> Result<T, String>,
    keys: ArcSwapOption<T>,
    /// Digest of what was there, or why nothing was: said once.
    seen: Mutex<Option<Result<[u8; 32], String>>>,
}

impl<T> KeyFile<T> {
    /// Keys in a file, read for the first time.
    pub(crate) fn open(path: PathBuf, understand: fn(&[u8]) -> Result<T, String>, metrics: &Metrics) -> Self {
        let file = Self { path, understand, keys: ArcSwapOption::empty(), seen: Mutex::default() };
        file.reload(metrics);
        file
    }

    /// The keys; `None` as long as the file never held any.
    pub(crate) fn keys(&self) -> Option<Arc<T>> {
        self.keys.load_full()
    }

    /// Which file it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file. It is small, so it is read each time: a Secret's volume swaps a symbolic link, which a stamp
    /// of the file could miss.
    pub(crate) fn reload(&self, metrics: &Metrics) {
        let read = std::fs::read(&self.path).map_err(|error| error.to_string());
        let now = read.as_ref().map(|bytes| Sha256::digest(bytes).into()).map_err(Clone::clone);
        if self.seen.lock().replace(now.clone()) == Some(now) {
            return;
        }
        let path = self.path.display();
        match read.and_then(|bytes| (self.understand)(&bytes)) {
            Ok(keys) => {
                self.keys.store(Some(Arc::new(keys)));
                metrics.key_file_read(true);
                tracing::info!(%path, "keys loaded");
            }
            Err(reason) => {
                metrics.key_file_read(false);
                tracing::error!(%path, reason, "the key file was refused; the keys stay as they were");
            }
        }
    }
}
