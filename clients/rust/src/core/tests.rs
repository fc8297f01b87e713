//! The core, told what happens line by line; its effects read as lines too.

use std::time::Duration;

use serde_json::{Value, json, value::RawValue};

use super::{Answer, Core, Effect, End, LinkId, Question, Settings};
use crate::{Backoff, Event, MessageId, frame::Incoming};

struct Script {
    core: Core,
    now: Duration,
}

impl Script {
    /// Retries come at once, so that a script need not know chance.
    fn new() -> Self {
        let backoff = Backoff { base: Duration::ZERO, max: Duration::ZERO };
        let core = Core::new(Settings { backoff, ..Settings::default() }, 1);
        Self { core, now: Duration::ZERO }
    }

    /// A session in `lobby` at position 5-0, served by gateway `a` on link 1.
    fn served() -> Self {
        let mut script = Self::new();
        script.subscribe("lobby");
        script.wait(0);
        script.open(1, "a");
        script.frame(1, json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "5-0"}));
        script.effects();
        script
    }

    fn subscribe(&mut self, room: &str) -> Vec<String> {
        self.core.subscribe(room.into(), None, false, self.now);
        self.effects()
    }

    fn wait(&mut self, millis: u64) -> Vec<String> {
        self.now += Duration::from_millis(millis);
        self.core.tick(self.now);
        self.effects()
    }

    fn open(&mut self, link: u32, node: &str) -> Vec<String> {
        self.core.opened(LinkId(link), self.now);
        self.frame(link, json!({"type": "welcome", "node": node, "session": "s", "heartbeatMs": 1000}))
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn frame(&mut self, link: u32, frame: Value) -> Vec<String> {
        let text = frame.to_string();
        let frame: Incoming<'_> = serde_json::from_str(&text).unwrap();
        self.core.heard(LinkId(link), self.now);
        self.core.frame(LinkId(link), &frame, self.now);
        self.effects()
    }

    fn message(&mut self, link: u32, id: &str) -> Vec<String> {
        self.frame(link, json!({"type": "message", "room": "lobby", "id": id, "timestamp": 1, "payload": 0}))
    }

    fn closed(&mut self, link: u32, code: Option<u16>) -> Vec<String> {
        self.core.ended(LinkId(link), &End::Closed { code, reason: "why".to_owned() }, self.now);
        self.effects()
    }

    fn publish(&mut self, token: u64) -> Vec<String> {
        let payload = RawValue::from_string("{}".to_owned()).unwrap();
        self.core.publish(token, "lobby".into(), payload, None, self.now);
        self.effects()
    }

    fn drain(&mut self, link: u32, retry: u64, deadline: u64) -> Vec<String> {
        self.frame(link, json!({"type": "drain", "retryAfterMs": retry, "deadlineMs": deadline}))
    }

    fn effects(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.core.effect()).map(|effect| describe(&effect)).collect()
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Open(link) => format!("open {}", link.0),
        Effect::Send(link, text) => {
            let frame: Value = serde_json::from_str(text).unwrap();
            let part = |key: &str| frame.get(key).and_then(Value::as_str).map(|text| format!(" {text}"));
            let parts: String = ["type", "room", "since", "token"].into_iter().filter_map(part).collect();
            format!("send {}{parts}", link.0)
        }
        Effect::Leave(link) => format!("leave {}", link.0),
        Effect::Abort(link) => format!("abort {}", link.0),
        Effect::Published(token, Ok(id)) => format!("published {token} {id}"),
        Effect::Published(token, Err(error)) => format!("published {token} {error}"),
        Effect::Answered(token, Ok(Answer::Presence(listing))) => format!("answered {token} {} there", listing.count),
        Effect::Answered(token, Ok(Answer::History(page))) => format!("answered {token} {} past", page.messages.len()),
        Effect::Answered(token, Err(error)) => format!("answered {token} {error}"),
        Effect::Refresh(link) => format!("refresh {}", link.0),
        Effect::Finish => "finish".to_owned(),
        Effect::Emit(event) => describe_event(event),
    }
}

