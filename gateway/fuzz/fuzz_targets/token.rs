//! No token makes its reader panic, and none is accepted that the key's owner did not sign. Input that begins with `s` is
//! claims, which are signed here, so that what is behind the signature is reached, too; anything else is a whole token.

#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use wscluster_gateway::auth::Authenticator;
use wscluster_gateway::config::{self, Config};
use wscluster_gateway::metrics::Metrics;

const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

static AUTHENTICATOR: LazyLock<Arc<Authenticator>> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("wscluster-fuzz-{}", std::process::id()));
    std::fs::write(&file, SECRET).expect("a file for the secret");
    let jwt = format!("algorithms: [HS256], secretFile: {}, issuer: i, audience: a", file.display());
    let settings = config::share(Config::parse(&format!("auth: {{jwt: {{{jwt}}}}}")).expect("sound settings"));
    let _within = RUNTIME.enter();
    Authenticator::start(settings, None, Arc::new(Metrics::new()))
});

fuzz_target!(|text: &str| {
    let signed = text.strip_prefix('s').map(sign);
    let verified = RUNTIME.block_on(AUTHENTICATOR.verify(signed.as_deref().unwrap_or(text)));
    if signed.is_none() {
        assert!(verified.is_err(), "nobody signed that");
    }
});

/// A token with these claims.
fn sign(claims: &str) -> String {
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}
