//! Milliseconds since the Unix epoch that never go back: the wall clock at the start of the process plus the time
//! since. Follows tokio's paused time in tests.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

static START: LazyLock<(Instant, Millis)> = LazyLock::new(|| {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (Instant::now(), wall.as_millis() as Millis)
});

/// Now.
pub fn now() -> Millis {
    let (start, wall) = *START;
    wall + Instant::now().saturating_duration_since(start).as_millis() as Millis
}

/// The instant at which [`now`] returns `at`; the past becomes now.
pub fn instant(at: Millis) -> Instant {
    Instant::now() + Duration::from_millis(at.saturating_sub(now()))
}
