//! The publisher against a real Redis that is killed under it: every number's fate is what the stream says.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use redis::streams::{StreamId, StreamRangeReply};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use wscluster_probe::{
    ledger::{Fate, Ledger},
    payload::{Numbered, Rooms},
    publisher::{Plan, Publisher, RedisPublisher},
    recorder::Recorder,
    shared::Shared,
};

/// A Redis on a Unix socket, which ends with the test.
struct Redis(Child);

impl Redis {
    fn start(folder: &Path) -> Self {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .arg("--unixsocket")
            .arg(folder.join("redis.sock"))
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self(child)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn until(what: &str, fact: impl Fn() -> bool) {
    let wait = async {
        while !fact() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn entries(url: &str, key: &str) -> Vec<(u64, String)> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let reply: StreamRangeReply =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    let numbered = |entry: &StreamId| {
        let payload = RawValue::from_string(entry.get("payload").unwrap()).unwrap();
        (Numbered::decode(&payload).unwrap().number, entry.id.clone())
    };
    reply.ids.iter().map(numbered).collect()
}

fn check(ledger: &Ledger, entries: Vec<(u64, String)>) {
    assert!(entries.is_sorted_by_key(|(number, _)| *number), "the numbers of a room are in order");
    let mut stream: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (number, id) in entries {
        stream.entry(number).or_default().push(id);
    }
    for number in 1..=ledger.last() {
        let found = stream.remove(&number).unwrap_or_default();
        match ledger.fate(number).unwrap() {
            Fate::Published(id) => assert_eq!(found, [id.to_string()], "number {number}"),
            Fate::Uncertain => assert!(found.len() <= 1, "number {number}: {found:?}"),
            fate @ (Fate::Failed | Fate::Pending) => assert!(found.is_empty(), "number {number} is {fate:?}"),
        }
    }
    assert!(stream.is_empty(), "entries that were never issued: {stream:?}");
}

#[tokio::test]
async fn a_killed_redis_leaves_no_number_with_a_wrong_fate() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Redis::start(folder.path());
    let url = format!("redis+unix://{}", folder.path().join("redis.sock").display());
    let rooms = Rooms::new("r", 3);
    let plan = Plan { rooms: rooms.clone(), rate: 3000.0, payload_bytes: 64, settle: Duration::from_secs(5) };
    let publisher = RedisPublisher::connect(&url, "room:".to_owned(), plan).await.unwrap();
    let shared = Shared::new(Recorder::new(1, rooms.clone()));
    let stop = CancellationToken::new();
    let publishing = tokio::spawn(Publisher::Redis(Box::new(publisher)).run(Arc::clone(&shared), stop.clone()));
    let so_far = || shared.lock().checker.rooms()[0].published();
    for _ in 0..3 {
        let before = so_far();
        until("messages flow", || so_far() > before + 100).await;
        drop(server);
        until("the publisher has noticed", || shared.lock().last_error.take().is_some()).await;
        server = Redis::start(folder.path());
    }
    let before = so_far();
    until("messages flow again", || so_far() > before + 100).await;
    stop.cancel();
    publishing.await.unwrap();
    for room in 0..rooms.count() {
        let entries = entries(&url, &format!("room:{}", rooms.name(room))).await;
        check(&shared.lock().checker.rooms()[room], entries);
    }
    drop(server);
}

#[tokio::test]
async fn a_wrong_address_is_refused() {
    let plan = Plan { rooms: Rooms::new("r", 1), rate: 1.0, payload_bytes: 0, settle: Duration::ZERO };
    for url in ["", "http://127.0.0.1", "redis:/nowhere"] {
        assert!(RedisPublisher::connect(url, String::new(), plan.clone()).await.is_err(), "{url}");
    }
}