fn describe_event(event: &Event) -> String {
    match event {
        Event::Connected { node, .. } => format!("connected {node}"),
        Event::Subscribed { room, position } => format!("subscribed {room} {position}"),
        Event::Message { id, .. } => format!("message {id}"),
        Event::Repeated { id, .. } => format!("repeated {id}"),
        Event::Recovered { room, replayed } => format!("recovered {room} {replayed}"),
        Event::Resync { room, reason } => format!("resync {room} {reason}"),
        Event::Presence { room, count, .. } => format!("presence {room} {count}"),
        Event::Join { room, count, .. } => format!("join {room} {count}"),
        Event::Leave { room, count, .. } => format!("leave {room} {count}"),
        Event::Drain { .. } => "drain".to_owned(),
        Event::DrainCancelled => "drain cancelled".to_owned(),
        Event::Moved { from, to } => format!("moved {from} {to}"),
        Event::Disconnected { code, announced, .. } => format!("disconnected {code:?} announced={announced}"),
        Event::ConnectFailed { retry_in, .. } => format!("connect failed retry={}", retry_in.is_some()),
        Event::SubscribeFailed { room, code, .. } => format!("subscribe failed {room} {code}"),
        Event::Error { code, .. } => format!("error {code}"),
        Event::Closed { .. } => "closed".to_owned(),
    }
}

const NOTHING: Vec<String> = Vec::new();

#[test]
fn a_session_connects_subscribes_and_counts_from_its_position() {
    let mut script = Script::new();
    assert_eq!(script.subscribe("lobby"), NOTHING);
    assert_eq!(script.wait(0), ["open 1"]);
    assert_eq!(script.open(1, "a"), ["connected a", "send 1 subscribe lobby"]);
    let answer = json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "5-0"});
    assert_eq!(script.frame(1, answer), ["subscribed lobby 5-0"]);
    assert_eq!(script.message(1, "5-1"), ["message 5-1"]);
    assert_eq!(script.message(1, "10-0"), ["message 10-0"]);
}

#[test]
fn an_entry_that_one_connection_brings_twice_or_late_is_not_a_message() {
    let mut script = Script::served();
    assert_eq!(script.message(1, "7-0"), ["message 7-0"]);
    assert_eq!(script.message(1, "7-0"), ["repeated 7-0"]);
    assert_eq!(script.message(1, "6-0"), ["repeated 6-0"]);
    assert_eq!(script.message(1, "5-0"), ["repeated 5-0"]);
}

#[test]
fn a_drained_session_leaves_only_when_the_next_gateway_serves_all_its_rooms() {
    let mut script = Script::served();
    script.subscribe("news");
    script.frame(1, json!({"type": "subscribed", "ref": 2, "room": "news", "position": "0-0"}));
    assert_eq!(script.drain(1, 200, 5000), ["drain"]);
    assert_eq!(script.wait(199), NOTHING);
    assert_eq!(script.wait(1), ["open 2"]);
    assert_eq!(script.message(1, "6-0"), ["message 6-0"]);
    assert_eq!(script.open(2, "b"), ["send 2 subscribe lobby 6-0", "send 2 subscribe news 0-0"]);
    assert_eq!(script.message(1, "7-0"), ["message 7-0"]);
    let recovered = |reference, room: &str| json!({"type": "subscribed", "ref": reference, "room": room, "position": "7-0", "recovered": true, "replayed": 1});
    assert_eq!(script.frame(2, recovered(1, "lobby")), ["recovered lobby 1"]);
    assert_eq!(script.message(2, "7-0"), NOTHING, "the old connection was quicker");
    assert_eq!(script.message(2, "8-0"), ["message 8-0"]);
    assert_eq!(script.message(1, "8-0"), NOTHING);
    assert_eq!(script.frame(2, recovered(2, "news")), ["recovered news 1", "leave 1", "moved a b"]);
    assert_eq!(script.message(1, "9-0"), NOTHING, "what was left is not listened to");
    assert_eq!(script.message(2, "9-0"), ["message 9-0"]);
}

