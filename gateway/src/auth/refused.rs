//! Why credentials were refused: whose fault it is, and the label under which it is counted.

/// Why credentials were refused. Says nothing of the credentials themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Neither an API key nor anything that could be one, and tokens are not taken.
    #[error("the key is not known")]
    UnknownApiKey,
    /// Tokens are not taken.
    #[error("tokens are not taken here: auth.jwt is not set")]
    NotConfigured,
    /// No JSON Web Token (RFC 7519), or one that uses what is not understood.
    #[error("the token is no JSON Web Token")]
    Malformed,
    /// Longer than a token may be.
    #[error("the token is longer than {} bytes", super::MAX_TOKEN_BYTES)]
    TooLarge,
    /// Signed in a way that `auth.jwt.algorithms` does not name, or that does not go with the key.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// Signed by a key that is not in the key set.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature does not fit: forged, changed, or made with another key.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` is missing.
    #[error("the token has no exp: a token that never expires is not accepted")]
    NoExpiry,
    /// `iss` is not `auth.jwt.issuer`.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` does not name `auth.jwt.audience`.
    #[error("the token's audience is not accepted")]
    Audience,
    /// A claim is not as documented.
    #[error(
        "the token's claims cannot be read: sub is text, exp and nbf are numbers, rooms is {{subscribe: [glob], publish: [glob]}}"
    )]
    Claims,
    /// Our fault: the keys that tokens are checked with are not there. Try again.
    #[error("tokens cannot be checked just now: try again")]
    KeysUnavailable,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::UnknownApiKey,
        Self::NotConfigured,
        Self::Malformed,
        Self::TooLarge,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::NoExpiry,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
        Self::KeysUnavailable,
    ];

    /// Value of the label `reason` in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownApiKey => "unknown_api_key",
            Self::NotConfigured => "not_configured",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoExpiry => "no_expiry",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }

    /// Whether the same credentials may be accepted later: the fault is on our side.
    pub fn is_temporary(self) -> bool {
        self == Self::KeysUnavailable
    }
}
