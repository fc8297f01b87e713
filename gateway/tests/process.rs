//! The program itself: signals, the drain command, its settings.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{BINARY, Client, Process, http, soon, until};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test]
async fn sigterm_drains_and_exits_with_zero_once_all_have_moved() {
    let redis = RedisServer::start(&[]).await;
    let old = Process::start("drain: {timeoutSeconds: 60}", Some(&redis.url())).await;
    let new = Process::start("", Some(&redis.url())).await;
    let mut before = Client::connect(old.public).await;
    before.subscribe("a").await;
    redis.command(&["XADD", "room:a", "*", "payload", "1"]).await;
    let (cursor, _) = before.message().await;
    old.signal("TERM").await;
    assert_eq!(before.next().await["type"], "drain");
    // Make before break: while the next connection is made, the old one goes on.
    redis.command(&["XADD", "room:a", "*", "payload", "2"]).await;
    let mut after = Client::connect(new.public).await;
    let answer = after.resume("a", &cursor).await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(1)));
    assert_eq!(after.message().await.1, json!(2));
    assert_eq!(before.message().await.1, json!(2));
    before.leave().await;
    let mut old = old;
    assert!(soon(old.child.wait()).await.unwrap().success());
    redis.command(&["XADD", "room:a", "*", "payload", "3"]).await;
    assert_eq!(after.message().await.1, json!(3));
}

#[tokio::test]
async fn sigterm_forces_the_rest_at_the_deadline_and_exits_with_zero() {
    let mut gateway = Process::start("drain: {timeoutSeconds: 1}", None).await;
    let mut stubborn = Client::connect(gateway.public).await;
    gateway.signal("TERM").await;
    assert_eq!(stubborn.close_code().await, 1012);
    assert!(soon(gateway.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn sigint_stops_at_once() {
    let mut gateway = Process::start("drain: {timeoutSeconds: 60}", None).await;
    let mut client = Client::connect(gateway.public).await;
    gateway.signal("INT").await;
    assert_eq!(client.close_code().await, 1001);
    drop(client);
    assert!(soon(gateway.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_second_signal_hurries_a_drain() {
    let mut gateway = Process::start("drain: {timeoutSeconds: 60}", None).await;
    let mut client = Client::connect(gateway.public).await;
    gateway.signal("TERM").await;
    assert_eq!(client.next().await["type"], "drain");
    gateway.signal("INT").await;
    assert_eq!(client.close_code().await, 1001);
    drop(client);
    assert!(soon(gateway.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn the_drain_command_waits_until_the_gateway_is_empty() {
    let gateway = Process::start("drain: {timeoutSeconds: 60}", None).await;
    let mut client = Client::connect(gateway.public).await;
    let mut command = gateway.drain_command().spawn().unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
    assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "draining: 1 left, 0 moved, 0 forced");
    assert_eq!(client.next().await["type"], "drain");
    assert!(command.try_wait().unwrap().is_none());
    client.leave().await;
    assert!(soon(command.wait()).await.unwrap().success());
    assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "drained: 0 left, 1 moved, 0 forced");
    let status: Value = serde_json::from_str(&http(gateway.admin, "GET", "/v1/drain", "", "").await.1).unwrap();
    assert_eq!(status["state"], "drained");
    assert_eq!(http(gateway.admin, "GET", "/readyz", "", "").await.0, 503);
}

#[tokio::test]
async fn the_drain_command_honours_the_least_time_and_its_own_timeout() {
    let gateway = Process::start("drain: {timeoutSeconds: 60, minSeconds: 1}", None).await;
    let mut client = Client::connect(gateway.public).await;
    let began = Instant::now();
    let mut command = gateway.drain_command().args(["--timeout", "1"]).spawn().unwrap();
    // Ready no more, but it accepts.
    until(|| async { http(gateway.admin, "GET", "/readyz", "", "").await.0 == 503 }).await;
    Client::connect(gateway.public).await.leave().await;
    assert_eq!(client.next().await["type"], "drain");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.close_code().await, 1012);
    drop(client);
    assert!(soon(command.wait()).await.unwrap().success());
    assert!(began.elapsed() >= Duration::from_secs(2));
    let status: Value = serde_json::from_str(&http(gateway.admin, "GET", "/v1/drain", "", "").await.1).unwrap();
    assert_eq!(status["forced"], 1);
}

#[tokio::test]
async fn the_drain_command_says_when_there_is_no_gateway() {
    let output = tokio::process::Command::new(BINARY).args(["drain", "--socket", "/nowhere"]).output().await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/nowhere") && said.contains("--socket"), "{said}");
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
    let gateway = Process::start("maxConnections: 1", None).await;
    let file = gateway.folder.path().join("gateway.yaml");
    let metric = async |line: &str| {
        let text = http(gateway.admin, "GET", "/metrics", "", "").await.1;
        text.lines().any(|have| have == line)
    };
    std::fs::write(&file, "maxConections: 2").unwrap();
    until(async || metric("wscluster_gateway_config_reloads_total{result=\"refused\"} 1").await).await;
    let _one = Client::connect(gateway.public).await;
    assert!(Client::open(gateway.public, "/ws?room=a", &[]).await.is_err());
    std::fs::write(&file, "maxConnections: 2").unwrap();
    until(async || metric("wscluster_gateway_config_reloads_total{result=\"applied\"} 1").await).await;
    assert!(Client::open(gateway.public, "/ws?room=a", &[]).await.is_ok());
}

fn run(args: &[&str], env: &[(&str, &str)]) -> (bool, String) {
    let output = std::process::Command::new(BINARY).args(args).envs(env.iter().copied()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn config_shows_what_is_in_force_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let token = folder.path().join("admin-token");
    std::fs::write(&file, "limits: {burst: 7}").unwrap();
    std::fs::write(&token, "t0ken\n").unwrap();
    let args = ["config", "--listen", "127.0.0.1:1", "--config", file.to_str().unwrap()];
    let env = [
        ("WSCLUSTER_LISTEN", "127.0.0.1:2"),
        ("WSCLUSTER_ADMIN_LISTEN", "127.0.0.1:3"),
        ("WSCLUSTER_REDIS_URL", "redis://me:s3cret@redis:6379/1"),
        ("WSCLUSTER_ADMIN_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let (ok, text) = run(&args, &env);
    assert!(ok, "{text}");
    for line in [
        "listen: 127.0.0.1:1",
        "adminListen: 127.0.0.1:3",
        "redis: redis://***@redis:6379/1",
        "  burst: 7",
        "maxConnections: 50000",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("t0ken"));
}

#[test]
fn bad_settings_are_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, "limits: {burst: 0}").unwrap();
    let file = file.to_str().unwrap();
    for (args, fault) in [
        (vec!["--config", file], "limits.burst: 0 is out of range"),
        (vec!["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (vec!["--redis", "redis+sentinel://:s3cret@a"], "--redis"),
        (vec!["--listen", "everywhere"], "--listen"),
        (vec!["--listen", "192.0.2.1:1"], "--listen 192.0.2.1:1"),
        (vec!["--admin-token-file", "/nowhere"], "--admin-token-file /nowhere"),
    ] {
        let (ok, text) = run(&args, &[]);
        assert!(!ok && text.contains(fault) && !text.contains("s3cret"), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut child = tokio::process::Command::new(BINARY)
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--socket"])
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until(|| async { tokio::net::UnixStream::connect(&path).await.is_ok() }).await;
    let output = tokio::process::Command::new(BINARY).args(["drain", "--socket"]).arg(&path).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    child.kill().await.unwrap();
}
