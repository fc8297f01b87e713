//! The keys of the HTTP API: a file with one key a line, so that the old and the new one hold while they are rotated.

use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Keys that are accepted. Held as digests: neither a length nor a prefix can be told by how long a comparison takes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

impl ApiKeys {
    /// Reads a key file: a key a line; empty lines and white space around keys do not count.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::understand(&std::fs::read(path).map_err(|error| error.to_string())?)
    }

    pub(super) fn understand(bytes: &[u8]) -> Result<Self, String> {
        match Self::parse(&String::from_utf8_lossy(bytes)) {
            keys if keys.0.is_empty() => Err("is empty: write a key into it".into()),
            keys => Ok(keys),
        }
    }

    fn parse(text: &str) -> Self {
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self(keys.map(|key| Sha256::digest(key).into()).collect())
    }

    /// Whether a key is one of them. Takes the same time whichever it is.
    pub fn contain(&self, shown: &str) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&shown)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_key() {
        let keys = ApiKeys::parse("  old \n\nnew\r\n");
        for (shown, known) in [("old", true), ("new", true), ("ol", false), ("", false), (" old", false), ("x", false)]
        {
            assert_eq!(keys.contain(shown), known, "{shown:?}");
        }
        assert!(!ApiKeys::default().contain(""));
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-key");
        assert!(ApiKeys::read(&path).is_err());
        std::fs::write(&path, " \n").unwrap();
        assert!(ApiKeys::read(&path).unwrap_err().contains("empty"));
        std::fs::write(&path, "k3y\n").unwrap();
        assert!(ApiKeys::read(&path).unwrap().contain("k3y"));
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", ApiKeys::parse("s3cret")), "ApiKeys(1)");
    }
}
