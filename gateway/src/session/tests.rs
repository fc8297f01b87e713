//! A session by table: what it does for each event. And by chance: what holds whatever happens.

use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::auth::Identity;
use crate::config::Config;
use crate::entry::Delivery;
use crate::presence::{Change, Listing, Member, Notice};

mod auth;
mod reading;

fn config(yaml: &str) -> InForce {
    Config::parse(yaml).unwrap().into()
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

fn delivery(name: &str, ms: u64) -> Arc<Delivery> {
    Delivery::new(room(name), Entry::new(id(ms), ms, ms.to_string().into()))
}

/// A session and its settings, with effects as short texts.
struct World {
    session: Session,
    config: InForce,
    now: Millis,
}

fn world_with(protocol: Protocol, rooms: &[&str], yaml: &str) -> World {
    let config = config(yaml);
    let rooms = rooms.iter().map(|name| room(name)).collect();
    let session = Session::new(0x51, protocol, rooms, &config, 1000, 1.0);
    World { session, config, now: 1000 }
}

fn world(yaml: &str) -> World {
    world_with(Protocol::V1, &[], yaml)
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Send(text) => text.to_string(),
        Effect::Deliver(delivery) => format!("deliver {} {}", delivery.room, delivery.entry.id),
        Effect::Ping => "ping".into(),
        Effect::Join { room, since: None } => format!("join {room}"),
        Effect::Join { room, since: Some(since) } => format!("join {room} since {since}"),
        Effect::ReadOn { room, at, .. } => format!("read {room} after {}", at.id),
        Effect::Authenticate(token) => format!("check {}", token.0),
        Effect::Leave(room) => format!("leave {room}"),
        Effect::Publish { room, payload, key: Some(key), .. } => format!("publish {room} {payload} once {key}"),
        Effect::Publish { room, payload, .. } => format!("publish {room} {payload}"),
        Effect::ReadHistory { room, before, limit, .. } => format!("history {room} {before} {limit}"),
        Effect::Appear { room, member } => format!("appear {room} {}", member.session),
        Effect::Disappear(room) => format!("disappear {room}"),
        Effect::ReadPresence { room, .. } => format!("presence {room}"),
        Effect::Refused(code) => format!("refused {}", code.as_str()),
        Effect::Resumed(recovered) => format!("resumed {recovered}"),
        Effect::Restored(recovered) => format!("restored {recovered}"),
        Effect::Resynced(reason) => format!("resynced {}", reason.as_str()),
        Effect::Close(closing) => format!("close {} {}", closing.code, closing.reason),
    }
}

impl World {
    fn step(&mut self, event: Event) -> Vec<String> {
        self.session.step(event, &self.config, self.now).iter().map(show).collect()
    }

    fn text(&mut self, text: &str) -> Vec<String> {
        self.step(Event::Text(text.into()))
    }

