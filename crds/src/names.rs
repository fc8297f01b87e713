//! Names of the objects that a cluster owns. Validated once, here, so that builders cannot fail.

use std::fmt;

/// Longest name of a WsCluster: it is a Service's name and a prefix of pod names, which have at most 63 characters.
pub const MAX_LENGTH: usize = 40;

/// What the schema lets through, as a regular expression: exactly what [`ClusterName::parse`] accepts.
pub const PATTERN: &str = "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$";

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
    /// Name of what there is one of for the gateways: ServiceAccount, PodDisruptionBudget, NetworkPolicy, autoscaler, monitors.
    pub fn gateway(&self) -> String {
        format!("{}-gateway", self.0)
    }
    /// Name of the Deployment of a revision.
    pub fn deployment(&self, revision: &str) -> String {
        format!("{}-gateway-{revision}", self.0)
    }
    /// Name of the ConfigMap with the gateways' settings.
    pub fn config(&self) -> String {
        format!("{}-gateway", self.0)
    }
    /// Name of the ConfigMap with the dashboard.
    pub fn dashboard(&self) -> String {
        format!("{}-dashboard", self.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits_pattern(name: &str) -> bool {
        regex::Regex::new(PATTERN).expect("a regular expression").is_match(name)
    }

    #[test]
    fn names_of_children_fit_a_label() {
        let longest = ClusterName::parse(&"x".repeat(MAX_LENGTH)).expect("the longest name is valid");
        // A pod is named after its Deployment with "-<hash of up to ten>-<five>" behind; the host name takes 63 characters.
        assert!(longest.gateway().len() + 1 + 8 + 1 + 5 <= 63, "{} is too long", longest.gateway());
        assert!(longest.service().len() <= 63 && longest.keys().len() <= 63 && longest.config().len() <= 63);
    }

    #[test]
    fn names_are_refused_at_each_bound() {
        for good in ["a", "chat", "a-1", "a--b", &"x".repeat(MAX_LENGTH)] {
            assert!(ClusterName::parse(good).is_ok(), "{good}");
            assert!(fits_pattern(good), "{good}");
        }
        for bad in ["", "-a", "a-", "1a", "A", "a.b", "a_b", "ä", "a\n", &"x".repeat(MAX_LENGTH + 1)] {
            assert_eq!(ClusterName::parse(bad), Err(InvalidName(bad.to_owned())));
            assert!(!fits_pattern(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_schema_and_the_parser_accept_the_same_names(name in "[-a-z0-9.A\n]{0,43}") {
            prop_assert_eq!(ClusterName::parse(&name).is_ok(), fits_pattern(&name));
        }

        #[test]
        fn what_the_pattern_generates_is_parsed(name in PATTERN.trim_start_matches('^').trim_end_matches('$')) {
            prop_assert_eq!(ClusterName::parse(&name).map(|name| name.to_string()), Ok(name));
        }
    }
}
