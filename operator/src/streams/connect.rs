//! Reaching a cluster's Redis from where the operator runs, and saying why not without giving a password away.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, TlsCertificates,
};

use super::report::{Fault, Reachability};
use crate::secrets::Certificates;

/// Longest wait for a connection, and for one answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why Redis cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub fault: Fault,
    /// Why, without credentials.
    pub message: String,
}

impl From<Failure> for Reachability {
    fn from(failure: Failure) -> Self {
        Self::Failed { fault: failure.fault, message: failure.message }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let refused = matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
            || error.kind() == ErrorKind::AuthenticationFailed;
        let fault = match error.kind() {
            _ if refused => Fault::Authentication,
            ErrorKind::InvalidClientConfig => Fault::Address,
            _ => Fault::Connection,
        };
        let message = if error.is_timeout() { "no answer within 3 seconds".to_owned() } else { error.to_string() };
        Self { fault, message }
    }
}

/// How the servers are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Standalone,
    Sentinel { master: String },
    Cluster,
}

/// Host and port of a server.
pub type Server = (String, u16);

/// Where a Redis is, parsed from its URL.
#[derive(Clone)]
pub struct Place {
    kind: Kind,
    seeds: Vec<Server>,
    /// Credentials, database and TLS; the host is filled in.
    info: ConnectionInfo,
    certificates: Certificates,
    namespace: String,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.host())
    }
}

impl Place {
    /// Parses a URL as a pod of `namespace` would understand it.
    pub fn parse(url: &str, namespace: &str) -> Result<Self, Failure> {
        // The library's own words may quote the URL, and with it the password.
        let message = "it must look like redis://[user:password@]host:port[/database], redis+sentinel://host:port,…/master or redis+cluster://host:port,…";
        let bad = || Failure { fault: Fault::Address, message: message.to_owned() };
        let (kind, seeds, one) = split(url).ok_or_else(bad)?;
        let info = one.into_connection_info().map_err(|_| bad())?;
        Ok(Self { kind, seeds, info, certificates: Certificates::default(), namespace: namespace.to_owned() })
    }

    /// With certificates for TLS.
    #[must_use]
    pub fn with_certificates(self, certificates: Certificates) -> Self {
        Self { certificates, ..self }
    }

    /// Hosts and ports, without credentials.
    pub fn host(&self) -> String {
        self.seeds.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
    }

    /// What the server says of itself, and how it was reached.
    pub fn named(&self, identity: Reachability) -> Reachability {
        match (identity, &self.kind) {
            (Reachability::Reachable { version, .. }, Kind::Sentinel { .. }) => {
                Reachability::Reachable { mode: "sentinel".to_owned(), version }
            }
            (identity, _) => identity,
        }
    }

    /// The servers that are written to, in order.
    pub async fn masters(&self) -> Result<Vec<Server>, Failure> {
        let mut command = match &self.kind {
            Kind::Standalone => return Ok(self.seeds.clone()),
            Kind::Sentinel { .. } => redis::cmd("SENTINEL"),
            Kind::Cluster => redis::cmd("CLUSTER"),
        };
        match &self.kind {
            Kind::Sentinel { master } => command.arg("GET-MASTER-ADDR-BY-NAME").arg(master),
            _ => command.arg("SLOTS"),
        };
        let mut last = Failure { fault: Fault::Address, message: "it names no host".to_owned() };
        for seed in &self.seeds {
            match self.ask(seed, &command).await {
                Ok(masters) if !masters.is_empty() => return Ok(masters),
                Ok(_) => {
                    last =
                        Failure { fault: Fault::Connection, message: "it does not say who the masters are".to_owned() }
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn ask(&self, seed: &Server, command: &redis::Cmd) -> Result<Vec<Server>, Failure> {
        let sentinel = matches!(self.kind, Kind::Sentinel { .. });
        let mut redis = self.dial(seed, !sentinel).await?;
        if sentinel {
            let master: Option<Server> = command.query_async(&mut redis).await?;
            return Ok(master.into_iter().collect());
        }
        Ok(masters_of(command.query_async(&mut redis).await?, &seed.0))
    }

    /// Connects to the first master.
    pub async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        self.connect_to(&self.masters().await?[0]).await
    }

    /// Connects to a server.
    pub async fn connect_to(&self, server: &Server) -> Result<MultiplexedConnection, Failure> {
        self.dial(server, true).await
    }

    /// With the database and the credentials; a Sentinel has no databases, and may ask for credentials or not.
    async fn dial(&self, server: &Server, data: bool) -> Result<MultiplexedConnection, Failure> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let settings = self.info.redis_settings().clone();
        let connecting = async {
            let try_with = async |settings| {
                let info =
                    self.info.clone().set_redis_settings(settings).set_addr(self.as_seen_from_here(server).await);
                self.client(info)?.get_multiplexed_async_connection_with_config(&config).await
            };
            if data {
                return try_with(settings).await;
            }
            match try_with(settings.set_db(0)).await {
                Err(error) if !error.is_io_error() => try_with(redis::RedisConnectionInfo::default()).await,
                result => result,
            }
        };
        match tokio::time::timeout(PATIENCE + Duration::from_millis(500), connecting).await {
            Ok(result) => result.map_err(Failure::from),
            Err(_) => Err(Failure { fault: Fault::Connection, message: "no answer within 3 seconds".to_owned() }),
        }
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        let Certificates { authority, own } = self.certificates.clone();
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        if !is_tls || (authority.is_none() && own.is_none()) {
            return Client::open(info);
        }
        let client_tls = own.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: authority })
    }

