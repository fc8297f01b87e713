//! Tokens: where they come from, and how long one is good for. It does not know what a token allows.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::BoxFuture;
use serde::Deserialize;

/// Asked for a token for each connection, and again before it expires.
pub(crate) type Tokens = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// How long a token is good for, where it is a JWT that says so (RFC 7519 section 4.1.4). Nothing is verified: that is
/// the gateway's.
pub(crate) fn good_for(token: &str) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(expiry(token)?.saturating_sub(now))
}

fn expiry(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Duration::try_from_secs_f64(claims.exp).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_is_read_from_a_jwt_and_from_nothing_else() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(expiry(&token(r#"{"sub":"a","exp":1764000001}"#)), Some(Duration::from_secs(1_764_000_001)));
        for other in ["opaque", "", "a.b.c", &token("{}"), &token(r#"{"exp":"soon"}"#), &token(r#"{"exp":-1}"#)] {
            assert_eq!(expiry(other), None, "{other}");
        }
        assert_eq!(good_for(&token(r#"{"exp":1}"#)), Some(Duration::ZERO), "expired already");
    }
}
