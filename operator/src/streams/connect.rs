//! Reaching a cluster's Redis from where the operator runs, and saying why not without giving a password away.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError};

use super::report::{Fault, Reachability};

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

/// Where a Redis is, parsed from its URL.
#[derive(Clone, Debug)]
pub struct Place {
    info: ConnectionInfo,
    namespace: String,
}

impl Place {
    /// Parses a URL as a pod of `namespace` would understand it.
    pub fn parse(url: &str, namespace: &str) -> Result<Self, Failure> {
        if let Some(kind) = ["+sentinel://", "+cluster://"].iter().find(|kind| url.contains(*kind)) {
            let kind = kind.trim_start_matches('+').trim_end_matches("://");
            let message = format!("The operator does not check Redis {kind} yet");
            return Err(Failure { fault: Fault::Unsupported, message });
        }
        // The library's own words may quote the URL, and with it the password.
        let message = "it must look like redis://[user:password@]host:port[/database]".to_owned();
        let info = url.into_connection_info().map_err(|_| Failure { fault: Fault::Address, message })?;
        Ok(Self { info, namespace: namespace.to_owned() })
    }

    /// Host and port, without credentials.
    pub fn host(&self) -> String {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            _ => "a Unix socket".to_owned(),
        }
    }

    /// Connects.
    pub async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let connecting = async {
            let client = Client::open(self.as_seen_from_here().await)?;
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        match tokio::time::timeout(PATIENCE + Duration::from_millis(500), connecting).await {
            Ok(result) => result.map_err(Failure::from),
            Err(_) => Err(Failure { fault: Fault::Connection, message: "no answer within 3 seconds".to_owned() }),
        }
    }

    /// A host without a dot is a Service in the cluster's own namespace, which is not the operator's. With TLS the name
    /// is also what the certificate is checked against, so it stays.
    async fn as_seen_from_here(&self) -> ConnectionInfo {
        let ConnectionAddr::Tcp(host, port) = self.info.addr() else { return self.info.clone() };
        if host.contains(['.', ':']) || host == "localhost" {
            return self.info.clone();
        }
        let qualified = format!("{host}.{}.svc", self.namespace);
        let known = tokio::net::lookup_host((qualified.as_str(), *port)).await.is_ok();
        if known { self.info.clone().set_addr(ConnectionAddr::Tcp(qualified, *port)) } else { self.info.clone() }
    }
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
    fn other_kinds_of_redis_are_named_as_not_checked() {
        for (url, kind) in [("redis+sentinel://a:1/m", "sentinel"), ("rediss+cluster://a:1", "cluster")] {
            let failure = Place::parse(url, "a").unwrap_err();
            assert_eq!(failure.fault, Fault::Unsupported);
            assert!(failure.message.contains(kind));
        }
    }
}
