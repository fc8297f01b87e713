//! Streams as Redis keeps them and as others write them: trims, strange entries, streams that go or go back, and a Redis
//! that does not notify. Real Redis, real gateways, real sockets.

mod foreign;
mod partitions;
mod resync;
#[path = "../support/mod.rs"]
mod support;
mod trim;

use serde_json::Value;
use support::redis_server::RedisServer;
use support::{Client, Gateway};

/// A Redis, a gateway that is a user of it, and a client.
struct World {
    redis: RedisServer,
    gateway: Gateway,
    member: Client,
}

impl World {
    /// With the rights of a user of Redis, and options of the server.
    async fn start(rights: &str, options: &[&str], yaml: &str) -> Self {
        let mut arguments = vec!["--user", "gateway", "on", ">s3cret"];
        arguments.extend(rights.split(' '));
        arguments.extend(options);
        let redis = RedisServer::start(&arguments).await;
        let url = format!("redis://gateway:s3cret@127.0.0.1:{}", redis.port());
        let gateway = Gateway::start(yaml, Some(&url)).await;
        gateway.connected().await;
        let member = gateway.client().await;
        Self { redis, gateway, member }
    }

    async fn simple(yaml: &str) -> Self {
        Self::start("~* &* +@all", &[], yaml).await
    }

    /// Runs a script, as any other program might.
    async fn script(&self, script: &str) -> String {
        self.redis.command(&["EVAL", script, "0"]).await
    }

    /// A plain entry of a foreign writer; returns its id.
    async fn write(&self, room: &str, payload: &str) -> String {
        self.redis.command(&["XADD", &format!("room:{room}"), "*", "payload", payload]).await
    }

    /// The next frame, which is a message of that room with that payload.
    async fn hears(&mut self, room: &str, payload: Value) {
        let frame = self.member.next().await;
        assert_eq!((&frame["type"], &frame["room"], &frame["payload"]), (&"message".into(), &room.into(), &payload));
    }

    /// The next frame, which tells to resync a room; returns the position.
    async fn resyncs(&mut self, room: &str, reason: &str) -> String {
        let frame = self.member.next().await;
        assert_eq!((&frame["type"], &frame["room"]), (&"resync".into(), &room.into()), "{frame}");
        assert_eq!(frame["reason"], reason, "{frame}");
        frame["position"].as_str().unwrap().to_owned()
    }
}
