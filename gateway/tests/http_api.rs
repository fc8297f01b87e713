//! The HTTP API over real sockets: what is written arrives at subscribers, what goes wrong is a problem.

mod support;

use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, with its headers.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The code of a problem whose parts agree with one another.
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        let code = problem["code"].as_str().unwrap().to_owned();
        assert!(problem["type"].as_str().unwrap().ends_with(&format!("#{code}")), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        code
    }
}

async fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    let headers: String = headers.iter().fold(String::new(), |all, (name, value)| all + name + ": " + value + "\r\n");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(stream.read_to_string(&mut response)).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(gateway: &Gateway, room: &str, body: &Value) -> Answer {
    ask(gateway, "POST", &format!("/api/v1/rooms/{room}/messages"), &[JSON], &body.to_string()).await
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    ask(gateway, "GET", path, &[], "").await
}

#[tokio::test]
async fn what_is_posted_reaches_subscribers_and_is_read_back() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    client.subscribe("news/sport").await;
    let answer = post(&gateway, "news%2Fsport", &json!({"payload": {"goal": 1}})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(client.message().await, (id.clone(), json!({"goal": 1})));
    let page = get(&gateway, "/api/v1/rooms/news%2Fsport/messages").await.json();
    assert_eq!(page["messages"][0]["id"], *id);
    assert_eq!(page["messages"][0]["payload"], json!({"goal": 1}));
    assert!(page["messages"][0]["timestamp"].is_u64());
    assert_eq!(page["more"], false);
}

#[tokio::test]
async fn a_payload_is_delivered_as_it_was_sent() {
    let gateway = Gateway::start("", None).await;
    let mut client = Client::raw(gateway.public, "room=r").await;
    until(|| async { gateway.connections().await["subscriptions"] == 1 }).await;
    for payload in [r#"{"x" : [1, 2.50, 1e3]}"#, "null", "\"\\u00fc\""] {
        let body = format!("{{ \"payload\":  {payload}  }}");
        assert_eq!(ask(&gateway, "POST", "/api/v1/rooms/r/messages", &[JSON], &body).await.status, 200);
        assert_eq!(client.next_text().await, payload);
    }
}

#[tokio::test]
async fn a_batch_is_written_in_order_and_answered_one_by_one() {
    let gateway = Gateway::start("limits: {maxMessageBytes: 100, burst: 1000}", None).await;
    let mut batch: Vec<Value> = (0..100).map(|number| json!({"payload": number})).collect();
    batch[7] = json!({"payload": "x".repeat(99)});
    let answer = post(&gateway, "r", &json!(batch)).await;
    assert_eq!((answer.status, answer.json()["failed"].clone()), (200, json!(1)), "{}", answer.body);
    assert_eq!(answer.json()["results"][7]["error"]["code"], "too_large");
    let page = get(&gateway, "/api/v1/rooms/r/messages?limit=200").await.json();
    let got: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| message["payload"].clone()).collect();
    let expect: Vec<_> = (0..100).filter(|number| *number != 7).map(|number| json!(number)).collect();
    assert_eq!(got, expect);
    assert_eq!(answer.json()["results"][99]["id"], page["messages"][98]["id"]);
    assert_eq!(gateway.metric("ws_messages_published_total").await, 99);
}

