//! Certificates for one test, and a Redis that asks for them.

use super::redis_server::{RedisServer, free_port};

/// An authority, and what it signed for the server and for a client, as files.
pub(crate) struct Certificates(tempfile::TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // A name of its own: one that signs itself and one that is signed must not be called the same.
        authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        write("ca.crt", authority.self_signed(&key).unwrap().pem());
        let issuer = rcgen::Issuer::new(authority, key);
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            write(&format!("{name}.crt"), params.signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A Redis that shows its certificate and asks for the client's, and its address.
    pub(crate) async fn redis(&self) -> (RedisServer, String) {
        let port = free_port().to_string();
        let [authority, certificate, key] = ["ca.crt", "server.crt", "server.key"].map(|name| self.path(name));
        let mut tls = vec!["--tls-port", &port, "--tls-ca-cert-file", &authority];
        tls.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        (RedisServer::start(&tls).await, format!("rediss://127.0.0.1:{port}"))
    }
}
