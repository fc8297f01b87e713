//! When members are told that something may be missing, with which reason, and when not: nothing is silent, and nothing
//! is cried without need.

use serde_json::json;

use crate::World;
use crate::support::until;

impl World {
    /// Rooms `a` and `b` with a message each, which the member has heard.
    async fn with_rooms(yaml: &str) -> Self {
        let mut world = Self::simple(yaml).await;
        for room in ["a", "b"] {
            world.member.subscribe(room).await;
            world.write(room, "0").await;
            world.hears(room, json!(0)).await;
        }
        world
    }

    /// Something happens while the gateway has no connection, and gets none.
    async fn while_away(&self, script: &str) {
        self.redis.command(&["ACL", "SETUSER", "gateway", "off"]).await;
        self.redis.command(&["CLIENT", "KILL", "USER", "gateway"]).await;
        until(|| async { self.gateway.connections().await["redis"]["connected"] == false }).await;
        self.script(script).await;
        self.redis.command(&["ACL", "SETUSER", "gateway", "on"]).await;
    }

    /// No room was told to resync, but for what was already heard: what is written now comes next.
    async fn goes_on(&mut self) {
        for room in ["b", "a"] {
            self.write(room, "\"on\"").await;
            self.hears(room, json!("on")).await;
        }
    }
}

fn written(count: u32, kept: u32) -> String {
    format!("for n=1,{count} do redis.call('XADD','room:a','MAXLEN',{kept},'*','payload',n) end")
}

#[tokio::test]
async fn a_reader_that_was_away_for_no_more_than_is_kept_misses_nothing() {
    for count in [1, 2, 3] {
        let mut world = World::with_rooms("").await;
        world.while_away(&written(count, 3)).await;
        for n in 1..=count {
            world.hears("a", json!(n)).await;
        }
        world.goes_on().await;
    }
}

#[tokio::test]
async fn a_reader_that_was_away_for_more_than_is_kept_tells_it_and_delivers_the_rest() {
    for count in [4, 400] {
        let mut world = World::with_rooms("").await;
        world.while_away(&written(count, 3)).await;
        world.resyncs("a", "trimmed").await;
        for n in count - 2..=count {
            world.hears("a", json!(n)).await;
        }
        world.goes_on().await;
    }
}

#[tokio::test]
async fn entries_that_were_removed_unread_are_told_and_those_removed_after_are_not() {
    let mut world = World::with_rooms("").await;
    let id = world.write("a", "1").await;
    world.hears("a", json!(1)).await;
    world.redis.command(&["XDEL", "room:a", &id]).await;
    world.redis.command(&["XTRIM", "room:b", "MAXLEN", "0"]).await;
    world.goes_on().await;
    world.script("redis.call('XADD','room:a','*','payload',2) redis.call('XTRIM','room:a','MAXLEN',0)").await;
    world.resyncs("a", "trimmed").await;
    world.goes_on().await;
}

#[tokio::test]
async fn a_stream_that_was_removed_and_written_anew_has_vanished() {
    let mut world = World::with_rooms("").await;
    world.redis.command(&["DEL", "room:a"]).await;
    world.write("a", "1").await;
    world.resyncs("a", "vanished").await;
    world.hears("a", json!(1)).await;
    world.goes_on().await;
}

#[tokio::test]
async fn a_flushed_redis_has_lost_every_stream() {
    let mut world = World::with_rooms("").await;
    world.redis.command(&["FLUSHALL"]).await;
    for room in ["b", "a"] {
        world.write(room, "1").await;
        world.resyncs(room, "vanished").await;
        world.hears(room, json!(1)).await;
    }
    world.goes_on().await;
}

#[tokio::test]
async fn a_room_that_expired_of_idleness_has_lost_nothing() {
    let mut world = World::with_rooms("streams: {overrides: [{match: a, idleTtlSeconds: 1}]}").await;
    let mut writer = world.gateway.client().await;
    assert_eq!(writer.publish("a", json!(1)).await["type"], "ok");
    world.hears("a", json!(1)).await;
    until(|| async { world.redis.command(&["EXISTS", "room:a"]).await == "0" }).await;
    assert_eq!(writer.publish("a", json!(2)).await["type"], "ok");
    world.hears("a", json!(2)).await;
    world.goes_on().await;
}

#[tokio::test]
async fn ids_that_go_back_are_a_reset_and_the_room_goes_on_from_where_it_stands() {
    let mut world = World::with_rooms("").await;
    world.script("redis.call('DEL','room:a') redis.call('XADD','room:a','5-1','payload',1)").await;
    assert_eq!(world.resyncs("a", "reset").await, "5-1");
    world.redis.command(&["XADD", "room:a", "5-2", "payload", "2"]).await;
    world.hears("a", json!(2)).await;
    world.script("redis.call('XTRIM','room:a','MAXLEN',0) redis.call('XSETID','room:a','4-7')").await;
    assert_eq!(world.resyncs("a", "reset").await, "4-7");
    world.goes_on().await;
}

#[tokio::test]
async fn a_stream_that_is_made_empty_first_is_the_same_as_one_that_is_made_by_its_first_entry() {
    let mut world = World::simple("").await;
    for room in ["a", "b"] {
        world.member.subscribe(room).await;
    }
    world.redis.command(&["XGROUP", "CREATE", "room:a", "group", "$", "MKSTREAM"]).await;
    world.goes_on().await;
}

#[tokio::test]
async fn a_room_that_may_not_be_read_for_a_while_holds_up_no_other_and_misses_nothing() {
    let mut world = World::with_rooms("").await;
    world.redis.command(&["ACL", "SETUSER", "gateway", "resetkeys", "~room:b"]).await;
    world.script("redis.call('XADD','room:a','*','payload',1) redis.call('XADD','room:b','*','payload',1)").await;
    world.hears("b", json!(1)).await;
    until(|| async { world.gateway.metric("redis_read_errors_total").await >= 2 }).await;
    world.write("b", "2").await;
    world.hears("b", json!(2)).await;
    world.redis.command(&["ACL", "SETUSER", "gateway", "allkeys"]).await;
    world.hears("a", json!(1)).await;
    world.goes_on().await;
    assert_eq!(world.gateway.metric("redis_reconnects_total{connection=\"reads\"}").await, 0);
}