    /// A host without a dot is a Service in the cluster's own namespace, which is not the operator's. With TLS the name
    /// is also what the certificate is checked against, so it stays.
    async fn as_seen_from_here(&self, (host, port): &Server) -> ConnectionAddr {
        if let ConnectionAddr::TcpTls { insecure, .. } = *self.info.addr() {
            return ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure, tls_params: None };
        }
        let here = ConnectionAddr::Tcp(host.clone(), *port);
        if host.contains(['.', ':']) || host == "localhost" {
            return here;
        }
        let qualified = format!("{host}.{}.svc", self.namespace);
        let known = tokio::net::lookup_host((qualified.as_str(), *port)).await.is_ok();
        if known { ConnectionAddr::Tcp(qualified, *port) } else { here }
    }
}

/// The kind, the hosts, and the URL of the first host on its own.
fn split(url: &str) -> Option<(Kind, Vec<Server>, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (plain, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    let (kind, database, port) = match kind {
        "" => (Kind::Standalone, path, 6379),
        "cluster" => (Kind::Cluster, "", 6379),
        "sentinel" => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            (Kind::Sentinel { master: (!master.is_empty()).then(|| master.to_owned())? }, database, 26_379)
        }
        _ => return None,
    };
    let seeds: Vec<Server> = hosts.split(',').map(|host| server(host, port)).collect::<Option<_>>()?;
    let login = login.map_or_else(String::new, |login| format!("{login}@"));
    let first = hosts.split(',').next()?;
    let one = format!("{plain}://{login}{first}/{database}");
    (kind != Kind::Standalone || seeds.len() == 1).then_some((kind, seeds, one))
}

fn server(text: &str, default_port: u16) -> Option<Server> {
    let text = text.split(['?', '#']).next()?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, default_port),
    };
    let host = host.trim_matches(['[', ']']);
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The masters in an answer to `CLUSTER SLOTS`, in order. A node that does not know its own host leaves it out.
fn masters_of(answer: Vec<Vec<redis::Value>>, asked: &str) -> Vec<Server> {
    let master = |range: Vec<redis::Value>| {
        let node: Vec<redis::Value> = redis::from_redis_value(range.into_iter().nth(2)?).ok()?;
        let mut items = node.into_iter();
        let host: Option<String> = redis::from_redis_value(items.next()?).ok()?;
        let port = redis::from_redis_value(items.next()?).ok()?;
        Some((host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.to_owned()), port))
    };
    answer.into_iter().filter_map(master).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Asks a connected Redis who it is.
pub async fn identify(redis: &mut MultiplexedConnection) -> Result<Reachability, Failure> {
    let info: Result<String, RedisError> = redis::cmd("INFO").arg("server").query_async(redis).await;
    let text = match info.map_err(|error| (error.code() == Some("NOPERM"), error)) {
        Ok(text) => text,
        // A user that may not ask for INFO may well read and write streams.
        Err((true, _)) => String::new(),
        Err((false, error)) => return Err(error.into()),
    };
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
    };
    Ok(Reachability::Reachable { mode: field("redis_mode"), version: field("redis_version") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_host_nor_failure_shows_a_password() {
        let place = Place::parse("redis://user:secret@redis.example:7000/2", "a").unwrap();
        assert_eq!(place.host(), "redis.example:7000");
        let failure = Place::parse("redis://user:secret@:x:y", "a").unwrap_err();
        assert_eq!(failure.fault, Fault::Address);
        assert!(!failure.message.contains("secret"));
    }

    #[test]
    fn every_kind_of_address_names_its_hosts() {
        for (url, hosts, kind) in [
            ("redis://a", "a:6379", Kind::Standalone),
            ("rediss://me:pw@a:1/3", "a:1", Kind::Standalone),
            ("redis+sentinel://:pw@a,b:7/main/2", "a:26379,b:7", Kind::Sentinel { master: "main".into() }),
            ("rediss+cluster://a:1,b", "a:1,b:6379", Kind::Cluster),
        ] {
            let place = Place::parse(url, "n").unwrap();
            assert_eq!((place.host().as_str(), &place.kind), (hosts, &kind), "{url}");
        }
        for url in ["redis+sentinel://a", "redis://a,b", "redis+other://a", "a", "redis+cluster://a,"] {
            let failure = Place::parse(url, "n").err().map(|failure| failure.fault);
            assert_eq!(failure, Some(Fault::Address), "{url}");
        }
    }
}
