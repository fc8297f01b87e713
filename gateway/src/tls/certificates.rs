//! The certificate and key that clients are shown, followed while running: the settings name two files, and a Secret's
//! volume swaps them by a symbolic link. A pair that is no good is refused, and what was in force stays.

use std::path::Path;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use sha2::{Digest, Sha256};

use crate::config::{self, Tls};
use crate::metrics::Metrics;

const POLL: Duration = Duration::from_secs(1);

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// How the public port is spoken to.
#[derive(Clone)]
pub(crate) enum Mode {
    /// Without TLS.
    Plain,
    /// With TLS.
    Secured(Arc<ServerConfig>),
    /// With TLS, but there never was a certificate: nobody can come in.
    Unavailable,
}

/// What was last seen: said once, whatever it was.
#[derive(PartialEq, Eq)]
struct Seen {
    wanted: Option<Tls>,
    /// Digest of both files, or why there is none.
    contents: Result<[u8; 32], String>,
}

/// Keeps the certificate that is in force.
pub(crate) struct Certificates {
    settings: config::Shared,
    metrics: Arc<Metrics>,
    mode: ArcSwap<Mode>,
    seen: Mutex<Option<Seen>>,
}

impl Certificates {
    /// Reads what the settings name, and follows both.
    pub(crate) fn start(settings: config::Shared, metrics: Arc<Metrics>) -> Arc<Self> {
        let mode = if settings.load().tls.is_some() { Mode::Unavailable } else { Mode::Plain };
        let certificates =
            Arc::new(Self { settings, metrics, mode: ArcSwap::from_pointee(mode), seen: Mutex::default() });
        certificates.look();
        tokio::spawn(follow(Arc::downgrade(&certificates)));
        certificates
    }

    /// How the next connection is spoken to.
    pub(crate) fn mode(&self) -> Mode {
        Mode::clone(&self.mode.load())
    }

    /// Looks at the settings and at the files. The files are small, so they are read each time: a stamp could miss a
    /// symbolic link that was swapped.
    fn look(&self) {
        let wanted = self.settings.load().tls.clone();
        let Some(files) = wanted.as_ref().map_or(Some(Ok(Files::default())), Files::read) else { return };
        let contents = files.as_ref().map(Files::digest).map_err(Clone::clone);
        let seen = Seen { wanted: wanted.clone(), contents };
        let mut last = self.seen.lock();
        if last.as_ref() == Some(&seen) {
            return;
        }
        let first = last.replace(seen).is_none();
        drop(last);
        match wanted {
            None if first => {}
            None => self.switch_off(),
            Some(tls) => self.take(&tls, files.and_then(|files| files.understand())),
        }
    }

    fn switch_off(&self) {
        self.mode.store(Arc::new(Mode::Plain));
        self.metrics.certificate_dropped();
        tracing::warn!("TLS is off: new connections are spoken to in plain text");
    }

    fn take(&self, Tls { cert_file, key_file }: &Tls, understood: Result<ServerConfig, String>) {
        let (certificate, key) = (cert_file.display(), key_file.display());
        match understood {
            Ok(config) => {
                self.mode.store(Arc::new(Mode::Secured(Arc::new(config))));
                self.metrics.certificate_read(true);
                tracing::info!(%certificate, %key, "certificate loaded");
            }
            Err(reason) => {
                self.metrics.certificate_read(false);
                tracing::error!(%certificate, %key, reason, "the certificate was refused; new connections are served as before");
            }
        }
    }
}

/// Looks as long as somebody needs it.
async fn follow(certificates: Weak<Certificates>) {
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        let Some(certificates) = certificates.upgrade() else { return };
        certificates.look();
    }
}

/// Whether the files that the settings name can be used; why not, without anything of a key.
pub fn check(tls: &Tls) -> Result<(), String> {
    let files = Files::read(tls).unwrap_or_else(|| Err("the files are being changed: try again".into()))?;
    files.understand().map(drop)
}

