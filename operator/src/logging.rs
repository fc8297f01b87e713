//! Log output: JSON where nobody is watching, lines on a terminal. `WSCLUSTER_LOG` filters, `WSCLUSTER_LOG_FORMAT` decides.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Installs the process's subscriber. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("WSCLUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info,kube=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = if json() { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    if let Err(error) = installed {
        tracing::debug!(%error, "a log subscriber is already there");
    }
}

fn json() -> bool {
    match std::env::var("WSCLUSTER_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        _ => !std::io::stderr().is_terminal(),
    }
}
