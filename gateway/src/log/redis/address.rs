//! Where Redis is: parsed once, and never shown with its password. Knows one server, Sentinels that know the master,
//! and a Cluster; the certificates of TLS are read anew for every connection, so that a rotated one is taken.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
    TlsCertificates,
};

use super::place::Place;
use crate::config;

/// An address of a Redis server, of Sentinels, or of a Cluster. Cheap to clone.
#[derive(Clone)]
pub struct Address(Arc<Parsed>);

#[derive(Clone)]
struct Parsed {
    kind: Kind,
    seeds: Vec<Place>,
    /// Credentials, database and TLS of every connection; the host is filled in.
    info: ConnectionInfo,
    certificates: Files,
    shown: String,
}

/// How the servers are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Standalone,
    Sentinel { master: String },
    Cluster,
}

#[derive(Clone, Debug, Default)]
struct Files {
    authority: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
}

/// Why an address was refused. Does not repeat it: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Redis address is not usable: {0}")]
pub struct AddressError(String);

const HOW: &str = "write redis://[user:password@]host[:port][/database], rediss:// for TLS, \
                   redis+sentinel://host[:port],…/master[/database], or redis+cluster://host[:port],…";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

impl Address {
    /// Reads `redis://[user][:password@]host[:port][/database]`, `redis+sentinel://…/master[/database]` with one or
    /// more Sentinels, or `redis+cluster://…` with one or more nodes; `rediss` instead of `redis` for TLS.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(HOW.into());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let (plain, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !["redis", "rediss"].contains(&plain) {
            return Err(bad());
        }
        if plain == "rediss" {
            // Several crates speak TLS; the process picks one implementation for all of them, once.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let (rest, extra) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority
            .rsplit_once('@')
            .map_or(("", authority), |(_, hosts)| (&authority[..authority.len() - hosts.len()], hosts));
        let (kind, database) = topology(kind, path).ok_or_else(bad)?;
        let port = if matches!(kind, Kind::Sentinel { .. }) { SENTINEL_PORT } else { REDIS_PORT };
        let seeds: Option<Vec<_>> = hosts.split(',').map(|host| Place::parse(host, port)).collect();
        let seeds = seeds.filter(|seeds| kind != Kind::Standalone || seeds.len() == 1).ok_or_else(bad)?;
        let info = format!("{plain}://{login}{}/{database}{extra}", seeds[0]);
        let info = info.into_connection_info().map_err(|_| bad())?;
        Ok(Self(Arc::new(Parsed { kind, seeds, info, certificates: Files::default(), shown: mask(url) })))
    }

    /// With the certificates that the settings name.
    pub fn with_certificates(self, redis: &config::Redis) -> Result<Self, AddressError> {
        let own = redis.cert_file.clone().zip(redis.key_file.clone());
        let certificates = Files { authority: redis.ca_file.clone(), own };
        if certificates.is_empty() {
            return Ok(self);
        }
        let address = Self(Arc::new(Parsed { certificates, ..Parsed::clone(&self.0) }));
        address.client(&address.0.seeds[0]).map_err(|error| AddressError(error.to_string()))?;
        Ok(address)
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The hosts that the address names.
    pub(super) fn seeds(&self) -> &[Place] {
        &self.0.seeds
    }

    pub(super) fn database(&self) -> i64 {
        self.0.info.redis_settings().db()
    }

    /// A server of these.
    pub(super) fn client(&self, place: &Place) -> RedisResult<Client> {
        self.client_with(place, self.0.info.clone())
    }

    /// A Sentinel, which has no databases; with the credentials of the address or without.
    pub(super) fn sentinel(&self, place: &Place, login: bool) -> RedisResult<Client> {
        let settings =
            if login { self.0.info.redis_settings().clone().set_db(0) } else { redis::RedisConnectionInfo::default() };
        self.client_with(place, self.0.info.clone().set_redis_settings(settings))
    }

    /// Whether there are credentials.
    pub(super) fn has_login(&self) -> bool {
        self.0.info.redis_settings().password().is_some()
    }

    fn client_with(&self, place: &Place, info: ConnectionInfo) -> RedisResult<Client> {
        let (host, port) = (place.host.clone(), place.port);
        let ConnectionAddr::TcpTls { insecure, .. } = *info.addr() else {
            return Client::open(info.set_addr(ConnectionAddr::Tcp(host, port)));
        };
        let info = info.set_addr(ConnectionAddr::TcpTls { host, port, insecure, tls_params: None });
        if self.0.certificates.is_empty() {
            Client::open(info)
        } else {
            Client::build_with_tls(info, self.0.certificates.read()?)
        }
    }
}

