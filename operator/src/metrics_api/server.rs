//! Serves the metrics API over TLS. A client certificate is taken if there is one, and then it must be the front proxy's
//! authority that signed it; what that makes of a request is not known here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::api::MetricsApi;
use super::certificates::Certificates;
use super::identity::{self, FrontProxy};

/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest connection of somebody who shows no certificate: time enough to be told what is wrong.
const UNKNOWN: Duration = Duration::from_secs(5);
/// Connections at once. The API server needs a few.
const CONNECTIONS: usize = 256;
/// Pause after the system would not accept.
const BREATH: Duration = Duration::from_millis(100);

/// What is served with. A clone is the same.
#[derive(Clone)]
pub struct Serving {
    certificates: Certificates,
    proxy: Arc<FrontProxy>,
    tls: Arc<ServerConfig>,
}

/// Why nothing can be served with something.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The front proxy's authorities, or the certificate, are not PEM.
    #[error("not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// They are no certificates that can be used.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// No authority among them can be used.
    #[error("the front proxy's authorities: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

impl Serving {
    /// Serves with a certificate to whom a front proxy speaks for.
    pub fn new(certificates: Certificates, proxy: Arc<FrontProxy>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(proxy.authorities.as_bytes()) {
            roots.add(authority?)?;
        }
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificates.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(certificates.key.as_bytes())?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            // Who has no certificate is told in HTTP what is wrong.
            .with_client_cert_verifier(clients.allow_unauthenticated().build()?)
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { certificates, proxy, tls: Arc::new(tls) })
    }

    /// Whether it is made of these.
    pub fn is(&self, certificates: &Certificates, proxy: &FrontProxy) -> bool {
        self.certificates == *certificates && *self.proxy == *proxy
    }
}

/// Serves until told to end. Who comes before there is anything to serve with is turned away.
pub async fn serve(
    listener: TcpListener,
    serving: watch::Receiver<Option<Serving>>,
    api: Arc<MetricsApi>,
    shutdown: CancellationToken,
) {
    let (room, mut connections) = (Arc::new(Semaphore::new(CONNECTIONS)), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(BREATH).await;
            continue;
        };
        let (current, place) = (serving.borrow().clone(), room.clone().try_acquire_owned());
        if let (Some(current), Ok(place)) = (current, place) {
            let api = api.clone();
            connections.spawn(async move {
                connection(stream, current, api).await;
                drop(place);
            });
        }
    }
}

async fn connection(stream: TcpStream, serving: Serving, api: Arc<MetricsApi>) {
    let handshake = timeout(HANDSHAKE, TlsAcceptor::from(serving.tls).accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake with the metrics API failed"),
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates.first().and_then(|first| identity::common_name(first));
    let service = service_fn(|request: Request<Incoming>| {
        let (api, proxy, certificate) = (api.clone(), serving.proxy.clone(), certificate.clone());
        async move { Ok::<_, Infallible>(response(&api, &proxy, certificate.as_deref(), request).await) }
    });
    let known = certificate.is_some();
    let builder = auto::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let served = if known { Ok(served.await) } else { timeout(UNKNOWN, served).await };
    if let Ok(Err(error)) = served {
        tracing::debug!(%error, "a connection to the metrics API broke");
    }
}

async fn response(
    api: &MetricsApi,
    proxy: &FrontProxy,
    certificate: Option<&str>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (code, document) = api.answer(proxy, certificate, &request.into_parts().0).await;
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
