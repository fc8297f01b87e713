//! Tokens by table: which are accepted, and why each other one is not.

use serde_json::{Value, json};

use super::*;
use crate::auth::Patterns;
use crate::tokens::{self, Signer, token, token_with};

const NOW: Millis = 1_764_000_000_000;
const SECONDS: i64 = 1_764_000_000;
const HS: Signer<'_> = Signer::Hs256(tokens::SECRET.as_bytes());

fn settings(yaml: &str) -> Jwt {
    serde_yaml::from_str(yaml).unwrap()
}

/// HS256 with the secret, and 30 seconds of leeway.
fn judge(token: &str) -> Result<Identity, Refused> {
    judge_with(token, "{algorithms: [HS256], secretFile: /s}")
}

fn judge_with(token: &str, yaml: &str) -> Result<Identity, Refused> {
    check(token, &settings(yaml), &KeySet::from_secrets(tokens::SECRET.as_bytes()).unwrap(), NOW)
}

fn public_keys() -> KeySet {
    KeySet::from_pem(&[tokens::RSA_PUBLIC, tokens::EC_PUBLIC, tokens::ED_PUBLIC].concat()).unwrap()
}

fn key_set() -> KeySet {
    let keys = [("rs", tokens::rsa_jwk()), ("es", tokens::ec_jwk()), ("ed", tokens::ed_jwk())];
    KeySet::from_jwks(tokens::jwks(&keys).as_bytes()).unwrap().0
}

const ALL: &str = "{algorithms: [RS256, ES256, EdDSA], publicKeyFile: /k}";

fn claims() -> Value {
    json!({"sub": "ada", "exp": SECONDS + 60})
}

fn also(fields: &Value) -> Value {
    let mut all = claims();
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    all
}

#[test]
fn every_algorithm_is_accepted_with_its_key() {
    assert_eq!(judge(&token(&claims(), HS)).unwrap().user.as_deref(), Some("ada"));
    for signer in [Signer::Rs256(tokens::RSA_PRIVATE), Signer::Es256, Signer::EdDsa] {
        for keys in [public_keys(), key_set()] {
            let identity = check(&token(&claims(), signer), &settings(ALL), &keys, NOW);
            assert_eq!(identity.map(|identity| identity.user), Ok(Some("ada".to_owned())), "{signer:?}");
        }
    }
}

#[test]
fn any_of_several_keys_will_do() {
    let keys = KeySet::from_secrets(format!("another secret\n{}", tokens::SECRET).as_bytes()).unwrap();
    assert!(check(&token(&claims(), HS), &settings("{algorithms: [HS256], secretFile: /s}"), &keys, NOW).is_ok());
}

#[test]
fn a_token_says_who_and_what() {
    let rooms = json!({"rooms": {"subscribe": ["user:ada:*", "lobby"], "publish": ["lobby"]}});
    let identity = judge(&token(&also(&rooms), HS)).unwrap();
    assert_eq!(
        identity,
        Identity {
            user: Some("ada".into()),
            expires_at: Some(NOW + 90_000),
            subscribe: Patterns::parse(["user:ada:*", "lobby"]).unwrap(),
            publish: Patterns::parse(["lobby"]).unwrap(),
        }
    );
    let bare = judge(&token(&json!({"exp": SECONDS + 60}), HS)).unwrap();
    assert!(bare.user.is_none() && bare.subscribe.is_empty() && bare.publish.is_empty());
}

