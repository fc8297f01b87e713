//! Tokens, as a session sees them.

use super::*;
use crate::auth::{Patterns, Refused, Token};

const STRICT: &str = "{auth: {jwt: {algorithms: [HS256], secretFile: /s}}, limits: {authTimeoutSeconds: 10}}";
const AUTH: &str = r#"{"type":"auth","ref":1,"token":"t"}"#;

fn identity(user: &str, rooms: &[&str], expires_at: Option<Millis>) -> Identity {
    let patterns = Patterns::parse(rooms.iter().copied()).unwrap();
    Identity { user: Some(user.into()), expires_at, subscribe: patterns.clone(), publish: patterns }
}

fn accepted(rooms: &[&str]) -> Event {
    Event::Authenticated(Ok(identity("ada", rooms, None)))
}

fn at(world: &mut World, now: Millis) -> Vec<String> {
    world.now = now;
    // What the heartbeat does is not looked at here.
    world.session.heartbeat = Heartbeat::new(&world.config.heartbeat, now, 1.0);
    world.step(Event::Tick)
}

#[test]
fn a_token_is_checked_and_then_answered() {
    let mut world = world(STRICT);
    assert_eq!(world.text(r#"{"type":"subscribe","room":"a"}"#)[0], "refused forbidden");
    assert_eq!(world.text(AUTH), ["check t"]);
    assert!(world.session.authenticating());
    assert_eq!(world.step(accepted(&["a"])), [r#"{"type":"ok","ref":1}"#]);
    assert!(!world.session.authenticating());
    assert_eq!(world.text(r#"{"type":"subscribe","room":"a"}"#), ["join a"]);
    assert_eq!(world.step(accepted(&["b"])), [""; 0], "nobody asked");
}

#[test]
fn what_follows_a_token_waits_for_it() {
    let mut world = world(STRICT);
    let parse = |text: &str| crate::protocol::parse(text).unwrap();
    let requests = [
        AUTH,
        r#"{"type":"subscribe","room":"a"}"#,
        r#"{"type":"unsubscribe","room":"a"}"#,
        r#"{"type":"publish","room":"a","payload":1}"#,
        r#"{"type":"history","room":"a"}"#,
        r#"{"type":"presence","room":"a"}"#,
    ];
    assert!(requests.iter().all(|text| !world.session.must_wait(&parse(text))));
    world.text(AUTH);
    assert!(requests.iter().all(|text| world.session.must_wait(&parse(text))));
    assert!(!world.session.must_wait(&parse(r#"{"type":"ping"}"#)));
    world.step(accepted(&["a"]));
    assert!(requests.iter().all(|text| !world.session.must_wait(&parse(text))));
    // And a token waits for subscriptions before it.
    world.text(r#"{"type":"subscribe","room":"a"}"#);
    assert!(world.session.must_wait(&parse(AUTH)));
}

#[test]
fn a_refused_token_ends_the_connection() {
    let mut refused = world(STRICT);
    refused.text(AUTH);
    assert_eq!(
        refused.step(Event::Authenticated(Err(Refused::Signature))),
        [
            "refused unauthorized",
            r#"{"type":"error","ref":1,"code":"unauthorized","message":"the token's signature is wrong"}"#,
            "close 3000 unauthorized"
        ]
    );
    // Our own fault is not the client's.
    let mut unknown = world(STRICT);
    unknown.text(AUTH);
    let effects = unknown.step(Event::Authenticated(Err(Refused::KeysUnavailable)));
    assert_eq!((&*effects[0], &*effects[2]), ("refused unavailable", "close 1013 unavailable"));
    let mut known = world(STRICT);
    known.session = known.session.with_identity(Arc::new(identity("ada", &["a"], None)));
    known.text(AUTH);
    assert_eq!(known.step(Event::Authenticated(Err(Refused::KeysUnavailable))).len(), 2, "it stays who it is");
    assert_eq!(known.text(r#"{"type":"subscribe","room":"a"}"#), ["join a"]);
}

#[test]
fn a_token_costs_a_request() {
    let mut world = world("{limits: {messagesPerSecond: 1, burst: 1}}");
    assert_eq!(world.text(AUTH), ["check t"]);
    world.step(accepted(&[]));
    assert_eq!(world.text(AUTH)[0], "refused rate_limited");
    assert!(!world.session.authenticating());
}

#[test]
fn a_token_holds_to_its_end_and_no_longer() {
    let mut world = world(STRICT);
    world.text(AUTH);
    world.step(Event::Authenticated(Ok(identity("ada", &["a"], Some(60_000)))));
    assert!(at(&mut world, 59_999).is_empty());
    assert_eq!(world.session.wake_at(), 60_000);
    // One that is shown in time is waited for.
    world.text(AUTH);
    assert!(at(&mut world, 60_001).is_empty());
    assert!(world.session.wake_at() > 60_001, "the timer does not spin");
    world.step(Event::Authenticated(Ok(identity("ada", &["a"], Some(90_000)))));
    assert!(at(&mut world, 89_999).is_empty());
    assert_eq!(at(&mut world, 90_000), ["close 3000 token_expired"]);
}

#[test]
fn a_token_must_be_shown_in_time_where_nobody_may_do_anything_without() {
    let mut late = world(STRICT);
    assert_eq!(late.session.wake_at(), 11_000);
    assert!(at(&mut late, 10_999).is_empty());
    assert_eq!(at(&mut late, 11_000), ["close 3008 auth_timeout"]);
    let mut early = world(STRICT);
    early.text(AUTH);
    early.step(accepted(&[]));
    assert!(at(&mut early, 11_000).is_empty());
    let guests = "{auth: {jwt: {algorithms: [HS256], secretFile: /s}, anonymous: {publish: [a]}}}";
    for yaml in ["", guests] {
        assert!(at(&mut world(yaml), 1_000_000).is_empty(), "{yaml}");
    }
    // Where the settings have become kinder meanwhile, nobody is closed.
    let mut kinder = world(STRICT);
    kinder.config = config(guests);
    assert!(at(&mut kinder, 11_000).is_empty());
    assert!(kinder.session.wake_at() > 11_000);
}

#[test]
fn a_new_token_that_allows_less_leaves_rooms() {
    let mut world = world(STRICT);
    world.text(AUTH);
    world.step(accepted(&["a", "b"]));
    world.in_room("b", 5);
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    world.step(Event::Joined { room: room("a"), position: id(5), replay: None });
    world.text(AUTH);
    let error = r#"{"type":"error","code":"forbidden","room":"a","message":"the new token does not allow this room: it was left"}"#;
    assert_eq!(world.step(accepted(&["b"])), [r#"{"type":"ok","ref":1}"#, "disappear a", error, "leave a"]);
    assert!(!world.session.is_in(&room("a")) && world.session.is_in(&room("b")));
    assert_eq!(world.session.receive(&delivery("a", 6)), Receipt::Known);
}

#[test]
fn members_are_listed_under_their_new_name() {
    let mut world = world("");
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    world.step(Event::Joined { room: room("a"), position: id(5), replay: None });
    world.text(AUTH);
    assert_eq!(
        world.step(accepted(&[])),
        [r#"{"type":"ok","ref":1}"#, "disappear a", "appear a 00000000000000000000000000000051"]
    );
    world.text(AUTH);
    assert_eq!(world.step(accepted(&[])), [r#"{"type":"ok","ref":1}"#], "the same");
}

#[test]
fn a_token_of_the_handshake_is_checked_first_of_all() {
    let mut v1 = world(STRICT);
    v1.session = v1.session.with_token(Token("t".into()));
    let opened = v1.step(Event::Opened { node: "n".into() });
    assert!(opened.len() == 2 && opened[0].contains("welcome") && opened[1] == "check t", "{opened:?}");
    assert_eq!(v1.step(accepted(&["a"])), [""; 0], "nobody asked, nobody is answered");
    let raw = || {
        let mut raw = world_with(Protocol::Raw, &["a", "b"], STRICT);
        raw.session = raw.session.with_token(Token("t".into()));
        assert_eq!(raw.step(Event::Opened { node: "n".into() }), ["check t"]);
        raw
    };
    assert_eq!(raw().step(accepted(&["*"])), ["join a", "join b"]);
    assert_eq!(raw().step(accepted(&["a"])), ["refused forbidden", "close 3003 forbidden"]);
    let refused = raw().step(Event::Authenticated(Err(Refused::Expired)));
    assert_eq!(refused, ["refused unauthorized", "close 3000 unauthorized"]);
}

#[test]
fn a_session_that_is_carried_on_has_its_token_checked_there() {
    let mut world = world(STRICT);
    world.text(AUTH);
    let written = serde_json::to_string(&world.session).unwrap();
    world.session = serde_json::from_str(&written).unwrap();
    assert_eq!(world.step(Event::CarriedOn), ["check t"]);
    assert_eq!(world.step(Event::Authenticated(Ok(identity("ada", &[], Some(5000))))), [r#"{"type":"ok","ref":1}"#]);
    let written = serde_json::to_string(&world.session).unwrap();
    let carried: Session = serde_json::from_str(&written).unwrap();
    assert_eq!(carried, world.session);
    assert_eq!(carried.wake_at(), 5000, "the end of its token goes along");
}