/// Contents of both files.
#[derive(Default)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    /// Reads both. `None`: they were swapped meanwhile, and may not belong together.
    fn read(tls: &Tls) -> Option<Result<Self, String>> {
        let certificate = read(&tls.cert_file);
        let key = read(&tls.key_file);
        if read(&tls.cert_file) != certificate {
            return None;
        }
        Some(certificate.and_then(|certificate| Ok(Self { certificate, key: key? })))
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(Sha256::digest(&self.certificate)).chain_update(&self.key).finalize().into()
    }

    fn understand(&self) -> Result<ServerConfig, String> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| format!("the certificate is no PEM: {error}"))?;
        if chain.is_empty() {
            return Err("the certificate's file has no certificate (PEM) in it".into());
        }
        // Of the error only its kind: it could repeat a piece of the key.
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| "the key's file has no private key (PEM) in it")?;
        server(chain, key).map_err(|error| error.to_string())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// TLS 1.2 and 1.3 for HTTP/1.1. Sessions are resumed by tickets, whose key is made here: tickets of an older certificate
/// are worth nothing, so whoever comes after a change sees the new one.
fn server(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    // A client comes back with one connection.
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Config;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, contents: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, contents).unwrap();
            path
        }

        fn tls(&self) -> Tls {
            Tls { cert_file: self.0.path().join("tls.crt"), key_file: self.0.path().join("tls.key") }
        }
    }

    fn pair() -> (String, String) {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_must_be_there_be_pem_and_belong_together() {
        let folder = Folder::new();
        let why = || check(&folder.tls()).unwrap_err();
        let ((certificate, key), (other, _)) = (pair(), pair());
        assert!(why().contains("tls.crt: No such file"), "{}", why());
        folder.write("tls.crt", &certificate);
        assert!(why().contains("tls.key: No such file"), "{}", why());
        folder.write("tls.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n");
        assert!(why().contains("no private key") && !why().contains("c2Vj"), "{}", why());
        folder.write("tls.key", &key);
        assert_eq!(check(&folder.tls()), Ok(()));
        folder.write("tls.crt", &other);
        assert!(why().contains("key"), "{}", why());
        folder.write("tls.crt", "");
        assert!(why().contains("no certificate"), "{}", why());
        folder.write("tls.crt", &format!("{certificate}{other}"));
        assert_eq!(check(&folder.tls()), Ok(()), "a chain");
    }

    fn keeper(tls: Option<&Tls>) -> Certificates {
        let settings = config::share(Config { tls: tls.cloned(), ..Config::default() });
        let mode = if tls.is_some() { Mode::Unavailable } else { Mode::Plain };
        let mode = ArcSwap::from_pointee(mode);
        Certificates { settings, metrics: Arc::new(Metrics::new()), mode, seen: Mutex::default() }
    }

    fn shown(keeper: &Certificates) -> Option<Arc<ServerConfig>> {
        keeper.look();
        if let Mode::Secured(config) = keeper.mode() { Some(config) } else { None }
    }

    #[test]
    fn a_good_pair_takes_the_place_of_the_old_one_and_a_bad_one_does_not() {
        let folder = Folder::new();
        let keeper = keeper(Some(&folder.tls()));
        assert!(shown(&keeper).is_none() && matches!(keeper.mode(), Mode::Unavailable), "never plain");
        let (certificate, key) = pair();
        folder.write("tls.crt", &certificate);
        folder.write("tls.key", &key);
        let first = shown(&keeper).unwrap();
        assert!(Arc::ptr_eq(&first, &shown(&keeper).unwrap()), "unchanged files are no new certificate");
        folder.write("tls.key", "");
        assert!(Arc::ptr_eq(&first, &shown(&keeper).unwrap()));
        let (certificate, key) = pair();
        folder.write("tls.crt", &certificate);
        folder.write("tls.key", &key);
        assert!(!Arc::ptr_eq(&first, &shown(&keeper).unwrap()));
    }

    #[test]
    fn tls_is_switched_on_when_there_is_a_certificate_and_off_at_once() {
        let folder = Folder::new();
        let keeper = keeper(None);
        let set = |tls| keeper.settings.store(Arc::new(Config { tls, ..Config::default() }.into()));
        set(Some(folder.tls()));
        assert!(shown(&keeper).is_none() && matches!(keeper.mode(), Mode::Plain), "as before, until there is one");
        let (certificate, key) = pair();
        folder.write("tls.crt", &certificate);
        folder.write("tls.key", &key);
        assert!(shown(&keeper).is_some());
        set(None);
        assert!(shown(&keeper).is_none() && matches!(keeper.mode(), Mode::Plain));
    }
}