#[test]
fn no_algorithm_is_none() {
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = token_with(&json!({"alg": name}), &claims(), Signer::Nothing);
        assert_eq!(judge(&unsigned), Err(Refused::Algorithm), "{name}");
        let signed = token_with(&json!({"alg": name}), &claims(), HS);
        assert_eq!(judge(&signed), Err(Refused::Algorithm), "{name}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The classic: what everybody knows, the public key, as the secret of an HMAC.
    let forged = token(&claims(), Signer::Hs256(tokens::RSA_PUBLIC.as_bytes()));
    assert_eq!(check(&forged, &settings(ALL), &public_keys(), NOW), Err(Refused::Algorithm));
    // Even where settings that were not checked allow both.
    let both = settings("{algorithms: [HS256, RS256], publicKeyFile: /k}");
    for keys in [public_keys(), key_set()] {
        assert_eq!(check(&forged, &both, &keys, NOW), Err(Refused::Algorithm));
        let named = token_with(&json!({"alg": "HS256", "kid": "rs"}), &claims(), HS);
        assert_eq!(check(&named, &both, &keys, NOW), Err(Refused::Algorithm));
    }
}

#[test]
fn only_listed_algorithms_are_accepted() {
    let only_es = settings("{algorithms: [ES256], publicKeyFile: /k}");
    let rs = token(&claims(), Signer::Rs256(tokens::RSA_PRIVATE));
    assert_eq!(check(&rs, &only_es, &public_keys(), NOW), Err(Refused::Algorithm));
    for name in ["HS384", "HS512", "RS512", "PS256", "ES384", "hs256"] {
        let other = token_with(&json!({"alg": name}), &claims(), HS);
        assert_eq!(judge(&other), Err(Refused::Algorithm), "{name}");
    }
}

#[test]
fn a_key_that_comes_along_proves_nothing() {
    let header = json!({"alg": "RS256", "jwk": tokens::rsa_jwk_of(tokens::OTHER_RSA_PRIVATE), "jku": "http://evil"});
    let forged = token_with(&header, &claims(), Signer::Rs256(tokens::OTHER_RSA_PRIVATE));
    assert_eq!(check(&forged, &settings(ALL), &public_keys(), NOW), Err(Refused::Signature));
}

#[test]
fn the_named_key_must_be_known_and_the_right_one() {
    let signed = |kid: &str, signer| token_with(&json!({"alg": "RS256", "kid": kid}), &claims(), signer);
    let judge = |token: &str| check(token, &settings(ALL), &key_set(), NOW).map(|_| ());
    assert_eq!(judge(&signed("rs", Signer::Rs256(tokens::RSA_PRIVATE))), Ok(()));
    assert_eq!(judge(&signed("gone", Signer::Rs256(tokens::RSA_PRIVATE))), Err(Refused::UnknownKey));
    assert_eq!(judge(&signed("es", Signer::Rs256(tokens::RSA_PRIVATE))), Err(Refused::Algorithm));
    assert_eq!(judge(&signed("rs", Signer::Rs256(tokens::OTHER_RSA_PRIVATE))), Err(Refused::Signature));
}

#[test]
fn what_was_tampered_with_is_refused() {
    for signer in [HS, Signer::Rs256(tokens::RSA_PRIVATE), Signer::Es256, Signer::EdDsa] {
        let good = token(&claims(), signer);
        let other = token(&also(&json!({"sub": "eve"})), signer);
        let parts = |token: &str| token.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
        let (good, other) = (parts(&good), parts(&other));
        let keys = || match signer {
            Signer::Hs256(_) => (
                settings("{algorithms: [HS256], secretFile: /s}"),
                KeySet::from_secrets(tokens::SECRET.as_bytes()).unwrap(),
            ),
            _ => (settings(ALL), public_keys()),
        };
        let mixed = [good[0].as_str(), &other[1], &good[2]].join(".");
        let (jwt, keys) = keys();
        assert_eq!(check(&mixed, &jwt, &keys, NOW), Err(Refused::Signature), "{signer:?}");
        let unsigned = format!("{}.{}.", good[0], good[1]);
        assert_eq!(check(&unsigned, &jwt, &keys, NOW), Err(Refused::Signature), "{signer:?}");
        let cut = format!("{}.{}.{}", good[0], good[1], &good[2][..good[2].len() - 4]);
        let cut = check(&cut, &jwt, &keys, NOW);
        assert!(matches!(cut, Err(Refused::Signature | Refused::Malformed)), "{cut:?}");
    }
    assert_eq!(judge(&token(&claims(), Signer::Hs256(b"another secret"))), Err(Refused::Signature));
}

#[test]
fn a_token_expires_at_its_time_and_leeway() {
    let judge =
        |exp: Value| judge(&token(&also(&json!({"exp": exp})), HS)).map(|identity| identity.expires_at.unwrap());
    assert_eq!(judge(json!(SECONDS - 29)), Ok(NOW + 1000));
    assert_eq!(judge(json!(SECONDS - 30)), Err(Refused::Expired));
    assert_eq!(judge(json!(SECONDS - 31)), Err(Refused::Expired));
    assert_eq!(judge(json!(-5)), Err(Refused::Expired));
    assert_eq!(judge(json!(SECONDS as f64 + 0.5)), Ok(NOW + 30_500));
    assert_eq!(judge(json!(1e300)), Ok(Millis::MAX));
    for odd in [json!("soon"), json!([1]), json!({})] {
        assert_eq!(judge(odd.clone()), Err(Refused::Claims), "{odd}");
    }
    assert_eq!(judge(Value::Null), Err(Refused::NoExpiry));
    assert_eq!(super::tests::judge(&token(&json!({"sub": "ada"}), HS)), Err(Refused::NoExpiry));
    let strict = "{algorithms: [HS256], secretFile: /s, leewaySeconds: 0}";
    let at = |exp: i64| judge_with(&token(&also(&json!({"exp": exp})), HS), strict).map(|_| ());
    assert_eq!((at(SECONDS), at(SECONDS + 1)), (Err(Refused::Expired), Ok(())));
}

#[test]
fn a_token_begins_at_its_time_less_leeway() {
    let judge = |nbf: i64| judge(&token(&also(&json!({"nbf": nbf})), HS)).map(|_| ());
    assert_eq!(judge(SECONDS - 1), Ok(()));
    assert_eq!(judge(SECONDS + 30), Ok(()));
    assert_eq!(judge(SECONDS + 31), Err(Refused::NotYetValid));
}

#[test]
fn issuer_and_audience_are_checked_where_they_are_set() {
    let yaml = "{algorithms: [HS256], secretFile: /s, issuer: 'https://id', audience: chat}";
    for (fields, expect) in [
        (json!({"iss": "https://id", "aud": "chat"}), Ok(())),
        (json!({"iss": "https://id", "aud": ["other", "chat"]}), Ok(())),
        (json!({"iss": "https://evil", "aud": "chat"}), Err(Refused::Issuer)),
        (json!({"iss": "https://id/", "aud": "chat"}), Err(Refused::Issuer)),
        (json!({"aud": "chat"}), Err(Refused::Issuer)),
        (json!({"iss": "https://id"}), Err(Refused::Audience)),
        (json!({"iss": "https://id", "aud": "other"}), Err(Refused::Audience)),
        (json!({"iss": "https://id", "aud": []}), Err(Refused::Audience)),
        (json!({"iss": "https://id", "aud": 5}), Err(Refused::Claims)),
        (json!({"iss": 5, "aud": "chat"}), Err(Refused::Claims)),
    ] {
        assert_eq!(judge_with(&token(&also(&fields), HS), yaml).map(|_| ()), expect, "{fields}");
    }
    assert!(judge(&token(&also(&json!({"iss": "any", "aud": "any"})), HS)).is_ok());
}

#[test]
fn size_is_limited_at_below_and_above() {
    let padded = |n: usize| token(&also(&json!({"pad": "x".repeat(n)})), HS);
    let largest = (5900..7000).map(padded).take_while(|token| token.len() <= MAX_TOKEN_BYTES).last().unwrap();
    assert!(largest.len() > MAX_TOKEN_BYTES - 4 && judge(&largest).is_ok(), "{}", largest.len());
    let next = (5900..7000).map(padded).find(|token| token.len() > MAX_TOKEN_BYTES).unwrap();
    assert_eq!(judge(&next), Err(Refused::TooLarge));
    assert_eq!(judge(&"x".repeat(MAX_TOKEN_BYTES)), Err(Refused::Malformed));
    assert_eq!(judge(&"x".repeat(MAX_TOKEN_BYTES + 1)), Err(Refused::TooLarge));
}

#[test]
fn what_is_no_token_is_refused() {
    let good = token(&claims(), HS);
    let critical = token_with(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &claims(), HS);
    for odd in
        ["", ".", "..", "a.b.c", "s3cret", &good.replace('.', ""), &format!("{good}.x"), &critical, "e30.e30.e30"]
    {
        assert_eq!(judge(odd), Err(Refused::Malformed), "{odd}");
    }
    assert_eq!(judge(&token(&json!(["no", "object"]), HS)), Err(Refused::Claims));
}

#[test]
fn odd_claims_are_refused() {
    let many = vec!["a"; 101];
    for fields in [
        json!({"sub": 5}),
        json!({"sub": ""}),
        json!({"sub": "a\u{0}"}),
        json!({"sub": "x".repeat(256)}),
        json!({"rooms": "all"}),
        json!({"rooms": ["a"]}),
        json!({"rooms": {"subscribe": "a"}}),
        json!({"rooms": {"subscribe": [5]}}),
        json!({"rooms": {"subscribe": ["[a"]}}),
        json!({"rooms": {"publish": [""]}}),
        json!({"rooms": {"publish": ["x".repeat(201)]}}),
        json!({"rooms": {"publish": many}}),
        json!({"nbf": "now"}),
    ] {
        assert_eq!(judge(&token(&also(&fields), HS)), Err(Refused::Claims), "{fields}");
    }
    for fields in [
        json!({"sub": "x".repeat(255)}),
        json!({"rooms": {"publish": ["x".repeat(200)]}}),
        json!({"rooms": {"publish": many[1..]}}),
        json!({"rooms": null, "iat": "whenever", "other": {}}),
    ] {
        assert!(judge(&token(&also(&fields), HS)).is_ok(), "{fields}");
    }
}

#[test]
fn tokens_are_not_printed() {
    assert_eq!(format!("{:?}", Token("s3cret".into())), "Token");
}
