//! TLS of the public port: which certificate is shown (`certificates`), the handshake (`accept`), and the session that
//! comes of it (`session`). Knows no HTTP and no WebSocket; the admin port has none of it.

mod accept;
mod buffers;
mod certificates;
mod session;

pub(crate) use accept::{Handshakes, accept};
pub use certificates::check;
pub(crate) use certificates::{Certificates, Mode};
pub(crate) use session::Session;
#[cfg(test)]
pub(crate) use session::tests::configs as test_configs;
