//! The TLS handshake of a new connection: within a time, so many at once, and with a reason for each that fails.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::{AlertDescription, Error, ProtocolVersion, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Session;
use super::session::SessionError;
use crate::clock;
use crate::metrics::Metrics;
use crate::session::Bucket;
use crate::socket::{NotWaiting, Stream};

/// How long a handshake may take: two round trips, and lost packets of a bad network that are sent again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever spoke plain HTTP has to read the answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// Handshakes that may be under way at once. Each takes a few kilobytes, a file descriptor and up to a millisecond of CPU.
const MOST: usize = 4096;

/// What a client is told that speaks HTTP without TLS, in its own language.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 57\r\n\r\n\
    this port speaks TLS: use wss:// or https:// to reach it\n";

/// Bounds the handshakes: how many are under way, and how many begin.
pub(crate) struct Handshakes {
    places: Semaphore,
    recent: Mutex<Bucket>,
    metrics: Arc<Metrics>,
}

impl Handshakes {
    /// None are under way.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_places(metrics, MOST)
    }

    fn with_places(metrics: Arc<Metrics>, most: usize) -> Self {
        Self { places: Semaphore::new(most), recent: Mutex::new(Bucket::full(clock::now())), metrics }
    }

    /// A place for one more, given back when dropped. `rate` is how many may begin in a second; 0 is no limit. One that is
    /// refused has cost nothing yet.
    fn admit(&self, rate: u32) -> Result<SemaphorePermit<'_>, &'static str> {
        let place = self.places.try_acquire().map_err(|_| "too many handshakes are under way")?;
        let rate = f64::from(rate);
        if rate == 0.0 || self.recent.lock().take(rate, rate, clock::now()) {
            return Ok(place);
        }
        Err("too many handshakes in a second: see limits.handshakesPerSecond")
    }

    /// There is no certificate to show: the connection is closed.
    pub(crate) fn unavailable(&self, peer: SocketAddr) {
        self.failed(peer.ip(), "no_certificate", "there never was a usable certificate: see the settings tls");
    }

    fn failed(&self, peer: IpAddr, reason: &'static str, error: &str) {
        self.metrics.tls_failed(reason);
        tracing::info!(%peer, reason, error, "TLS handshake failed");
    }
}

/// Does the handshake. `None`: the connection is to be closed, and it was said why.
pub(crate) async fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    handshakes: &Handshakes,
    rate: u32,
) -> Option<Stream<TcpStream>> {
    let _place = match handshakes.admit(rate) {
        Ok(place) => place,
        Err(error) => {
            handshakes.failed(peer.ip(), "busy", error);
            return None;
        }
    };
    let result = tokio::time::timeout(PATIENCE, handshake(stream, config)).await;
    match result.unwrap_or(Err(Failed { reason: "timeout", error: "the client took too long".into() })) {
        Ok((stream, version)) => {
            handshakes.metrics.tls_established(if version == ProtocolVersion::TLSv1_2 { "1.2" } else { "1.3" });
            Some(stream)
        }
        // A health check that only connects.
        Err(Failed { reason: "silent", .. }) => None,
        Err(Failed { reason, error }) => {
            handshakes.failed(peer.ip(), reason, &error);
            None
        }
    }
}

/// Why a handshake failed.
struct Failed {
    /// Value of the metrics' label `reason`.
    reason: &'static str,
    error: String,
}

async fn handshake(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<(Stream<TcpStream>, ProtocolVersion), Failed> {
    let failed = |reason, error: &dyn ToString| Failed { reason, error: error.to_string() };
    let mut session = Box::new(Session::new(config).map_err(|error| failed("other", &error))?);
    loop {
        match session.handshake(&mut NotWaiting(&stream)) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait(&stream, &session).await.map_err(|error| failed("lost", &error))?;
            }
            Err(error) => {
                let reason = reason(&error, session.has_begun());
                if reason == "plain_http" {
                    let answer = async { stream.write_all(PLAIN_HTTP.as_bytes()).await.and(stream.shutdown().await) };
                    let _ = tokio::time::timeout(ANSWER_PATIENCE, answer).await;
                }
                // The alert that says why, if the socket takes it.
                let _ = session.flush(&mut NotWaiting(&stream));
                return Err(failed(reason, &error));
            }
        }
    }
    let version = session.version().unwrap_or(ProtocolVersion::TLSv1_3);
    Ok((Stream::secured(stream, session), version))
}

/// Until the socket can go on.
async fn wait(stream: &TcpStream, session: &Session) -> std::io::Result<()> {
    if session.unsent() > 0 { stream.writable().await } else { stream.readable().await }
}

/// Few words for what went wrong. `begun`: the client had sent something.
fn reason(error: &std::io::Error, begun: bool) -> &'static str {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<SessionError>());
    match cause {
        None if begun => "lost",
        None => "silent",
        Some(SessionError::PlainHttp) => "plain_http",
        Some(SessionError::Tls(error)) => of_tls(error),
    }
}

fn of_tls(error: &Error) -> &'static str {
    use AlertDescription as Alert;
    match error {
        Error::PeerIncompatible(_) => "incompatible",
        Error::NoApplicationProtocol => "protocol",
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => "certificate",
        Error::AlertReceived(_) => "alert",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::DecryptError => "malformed",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    fn config() -> Arc<ServerConfig> {
        crate::tls::test_configs(&rustls::version::TLS13).0
    }

    async fn connection() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (served, peer) = listener.accept().await.unwrap();
        (client, served, peer)
    }

    fn count(metrics: &Metrics, reason: &str) -> bool {
        metrics.exposed().contains(&format!("tls_handshake_failures_total{{reason=\"{reason}\"}} 1\n"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_not_waited_for_longer_than_agreed() {
        let metrics = Arc::new(Metrics::new());
        let (mut client, served, peer) = connection().await;
        let started = tokio::time::Instant::now();
        assert!(accept(served, peer, config(), &Handshakes::new(Arc::clone(&metrics)), 0).await.is_none());
        assert!((PATIENCE..PATIENCE + Duration::from_millis(10)).contains(&started.elapsed()));
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0, "it is closed");
        assert!(count(&metrics, "timeout"));
    }

    #[tokio::test]
    async fn so_many_handshakes_are_under_way_at_most() {
        let metrics = Arc::new(Metrics::new());
        let handshakes = Handshakes::with_places(Arc::clone(&metrics), 2);
        let (mut waiting, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (client, served, peer) = connection().await;
            clients.push(client);
            waiting.push(Box::pin(accept(served, peer, config(), &handshakes, 0)));
        }
        for each in &mut waiting {
            assert!(futures::poll!(each).is_pending());
        }
        let (_client, served, peer) = connection().await;
        assert!(accept(served, peer, config(), &handshakes, 0).await.is_none());
        assert!(count(&metrics, "busy"));
        // One has gone: there is a place again.
        waiting.pop();
        let (_client, served, peer) = connection().await;
        assert!(futures::poll!(Box::pin(accept(served, peer, config(), &handshakes, 0))).is_pending());
    }

    #[test]
    fn so_many_handshakes_begin_in_a_second_at_most() {
        let handshakes = Handshakes::new(Arc::new(Metrics::new()));
        for (rate, may) in [(0, 3000), (3, 3)] {
            let admitted = (0..3000).filter(|_| handshakes.admit(rate).is_ok()).count();
            // What the clock adds while this runs.
            assert!((may..=may + 3).contains(&admitted), "{rate}: {admitted}");
        }
    }

    #[test]
    fn the_answer_to_plain_http_says_how_long_it_is() {
        let (head, body) = PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
    }
}