#[test]
fn when_the_next_connection_fails_the_old_one_stays_and_it_is_tried_again_until_the_deadline() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    assert_eq!(script.wait(0), ["open 2"]);
    assert_eq!(script.closed(2, None), ["connect failed retry=true"]);
    assert_eq!(script.wait(0), ["open 3"]);
    assert_eq!(script.message(1, "6-0"), ["message 6-0"]);
    script.wait(999);
    assert_eq!(script.closed(3, Some(1013)), ["connect failed retry=true"]);
    assert_eq!(script.wait(0), ["open 4"]);
    script.wait(1);
    assert_eq!(script.closed(4, None), ["connect failed retry=false"]);
    assert_eq!(script.wait(100), NOTHING);
    assert_eq!(script.message(1, "7-0"), ["message 7-0"]);
}

#[test]
fn a_forced_close_promotes_the_connection_under_way() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    script.subscribe("news");
    assert_eq!(script.closed(1, Some(1012)), ["disconnected Some(1012) announced=true"]);
    assert_eq!(script.open(2, "b"), ["connected b", "send 2 subscribe lobby 5-0", "send 2 subscribe news"]);
}

#[test]
fn a_room_without_a_cursor_waits_for_the_current_connection_to_give_it_one() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    assert_eq!(script.subscribe("news"), ["send 1 subscribe news"]);
    assert_eq!(script.open(2, "b"), ["send 2 subscribe lobby 5-0"]);
    let answer = json!({"type": "subscribed", "ref": 2, "room": "news", "position": "3-0"});
    assert_eq!(script.frame(1, answer), ["subscribed news 3-0", "send 2 subscribe news 3-0"]);
}

fn recovered(reference: u64) -> Value {
    json!({"type": "subscribed", "ref": reference, "room": "lobby", "position": "5-0", "recovered": true})
}

#[test]
fn a_next_gateway_that_says_drain_at_once_is_not_moved_to() {
    let mut script = Script::served();
    script.drain(1, 0, 5000);
    script.wait(0);
    script.open(2, "b");
    assert_eq!(script.drain(2, 100, 60_000), ["leave 2", "connect failed retry=true"]);
    assert_eq!(script.message(1, "6-0"), ["message 6-0"], "the old one serves on");
    assert_eq!(script.wait(0), ["open 3"]);
    script.open(3, "c");
    assert_eq!(script.frame(3, recovered(1)), ["recovered lobby 0", "leave 1", "moved a c"]);
}

#[test]
fn a_next_gateway_that_drains_is_better_than_to_be_closed() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    script.open(2, "b");
    script.wait(1000);
    assert_eq!(script.drain(2, 100, 5000), NOTHING, "no time for another attempt");
    assert_eq!(script.frame(2, recovered(1)), ["recovered lobby 0", "leave 1", "moved a b"]);
    assert_eq!(script.wait(99), NOTHING);
    assert_eq!(script.wait(1), ["open 3"]);
}

#[test]
fn who_lands_on_a_gateway_that_drains_but_has_not_said_so_stays_until_it_does() {
    let mut script = Script::served();
    script.drain(1, 0, 5000);
    script.wait(0);
    script.open(2, "b");
    assert_eq!(script.frame(2, recovered(1)), ["recovered lobby 0", "leave 1", "moved a b"]);
    assert_eq!(script.wait(1500), NOTHING);
    assert_eq!(script.drain(2, 100, 5000), ["drain"]);
    assert_eq!(script.wait(100), ["open 3"]);
}

#[test]
fn who_lands_on_the_gateway_that_it_leaves_turns_back() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    assert_eq!(script.open(2, "a"), ["leave 2", "connect failed retry=true"]);
    assert_eq!(script.wait(0), ["open 3"]);
    script.wait(1000);
    assert_eq!(script.open(3, "a"), ["leave 3", "connect failed retry=false"], "also when it is late");
    assert_eq!(script.message(1, "6-0"), ["message 6-0"]);
}

#[test]
fn a_cancelled_drain_lets_the_session_stay_and_the_next_one_is_followed_again() {
    let cancelled = || json!({"type": "drainCancelled"});
    let mut script = Script::served();
    script.drain(1, 200, 5000);
    assert_eq!(script.frame(1, cancelled()), ["drain cancelled"]);
    assert_eq!(script.wait(300), NOTHING);
    assert_eq!(script.drain(1, 200, 5000), ["drain"]);
    assert_eq!(script.wait(200), ["open 2"]);
    script.open(2, "b");
    assert_eq!(script.frame(1, cancelled()), ["leave 2", "drain cancelled"], "the next one does not serve yet");
    assert_eq!(script.frame(2, recovered(1)), NOTHING);
    assert_eq!(script.frame(1, cancelled()), NOTHING, "nobody drains");
    script.drain(1, 0, 5000);
    assert_eq!(script.wait(0), ["open 3"]);
    script.open(3, "b");
    assert_eq!(script.frame(3, recovered(1)), ["recovered lobby 0", "leave 1", "moved a b"]);
    assert_eq!(script.frame(1, cancelled()), NOTHING, "who has moved has moved");
}

