//! Affinity measured on a fleet that does as it is told: one that finds its clients again, and one that does not.

#[path = "../../../../clients/rust/tests/fake/mod.rs"]
mod fake;
mod gateways;

use std::net::SocketAddr;

use clap::Parser;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use wscluster_probe::{
    Options, Verdict,
    affinity::{self, Affinity},
};

use fake::Fake;

/// Five clients: so those who come in turn do not come to the same of three gateways each time.
const FEW: &[&str] = &["--sessions", "5", "--reconnects", "5"];

fn options(address: SocketAddr, more: &[&str]) -> Options {
    let url = format!("ws://{address}/ws");
    let all = ["wscluster-probe", "--affinity", "--connect-rate", "5000", "--url", &url];
    Options::parse_from(all.iter().chain(more))
}

async fn measure(fake: &Fake) -> anyhow::Result<Affinity> {
    affinity::run(&options(fake.address, FEW), CancellationToken::new(), |_| Ok(())).await
}

fn gateways(spread: &affinity::Spread) -> Vec<&str> {
    spread.gateways.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_fleet_that_finds_its_clients_passes() {
    let fake = Fake::start().await;
    fake.fleet(&["a", "b", "c"], true);
    let report = measure(&fake).await.unwrap();
    assert_eq!((report.verdict, report.reached_owner, report.missed), (Verdict::Ok, 25, 0), "{report}");
    assert!(report.through_another > 0, "{report}");
    assert_eq!(gateways(&report.without_cookie), ["a", "b", "c"]);
    let sum = |spread: &affinity::Spread| spread.gateways.values().sum::<u64>();
    assert_eq!((sum(&report.with_cookie), sum(&report.without_cookie)), (30, 5), "{report}");
}

#[tokio::test]
async fn a_fleet_that_forgets_its_clients_is_found_out() {
    let fake = Fake::start().await;
    fake.fleet(&["a", "b", "c"], false);
    let report = measure(&fake).await.unwrap();
    assert_eq!(report.verdict, Verdict::Failed, "{report}");
    assert!(report.missed > 0 && report.missed + report.reached_owner == 25, "{report}");
    assert!(report.examples[0].contains(" and came to "), "{report}");
}

#[tokio::test]
async fn a_fleet_without_cookies_is_named_as_such() {
    let fake = Fake::start().await;
    let report = measure(&fake).await.unwrap();
    assert_eq!((report.verdict, report.missed), (Verdict::Failed, 25), "each connection had a gateway of its own");
    assert!(report.examples[0].contains("no gateway has set a cookie"), "{report}");
    fake.refuse(1);
    let report = measure(&fake).await.unwrap();
    assert_eq!(report.failed_handshakes, 1, "{report}");
    assert!(report.examples.iter().any(|example| example.contains("503")), "{report}");
}

#[tokio::test]
async fn clients_who_cannot_connect_at_all_prove_nothing() {
    let fake = Fake::start().await;
    fake.refuse(usize::MAX);
    let error = measure(&fake).await.unwrap_err().to_string();
    assert!(error.contains("no client could connect") && error.contains("503"), "{error}");
}

#[tokio::test]
async fn cookies_are_kept_from_one_measurement_to_the_next() {
    let control = free_address();
    let fake = Fake::start().await;
    fake.fleet(&["a", "b"], true);
    let (options, finish) =
        (options(fake.address, &[FEW, &["--control", &control]].concat()), CancellationToken::new());
    let ending = finish.clone();
    let running = tokio::spawn(async move { affinity::run(&options, finish, |_| Ok(())).await });
    let before = report(&control).await;
    assert_eq!((before.verdict, gateways(&before.with_cookie)), (Verdict::Ok, vec!["a", "b"]), "{before}");
    // Who has a cookie goes where it was, though others have no place there any more.
    fake.fleet(&["b", "c"], true);
    let between = report(&control).await;
    assert_eq!(between.verdict, Verdict::Ok, "{between}");
    assert!(between.with_cookie.gateways["b"] >= before.with_cookie.gateways["b"], "{between}");
    fake.fleet(&["d", "e"], true);
    let after = report(&control).await;
    assert_eq!((after.verdict, gateways(&after.with_cookie)), (Verdict::Ok, vec!["d", "e"]), "{after}");
    assert_eq!(call(&control, "GET", "/status").await["phase"], "waiting");
    ending.cancel();
    assert_eq!(running.await.unwrap().unwrap(), after);
}

async fn report(control: &str) -> Affinity {
    serde_json::from_value(call(control, "POST", "/measure").await).unwrap()
}

async fn call(address: &str, method: &str, path: &str) -> Value {
    let answer = send(address, &format!("{method} {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n")).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Sends a request once somebody listens.
async fn send(address: &str, request: &str) -> String {
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