#[tokio::test]
async fn the_same_key_writes_once() {
    let gateway = Gateway::start("", None).await;
    let path = "/api/v1/rooms/r/messages";
    let key = [JSON, ("idempotency-key", "order-17")];
    let first = ask(&gateway, "POST", path, &key, r#"{"payload": 1}"#).await.json();
    let again = ask(&gateway, "POST", path, &key, r#"{"payload": 1}"#).await.json();
    assert_eq!(first, again);
    let batch = r#"[{"payload": 2}, {"payload": 3}, {"payload": 1, "idempotencyKey": "order-17"}]"#;
    let first_batch = ask(&gateway, "POST", path, &key, batch).await.json();
    assert_eq!(first_batch, ask(&gateway, "POST", path, &key, batch).await.json());
    assert_eq!(first_batch["results"][2]["id"], first["id"], "a message's own key is above the header");
    let page = get(&gateway, path).await.json();
    let got: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["payload"].as_u64().unwrap()).collect();
    assert_eq!(got, [1, 2, 3]);
}

#[tokio::test]
async fn a_key_is_limited_at_below_and_above() {
    let gateway = Gateway::start("", None).await;
    for (length, status) in [(0, 400), (1, 200), (189, 200), (190, 200), (191, 400)] {
        let key = "k".repeat(length);
        let headers = [JSON, ("idempotency-key", key.as_str())];
        let answer = ask(&gateway, "POST", "/api/v1/rooms/r/messages", &headers, r#"[{"payload": 1}]"#).await;
        assert_eq!(answer.status, status, "{length}");
    }
}

#[tokio::test]
async fn the_size_of_a_batch_is_limited_at_below_and_above() {
    let gateway = Gateway::start("limits: {burst: 1000}", None).await;
    for (size, status) in [(0, 400), (1, 200), (99, 200), (100, 200), (101, 400)] {
        let batch: Vec<Value> = (0..size).map(|number| json!({"payload": number})).collect();
        assert_eq!(post(&gateway, "r", &json!(batch)).await.status, status, "{size}");
    }
}

#[tokio::test]
async fn a_payload_is_limited_at_below_and_above() {
    let gateway = Gateway::start("limits: {maxMessageBytes: 100}", None).await;
    for (size, status) in [(99, 200), (100, 200), (101, 413)] {
        let answer = post(&gateway, "r", &json!({"payload": "x".repeat(size - 2)})).await;
        assert_eq!(answer.status, status, "{size}");
    }
    let answer = post(&gateway, "r", &json!({"payload": "x".repeat(2 << 20)})).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "too_large"));
}

#[tokio::test]
async fn pages_go_both_ways() {
    let gateway = Gateway::start("", None).await;
    let batch: Vec<Value> = (0..5).map(|number| json!({"payload": number})).collect();
    let answer = post(&gateway, "r", &json!(batch)).await.json();
    let id = |index: usize| answer["results"][index]["id"].as_str().unwrap().to_owned();
    for (query, expect, more) in [
        ("limit=2".to_owned(), vec![3, 4], true),
        (format!("before={}&limit=2", id(3)), vec![1, 2], true),
        (format!("before={}&limit=2", id(1)), vec![0], false),
        (format!("after={}&limit=2", id(0)), vec![1, 2], true),
        (format!("after={}&limit=2", id(2)), vec![3, 4], false),
        (format!("after={}&before={}", id(0), id(3)), vec![1, 2], false),
        (format!("after={}", id(4)), vec![], false),
    ] {
        let page = get(&gateway, &format!("/api/v1/rooms/r/messages?{query}")).await.json();
        let got: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["payload"].as_u64().unwrap()).collect();
        assert_eq!((got, page["more"].as_bool().unwrap()), (expect, more), "{query}");
    }
}

