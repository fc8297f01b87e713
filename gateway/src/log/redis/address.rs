//! Where Redis is: parsed once, and never shown with its password.

use std::fmt;

use redis::IntoConnectionInfo;

/// An address of a Redis server.
#[derive(Clone)]
pub struct Address {
    client: redis::Client,
    shown: String,
    database: i64,
}

/// Why an address was refused. Does not repeat it: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Redis address is not usable: {0}")]
pub struct AddressError(String);

impl Address {
    /// Reads `redis://[user][:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let scheme = url.split("://").next().unwrap_or_default();
        if scheme.contains('+') {
            return Err(AddressError(format!(
                "{scheme}:// is not available in this version; use redis:// or rediss://"
            )));
        }
        let bad = |_| AddressError("write redis://[user:password@]host[:port][/database]".into());
        let info = url.into_connection_info().map_err(bad)?;
        let database = info.redis_settings().db();
        let client = redis::Client::open(info).map_err(bad)?;
        Ok(Self { client, shown: mask(url), database })
    }

    pub(super) fn client(&self) -> &redis::Client {
        &self.client
    }

    pub(super) fn database(&self) -> i64 {
        self.database
    }
}

/// Replaces what may be secret.
fn mask(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".into() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let host = authority.rsplit_once('@').map_or_else(|| authority.to_owned(), |(_, host)| format!("***@{host}"));
    // A query may hold anything, so only the database stays.
    let path = path.map_or_else(String::new, |path| format!("/{}", path.split(['?', '#']).next().unwrap_or_default()));
    format!("{scheme}://{}{path}", host.split(['?', '#']).next().unwrap_or_default())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown)
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
        ] {
            assert_eq!(mask(url), shown);
        }
        let address = Address::parse("redis://me:s3cret@localhost/3").unwrap();
        assert!(!format!("{address} {address:?}").contains("s3cret"));
        assert_eq!(address.database(), 3);
    }

    #[test]
    fn an_unusable_address_says_what_to_write() {
        for url in ["", "redis", "http://redis", "redis+sentinel://a/b", "redis+cluster://:s3cret@a"] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains("redis://") && !error.contains("s3cret"), "{url}: {error}");
        }
    }
}
