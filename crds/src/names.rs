//! Names of the objects that a cluster owns. Validated once, here, so that builders cannot fail.

use std::fmt;

/// Longest name of a WsCluster: it is a Service's name and a prefix of pod names, which have at most 63 characters.
pub const MAX_LENGTH: usize = 40;

/// A valid name of a WsCluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName(String);

/// Why a name was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} cannot name a WsCluster: it must be a DNS label that starts with a letter and has at most {MAX_LENGTH} characters"
)]
pub struct InvalidName(String);

impl ClusterName {
    /// Checks a name. The schema's CEL rule says the same to a user.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let bytes = name.as_bytes();
        let label = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let valid = (1..=MAX_LENGTH).contains(&bytes.len())
            && bytes.iter().all(label)
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-';
        if valid { Ok(Self(name.to_owned())) } else { Err(InvalidName(name.to_owned())) }
    }

    /// The name itself: of the WsCluster, and of its Service.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Name of the Service.
    pub fn service(&self) -> String {
        self.0.clone()
    }
    /// Name of the Deployment, ServiceAccount, PodDisruptionBudget and NetworkPolicy of the gateways.
    pub fn gateway(&self) -> String {
        format!("{}-gateway", self.0)
    }
    /// Name of the ConfigMap with the gateways' settings.
    pub fn config(&self) -> String {
        format!("{}-gateway", self.0)
    }
    /// Name of the Secret with generated keys (cookie signing, API key, admin token).
    pub fn keys(&self) -> String {
        format!("{}-keys", self.0)
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
