//! TLS on the public port, by real clients over real sockets.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod handshakes;
mod mounted;
mod sessions;
mod slow;

use mounted::Mounted;
use support::Gateway;

/// A gateway with a certificate, and what else the settings say.
async fn gateway(mounted: &Mounted, yaml: &str) -> Gateway {
    Gateway::start(&format!("{}\n{yaml}", mounted.settings()), None).await
}
