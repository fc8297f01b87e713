//! What others write: delivered as well as can be, counted, and never in the way of what comes after.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::World;
use crate::support::until;

const ODDITIES: [&str; 6] = ["no_payload", "not_json", "not_utf8", "no_timestamp", "type", "not_a_stream"];

/// The fields of an entry as Lua writes them, what is delivered, its timestamp (`None`: that of the id), and what is odd.
type Case = (&'static str, Value, Option<u64>, &'static [&'static str]);

fn cases() -> Vec<Case> {
    vec![
        ("'a','b'", json!({"a": "b"}), None, &["no_payload", "no_timestamp", "type"]),
        ("'type','message','timestamp','5'", json!({"type": "message", "timestamp": "5"}), Some(5), &["no_payload"]),
        ("'\\255','\\254'", json!({"\u{fffd}": "\u{fffd}"}), None, &["no_payload", "no_timestamp", "type"]),
        ("'',''", json!({"": ""}), None, &["no_payload", "no_timestamp", "type"]),
        ("'type','message','payload','hi','timestamp','5'", json!("hi"), Some(5), &["not_json"]),
        ("'type','message','payload','{\"a\":','timestamp','5'", json!("{\"a\":"), Some(5), &["not_json"]),
        ("'type','message','payload','\\0\\n','timestamp','5'", json!("\0\n"), Some(5), &["not_json"]),
        ("'type','message','payload','','timestamp','5'", json!(""), Some(5), &["not_json"]),
        ("'type','message','payload','\\255!','timestamp','5'", json!("\u{fffd}!"), Some(5), &["not_utf8", "not_json"]),
        ("'type','message','payload','\"\\255\"','timestamp','5'", json!("\u{fffd}"), Some(5), &["not_utf8"]),
        ("'type','message','payload',' 1 ','timestamp','5'", json!(1), Some(5), &[]),
        ("'type','message','payload','1'", json!(1), None, &["no_timestamp"]),
        ("'type','message','payload','1','timestamp',''", json!(1), None, &["no_timestamp"]),
        ("'type','message','payload','1','timestamp','soon'", json!(1), None, &["no_timestamp"]),
        ("'type','message','payload','1','timestamp','1.5'", json!(1), None, &["no_timestamp"]),
        ("'type','message','payload','1','timestamp','-5'", json!(1), None, &["no_timestamp"]),
        ("'type','message','payload','1','timestamp','18446744073709551615'", json!(1), Some(u64::MAX), &[]),
        ("'type','message','payload','1','timestamp','18446744073709551616'", json!(1), None, &["no_timestamp"]),
        ("'type','drain','payload','1','timestamp','5'", json!(1), Some(5), &["type"]),
        ("'payload','1','timestamp','5'", json!(1), Some(5), &["type"]),
        ("'x','y','type','message','payload','1','timestamp','5','z',''", json!(1), Some(5), &[]),
        ("'type','message','payload','1','payload','2','timestamp','5','timestamp','6'", json!(1), Some(5), &[]),
    ]
}

#[tokio::test]
async fn strange_entries_are_delivered_and_counted_and_what_follows_comes() {
    let mut world = World::simple("").await;
    world.member.subscribe("a").await;
    world.member.subscribe("b").await;
    let mut odd: HashMap<&str, u64> = HashMap::new();
    for (fields, payload, timestamp, oddities) in cases() {
        let id = world.script(&format!("return redis.call('XADD','room:a','*',{fields})")).await;
        let frame = world.member.next().await;
        assert_eq!((&frame["type"], &frame["id"], &frame["payload"]), (&json!("message"), &json!(id), &payload));
        let of_id = id.split('-').next().unwrap().parse().unwrap();
        assert_eq!(frame["timestamp"], timestamp.unwrap_or(of_id), "{fields}");
        for each in oddities {
            *odd.entry(each).or_default() += 1;
        }
    }
    for oddity in ODDITIES {
        let counted = world.gateway.metric(&format!("redis_odd_entries_total{{oddity=\"{oddity}\"}}")).await;
        assert_eq!(counted, odd.get(oddity).copied().unwrap_or_default(), "{oddity}");
    }
    for room in ["b", "a"] {
        world.member.publish(room, json!("plain")).await;
        // The answer and the message may overtake each other; `publish` takes whichever comes first.
        let frame = world.member.next().await;
        assert!(frame["type"] == "ok" || frame["payload"] == "plain", "{frame}");
    }
}

#[tokio::test]
async fn a_megabyte_is_delivered_where_so_much_may_wait_for_a_client() {
    let mut world = World::simple("backpressure: {maxBufferedBytes: 4000000}").await;
    world.member.subscribe("a").await;
    world.script("redis.call('XADD','room:a','*','payload','\"'..string.rep('x',1048576)..'\"')").await;
    world.hears("a", "x".repeat(1_048_576).into()).await;
    world.write("a", "1").await;
    world.hears("a", json!(1)).await;
}

#[tokio::test]
async fn a_message_over_what_may_wait_for_a_client_is_got_by_resuming() {
    let mut world = World::simple("backpressure: {maxBufferedBytes: 100000}").await;
    let position = world.member.subscribe("a").await["position"].as_str().unwrap().to_owned();
    world.script("redis.call('XADD','room:a','*','payload','\"'..string.rep('x',200000)..'\"')").await;
    assert_eq!(world.member.close_code().await, 1013);
    world.member = world.gateway.client().await;
    assert_eq!(world.member.resume("a", &position).await["recovered"], true);
    world.hears("a", "x".repeat(200_000).into()).await;
    world.write("a", "1").await;
    world.hears("a", json!(1)).await;
}

/// Something else takes the place of streams that are watched: nothing but these rooms is troubled, and they neither when
/// it is gone.
pub(super) async fn keys_that_hold_something_else_trouble_no_other_room(world: &mut World) {
    for room in ["string", "list", "hash", "set", "fine"] {
        world.member.subscribe(room).await;
    }
    for room in ["string", "list", "hash", "set", "fine"] {
        world.write(room, "0").await;
        world.hears(room, json!(0)).await;
    }
    let script = "\
        redis.call('SET','room:string','x') redis.call('DEL','room:list','room:hash','room:set') \
        redis.call('RPUSH','room:list','x') redis.call('HSET','room:hash','x','y') redis.call('SADD','room:set','x')";
    world.script(script).await;
    for n in 1..4 {
        let wrote = Instant::now();
        world.write("fine", &n.to_string()).await;
        loop {
            let frame = world.member.next().await;
            if frame["type"] == "message" {
                assert_eq!((&frame["room"], &frame["payload"]), (&json!("fine"), &json!(n)));
                break;
            }
            told(&frame);
        }
        assert!(wrote.elapsed() < Duration::from_secs(4));
    }
    let odd = "redis_odd_entries_total{oddity=\"not_a_stream\"}";
    until(|| async { world.gateway.metric(odd).await == 4 }).await;
    let refused = world.gateway.client().await.publish("list", json!(1)).await;
    assert_eq!(refused["code"], "unavailable", "{refused}");
    world.redis.command(&["DEL", "room:string", "room:list", "room:hash", "room:set"]).await;
    let mut missing = HashMap::new();
    for room in ["string", "list", "hash", "set"] {
        world.write(room, "5").await;
        missing.insert(room, 5);
    }
    while !missing.is_empty() {
        let frame = world.member.next().await;
        if frame["type"] == "message" {
            assert_eq!(
                missing.remove(frame["room"].as_str().unwrap()).map(Value::from).as_ref(),
                Some(&frame["payload"])
            );
        } else {
            told(&frame);
        }
    }
    assert_eq!(world.gateway.metric("ws_resyncs_total{reason=\"vanished\"}").await, 4, "each once");
    let made_again = world.gateway.metric("redis_reconnects_total{connection=\"reads\"}").await;
    assert_eq!(made_again, 0, "a server that refuses is still there");
}

fn told(frame: &Value) {
    assert_eq!((&frame["type"], &frame["reason"]), (&json!("resync"), &json!("vanished")), "{frame}");
    assert_ne!(frame["room"], "fine");
}

#[tokio::test]
async fn a_key_that_holds_something_else_troubles_no_other_room() {
    keys_that_hold_something_else_trouble_no_other_room(&mut World::simple("").await).await;
}
