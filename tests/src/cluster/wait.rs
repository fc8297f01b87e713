//! Waiting for conditions that nothing announces: a file, a port, a process's end. Shared by the testbed and the tests.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `ready` gives a value; says what was awaited when the time is over.
pub fn until<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        pause();
    }
}

/// The pause between two looks.
pub(super) fn pause() {
    thread::sleep(INTERVAL);
}
