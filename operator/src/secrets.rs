//! Secrets: a watch keeps their metadata only, and the few that a WsCluster names are fetched when their version
//! changes. The operator never holds anybody else's secret.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use wscluster_crds::spec::Redis;

/// Where Redis is, as far as known.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// The URL, with credentials.
    Known(String),
    /// The Secret does not exist.
    SecretMissing {
        /// Its name.
        name: String,
        /// The key that is asked for.
        key: String,
    },
    /// The Secret has no such key.
    KeyMissing {
        /// Its name.
        name: String,
        /// The key that is asked for.
        key: String,
        /// The keys that it has.
        present: Vec<String>,
    },
    /// The key's value is empty or not text.
    NotText {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Known(_) => "Known",
            Self::SecretMissing { .. } => "SecretMissing",
            Self::KeyMissing { .. } => "KeyMissing",
            Self::NotText { .. } => "NotText",
        })
    }
}

impl Address {
    /// Resolves the spec, given the Secret that it names (if any, and if it exists).
    pub fn of(redis: &Redis, secret: Option<&Secret>) -> Self {
        let Some(reference) = &redis.url_secret_ref else {
            return Self::Known(redis.url.clone().unwrap_or_default());
        };
        let (name, key) = (reference.name.clone(), reference.key.clone());
        let Some(secret) = secret else { return Self::SecretMissing { name, key } };
        let data = secret.data.clone().unwrap_or_default();
        let Some(value) = data.get(&key) else {
            return Self::KeyMissing { name, key, present: data.into_keys().collect() };
        };
        match std::str::from_utf8(&value.0).map(str::trim) {
            Ok(url) if !url.is_empty() => Self::Known(url.to_owned()),
            _ => Self::NotText { name, key },
        }
    }
}

/// Certificates for Redis, as PEM. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The authority of the server's certificate.
    pub authority: Option<Vec<u8>>,
    /// A certificate of our own, and its key.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// What the Secrets hold. What is missing there is missing here, and Redis then refuses.
    pub fn of(authority: Option<&Secret>, own: Option<&Secret>) -> Self {
        let value = |secret: Option<&Secret>, key: &str| Some(secret?.data.as_ref()?.get(key)?.0.clone());
        Self { authority: value(authority, "ca.crt"), own: value(own, "tls.crt").zip(value(own, "tls.key")) }
    }
}

/// Reads Secrets.
pub struct Secrets {
    client: Client,
    known: Store<PartialObjectMeta<Secret>>,
    fetched: Mutex<HashMap<(String, String), Arc<Secret>>>,
    keys: Mutex<HashMap<(String, String), Keys>>,
}

/// A version of a Secret, and the names of the keys that it had.
type Keys = (String, BTreeSet<String>);

impl Secrets {
    /// Reads Secrets whose metadata is in `known`.
    pub fn new(client: Client, known: Store<PartialObjectMeta<Secret>>) -> Self {
        Self { client, known, fetched: Mutex::default(), keys: Mutex::default() }
    }

    /// A Secret, or `None` where the watch knows of none.
    pub async fn get(&self, namespace: &str, name: &str) -> kube::Result<Option<Arc<Secret>>> {
        let Some(version) = self.version(namespace, name) else { return Ok(None) };
        let key = (namespace.to_owned(), name.to_owned());
        let held = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(secret) = held.filter(|secret| secret.resource_version().as_ref() == Some(&version)) {
            return Ok(Some(secret));
        }
        let fetched = Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await?.map(Arc::new);
        let mut held = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        match &fetched {
            Some(secret) => held.insert(key, secret.clone()),
            None => held.remove(&key),
        };
        Ok(fetched)
    }

    /// Names of a Secret's keys, or `None` where the watch knows of no such Secret. Its contents are not kept.
    pub async fn keys(&self, namespace: &str, name: &str) -> kube::Result<Option<BTreeSet<String>>> {
        let Some(version) = self.version(namespace, name) else { return Ok(None) };
        let place = (namespace.to_owned(), name.to_owned());
        let held = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        if let Some((_, keys)) = held.filter(|(seen, _)| *seen == version) {
            return Ok(Some(keys));
        }
        let found = Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await?;
        let found = found.map(|secret| {
            let version = secret.resource_version().unwrap_or_default();
            (version, secret.data.unwrap_or_default().into_keys().collect::<BTreeSet<_>>())
        });
        let mut held = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Some(found) => held.insert(place, found.clone()),
            None => held.remove(&place),
        };
        Ok(found.map(|(_, keys)| keys))
    }

    /// Version of a Secret, as far as the watch has heard.
    pub fn version(&self, namespace: &str, name: &str) -> Option<String> {
        self.known.get(&ObjectRef::new(name).within(namespace))?.resource_version()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn address(data: Option<&[(&str, &[u8])]>) -> Address {
        let redis: Redis = serde_yaml::from_str("urlSecretRef: {name: s, key: url}").unwrap();
        let secret = data.map(|pairs| Secret {
            data: Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect()),
            ..Secret::default()
        });
        Address::of(&redis, secret.as_ref())
    }

    #[test]
    fn each_way_to_lack_an_address_is_told_apart() {
        let (name, key) = ("s".to_owned(), "url".to_owned());
        assert_eq!(address(None), Address::SecretMissing { name: name.clone(), key: key.clone() });
        let present = vec!["other".to_owned()];
        assert_eq!(
            address(Some(&[("other", b"x")])),
            Address::KeyMissing { name: name.clone(), key: key.clone(), present }
        );
        assert_eq!(address(Some(&[("url", b" \n")])), Address::NotText { name: name.clone(), key: key.clone() });
        assert_eq!(address(Some(&[("url", b"\xff")])), Address::NotText { name, key });
        assert_eq!(address(Some(&[("url", b"redis://r\n")])), Address::Known("redis://r".to_owned()));
    }

    #[test]
    fn an_address_is_not_printed() {
        assert_eq!(format!("{:?}", Address::Known("redis://:secret@r".to_owned())), "Known");
    }
}
