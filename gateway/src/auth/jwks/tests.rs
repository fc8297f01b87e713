//! Published key sets, from a real server: rotation, outages, and servers that misbehave.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::fetch::MOST_BYTES;
use super::*;
use crate::publisher::{Answer, Publisher};
use crate::tokens::{self, Signer};

/// Fetched again only when a token asks for it, and then whenever one does.
const ON_DEMAND: Timing = Timing {
    patience: Duration::from_secs(10),
    between_refetches: Duration::ZERO,
    life: Duration::from_hours(1),
    bounds: (Duration::from_hours(1), Duration::from_hours(1)),
    retry: Duration::from_hours(1),
};
/// Fetched again all the time.
const BUSY: Timing = Timing {
    life: Duration::from_millis(10),
    bounds: (Duration::from_millis(10), Duration::from_millis(10)),
    retry: Duration::from_millis(10),
    ..ON_DEMAND
};

fn start(publisher: &Publisher, timing: Timing) -> (Jwks, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    (Jwks::start(publisher.url.parse().unwrap(), timing, Arc::clone(&metrics)), metrics)
}

fn settings() -> Jwt {
    serde_yaml::from_str("{algorithms: [RS256, ES256, EdDSA], jwksUrl: 'http://unused'}").unwrap()
}

fn signed(kid: &str, signer: Signer<'_>) -> String {
    let header = json!({"alg": signer.algorithm(), "kid": kid});
    tokens::token_with(&header, &json!({"sub": "ada", "exp": tokens::now() + 60}), signer)
}

fn old_token() -> String {
    signed("old", Signer::Rs256(tokens::RSA_PRIVATE))
}

fn new_token() -> String {
    signed("new", Signer::Es256)
}

fn old_set() -> Answer {
    Answer::Body(tokens::jwks(&[("old", tokens::rsa_jwk())]))
}

fn both() -> Answer {
    Answer::Body(tokens::jwks(&[("old", tokens::rsa_jwk()), ("new", tokens::ec_jwk())]))
}

async fn check(keys: &Jwks, token: &str) -> Result<(), Refused> {
    keys.check(token, &settings()).await.map(|_| ())
}