#[test]
fn failures_long_ago_do_not_slow_a_move_down() {
    let backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(1000) };
    let mut script = Script::served();
    script.core.settings.backoff = backoff;
    script.core.failures = 9;
    script.core.settings.stable_after = Duration::from_secs(1);
    script.wait(1000);
    script.drain(1, 0, 5000);
    script.wait(0);
    assert_eq!(script.closed(2, None), ["connect failed retry=true"], "within the second of a first failure");
}

#[test]
fn a_second_notice_does_not_open_a_third_connection() {
    let mut script = Script::served();
    assert_eq!(script.drain(1, 0, 1000), ["drain"]);
    assert_eq!(script.wait(0), ["open 2"]);
    assert_eq!(script.drain(1, 0, 1000), NOTHING);
    assert_eq!(script.wait(10), NOTHING);
}

#[test]
fn silence_for_two_heartbeats_is_a_dead_connection() {
    let mut script = Script::served();
    script.wait(1500);
    script.core.heard(LinkId(1), script.now);
    assert_eq!(script.wait(1999), NOTHING);
    assert_eq!(script.wait(1), ["abort 1", "disconnected None announced=false", "open 2"]);
    assert_eq!(script.open(2, "b"), ["connected b", "send 2 subscribe lobby 5-0"]);
}

#[test]
fn a_handshake_without_a_welcome_is_given_up() {
    let mut script = Script::new();
    assert_eq!(script.wait(0), ["open 1"]);
    script.core.opened(LinkId(1), script.now);
    script.core.authenticate(LinkId(1), Some("token"), None, script.now);
    assert_eq!(script.effects(), ["send 1 auth token"]);
    assert_eq!(script.wait(9_999), NOTHING);
    assert_eq!(script.wait(1), ["abort 1", "connect failed retry=true", "open 2"]);
}

#[test]
fn codes_decide_whether_the_session_goes_on() {
    for code in [1000, 3000, 3003] {
        let mut script = Script::served();
        let lines = script.closed(1, Some(code));
        assert_eq!(lines, [&format!("disconnected Some({code}) announced=false"), "closed", "finish"]);
        assert_eq!(script.core.wakeup(), None);
    }
    for code in [None, Some(1001), Some(1012), Some(1013)] {
        let mut script = Script::served();
        assert_eq!(script.closed(1, code), [format!("disconnected {code:?} announced=false")]);
        assert_eq!(script.wait(0), ["open 2"]);
    }
}

#[test]
fn attempts_that_fail_are_spaced_ever_wider() {
    let mut script = Script::new();
    script.core.settings.backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1) };
    script.wait(0);
    let mut longest = Duration::ZERO;
    for attempt in 1..30 {
        script.core.ended(LinkId(attempt), &End::Refused { status: None, reason: String::new() }, script.now);
        let at = script.core.wakeup().unwrap();
        longest = longest.max(at.saturating_sub(script.now));
        script.now = at;
        assert!(script.wait(0).ends_with(&[format!("open {}", attempt + 1)]));
    }
    assert!(longest > Duration::from_millis(500) && longest <= Duration::from_secs(1), "{longest:?}");
}

#[test]
fn an_unrecovered_room_is_told_so() {
    let mut script = Script::served();
    script.message(1, "6-0");
    script.closed(1, None);
    script.wait(0);
    script.open(2, "b");
    let answer = json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "99-0", "recovered": false});
    assert_eq!(script.frame(2, answer), ["resync lobby unrecovered"]);
    assert_eq!(script.message(2, "100-0"), ["message 100-0"]);
    let resync = json!({"type": "resync", "room": "lobby", "reason": "trimmed", "position": "200-0"});
    assert_eq!(script.frame(2, resync), ["resync lobby trimmed"]);
    script.closed(2, None);
    script.wait(0);
    assert_eq!(script.open(3, "b"), ["connected b", "send 3 subscribe lobby 200-0"]);
}

