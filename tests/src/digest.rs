//! SHA-256 digests as text.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The digest of some bytes in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    finish(Sha256::new_with_prefix(bytes))
}

/// The digest in hexadecimal digits.
pub(crate) fn finish(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first twelve digits, which tell apart what a cache folder holds.
pub(crate) fn short(hash: Sha256) -> String {
    finish(hash)[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_the_standard() {
        // FIPS 180-4, the example "abc".
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(short(Sha256::new_with_prefix(b"abc")), "ba7816bf8f01");
    }
}
