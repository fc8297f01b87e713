//! Credentials of every kind, through the one door.

use std::path::Path;

use http::header;
use serde_json::json;

use super::*;
use crate::config::{Config, share};
use crate::tokens::{self, Signer};

fn headers(authorization: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
}

fn authenticator(yaml: &str, api_keys: Option<&Path>) -> Authenticator {
    let settings = share(Config::parse(yaml).unwrap());
    Authenticator::new(settings, api_keys.map(Path::to_path_buf), Arc::new(Metrics::new()))
}

fn hs256(secret: &Path) -> String {
    format!("auth: {{jwt: {{algorithms: [HS256], secretFile: {}}}}}", secret.display())
}

#[tokio::test]
async fn a_caller_is_known_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api-key");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let auth = authenticator("", Some(&path));
    assert_eq!(auth.caller(&HeaderMap::new()).await, Ok(Caller::Anonymous));
    assert_eq!(auth.caller(&headers("Bearer one")).await, Ok(Caller::ApiKey));
    assert_eq!(auth.caller(&headers("bearer two")).await, Ok(Caller::ApiKey));
    assert_eq!(auth.caller(&headers("Basic b25l")).await, Ok(Caller::Anonymous));
    for wrong in ["Bearer three", "Bearer ", "Bearer on", "Bearer one two"] {
        assert_eq!(auth.caller(&headers(wrong)).await, Err(Refused::UnknownApiKey), "{wrong}");
    }
    std::fs::write(&path, "three").unwrap();
    auth.reload();
    assert_eq!(auth.caller(&headers("Bearer three")).await, Ok(Caller::ApiKey));
    assert!(auth.caller(&headers("Bearer one")).await.is_err());
    for bad in [None, Some(" \n")] {
        match bad {
            None => std::fs::remove_file(&path).unwrap(),
            Some(text) => std::fs::write(&path, text).unwrap(),
        }
        auth.reload();
        assert_eq!(auth.caller(&headers("Bearer three")).await, Ok(Caller::ApiKey), "the keys stay as they were");
    }
}

#[tokio::test]
async fn without_keys_nothing_passes_for_one() {
    let auth = authenticator("", None);
    for wrong in ["Bearer ", "Bearer x"] {
        assert_eq!(auth.caller(&headers(wrong)).await, Err(Refused::UnknownApiKey), "{wrong}");
    }
    let token = tokens::for_rooms("ada", 60, &[], &[]);
    assert_eq!(auth.verify(&token).await, Err(Refused::NotConfigured));
}

#[tokio::test]
async fn a_caller_with_a_token_is_who_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, tokens::SECRET).unwrap();
    let auth = authenticator(&hs256(&secret), None);
    let token = tokens::for_rooms("ada", 60, &["a"], &[]);
    let caller = auth.caller(&headers(&format!("Bearer {token}"))).await.unwrap();
    assert_eq!(caller.identity().unwrap().user.as_deref(), Some("ada"));
    let forged = tokens::token(&json!({"exp": tokens::now() + 60}), Signer::Hs256(b"another"));
    assert_eq!(auth.caller(&headers(&format!("Bearer {forged}"))).await, Err(Refused::Signature));
    assert_eq!(auth.caller(&headers("Bearer x")).await, Err(Refused::UnknownApiKey));
    let text = auth.metrics.exposed();
    assert!(text.contains("auth_accepted_total{credential=\"token\"} 1"), "{text}");
    assert!(text.contains("auth_refused_total{reason=\"signature\"} 1"), "{text}");
}

#[tokio::test]
async fn secrets_are_rotated_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let auth = authenticator(&hs256(&secret), None);
    let token = |secret: &str| tokens::token(&json!({"exp": tokens::now() + 60}), Signer::Hs256(secret.as_bytes()));
    let verify = async |secret: &str| auth.verify(&token(secret)).await.map(|_| ());
    assert_eq!(verify("old").await, Err(Refused::KeysUnavailable), "there is no file yet");
    for (file, old, new) in [
        ("old", Ok(()), Err(Refused::Signature)),
        ("old\nnew", Ok(()), Ok(())),
        ("new", Err(Refused::Signature), Ok(())),
    ] {
        std::fs::write(&secret, file).unwrap();
        auth.reload();
        assert_eq!((verify("old").await, verify("new").await), (old, new), "{file}");
    }
}

#[tokio::test]
async fn other_settings_take_effect_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    std::fs::write(&one, "one").unwrap();
    std::fs::write(&two, "two").unwrap();
    let auth = authenticator(&hs256(&one), None);
    let token = |secret: &str| tokens::token(&json!({"exp": tokens::now() + 60}), Signer::Hs256(secret.as_bytes()));
    assert!(auth.verify(&token("one")).await.is_ok());
    auth.settings.store(Arc::new(Config::parse(&hs256(&two)).unwrap().into()));
    assert_eq!(auth.verify(&token("one")).await, Err(Refused::Signature));
    assert!(auth.verify(&token("two")).await.is_ok());
    auth.settings.store(Arc::new(Config::default().into()));
    assert_eq!(auth.verify(&token("two")).await, Err(Refused::NotConfigured));
}

#[tokio::test]
async fn a_token_is_measured_before_it_is_looked_at() {
    let auth = authenticator(&hs256(Path::new("/nowhere")), None);
    assert_eq!(auth.verify(&"x".repeat(MAX_TOKEN_BYTES + 1)).await, Err(Refused::TooLarge));
}
