//! A certificate as Kubernetes mounts a Secret (`tls.crt` and `tls.key` behind the link `..data`), and clients that trust
//! whoever signed it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::Client;

pub(crate) type Secured = TlsStream<TcpStream>;

/// A mounted certificate.
pub(crate) struct Mounted {
    folder: tempfile::TempDir,
    authority: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// The authority that signs it, in PEM.
    pub(crate) authority_pem: String,
}

impl Mounted {
    /// With a first certificate.
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let name = format!("authority {}", rand::random::<u32>());
        authority.distinguished_name.push(rcgen::DnType::CommonName, name);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&key).unwrap().pem();
        let authority = rcgen::Issuer::new(authority, key);
        let mounted = Self { folder: tempfile::tempdir().unwrap(), authority, authority_pem };
        let (certificate, key) = mounted.sign();
        mounted.mount(&certificate, &key);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), mounted.folder.path().join(name)).unwrap();
        }
        mounted
    }

    /// The setting that names it.
    pub(crate) fn settings(&self) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        format!("tls: {{certFile: {}, keyFile: {}}}", file("tls.crt"), file("tls.key"))
    }

    /// A new certificate and its key, in PEM.
    pub(crate) fn sign(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Puts a pair in the place of what is there, as the kubelet does: by one rename.
    pub(crate) fn mount(&self, certificate: &str, key: &str) {
        let at = |name: &str| self.folder.path().join(name);
        let version = format!("..{}", rand::random::<u64>());
        std::fs::create_dir(at(&version)).unwrap();
        std::fs::write(at(&version).join("tls.crt"), certificate).unwrap();
        std::fs::write(at(&version).join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&version, at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
    }

    /// What a client needs, that speaks these versions and these protocols.
    pub(crate) fn client_config(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority_pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A connection with its handshake done. The client's receive buffer is small: one that does not read is felt soon.
    pub(crate) async fn connect(&self, address: SocketAddr) -> std::io::Result<Secured> {
        connect_with(address, self.client_config(rustls::ALL_VERSIONS, &["http/1.1"])).await
    }

    /// A client of the JSON protocol, welcomed.
    pub(crate) async fn client(&self, address: SocketAddr) -> Client<Secured> {
        let mut client = websocket(self.connect(address).await.unwrap(), address).await;
        assert_eq!(client.next().await["type"], "welcome");
        client
    }
}

/// A connection with its handshake done.
pub(crate) async fn connect_with(address: SocketAddr, config: ClientConfig) -> std::io::Result<Secured> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// A client of the JSON protocol.
pub(crate) async fn websocket(stream: Secured, address: SocketAddr) -> Client<Secured> {
    Client::over(stream, address, "/ws", &[("sec-websocket-protocol", "wscluster.v1.json")]).await.unwrap()
}

/// The certificate that a connection was shown.
pub(crate) fn shown(stream: &Secured) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}