impl Files {
    fn is_empty(&self) -> bool {
        self.authority.is_none() && self.own.is_none()
    }

    fn read(&self) -> RedisResult<TlsCertificates> {
        let read = |path: &PathBuf| {
            let fail = |error: std::io::Error| {
                let reason = format!("{}: {error}", path.display());
                RedisError::from((ErrorKind::InvalidClientConfig, "a certificate cannot be read", reason))
            };
            std::fs::read(path).map_err(fail)
        };
        let client_tls = match &self.own {
            Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert: self.authority.as_ref().map(read).transpose()? })
    }
}

/// What the scheme and the path say.
fn topology(kind: &str, path: &str) -> Option<(Kind, u32)> {
    let database = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    match kind {
        "" => Some((Kind::Standalone, database(path)?)),
        "sentinel" => {
            let (master, number) = path.split_once('/').unwrap_or((path, ""));
            (!master.is_empty()).then_some((Kind::Sentinel { master: master.to_owned() }, database(number)?))
        }
        // A Cluster has database 0 only.
        "cluster" => (database(path)? == 0).then_some((Kind::Cluster, 0)),
        _ => None,
    }
}

/// Replaces what may be secret.
fn mask(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".into() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let host = authority.rsplit_once('@').map_or_else(|| authority.to_owned(), |(_, host)| format!("***@{host}"));
    // A query may hold anything, so only the path stays.
    let path = path.map_or_else(String::new, |path| format!("/{}", path.split(['?', '#']).next().unwrap_or_default()));
    format!("{scheme}://{}{path}", host.split(['?', '#']).next().unwrap_or_default())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (url, shown) in [
            ("redis://redis:6379", "redis://redis:6379"),
            ("redis://:s3cret@redis:6379/2", "redis://***@redis:6379/2"),
            ("redis://me:s3cr%40et@redis", "redis://***@redis"),
            ("redis://redis/0?password=s3cret", "redis://redis/0"),
            ("redis+sentinel://:s3cret@a,b:2/m/1", "redis+sentinel://***@a,b:2/m/1"),
        ] {
            assert_eq!(mask(url), shown);
        }
        let address = Address::parse("redis://me:s3cret@localhost/3").unwrap();
        assert!(!format!("{address} {address:?}").contains("s3cret"));
        assert_eq!(address.database(), 3);
    }

    #[test]
    fn every_kind_of_address_is_read() {
        let sentinel = || Kind::Sentinel { master: "main".into() };
        for (url, kind, seeds, database) in [
            ("redis://a", Kind::Standalone, "a:6379", 0),
            ("redis://[::1]:7000/4", Kind::Standalone, "[::1]:7000", 4),
            ("redis+sentinel://a,b:5,c/main", sentinel(), "a:26379 b:5 c:26379", 0),
            ("rediss+sentinel://me:pw@a/main/2", sentinel(), "a:26379", 2),
            ("redis+cluster://a:1,b", Kind::Cluster, "a:1 b:6379", 0),
            ("rediss+cluster://me:p%40w@a:1/", Kind::Cluster, "a:1", 0),
        ] {
            let address = Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            let shown: Vec<_> = address.seeds().iter().map(ToString::to_string).collect();
            assert_eq!(
                (address.kind(), shown.join(" ").as_str(), address.database()),
                (&kind, seeds, database),
                "{url}"
            );
            let client = address.client(&address.seeds()[0]).unwrap();
            let tls = matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { .. });
            assert_eq!(tls, url.starts_with("rediss"), "{url}");
            assert_eq!(address.has_login(), url.contains('@'), "{url}");
        }
    }

    #[test]
    fn an_unusable_address_says_what_to_write() {
        for url in [
            "",
            "redis",
            "http://redis",
            "redis://",
            "redis://a,b",
            "redis://a/x",
            "redis+sentinel://a",
            "redis+sentinel://a/main/x",
            "redis+cluster://:s3cret@a/1",
            "redis+cluster://a,",
            "redis+other://a",
            "redis://a:99999",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains("redis://") && !error.contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named() {
        let redis = config::Redis { ca_file: Some("absent.crt".into()), ..config::Redis::default() };
        let address = Address::parse("rediss://a").unwrap().with_certificates(&redis);
        assert!(address.unwrap_err().to_string().contains("absent.crt"));
    }
}