    fn in_room(&mut self, name: &str, position: u64) {
        self.text(&format!(r#"{{"type":"subscribe","room":"{name}"}}"#));
        self.step(Event::Joined { room: room(name), position: id(position), replay: None });
    }
}

/// What a client has missed that has seen `since`, all of it in one passage.
fn replay(name: &str, recovered: bool, since: u64, ids: &[u64]) -> Replay {
    let begin = Position { id: id(since), added: None };
    let first = Some(Passage::new(begin, ids.iter().map(|ms| delivery(name, *ms)).collect()));
    let end = ids.last().map_or(begin.id, |last| id(*last));
    Replay { recovered, reset: false, count: ids.len(), begin, end, typical: 0, first }
}

fn passage(name: &str, after: u64, ids: &[u64]) -> Passage {
    let begin = Position { id: id(after), added: None };
    Passage::new(begin, ids.iter().map(|ms| delivery(name, *ms)).collect())
}

#[test]
fn welcome_is_the_first_frame() {
    let effects = world("").step(Event::Opened { node: "n1".into() });
    assert_eq!(
        effects,
        [
            r#"{"type":"welcome","session":"00000000000000000000000000000051","node":"n1","heartbeatMs":25000,"maxMessageBytes":65536,"resumeWindowMs":120000}"#
        ]
    );
}

#[test]
fn a_subscription_without_a_cursor_begins_at_the_rooms_position() {
    let mut world = world("");
    assert_eq!(world.text(r#"{"type":"subscribe","ref":2,"room":"a"}"#), ["join a"]);
    assert!(world.session.joining());
    assert_eq!(
        world.step(Event::Joined { room: room("a"), position: id(5), replay: None }),
        [r#"{"type":"subscribed","ref":2,"room":"a","position":"5-0","recovered":true,"replayed":0}"#]
    );
    assert!(!world.session.joining());
    assert_eq!(world.step(Event::Message(delivery("a", 5))), [""; 0]);
    assert_eq!(world.step(Event::Message(delivery("a", 6))), ["deliver a 6-0"]);
}

#[test]
fn a_resumed_subscription_gets_the_past_before_the_present_and_nothing_twice() {
    let mut world = world("");
    assert_eq!(world.text(r#"{"type":"subscribe","ref":2,"room":"a","since":"3-0"}"#), ["join a since 3-0"]);
    assert_eq!(
        world.step(Event::Joined { room: room("a"), position: id(5), replay: Some(replay("a", true, 3, &[4, 5, 6])) }),
        [
            "resumed true",
            r#"{"type":"subscribed","ref":2,"room":"a","position":"3-0","recovered":true,"replayed":3}"#,
            "deliver a 4-0",
            "deliver a 5-0",
            "deliver a 6-0"
        ]
    );
    assert_eq!(world.step(Event::Message(delivery("a", 6))), [""; 0], "live as well as replayed");
    assert_eq!(world.step(Event::Message(delivery("a", 7))), ["deliver a 7-0"]);
}

#[test]
fn a_client_whose_messages_were_dropped_is_told_for_each_room_where_it_goes_on() {
    let mut world = world("");
    world.in_room("a", 5);
    world.in_room("b", 7);
    world.step(Event::Message(delivery("a", 8)));
    assert_eq!(
        world.step(Event::Dropped),
        [
            "resynced slow",
            r#"{"type":"resync","room":"a","reason":"slow","position":"8-0"}"#,
            "resynced slow",
            r#"{"type":"resync","room":"b","reason":"slow","position":"7-0"}"#
        ]
    );
    assert_eq!(world.step(Event::Message(delivery("a", 9))), ["deliver a 9-0"]);
}

#[test]
fn a_session_that_is_carried_on_joins_its_rooms_anew_and_the_client_does_not_notice() {
    let mut world = world("");
    world.in_room("a", 5);
    world.text(r#"{"type":"subscribe","ref":3,"room":"b"}"#);
    assert_eq!(world.step(Event::CarriedOn), ["join a since 5-0", "join b"]);
    let replay = replay("a", true, 5, &[6, 7]);
    let joined = Event::Joined { room: room("a"), position: id(7), replay: Some(replay) };
    assert_eq!(world.step(joined), ["deliver a 6-0", "deliver a 7-0"]);
    let effects = world.step(Event::Joined { room: room("b"), position: id(1), replay: None });
    assert!(effects[0].contains(r#""type":"subscribed","ref":3,"room":"b""#), "what it asked for is answered");
}

#[test]
fn a_session_that_is_carried_on_is_told_of_a_hole() {
    let mut world = world("");
    world.in_room("a", 5);
    world.step(Event::CarriedOn);
    let replay = replay("a", false, 8, &[9]);
    assert_eq!(
        world.step(Event::Joined { room: room("a"), position: id(9), replay: Some(replay) }),
        ["resynced trimmed", r#"{"type":"resync","room":"a","reason":"trimmed","position":"5-0"}"#, "deliver a 9-0"]
    );
}

#[test]
fn a_client_ahead_of_this_gateway_gets_nothing_twice() {
    let mut world = world("");
    world.text(r#"{"type":"subscribe","room":"a","since":"9-0"}"#);
    let effects =
        world.step(Event::Joined { room: room("a"), position: id(5), replay: Some(replay("a", true, 9, &[])) });
    assert!(effects[1].contains(r#""position":"9-0","recovered":true"#), "{effects:?}");
    assert_eq!(world.step(Event::Message(delivery("a", 9))), [""; 0]);
    assert_eq!(world.step(Event::Message(delivery("a", 10))), ["deliver a 10-0"]);
}

#[test]
fn a_cursor_newer_than_the_log_is_put_back() {
    let mut world = world("");
    world.text(r#"{"type":"subscribe","room":"a","since":"9-0"}"#);
    let replay = Some(Replay { reset: true, ..replay("a", false, 9, &[]) });
    let effects = world.step(Event::Joined { room: room("a"), position: id(5), replay });
    assert!(effects[2].contains(r#""position":"5-0","recovered":false"#), "{effects:?}");
    assert_eq!(world.step(Event::Message(delivery("a", 6))), ["deliver a 6-0"]);
}

#[test]
fn what_is_not_allowed_is_forbidden() {
    let mut world = world(r#"auth: {anonymous: {subscribe: ["open:*"], publish: ["open:1"]}}"#);
    let forbidden = r#""code":"forbidden""#;
    for frame in [
        r#"{"type":"presence","ref":1,"room":"secret"}"#,
        r#"{"type":"subscribe","ref":1,"room":"secret"}"#,
        r#"{"type":"publish","ref":1,"room":"open:2","payload":1}"#,
        r#"{"type":"history","ref":1,"room":"secret"}"#,
    ] {
        let effects = world.text(frame);
        assert!(effects[0] == "refused forbidden" && effects[1].contains(forbidden), "{frame}: {effects:?}");
    }
    assert_eq!(world.text(r#"{"type":"publish","ref":1,"room":"open:1","payload":1}"#), ["publish open:1 1"]);
    assert_eq!(world.text(r#"{"type":"subscribe","ref":1,"room":"open:2"}"#), ["join open:2"]);
}

#[test]
fn rooms_are_limited_at_below_and_above() {
    let mut world = world("limits: {maxRoomsPerConnection: 2}");
    world.in_room("a", 1);
    world.in_room("b", 1);
    let effects = world.text(r#"{"type":"subscribe","ref":3,"room":"c"}"#);
    assert!(effects[1].contains(r#""ref":3,"code":"too_many_rooms""#), "{effects:?}");
    assert_eq!(world.text(r#"{"type":"subscribe","ref":4,"room":"b"}"#), ["join b"], "again is not one more");
    world.step(Event::Joined { room: room("b"), position: id(1), replay: None });
    world.text(r#"{"type":"unsubscribe","room":"a"}"#);
    assert_eq!(world.text(r#"{"type":"subscribe","room":"c"}"#), ["join c"]);
}

#[test]
fn the_size_of_messages_is_limited_at_below_and_above() {
    let yaml = "limits: {maxMessageBytes: 60}";
    let frame = |length: usize| {
        let bare = r#"{"type":"publish","room":"a","payload":""}"#.len();
        format!(r#"{{"type":"publish","room":"a","payload":"{}"}}"#, "x".repeat(length - bare))
    };
    for fits in [59, 60] {
        assert!(world(yaml).text(&frame(fits))[0].starts_with("publish a"), "{fits}");
    }
    let effects = world(yaml).text(&frame(61));
    assert!(effects[1].contains(r#""code":"too_large""#), "{effects:?}");
    assert_eq!(effects[2], "close 1009 too_large");
}

#[test]
fn requests_are_limited_to_burst_and_rate() {
    let mut world = world("limits: {messagesPerSecond: 10, burst: 3}");
    let publish = r#"{"type":"publish","ref":1,"room":"a","payload":1}"#;
    for _ in 0..3 {
        assert_eq!(world.text(publish), ["publish a 1"]);
    }
    let effects = world.text(publish);
    assert!(effects[1].contains(r#""ref":1,"code":"rate_limited""#), "{effects:?}");
    assert_eq!(world.text("nonsense")[0], "refused rate_limited", "nonsense costs as much");
    assert_eq!(world.text(r#"{"type":"ping","ref":5}"#), [r#"{"type":"pong","ref":5}"#], "pings are free");
    world.now += 100;
    assert_eq!(world.text(publish), ["publish a 1"]);
}

#[test]
fn coming_back_to_all_rooms_at_once_is_no_flood() {
    let mut world = world("limits: {messagesPerSecond: 1, burst: 1, maxRoomsPerConnection: 20}");
    for n in 0..20 {
        assert_eq!(world.text(&format!(r#"{{"type":"subscribe","room":"{n}"}}"#)), [format!("join {n}")]);
    }
    world.text(r#"{"type":"unsubscribe","room":"0"}"#);
    let effects = world.text(r#"{"type":"subscribe","ref":1,"room":"0"}"#);
    assert_eq!(effects[0], "refused rate_limited");
}

#[test]
fn unsubscribe_leaves_and_says_so() {
    let mut world = world("");
    world.in_room("a", 1);
    assert_eq!(world.text(r#"{"type":"unsubscribe","ref":3,"room":"a"}"#), ["leave a", r#"{"type":"ok","ref":3}"#]);
    assert_eq!(world.step(Event::Message(delivery("a", 9))), [""; 0]);
    assert_eq!(world.text(r#"{"type":"unsubscribe","ref":3,"room":"a"}"#)[0], "refused not_subscribed");
}

#[test]
fn a_publish_is_answered_with_its_id_or_its_error() {
    let mut world = world("");
    let refusal = Refusal::new(Some(4), Code::Unavailable, "away");
    assert_eq!(
        world.step(Event::Published { reference: Some(4), result: Ok(id(7)) }),
        [r#"{"type":"ok","ref":4,"id":"7-0"}"#]
    );
    assert_eq!(
        world.step(Event::Published { reference: Some(4), result: Err(refusal) }),
        ["refused unavailable", r#"{"type":"error","ref":4,"code":"unavailable","message":"away"}"#]
    );
}

#[test]
fn a_publish_takes_its_key_along() {
    let frame = r#"{"type":"publish","ref":4,"room":"a","payload":1,"idempotencyKey":"k"}"#;
    assert_eq!(world("").text(frame), ["publish a 1 once k"]);
}

#[test]
fn history_is_answered_oldest_first() {
    let mut world = world("");
    assert_eq!(world.text(r#"{"type":"history","ref":5,"room":"a","before":"9-0","limit":2}"#), ["history a 9-0 2"]);
    let entries = [7, 8].map(|ms| Entry::new(id(ms), ms, "{}".into())).to_vec();
    assert_eq!(
        world.step(Event::HistoryRead { reference: Some(5), room: room("a"), result: Ok((entries, true)) }),
        [
            r#"{"type":"history","ref":5,"room":"a","messages":[{"id":"7-0","timestamp":7,"payload":{}},{"id":"8-0","timestamp":8,"payload":{}}],"more":true}"#
        ]
    );
}

#[test]
fn a_session_is_listed_as_its_user() {
    let mut world = world("");
    world.session.identity = Some(Arc::new(Identity { user: Some("ada".into()), ..Identity::default() }));
    assert_eq!(
        world.session.member(),
        Member { session: "00000000000000000000000000000051".into(), user: Some("ada".into()) }
    );
}

#[test]
fn a_session_is_listed_where_it_asked_for_it_and_only_while_it_is_there() {
    let mut world = world("");
    assert_eq!(world.text(r#"{"type":"subscribe","room":"a","presence":true}"#), ["join a"]);
    let joined = || Event::Joined { room: room("a"), position: id(1), replay: None };
    assert_eq!(world.step(joined())[1..], ["appear a 00000000000000000000000000000051"]);
    assert_eq!(world.session.present_in().count(), 1);
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    assert_eq!(world.step(joined())[1..], [""; 0], "it is listed already");
    world.text(r#"{"type":"subscribe","room":"a"}"#);
    assert_eq!(world.step(joined())[1..], ["disappear a"], "the newer request counts");
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    world.step(joined());
    assert_eq!(world.text(r#"{"type":"unsubscribe","room":"a"}"#)[..2], ["disappear a", "leave a"]);
    world.in_room("b", 1);
    assert_eq!(world.session.present_in().count(), 0);
}

#[test]
fn a_listed_session_whose_new_subscription_fails_is_listed_no_more() {
    let mut world = world("");
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    world.step(Event::Joined { room: room("a"), position: id(1), replay: None });
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    let refusal = Refusal::new(None, Code::Unavailable, "away");
    assert_eq!(world.step(Event::JoinFailed { room: room("a"), refusal })[..2], ["disappear a", "leave a"]);
}

#[test]
fn notices_are_for_those_who_are_listed() {
    let mut world = world("");
    let member = |session: &str| Member { session: session.into(), user: Some("u".into()) };
    let notice = Notice::new(&room("a"), Change::Join, &[member("s2")], 2);
    assert_eq!(world.step(Event::Notice(Arc::clone(&notice))), [""; 0]);
    world.in_room("a", 1);
    assert_eq!(world.step(Event::Notice(Arc::clone(&notice))), [""; 0]);
    world.text(r#"{"type":"subscribe","room":"a","presence":true}"#);
    world.step(Event::Joined { room: room("a"), position: id(1), replay: None });
    assert_eq!(
        world.step(Event::Notice(notice)),
        [r#"{"type":"join","room":"a","members":[{"session":"s2","user":"u"}],"count":2}"#]
    );
}

#[test]
fn who_is_there_is_answered_also_to_those_who_are_not() {
    let mut world = world("");
    assert_eq!(world.text(r#"{"type":"presence","ref":6,"room":"a"}"#), ["presence a"]);
    let listing = Arc::new(Listing { members: vec![Member { session: "x".into(), user: None }], count: 1 });
    assert_eq!(
        world.step(Event::PresenceRead { reference: Some(6), room: room("a"), result: Ok(listing) }),
        [r#"{"type":"presence","ref":6,"room":"a","members":[{"session":"x"}],"count":1}"#]
    );
    let refusal = Refusal::new(Some(6), Code::Unavailable, "away");
    let effects = world.step(Event::PresenceRead { reference: Some(6), room: room("a"), result: Err(refusal) });
    assert!(effects[1].contains(r#""ref":6,"code":"unavailable""#), "{effects:?}");
}

#[test]
fn a_failed_subscription_is_told_and_forgotten() {
    let mut world = world("");
    world.text(r#"{"type":"subscribe","ref":2,"room":"a"}"#);
    let refusal = Refusal::new(None, Code::Unavailable, "away");
    let effects = world.step(Event::JoinFailed { room: room("a"), refusal });
    assert_eq!(effects[0], "leave a");
    assert!(effects[2].contains(r#""ref":2,"code":"unavailable""#), "{effects:?}");
    assert_eq!(world.session.rooms().count(), 0);
    assert_eq!(world.text(r#"{"type":"subscribe","ref":3,"room":"a"}"#), ["join a"]);
}

#[test]
fn a_session_that_came_back_is_judged_once_and_not_while_a_room_is_still_read_back() {
    let mut world = world("heartbeat: {intervalSeconds: 3600}");
    for name in ["a", "b"] {
        world.text(&format!(r#"{{"type":"subscribe","room":"{name}","since":"3-0"}}"#));
    }
    let joined = |name: &str, recovered| Event::Joined {
        room: room(name),
        position: id(5),
        replay: Some(replay(name, recovered, 5, &[])),
    };
    let judged = |effects: &[String]| -> Vec<String> {
        effects.iter().filter(|effect| effect.starts_with("restored")).cloned().collect()
    };
    let none = Vec::<String>::new();
    assert_eq!(judged(&world.step(joined("a", true))), none);
    assert!(world.session.wake_at() > 100_000, "the other room is still being read back");
    world.now = 5000;
    assert_eq!(judged(&world.step(joined("b", true))), none);
    assert_eq!(world.session.wake_at(), 2000, "a second after the first answer");
    assert_eq!(judged(&world.step(Event::Tick)), ["restored true"]);
    assert_eq!(judged(&world.step(Event::Tick)), none);
    world.text(r#"{"type":"subscribe","room":"c","since":"3-0"}"#);
    assert_eq!(judged(&world.step(joined("c", false))), none, "what it resumes later is not looked at");
    assert_eq!(world.session.judge_restoring(), None);
}

#[test]
fn one_room_with_a_hole_makes_a_session_unrecovered_at_once() {
    let mut world = world("");
    for (name, recovered, expect) in [("a", true, None), ("b", false, Some("restored false")), ("c", false, None)] {
        world.text(&format!(r#"{{"type":"subscribe","room":"{name}","since":"3-0"}}"#));
        let replay = Some(replay(name, recovered, 5, &[]));
        let effects = world.step(Event::Joined { room: room(name), position: id(5), replay });
        let judged = effects.iter().find(|effect| effect.starts_with("restored"));
        assert_eq!(judged.map(String::as_str), expect, "{name}");
    }
    assert_eq!(world.session.judge_restoring(), None);
}

#[test]
fn a_gap_is_told_and_the_room_goes_on() {
    let mut world = world("");
    world.in_room("a", 5);
    let gap = |reason, position| Event::Gap { room: room("a"), reason, position: id(position) };
    assert_eq!(
        world.step(gap(Reason::Trimmed, 8)),
        ["resynced trimmed", r#"{"type":"resync","room":"a","reason":"trimmed","position":"8-0"}"#]
    );
    assert_eq!(world.step(Event::Message(delivery("a", 9))), ["deliver a 9-0"]);
    assert_eq!(world.step(gap(Reason::Trimmed, 7)), [""; 0], "it has what came after");
    assert_eq!(world.step(gap(Reason::Reset, 2))[0], "resynced reset", "ids went back");
    assert_eq!(world.step(Event::Message(delivery("a", 3))), ["deliver a 3-0"]);
    assert_eq!(world.step(Event::Gap { room: room("b"), reason: Reason::Reset, position: id(2) }), [""; 0]);
}

#[test]
fn a_drain_is_told_with_its_terms_and_ends_when_the_gateway_says_so() {
    let mut world = world("heartbeat: {intervalSeconds: 3600}");
    assert_eq!(
        world.step(Event::Drain { retry_after_ms: 50, deadline_ms: 4000 }),
        [r#"{"type":"drain","retryAfterMs":50,"deadlineMs":4000}"#]
    );
    world.in_room("a", 1);
    assert_eq!(world.step(Event::Message(delivery("a", 2))), ["deliver a 2-0"], "it works on until the client leaves");
    world.now = 5000;
    assert_eq!(world.step(Event::Tick), [""; 0], "the deadline may have been moved");
    assert_eq!(world.step(Event::DrainForced), ["close 1012 drain_forced"]);
    assert_eq!(world.text(r#"{"type":"ping"}"#), [""; 0], "nothing after a close");
}

#[test]
fn a_cancelled_drain_lets_the_client_stay() {
    for (protocol, rooms, told) in
        [(Protocol::V1, &[][..], &[r#"{"type":"drainCancelled"}"#][..]), (Protocol::Raw, &["a"], &[])]
    {
        let mut world = world_with(protocol, rooms, "heartbeat: {intervalSeconds: 3600}");
        world.step(Event::Drain { retry_after_ms: 50, deadline_ms: 4000 });
        assert_eq!(world.step(Event::DrainCancelled), told);
        world.now = 100_000;
        assert_eq!(world.step(Event::Tick), [""; 0]);
    }
}

#[test]
fn a_raw_client_gets_payloads_only_and_leaves_after_a_short_grace() {
    let mut world = world_with(Protocol::Raw, &["a", "b"], "");
    assert_eq!(world.step(Event::Opened { node: "n".into() }), ["join a", "join b"]);
    assert_eq!(world.step(Event::Joined { room: room("a"), position: id(1), replay: None }), [""; 0]);
    world.step(Event::Joined { room: room("b"), position: id(1), replay: None });
    assert_eq!(world.step(Event::Message(delivery("a", 2))), ["deliver a 2-0"]);
    assert_eq!(
        world.step(Event::Gap { room: room("a"), reason: Reason::Trimmed, position: id(7) }),
        ["resynced trimmed"]
    );
    assert_eq!(
        world.step(Event::Drain { retry_after_ms: 50, deadline_ms: 300_000 }),
        [r#"{"type":"drain","retryAfterMs":50}"#]
    );
    world.now += 50 + RAW_GRACE;
    assert_eq!(world.step(Event::Tick), ["close 1012 drained"]);
}

#[test]
fn a_raw_client_publishes_when_it_named_one_room() {
    let mut one = world_with(Protocol::Raw, &["a"], "limits: {messagesPerSecond: 1, burst: 1}");
    assert_eq!(one.text("anything {"), ["publish a anything {"]);
    assert_eq!(one.text("more"), ["refused rate_limited"], "dropped and counted: raw clients get no answers");
    let mut two = world_with(Protocol::Raw, &["a", "b"], "");
    assert_eq!(two.text("x"), ["close 3003 forbidden"]);
    let mut closed = world_with(Protocol::Raw, &["a"], "auth: {anonymous: {publish: []}}");
    assert_eq!(closed.text("x"), ["refused forbidden", "close 3003 forbidden"]);
}

#[test]
fn ends_have_their_codes() {
    for (event, expect) in [
        (Event::Binary, "close 1003 binary"),
        (Event::Overflowed, "close 1013 slow"),
        (Event::GoingAway, "close 1001 shutdown"),
        (Event::Kicked, "close 3003 kicked"),
        (Event::DrainForced, "close 1012 drain_forced"),
    ] {
        assert_eq!(world("").step(event), [expect]);
    }
}

#[test]
fn a_missed_heartbeat_closes() {
    let mut world = world("heartbeat: {intervalSeconds: 25, timeoutSeconds: 10}");
    world.now += 25_000;
    assert_eq!(world.step(Event::Tick), ["ping"]);
    world.step(Event::Pong);
    world.now += 25_000;
    assert_eq!(world.step(Event::Tick), ["ping"]);
    world.now += 10_000;
    assert_eq!(world.step(Event::Tick), ["close 4408 heartbeat"]);
}

/// What a client, a room and a log may do, in any order.
fn events() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    proptest::collection::vec((0u8..12, 0u8..3, 0u64..40), 0..120)
}

fn make(kind: u8, name: &str, n: u64) -> Event {
    let text = |text: String| Event::Text(text.as_str().into());
    match kind {
        0 => text(format!(r#"{{"type":"subscribe","room":"{name}"}}"#)),
        1 => text(format!(r#"{{"type":"subscribe","room":"{name}","since":"{n}-0"}}"#)),
        2 => text(format!(r#"{{"type":"unsubscribe","room":"{name}"}}"#)),
        3 => Event::Joined { room: room(name), position: id(n), replay: None },
        4 => Event::Joined {
            room: room(name),
            position: id(n),
            replay: Some(replay(name, true, n, &[n + 1, n + 2, n + 4])),
        },
        5 => text("{".into()),
        7 => Event::Roomy,
        8 => Event::ReadOn { room: room(name), passage: Some(passage(name, n, &[n + 1, n + 2])) },
        9 => Event::Joined { room: room(name), position: id(n + 9), replay: Some(replay(name, true, n, &[n + 1])) },
        6 => Event::JoinFailed { room: room(name), refusal: Refusal::new(None, Code::Unavailable, "") },
        _ => Event::Message(delivery(name, n)),
    }
}

proptest! {
    /// Between two `subscribed` of a room its messages have growing ids: none twice, none out of order.
    #[test]
    fn messages_of_a_room_only_ever_grow(events in events()) {
        let mut world = world("limits: {messagesPerSecond: 100000, burst: 100000}");
        let mut last = std::collections::HashMap::new();
        for (kind, which, n) in events {
            let name = ["a", "b", "c"][which as usize];
            if kind > 9 && world.session.joining() {
                continue;
            }
            for effect in world.session.step(make(kind, name, n), &world.config, world.now) {
                match effect {
                    Effect::Send(text) if text.contains("subscribed") => { last.remove(name); }
                    Effect::Deliver(delivery) => {
                        let id = delivery.entry.id;
                        prop_assert!(last.insert(name, id).is_none_or(|before| before < id));
                    }
                    _ => {}
                }
            }
        }
    }

    /// A session written down and read again goes on as if nothing had happened.
    #[test]
    fn a_session_is_plain_data(events in events(), cut in 0usize..120) {
        let mut world = world("limits: {messagesPerSecond: 50, burst: 5}");
        let mut twin = None;
        for (step, (kind, which, n)) in events.into_iter().enumerate() {
            let name = ["a", "b", "c"][which as usize];
            if step == cut {
                let text = serde_json::to_string(&world.session).unwrap();
                twin = Some(serde_json::from_str::<Session>(&text).unwrap());
            }
            let shown: Vec<_> = world.step(make(kind, name, n));
            if let Some(twin) = &mut twin {
                let same: Vec<_> = twin.step(make(kind, name, n), &world.config, world.now).iter().map(show).collect();
                prop_assert_eq!(shown, same);
            }
        }
    }
}
