//! Whole runs against a fleet that does as it is told: a good one passes however it moves, a faulty one is found out.

#[path = "../../../clients/rust/tests/fake/mod.rs"]
mod fake;

use std::{cell::RefCell, time::Duration};

use clap::Parser;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use wscluster_probe::{Options, Report, Run, Verdict};

use fake::{Fake, Fault, Order, Seen};

/// Four sessions in two rooms, and two publishers.
const RUN: &[&str] = &["--sessions", "4", "--rooms", "2", "--rate", "100", "--settle", "300ms", "--run-id", "r"];
const CONNECTIONS: usize = 6;

struct Running {
    finish: CancellationToken,
    report: JoinHandle<anyhow::Result<Report>>,
}

impl Running {
    fn start(fake: &Fake, more: &[&str]) -> Self {
        let url = format!("ws://{}/ws", fake.address);
        let arguments = ["wscluster-probe", "--url", &url];
        let options = Options::parse_from(arguments.iter().chain(RUN).chain(more));
        let finish = CancellationToken::new();
        let run = Run::new(options, finish.clone());
        Self { finish, report: tokio::spawn(run.run(|_| Ok(()))) }
    }

    /// With messages flowing.
    async fn flowing(fake: &Fake, more: &[&str]) -> Self {
        let running = Self::start(fake, &[&["--duration", "1m"], more].concat());
        published(fake, 20).await;
        running
    }

    async fn finish(self) -> Report {
        self.finish.cancel();
        self.report.await.unwrap().unwrap()
    }
}

fn requests<'a>(seen: &'a Seen, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    seen.requests.iter().filter(move |request| request["type"] == kind)
}

async fn published(fake: &Fake, count: usize) {
    fake.until(|seen| seen.iter().map(|seen| requests(seen, "publish").count()).sum::<usize>() >= count).await;
}

/// The connections that follow rooms.
async fn subscribers(fake: &Fake) -> Vec<usize> {
    let found = RefCell::new(Vec::new());
    fake.until(|seen| {
        let follows = |n: &usize| requests(&seen[*n], "subscribe").next().is_some();
        *found.borrow_mut() = (0..seen.len()).filter(follows).collect();
        found.borrow().len() == 4
    })
    .await;
    found.into_inner()
}

#[tokio::test]
async fn a_fleet_that_moves_its_sessions_passes() {
    let fake = Fake::start().await;
    let running = Running::flowing(&fake, &[]).await;
    for connection in 0..CONNECTIONS {
        fake.drain(connection, 0, 5000);
    }
    fake.until(|seen| {
        seen.len() == 2 * CONNECTIONS && seen[..CONNECTIONS].iter().all(|seen| seen.goodbye == Some(1000))
    })
    .await;
    published(&fake, 60).await;
    let report = running.finish().await;
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert_eq!((report.moves.total, report.moves.max, report.disconnects_without_notice), (4, 1, 0), "{report}");
    assert_eq!(report.received, report.published * 2, "two sessions in each room\n{report}");
}

#[tokio::test]
async fn a_break_is_counted_but_is_no_violation() {
    let fake = Fake::start().await;
    let running = Running::flowing(&fake, &[]).await;
    fake.order(subscribers(&fake).await[0], Order::Break);
    fake.until(|seen| seen.len() == CONNECTIONS + 1 && !seen[CONNECTIONS].requests.is_empty()).await;
    published(&fake, 60).await;
    let report = running.finish().await;
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert_eq!((report.disconnects_without_notice, report.moves.total), (1, 1), "{report}");
    assert_eq!(report.breaks.to_string(), "1 with none", "{report}");
}

#[tokio::test]
async fn a_gateway_that_does_one_message_wrong_is_found_out() {
    let table = [(Fault::Lose, [1, 0, 0]), (Fault::Repeat, [0, 1, 0]), (Fault::Swap, [0, 0, 1])];
    for (fault, expected) in table {
        let fake = Fake::start().await;
        let running = Running::flowing(&fake, &[]).await;
        let name = format!("{fault:?}");
        fake.fault(subscribers(&fake).await[0], fault);
        published(&fake, 40).await;
        let report = running.finish().await;
        assert_eq!([report.lost, report.duplicated, report.reordered], expected, "{name}\n{report}");
        assert_eq!((report.verdict, report.examples.len()), (Verdict::Failed, 1), "{name}");
    }
}

#[tokio::test]
async fn the_control_port_tells_and_finishes_and_repeats_its_report() {
    let control = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let fake = Fake::start().await;
    let running = Running::flowing(&fake, &["--control", &control]).await;
    let status = call(&control, "GET", "/status").await;
    assert_eq!((&status["phase"], &status["connected"]), (&json!("running"), &json!(4)), "{status}");
    assert!(status["published"].is_u64() && status["lastError"].is_null(), "{status}");
    let first: Report = serde_json::from_value(call(&control, "POST", "/finish").await).unwrap();
    let second: Report = serde_json::from_value(call(&control, "POST", "/finish").await).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.verdict, Verdict::Ok);
    assert_eq!(call(&control, "GET", "/status").await["phase"], "done");
    assert_eq!(running.finish().await, first);
}

async fn call(address: &str, method: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[tokio::test]
async fn a_run_without_any_gateway_could_not_take_place() {
    let fake = Fake::start().await;
    fake.refuse(usize::MAX);
    let running = Running::start(&fake, &["--connect-timeout", "200ms"]);
    let error = running.report.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("no session could subscribe") && error.contains("503"), "{error}");
}

#[tokio::test]
async fn a_run_ends_by_itself_after_its_duration() {
    let fake = Fake::start().await;
    let running = Running::start(&fake, &["--duration", "300ms"]);
    let report = tokio::time::timeout(Duration::from_secs(5), running.report).await.unwrap().unwrap().unwrap();
    assert_eq!(report.verdict, Verdict::Ok);
    assert!(report.published > 10, "{report}");
}
