//! The one clock of a run: the wall's time when it started, and monotonic from then on.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::activity::Millis;

/// Now.
pub fn now() -> Millis {
    static START: OnceLock<(Millis, Instant)> = OnceLock::new();
    let (wall, monotonic) = START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (wall.as_secs_f64() * 1000.0, Instant::now())
    });
    wall + monotonic.elapsed().as_secs_f64() * 1000.0
}