/// Method, path, headers, body; status and code of the answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn what_goes_wrong_is_a_problem() {
    let gateway = Gateway::start("auth: {anonymous: {subscribe: [\"open\"], publish: [\"open\"]}}", None).await;
    let long = format!("/api/v1/rooms/{}/messages", "a".repeat(201));
    let room = "/api/v1/rooms/open/messages";
    let text = ("content-type", "text/plain");
    let good = r#"{"payload": 1}"#;
    let cases: [Case<'_>; 19] = [
        ("POST", room, &[], good, 415, "unsupported_media_type"),
        ("POST", room, &[text], good, 415, "unsupported_media_type"),
        ("POST", room, &[JSON], "", 400, "bad_request"),
        ("POST", room, &[JSON], "{", 400, "bad_request"),
        ("POST", room, &[JSON], "{}", 400, "bad_request"),
        ("POST", room, &[JSON], "5", 400, "bad_request"),
        ("POST", room, &[JSON], r#"{"payload": 1, "pay": 2}"#, 400, "bad_request"),
        ("POST", room, &[JSON], r#"[{"payload": 1}, {}]"#, 400, "bad_request"),
        ("POST", "/api/v1/rooms/shut/messages", &[JSON], good, 403, "forbidden"),
        ("GET", "/api/v1/rooms/shut/messages", &[], "", 403, "forbidden"),
        ("GET", &long, &[], "", 400, "bad_request"),
        ("GET", "/api/v1/rooms/a%0Ab/messages", &[], "", 400, "bad_request"),
        ("GET", "/api/v1/rooms/%FF/messages", &[], "", 400, "bad_request"),
        ("GET", "/api/v1/rooms/open/messages?limit=0", &[], "", 400, "bad_request"),
        ("GET", "/api/v1/rooms/open/messages?limit=201", &[], "", 400, "bad_request"),
        ("GET", "/api/v1/rooms/open/messages?after=x", &[], "", 400, "bad_request"),
        ("GET", "/api/v1/none", &[], "", 404, "not_found"),
        ("PUT", room, &[JSON], good, 405, "method_not_allowed"),
        ("POST", room, &[JSON, ("origin", "https://evil.test")], good, 403, "forbidden"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = ask(&gateway, method, path, headers, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{method} {path} {body}");
    }
    let answer = ask(&gateway, "PUT", room, &[], "").await;
    assert_eq!(answer.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn callers_without_a_key_are_limited_as_a_connection_is() {
    let gateway = Gateway::start("limits: {messagesPerSecond: 1, burst: 3}", None).await;
    let batch = |size: usize| json!((0..size).map(|number| json!({"payload": number})).collect::<Vec<_>>());
    let answer = post(&gateway, "r", &batch(4)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_request"), "that many never go");
    assert_eq!(post(&gateway, "r", &batch(2)).await.status, 200);
    assert_eq!(get(&gateway, "/api/v1/rooms/r/messages").await.status, 200);
    let answer = post(&gateway, "r", &batch(3)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (429, "rate_limited"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["retryAfter"], 1);
}

fn keys(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

const KEY: (&str, &str) = ("authorization", "Bearer key-1");

#[tokio::test]
async fn a_backend_may_do_everything_and_is_not_limited() {
    let keys = keys("key-1");
    let yaml = "limits: {messagesPerSecond: 1, burst: 1}\nauth: {anonymous: {subscribe: [], publish: []}}";
    let gateway = Gateway::start_with_keys(yaml, None, keys.path()).await;
    let path = "/api/v1/rooms/r/messages";
    for _ in 0..3 {
        let answer = ask(&gateway, "POST", path, &[JSON, KEY], r#"[{"payload": 1}, {"payload": 2}]"#).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(post(&gateway, "r", &json!({"payload": 1})).await.problem(), "forbidden");
    let wrong = [JSON, ("authorization", "Bearer key-2")];
    let answer = ask(&gateway, "POST", path, &wrong, r#"{"payload": 1}"#).await;
    assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn members_of_a_room_are_listed_and_counted() {
    let gateway = Gateway::start("auth: {anonymous: {subscribe: [\"lobby\"], publish: []}}", None).await;
    let members = async || ask(&gateway, "GET", "/api/v1/rooms/lobby/presence", &[], "").await.json();
    assert_eq!(members().await, json!({"members": [], "count": 0}));
    let (mut shown, mut unseen) = (gateway.client().await, gateway.client().await);
    shown.ask(json!({"type": "subscribe", "ref": 1, "room": "lobby", "presence": true})).await;
    unseen.subscribe("lobby").await;
    until(|| async { members().await["count"] == 1 }).await;
    assert!(members().await["members"][0]["session"].as_str().is_some_and(|session| session.len() == 32));
    let secret = ask(&gateway, "GET", "/api/v1/rooms/secret/presence", &[], "").await;
    assert_eq!((secret.status, secret.problem().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn rooms_are_listed_page_by_page() {
    let keys = keys("key-1");
    let gateway = Gateway::start_with_keys("", None, keys.path()).await;
    for room in ["a", "b", "c"] {
        assert_eq!(post(&gateway, room, &json!({"payload": 1})).await.status, 200);
    }
    let first = ask(&gateway, "GET", "/api/v1/rooms?limit=2", &[KEY], "").await.json();
    assert_eq!(first["rooms"], json!(["a", "b"]));
    let next = format!("/api/v1/rooms?limit=2&cursor={}", first["next"].as_str().unwrap());
    assert_eq!(ask(&gateway, "GET", &next, &[KEY], "").await.json(), json!({"rooms": ["c"]}));
    assert_eq!(get(&gateway, "/api/v1/rooms").await.problem(), "unauthorized");
    for (limit, status) in [(0, 400), (1, 200), (1000, 200), (1001, 400)] {
        let path = format!("/api/v1/rooms?limit={limit}");
        assert_eq!(ask(&gateway, "GET", &path, &[KEY], "").await.status, status, "{limit}");
    }
}

#[tokio::test]
async fn a_session_is_ended_by_its_id() {
    let keys = keys("key-1");
    let gateway = Gateway::start_with_keys("", None, keys.path()).await;
    let headers = [("sec-websocket-protocol", "wscluster.v1.json")];
    let mut client = Client::open(gateway.public, "/ws", &headers).await.unwrap();
    let mut other = gateway.client().await;
    let id = client.next().await["session"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(ask(&gateway, "DELETE", &path, &[], "").await.problem(), "unauthorized");
    assert_eq!(ask(&gateway, "DELETE", &path, &[KEY], "").await.status, 204);
    assert_eq!(client.close_code().await, 3003);
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"kicked\"}").await == 1 }).await;
    for id in [id.as_str(), "x", "%FF"] {
        let answer = ask(&gateway, "DELETE", &format!("/api/v1/sessions/{id}"), &[KEY], "").await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"), "{id}");
    }
    assert_eq!(other.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn a_session_of_another_gateway_is_ended_too() {
    let redis = redis_server::RedisServer::start(&[]).await;
    let keys = keys("key-1");
    let here = Gateway::start_with_keys("", Some(&redis.url()), keys.path()).await;
    let there = Gateway::start_with_keys("", Some(&redis.url()), keys.path()).await;
    here.connected().await;
    there.connected().await;
    let headers = [("sec-websocket-protocol", "wscluster.v1.json")];
    let mut client = Client::open(there.public, "/ws", &headers).await.unwrap();
    let path = format!("/api/v1/sessions/{}", client.next().await["session"].as_str().unwrap());
    // A signal is a hint: the other gateway may not be listening yet.
    until(|| async {
        assert_eq!(ask(&here, "DELETE", &path, &[KEY], "").await.status, 202);
        there.metric("ws_connections_closed_total{reason=\"kicked\"}").await == 1
    })
    .await;
    assert_eq!(client.close_code().await, 3003);
    let answer = ask(&here, "GET", "/api/v1/rooms?cursor=x", &[KEY], "").await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_request"));
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_others_get_no_headers() {
    let gateway = Gateway::start("auth: {allowedOrigins: [\"https://app.test\"]}", None).await;
    let preflight = [("origin", "https://app.test"), ("access-control-request-method", "POST")];
    let answer = ask(&gateway, "OPTIONS", "/api/v1/rooms/r/messages", &preflight, "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("https://app.test")));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    let answer = ask(&gateway, "GET", "/api/v1/rooms/r/messages", &preflight[..1], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://app.test")));
    for origin in [&[][..], &[("origin", "https://other.test")][..]] {
        let answer = ask(&gateway, "GET", "/api/v1/rooms/r/messages", origin, "").await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let gateway = Gateway::start("", None).await;
    let answer = get(&gateway, "/api/v1/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    assert!(answer.json()["paths"]["/api/v1/rooms/{room}/messages"]["post"].is_object());
}
