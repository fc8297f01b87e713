//! Requests to servers that the settings name: whom TLS trusts there, and how their errors read.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};

/// Connects by http or https, as the address says.
pub(crate) fn connector() -> HttpsConnector<HttpConnector> {
    HttpsConnectorBuilder::new().with_tls_config(tls()).https_or_http().enable_http1().build()
}

/// Trusts what browsers trust, and what this machine trusts (`SSL_CERT_FILE` names another file): a server within a
/// company may have a certificate of the company's own.
fn tls() -> ClientConfig {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// An error with what caused it: hyper's own text says little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
