//! When the process is asked to end.

use tokio::signal::unix::{SignalKind, signal as listen};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Panics
/// When the signal handlers cannot be installed: nothing could end the process in order then.
pub fn signal() -> CancellationToken {
    let token = CancellationToken::new();
    let mut terminate = listen(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = listen(SignalKind::interrupt()).expect("SIGINT can be handled");
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: releasing the lease and ending"),
            _ = interrupt.recv() => tracing::info!("SIGINT: releasing the lease and ending"),
        }
        cancelled.cancel();
    });
    token
}