#[test]
fn a_stream_that_went_back_is_followed_from_its_new_position() {
    let mut script = Script::served();
    let resync = json!({"type": "resync", "room": "lobby", "reason": "reset", "position": "2-0"});
    assert_eq!(script.frame(1, resync), ["resync lobby reset"]);
    assert_eq!(script.message(1, "3-0"), ["message 3-0"]);
    script.closed(1, None);
    script.wait(0);
    assert_eq!(script.open(2, "b"), ["connected b", "send 2 subscribe lobby 3-0"]);
    let answer = json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "1-0", "recovered": false});
    assert_eq!(script.frame(2, answer), ["resync lobby unrecovered"]);
    assert_eq!(script.message(2, "2-0"), ["message 2-0"]);
}

#[test]
fn a_hole_on_the_next_connection_does_not_stop_what_the_current_one_still_brings() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    script.open(2, "b");
    script.subscribe("news");
    let answer = json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "9-0", "recovered": false});
    assert_eq!(script.frame(2, answer), ["resync lobby unrecovered"]);
    assert_eq!(script.message(1, "8-0"), ["message 8-0"]);
    assert_eq!(script.message(2, "10-0"), ["message 10-0"]);
}

#[test]
fn a_refused_room_is_given_up_and_one_refused_for_a_moment_is_asked_for_again() {
    let mut script = Script::served();
    script.subscribe("news");
    let refused = |reference, code: &str| json!({"type": "error", "ref": reference, "code": code, "message": "m"});
    assert_eq!(script.frame(1, refused(2, "unavailable")), NOTHING);
    assert_eq!(script.wait(1), ["send 1 subscribe news"]);
    assert_eq!(script.frame(1, refused(3, "forbidden")), ["subscribe failed news forbidden"]);
    assert_eq!(script.wait(1), NOTHING);
    assert_eq!(script.frame(1, json!({"type": "error", "code": "internal", "message": "m"})), ["error internal"]);
}

#[test]
fn a_publish_is_answered_with_its_id_or_its_refusal() {
    let mut script = Script::served();
    assert_eq!(script.publish(2), ["send 1 publish lobby"]);
    assert_eq!(script.frame(1, json!({"type": "ok", "ref": 2, "id": "8-0"})), ["published 2 8-0"]);
    script.publish(3);
    let refused = json!({"type": "error", "ref": 3, "code": "unavailable", "message": "no log"});
    assert_eq!(script.frame(1, refused), ["published 3 unavailable: no log"]);
}

