//! Whom a client trusts when the URL is `wss://`. It does not connect.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The authorities of the web (Mozilla's list), or only those in `authorities`, a PEM file's content.
pub(crate) fn config(authorities: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let roots = match authorities {
        Some(pem) => read(pem)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn read(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the authorities are no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("an authority is no certificate: {error}"))?;
    }
    if roots.is_empty() { Err("no certificate among the authorities".to_owned()) } else { Ok(roots) }
}
