//! The trim sweep and the check, on a real Redis.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use wscluster_crds::spec::Streams;
use wscluster_operator::metrics::Metrics;
use wscluster_operator::secrets::Certificates;
use wscluster_operator::streams::connect::{Place, identify};
use wscluster_operator::streams::report::{Fault, Reachability, Report};
use wscluster_operator::streams::rules::Rules;
use wscluster_operator::streams::sweep::{Pass, Sweep};
use wscluster_operator::streams::{Target, follow};
use wscluster_operator::workers::Publisher;

/// A Redis of the test's own, which ends with it.
struct Server {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        Self::start_at(free_port(), arguments).await
    }

    async fn start_at(port: u16, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(arguments)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (apt-get install redis-server)");
        let server = Self { process, port, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> MultiplexedConnection {
        Place::parse(&self.url(), "default").unwrap().connect().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn add(redis: &mut MultiplexedConnection, key: &str, id: &str) -> String {
    redis::cmd("XADD").arg(key).arg(id).arg("payload").arg("x").query_async(redis).await.unwrap()
}

async fn length(redis: &mut MultiplexedConnection, key: &str) -> i64 {
    redis::cmd("XLEN").arg(key).query_async(redis).await.unwrap()
}

async fn ttl(redis: &mut MultiplexedConnection, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query_async(redis).await.unwrap()
}

async fn pass(redis: &mut MultiplexedConnection, yaml: &str) -> Pass {
    let rules = Rules::new(&serde_yaml::from_str(yaml).unwrap());
    Sweep::default().step(redis, &rules).await.unwrap().finished.expect("a whole pass")
}

fn milliseconds_ago(seconds: i64) -> String {
    format!("{}-0", jiff::Timestamp::now().as_millisecond() - seconds * 1000)
}

#[tokio::test]
async fn streams_that_only_others_write_are_trimmed_by_number() {
    let server = Server::start(&[]).await;
    let mut redis = server.connect().await;
    for _ in 0..50 {
        add(&mut redis, "room:a", "*").await;
        add(&mut redis, "other:a", "*").await;
    }
    add(&mut redis, "room:b", "*").await;
    let found = pass(&mut redis, "trim: {strategy: MaxLen, maxLen: 10, approximate: false}").await;
    assert_eq!((found.rooms, found.trimmed, found.removed), (2, 40, 0));
    assert_eq!(length(&mut redis, "room:a").await, 10);
    assert_eq!(length(&mut redis, "other:a").await, 50, "only what bears the prefix is ours to trim");
    assert!(found.shortest_hold.is_some_and(|hold| (0..20_000).contains(&hold)));
}

#[tokio::test]
async fn streams_are_trimmed_by_age_and_by_their_own_override() {
    let server = Server::start(&[]).await;
    let mut redis = server.connect().await;
    for seconds in [500, 400, 30, 20] {
        add(&mut redis, "room:old", &milliseconds_ago(seconds)).await;
        add(&mut redis, "room:news:1", &milliseconds_ago(seconds)).await;
    }
    let settings = "trim: {strategy: MinId, maxAgeSeconds: 100, approximate: false}\noverrides: [{match: 'news:*', trim: {strategy: MaxLen, maxLen: 3, approximate: false}}]";
    assert_eq!(pass(&mut redis, settings).await.trimmed, 3);
    assert_eq!(length(&mut redis, "room:old").await, 2);
    assert_eq!(length(&mut redis, "room:news:1").await, 3);
}

#[tokio::test]
async fn a_room_that_nobody_writes_to_is_removed_and_a_living_one_never() {
    let server = Server::start(&[]).await;
    let mut redis = server.connect().await;
    add(&mut redis, "room:idle", &milliseconds_ago(3700)).await;
    add(&mut redis, "room:alive", "*").await;
    add(&mut redis, "room:numbered", "5-1").await;
    // A gateway published an hour ago and set an expiry; others have written since.
    add(&mut redis, "room:foreign", "*").await;
    let () = redis::cmd("PEXPIRE").arg("room:foreign").arg(5000).query_async(&mut redis).await.unwrap();
    // A gateway published just now: its expiry is right.
    add(&mut redis, "room:own", "*").await;
    let () = redis::cmd("PEXPIRE").arg("room:own").arg(3_600_000).query_async(&mut redis).await.unwrap();
    let found = pass(&mut redis, "idleTtlSeconds: 3600").await;
    assert_eq!((found.rooms, found.removed), (4, 1));
    assert_eq!(length(&mut redis, "room:idle").await, 0);
    assert_eq!(length(&mut redis, "room:numbered").await, 1, "an id that is no time says nothing about age");
    assert_eq!(ttl(&mut redis, "room:foreign").await, -1);
    assert!(ttl(&mut redis, "room:own").await > 3_500_000);
}

#[tokio::test]
async fn a_prefix_with_special_characters_matches_literally() {
    let server = Server::start(&[]).await;
    let mut redis = server.connect().await;
    add(&mut redis, "a[1]*:x", "*").await;
    add(&mut redis, "a1:x", "*").await;
    assert_eq!(pass(&mut redis, "keyPrefix: 'a[1]*:'").await.rooms, 1);
}

#[tokio::test]
async fn many_streams_are_swept_in_bounded_pages() {
    let server = Server::start(&[]).await;
    let mut redis = server.connect().await;
    let mut pipeline = redis::pipe();
    for number in 0..5000 {
        pipeline.cmd("XADD").arg(format!("room:{number}")).arg("*").arg("payload").arg("x").ignore();
    }
    let () = pipeline.query_async(&mut redis).await.unwrap();
    assert_eq!(pass(&mut redis, "{}").await.rooms, 5000);
}

#[tokio::test]
async fn wrong_and_missing_passwords_are_told_apart_from_silence() {
    let server = Server::start(&["--requirepass", "right"]).await;
    let fault = async |url: String| {
        let place = Place::parse(&url, "default").unwrap();
        match place.connect().await {
            Ok(mut redis) => identify(&mut redis).await.unwrap_err(),
            Err(failure) => failure,
        }
    };
    let wrong = fault(format!("redis://:wrong-one@127.0.0.1:{}", server.port)).await;
    assert_eq!(wrong.fault, Fault::Authentication);
    assert!(!wrong.message.contains("wrong-one"));
    assert_eq!(fault(server.url()).await.fault, Fault::Authentication);
    let nobody = fault(format!("redis://127.0.0.1:{}", free_port())).await;
    assert_eq!(nobody.fault, Fault::Connection);
    let right = format!("redis://:right@127.0.0.1:{}", server.port);
    let mut redis = Place::parse(&right, "default").unwrap().connect().await.unwrap();
    let identity = identify(&mut redis).await.unwrap();
    assert!(matches!(identity, Reachability::Reachable { mode, .. } if mode == "standalone"));
}

#[tokio::test]
async fn a_redis_that_comes_back_is_noticed() {
    let port = free_port();
    let target = Target {
        url: format!("redis://127.0.0.1:{port}"),
        certificates: Certificates::default(),
        namespace: "default".to_owned(),
        streams: Streams::default(),
        resume_window_seconds: 120,
        sweep: true,
    };
    let changed = Arc::new(Notify::new());
    let poke = changed.clone();
    let (publisher, report) = Publisher::new(Report::default(), Arc::new(move || poke.notify_one()));
    let (_targets, receiver) = watch::channel(target);
    let task = tokio::spawn(follow(receiver, publisher, Metrics::default()));
    let until = async |wanted: fn(&Report) -> bool| {
        let waiting = async {
            while !wanted(&report.lock().unwrap()) {
                changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("within 30 seconds");
    };
    until(|report| matches!(report.reachability, Reachability::Failed { fault: Fault::Connection, .. })).await;
    let server = Server::start_at(port, &[]).await;
    until(|report| matches!(report.reachability, Reachability::Reachable { .. }) && report.rooms == Some(0)).await;
    drop(server);
    until(|report| matches!(report.reachability, Reachability::Failed { fault: Fault::Connection, .. })).await;
    task.abort();
}