fn key(script: &mut Script) -> String {
    std::iter::from_fn(|| script.core.effect())
        .find_map(|effect| match effect {
            Effect::Send(_, text) => {
                serde_json::from_str::<Value>(&text).unwrap()["idempotencyKey"].as_str().map(ToOwned::to_owned)
            }
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_publish_whose_answer_was_lost_is_sent_again_with_its_key() {
    let mut script = Script::served();
    let payload = || RawValue::from_string("{}".to_owned()).unwrap();
    script.core.publish(1, "lobby".into(), payload(), None, script.now);
    let first = key(&mut script);
    script.core.publish(2, "lobby".into(), payload(), None, script.now);
    assert_ne!(key(&mut script), first);
    assert_eq!(script.closed(1, None), ["disconnected None announced=false"]);
    script.wait(0);
    script.core.opened(LinkId(2), script.now);
    let text = json!({"type": "welcome", "node": "b", "session": "s"}).to_string();
    script.core.frame(LinkId(2), &serde_json::from_str(&text).unwrap(), script.now);
    assert_eq!(key(&mut script), first);
    let answer = json!({"type": "ok", "ref": 2, "id": "8-0"});
    assert_eq!(script.frame(2, answer), ["published 1 8-0", "send 2 publish lobby"], "one by one, in order");
}

#[test]
fn what_was_sent_too_long_ago_is_not_sent_again() {
    for (waited, expect) in
        [(240_000, "send 2 publish lobby"), (240_001, "published 1 no answer came: it may have been published")]
    {
        let mut script = Script::served();
        script.publish(1);
        script.closed(1, None);
        script.wait(waited);
        assert!(script.open(2, "b").contains(&expect.to_owned()), "{waited}");
    }
}

#[test]
fn publishes_wait_for_a_connection_up_to_a_bound() {
    let mut script = Script::new();
    script.core.settings.queue = 2;
    assert_eq!([script.publish(1), script.publish(2)], [NOTHING, NOTHING]);
    assert_eq!(script.publish(3), ["published 3 too many publishes wait for a connection"]);
    script.wait(0);
    assert_eq!(script.open(1, "a"), ["connected a", "send 1 publish lobby"]);
    assert_eq!(script.publish(4), NOTHING, "it does not overtake what has waited");
    let limited = json!({"type": "error", "ref": 1, "code": "rate_limited", "message": ""});
    assert_eq!(script.frame(1, limited), ["send 1 publish lobby"], "the same again");
    for (reference, token) in [(2, 1), (3, 2)] {
        let answer = json!({"type": "ok", "ref": reference, "id": "8-0"});
        assert_eq!(script.frame(1, answer), [format!("published {token} 8-0"), "send 1 publish lobby".to_owned()]);
    }
    assert_eq!(script.frame(1, json!({"type": "ok", "ref": 4, "id": "9-0"})), ["published 4 9-0"]);
    assert_eq!([script.publish(5), script.publish(6)].concat().len(), 2, "at once again");
}

#[test]
fn without_a_queue_nothing_waits() {
    let mut script = Script::new();
    script.core.settings.queue = 0;
    assert_eq!(script.publish(1), ["published 1 not connected"]);
}

#[test]
fn a_session_that_ends_answers_what_waits() {
    let mut script = Script::served();
    script.publish(1);
    script.closed(1, None);
    script.publish(2);
    script.core.close();
    let lines = script.effects();
    assert_eq!(lines[..2], ["published 1 no answer came: it may have been published", "published 2 not connected"]);
    assert_eq!(script.publish(3), ["published 3 not connected"]);
}

#[test]
fn a_refused_token_is_replaced_once() {
    let mut script = Script::new();
    script.core.settings.tokens = true;
    script.wait(0);
    script.open(1, "a");
    assert_eq!(script.closed(1, Some(3000)), ["disconnected Some(3000) announced=false"]);
    assert_eq!(script.wait(0), ["open 2"]);
    script.core.authenticate(LinkId(2), Some("new"), None, script.now);
    script.open(2, "a");
    script.frame(2, json!({"type": "ok", "ref": 1}));
    assert_eq!(script.closed(2, Some(3000)), ["disconnected Some(3000) announced=false"], "it was accepted in between");
    script.wait(0);
    script.open(3, "a");
    assert_eq!(script.closed(3, Some(3000))[1..], ["closed", "finish"]);
}

#[test]
fn a_token_is_refreshed_before_it_expires() {
    for (good_for, after) in [(100, 80), (3600, 3540)] {
        let mut script = Script::new();
        script.core.settings.connect_timeout = Duration::from_hours(9);
        script.wait(0);
        script.core.authenticate(LinkId(1), Some("one"), Some(Duration::from_secs(good_for)), script.now);
        assert_eq!(script.effects(), ["send 1 auth one"]);
        assert_eq!(script.wait(after * 1000 - 1), NOTHING);
        assert_eq!(script.wait(1), ["refresh 1"]);
        script.core.authenticate(LinkId(1), Some("two"), None, script.now);
        assert_eq!(script.effects(), ["send 1 auth two"]);
    }
}

#[test]
fn who_is_there_is_told_by_the_connection_that_serves() {
    let mut script = Script::new();
    script.core.subscribe("lobby".into(), None, true, script.now);
    script.wait(0);
    script.open(1, "a");
    let subscribed = |reference| json!({"type": "subscribed", "ref": reference, "room": "lobby", "position": "5-0", "recovered": true});
    assert_eq!(script.frame(1, subscribed(1)), ["subscribed lobby 5-0", "send 1 presence lobby"]);
    let told =
        |kind: &str, count: u64| json!({"type": kind, "room": "lobby", "members": [{"session": "s"}], "count": count});
    let mut listing = told("presence", 1);
    listing["ref"] = json!(2);
    assert_eq!(script.frame(1, listing), ["presence lobby 1"]);
    assert_eq!(script.frame(1, told("join", 2)), ["join lobby 2"]);
    assert_eq!(script.frame(1, told("presence", 3)), ["presence lobby 3"], "unasked");
    script.drain(1, 0, 1000);
    script.wait(0);
    script.open(2, "b");
    assert_eq!(script.frame(2, told("join", 3)), NOTHING, "not yet");
    assert_eq!(script.frame(2, subscribed(1)), ["recovered lobby 0", "leave 1", "moved a b", "send 2 presence lobby"]);
    assert_eq!(script.frame(2, told("leave", 2)), ["leave lobby 2"]);
}

#[test]
fn a_question_is_answered_once_whatever_happens() {
    let ask = |script: &mut Script, token| {
        script.core.ask(token, &Question::Presence { room: "lobby".into() });
        script.effects()
    };
    let mut script = Script::new();
    assert_eq!(ask(&mut script, 1), ["answered 1 not connected"]);
    let mut script = Script::served();
    assert_eq!(ask(&mut script, 2), ["send 1 presence lobby"]);
    let answer = json!({"type": "presence", "ref": 2, "room": "lobby", "members": [], "count": 7});
    assert_eq!(script.frame(1, answer), ["answered 2 7 there"]);
    let question = Question::History { room: "lobby".into(), before: None, limit: Some(1) };
    script.core.ask(3, &question);
    assert_eq!(script.effects(), ["send 1 history lobby"]);
    let messages = json!([{"id": "3-0", "timestamp": 1, "payload": 5}]);
    let page = json!({"type": "history", "ref": 3, "room": "lobby", "messages": messages, "more": true});
    assert_eq!(script.frame(1, page), ["answered 3 1 past"]);
    ask(&mut script, 4);
    let refused = json!({"type": "error", "ref": 4, "code": "unavailable", "message": "away"});
    assert_eq!(script.frame(1, refused), ["answered 4 unavailable: away"]);
    ask(&mut script, 5);
    assert_eq!(script.closed(1, None)[0], "answered 5 not connected");
}

#[test]
fn publishes_do_not_overtake_each_other_in_a_move() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    script.open(2, "b");
    assert_eq!(script.publish(1), ["send 1 publish lobby"]);
    let answer = json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "5-0", "recovered": true});
    assert_eq!(script.frame(2, answer), ["recovered lobby 0"]);
    assert_eq!(script.publish(2), NOTHING);
    assert_eq!(
        script.frame(1, json!({"type": "ok", "ref": 2, "id": "8-0"})),
        ["published 1 8-0", "leave 1", "moved a b", "send 2 publish lobby"]
    );
}

