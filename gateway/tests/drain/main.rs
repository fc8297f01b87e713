//! A drain over real sockets: who is taken in and told when, how far it is, and what raw clients see of it.

mod arrivals;
mod order;
mod progress;
mod raw;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};

use support::{Client, Gateway, http};

/// Begins a drain, or changes its terms.
async fn drain(gateway: &Gateway, wish: &Value) -> Value {
    let (status, body) = http(gateway.admin, "POST", "/v1/drain", "", &wish.to_string()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// What the client was told up to now, by their types. A ping's answer says that there is no more, the second one: a turn
/// of a shard looks at its sockets before it looks at what the gateway says.
async fn told(client: &mut Client) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..2 {
        client.send(json!({"type": "ping", "ref": 99})).await;
        loop {
            match client.next().await["type"].as_str().unwrap() {
                "pong" => break,
                kind => told.push(kind.to_owned()),
            }
        }
    }
    told
}
