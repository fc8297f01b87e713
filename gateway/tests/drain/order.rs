//! The pod's hook, SIGTERM and the operator's call, in any order, as the process sees them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::{Client, Process, http, soon, until};
use crate::told;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Hook,
    Signal,
    Call,
}

const ORDERS: [[Word; 3]; 6] = [
    [Word::Hook, Word::Signal, Word::Call],
    [Word::Hook, Word::Call, Word::Signal],
    [Word::Signal, Word::Hook, Word::Call],
    [Word::Signal, Word::Call, Word::Hook],
    [Word::Call, Word::Hook, Word::Signal],
    [Word::Call, Word::Signal, Word::Hook],
];

async fn status(gateway: &Process) -> Value {
    serde_json::from_str(&http(gateway.admin, "GET", "/v1/drain", "", "").await.1).unwrap()
}

/// The hook, which has reached the gateway.
async fn start_hook(gateway: &Process) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut hook = gateway.drain_command().spawn().unwrap();
    let mut lines = BufReader::new(hook.stdout.take().unwrap()).lines();
    assert!(soon(lines.next_line()).await.unwrap().unwrap().starts_with("draining: "));
    (hook, lines)
}

#[tokio::test]
async fn hook_signal_and_call_in_any_order_are_one_drain() {
    for order in ORDERS {
        let mut gateway = Process::start("drain: {timeoutSeconds: 60}", None).await;
        let (first, mut second) = (Client::connect(gateway.public).await, Client::connect(gateway.public).await);
        let (mut first, mut hook, mut began) = (Some(first), None, None);
        for word in order {
            match word {
                Word::Hook => hook = Some(start_hook(&gateway).await),
                Word::Signal => gateway.signal("TERM").await,
                Word::Call => assert_eq!(http(gateway.admin, "POST", "/v1/drain", "", "{}").await.0, 200),
            }
            until(async || status(&gateway).await["noticed"] == 2).await;
            if let Some(client) = first.take() {
                client.leave().await;
                until(async || status(&gateway).await["moved"] == 1).await;
            }
            if word == Word::Signal {
                until(async || status(&gateway).await["exiting"] == true).await;
            }
            let now = status(&gateway).await;
            let began = began.get_or_insert_with(|| now["startedAt"].clone());
            assert_eq!(
                (&now["startedAt"], &now["moved"], &now["noticed"]),
                (&*began, &json!(1), &json!(2)),
                "{order:?}"
            );
            assert_eq!(http(gateway.admin, "GET", "/readyz", "", "").await.0, 503, "{order:?}");
        }
        assert_eq!(http(gateway.admin, "DELETE", "/v1/drain", "", "").await.0, 409, "{order:?}");
        assert_eq!(told(&mut second).await, ["drain"], "{order:?}");
        second.leave().await;
        assert!(soon(gateway.child.wait()).await.unwrap().success(), "{order:?}");
        let (mut hook, _lines) = hook.unwrap();
        assert!(soon(hook.wait()).await.unwrap().success(), "{order:?}");
    }
}

#[tokio::test]
async fn a_hook_that_is_cancelled_fails_and_the_gateway_serves_on() {
    let gateway = Process::start("drain: {timeoutSeconds: 60}", None).await;
    let mut client = Client::connect(gateway.public).await;
    let mut hook = gateway.drain_command().spawn().unwrap();
    assert_eq!(client.next().await["type"], "drain");
    assert_eq!(http(gateway.admin, "DELETE", "/v1/drain", "", "").await.0, 200);
    assert!(!soon(hook.wait()).await.unwrap().success());
    assert_eq!(told(&mut client).await, ["drainCancelled"]);
}

#[tokio::test]
async fn a_second_sigterm_is_no_hurry_but_sigint_is() {
    let mut gateway = Process::start("drain: {timeoutSeconds: 60}", None).await;
    let mut client = Client::connect(gateway.public).await;
    gateway.signal("TERM").await;
    assert_eq!(client.next().await["type"], "drain");
    gateway.signal("TERM").await;
    gateway.signal("TERM").await;
    assert_eq!(told(&mut client).await, [""; 0]);
    assert_eq!(status(&gateway).await["state"], "draining");
    gateway.signal("INT").await;
    assert_eq!(client.close_code().await, 1001);
    drop(client);
    assert!(soon(gateway.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn who_neither_moves_nor_answers_holds_up_the_end_for_seconds_only() {
    let mut gateway = Process::start("drain: {timeoutSeconds: 1}", None).await;
    // Nobody reads its socket: it gives no answer to a close frame.
    let deaf = Client::connect(gateway.public).await;
    let began = Instant::now();
    gateway.signal("TERM").await;
    assert!(soon(gateway.child.wait()).await.unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(9), "of the 30 s that a pod has beyond its drain");
    drop(deaf);
}