#[tokio::test]
async fn the_set_is_kept_and_not_fetched_for_each_token() {
    let publisher = Publisher::start(both()).await;
    let (keys, metrics) = start(&publisher, ON_DEMAND);
    for _ in 0..10 {
        assert_eq!(check(&keys, &old_token()).await, Ok(()));
        assert_eq!(check(&keys, &new_token()).await, Ok(()));
        let forged = signed("old", Signer::Rs256(tokens::OTHER_RSA_PRIVATE));
        assert_eq!(check(&keys, &forged).await, Err(Refused::Signature));
    }
    assert_eq!(publisher.asked(), 1);
    assert!(metrics.exposed().contains("auth_jwks_fetches_total{result=\"fetched\"} 1"));
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_at_once() {
    let publisher = Publisher::start(old_set()).await;
    let (keys, _) = start(&publisher, ON_DEMAND);
    assert_eq!(check(&keys, &new_token()).await, Err(Refused::UnknownKey));
    publisher.answers(both());
    assert_eq!(check(&keys, &new_token()).await, Ok(()));
    assert_eq!(check(&keys, &old_token()).await, Ok(()));
    // The old key is withdrawn: it is gone with the next fetch.
    publisher.answers(Answer::Body(tokens::jwks(&[("new", tokens::ec_jwk())])));
    assert_eq!(check(&keys, &signed("unheard", Signer::EdDsa)).await, Err(Refused::UnknownKey));
    assert_eq!(check(&keys, &old_token()).await, Err(Refused::UnknownKey));
}

#[tokio::test]
async fn unknown_keys_cause_few_fetches() {
    let publisher = Publisher::start(old_set()).await;
    let (keys, _) = start(&publisher, Timing { between_refetches: Duration::from_hours(1), ..ON_DEMAND });
    assert_eq!(check(&keys, &old_token()).await, Ok(()));
    for n in 0..50 {
        let odd = signed(&format!("odd-{n}"), Signer::Es256);
        assert_eq!(check(&keys, &odd).await, Err(Refused::UnknownKey));
    }
    assert_eq!(publisher.asked(), 2, "the first fetch, and one for the first unknown key");
}

#[tokio::test]
async fn tokens_that_come_together_wait_for_one_fetch() {
    let publisher = Publisher::start(old_set()).await;
    let (keys, _) = start(&publisher, Timing { between_refetches: Duration::from_hours(1), ..ON_DEMAND });
    assert_eq!(check(&keys, &old_token()).await, Ok(()));
    publisher.answers(both());
    let token = new_token();
    let all = futures::future::join_all((0..20).map(|_| check(&keys, &token))).await;
    assert_eq!(all, vec![Ok(()); 20]);
    assert_eq!(publisher.asked(), 2);
}

#[tokio::test]
async fn the_set_is_refreshed_in_the_background() {
    let publisher = Publisher::start(old_set()).await;
    let (keys, _) = start(&publisher, Timing { between_refetches: Duration::from_hours(1), ..BUSY });
    assert_eq!(check(&keys, &old_token()).await, Ok(()));
    publisher.answers(Answer::Body(tokens::jwks(&[("new", tokens::ec_jwk())])));
    let fetched = publisher.asked();
    // What was asked for after the change holds once the attempt after it is under way.
    publisher.asked_for(fetched + 3).await;
    assert_eq!(check(&keys, &new_token()).await, Ok(()));
    assert_eq!(check(&keys, &old_token()).await, Err(Refused::UnknownKey), "a withdrawn key is gone");
}

#[tokio::test]
async fn an_outage_is_survived_with_the_keys_that_are_known() {
    let mut publisher = Publisher::start(old_set()).await;
    let (keys, metrics) = start(&publisher, BUSY);
    assert_eq!(check(&keys, &old_token()).await, Ok(()));
    for bad in [
        Answer::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Answer::Body("<html>maintenance</html>".into()),
        Answer::Body(r#"{"keys":[]}"#.into()),
        Answer::Redirect("http://127.0.0.1:1/elsewhere".into()),
    ] {
        publisher.answers(bad.clone());
        let asked = publisher.asked();
        publisher.asked_for(asked + 3).await;
        assert_eq!(check(&keys, &old_token()).await, Ok(()), "{bad:?}");
    }
    publisher.stop().await;
    assert_eq!(check(&keys, &new_token()).await, Err(Refused::UnknownKey));
    assert_eq!(check(&keys, &old_token()).await, Ok(()), "nobody listens");
    let failed = metrics.exposed().lines().find_map(|line| {
        line.strip_prefix("auth_jwks_fetches_total{result=\"failed\"} ").map(|count| count.parse::<u64>().unwrap())
    });
    assert!(failed.is_some_and(|failed| failed >= 4), "{failed:?}");
    assert!(keys.age() >= 0.0);
}

#[tokio::test]
async fn without_a_first_set_it_is_our_fault_until_there_is_one() {
    let publisher = Publisher::start(Answer::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    let (keys, _) = start(&publisher, ON_DEMAND);
    assert_eq!(check(&keys, &old_token()).await, Err(Refused::KeysUnavailable));
    publisher.answers(old_set());
    assert_eq!(check(&keys, &old_token()).await, Ok(()), "the next token looks again");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let publisher = Publisher::start(Answer::Silence).await;
    let (keys, metrics) = start(&publisher, Timing { patience: Duration::from_millis(100), ..ON_DEMAND });
    assert_eq!(check(&keys, &old_token()).await, Err(Refused::KeysUnavailable));
    assert!(metrics.exposed().contains("auth_jwks_fetches_total{result=\"failed\"} 1"));
}

#[tokio::test]
async fn the_size_of_a_set_is_limited_at_below_and_above() {
    let set = tokens::jwks(&[("old", tokens::rsa_jwk())]);
    for (length, fits) in [(MOST_BYTES - 1, true), (MOST_BYTES, true), (MOST_BYTES + 1, false)] {
        let body = format!("{set}{}", " ".repeat(length - set.len()));
        let publisher = Publisher::start(Answer::Body(body)).await;
        let (keys, _) = start(&publisher, ON_DEMAND);
        let expect = if fits { Ok(()) } else { Err(Refused::KeysUnavailable) };
        assert_eq!(check(&keys, &old_token()).await, expect, "{length}");
    }
}

#[tokio::test]
async fn it_ends_with_its_owner() {
    let publisher = Publisher::start(old_set()).await;
    let (keys, metrics) = start(&publisher, BUSY);
    publisher.asked_for(2).await;
    drop(keys);
    // The task holds the metrics: when it is gone, nobody else does.
    while Arc::strong_count(&metrics) > 1 {
        tokio::task::yield_now().await;
    }
}