#[test]
fn an_unsubscribed_room_is_forgotten_everywhere() {
    let mut script = Script::served();
    script.core.unsubscribe("lobby", script.now);
    assert_eq!(script.effects(), ["send 1 unsubscribe lobby"]);
    assert_eq!(script.message(1, "6-0"), NOTHING);
    script.closed(1, None);
    script.wait(0);
    assert_eq!(script.open(2, "b"), ["connected b"]);
}

#[test]
fn closing_leaves_every_connection_and_ends_the_session() {
    let mut script = Script::served();
    script.drain(1, 0, 1000);
    script.wait(0);
    script.core.close();
    assert_eq!(script.effects(), ["leave 1", "leave 2", "closed", "finish"]);
    assert_eq!(script.wait(10_000), NOTHING);
}

#[test]
fn a_first_subscription_may_resume_from_a_cursor_of_an_earlier_life() {
    let mut script = Script::new();
    script.core.subscribe("lobby".into(), Some(MessageId::new(2, 0)), false, script.now);
    script.wait(0);
    assert_eq!(script.open(1, "a"), ["connected a", "send 1 subscribe lobby 2-0"]);
    let answer =
        json!({"type": "subscribed", "ref": 1, "room": "lobby", "position": "5-0", "recovered": true, "replayed": 1});
    assert_eq!(script.frame(1, answer), ["subscribed lobby 2-0"]);
    assert_eq!(script.message(1, "3-0"), ["message 3-0"]);
}
