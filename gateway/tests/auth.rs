//! Tokens over real sockets: the ways to show one, what it allows, and when it ends.

#[allow(dead_code)]
#[path = "support/publisher.rs"]
mod publisher;
mod support;
#[allow(dead_code)]
#[path = "support/tokens.rs"]
mod tokens;

use std::process::Stdio;
use std::time::Instant;

use futures::StreamExt;
use publisher::{Answer, Publisher};
use serde_json::{Value, json};
use support::*;
use tokens::Signer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

const V1: &str = "wscluster.v1.json";
const RAW: &str = "wscluster.raw";

/// A gateway that takes tokens of HS256, and more settings of `auth`.
async fn gateway(auth: &str, rest: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, tokens::SECRET).unwrap();
    let jwt = format!("jwt: {{algorithms: [HS256], secretFile: {}, leewaySeconds: 0}}", secret.display());
    (Gateway::start(&format!("auth: {{{jwt}{auth}}}\n{rest}"), None).await, folder)
}

fn lobby() -> String {
    tokens::for_rooms("ada", 60, &["lobby"], &["lobby"])
}

fn forged() -> String {
    let claims = json!({"sub": "eve", "exp": tokens::now() + 60, "rooms": {"subscribe": ["*"]}});
    tokens::token(&claims, Signer::Hs256(b"guessed"))
}

async fn show(client: &mut Client, token: &str) -> Value {
    client.ask(json!({"type": "auth", "ref": 1, "token": token})).await
}

async fn subscribe(client: &mut Client, room: &str) -> Value {
    client.ask(json!({"type": "subscribe", "ref": 2, "room": room})).await
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A handshake by hand: its answer's head, and the connection.
async fn handshake(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> (String, WebSocketStream<TcpStream>) {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    let extra: String = headers.iter().fold(String::new(), |all, (name, value)| all + name + ": " + value + "\r\n");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    (String::from_utf8(head).unwrap().to_lowercase(), socket)
}

/// The status of a handshake that is refused.
async fn refused(gateway: &Gateway, path: &str, headers: &[(&'static str, &str)]) -> (u16, Option<String>) {
    match Client::open(gateway.public, path, headers).await.map(|_| ()) {
        Err(WsError::Http(response)) => {
            let challenge = response.headers().get("www-authenticate");
            (response.status().as_u16(), challenge.map(|value| value.to_str().unwrap().to_owned()))
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_shown_in_a_frame() {
    let (gateway, _folder) = gateway("", "").await;
    let mut client = gateway.client().await;
    assert_eq!(subscribe(&mut client, "lobby").await["code"], "forbidden", "nobody yet");
    assert_eq!(show(&mut client, &lobby()).await, json!({"type": "ok", "ref": 1}));
    assert_eq!(subscribe(&mut client, "lobby").await["type"], "subscribed");
    assert_eq!(subscribe(&mut client, "secret").await["code"], "forbidden");
    assert_eq!(client.publish("secret", json!(1)).await["code"], "forbidden");
    client.send(json!({"type": "publish", "ref": 2, "room": "lobby", "payload": 5})).await;
    let frames = [client.next().await, client.next().await];
    assert!(frames.iter().any(|frame| frame["payload"] == 5), "{frames:?}");
    assert_eq!(gateway.metric("auth_accepted_total{credential=\"token\"}").await, 1);
}

#[tokio::test]
async fn a_token_is_shown_in_the_handshake() {
    let (gateway, _folder) = gateway("", "").await;
    let token = lobby();
    let entry = tokens::subprotocol(&token);
    let offers = format!("{entry}, {V1}");
    for headers in [
        vec![("authorization", bearer(&token)), ("sec-websocket-protocol", V1.to_owned())],
        vec![("sec-websocket-protocol", offers)],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (head, socket) = handshake(&gateway, "/ws", &headers).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-protocol: wscluster.v1.json\r\n") && !head.contains("bearer"), "{head}");
        let mut client = Client { socket };
        assert_eq!(client.next().await["type"], "welcome");
        assert_eq!(subscribe(&mut client, "lobby").await["type"], "subscribed");
        assert_eq!(subscribe(&mut client, "secret").await["code"], "forbidden");
    }
}

#[tokio::test]
async fn raw_stays_raw_with_a_token() {
    let (gateway, _folder) = gateway("", "").await;
    let token = lobby();
    let (authorization, entry) = (bearer(&token), tokens::subprotocol(&token));
    let mut clients = Vec::new();
    for header in [("authorization", authorization.as_str()), ("sec-websocket-protocol", &entry)] {
        let (head, socket) = handshake(&gateway, "/ws?room=lobby", &[header]).await;
        assert!(head.starts_with("http/1.1 101") && !head.contains("sec-websocket-protocol"), "{head}");
        clients.push(Client { socket });
    }
    until(|| async { gateway.metric("ws_subscriptions").await == 2 }).await;
    clients[1].send_text("hello").await;
    for client in &mut clients {
        assert_eq!(client.next_text().await, "hello");
    }
    // What the token does not allow.
    assert_eq!(refused(&gateway, "/ws?room=secret", &[("authorization", &authorization)]).await, (403, None));
    let (_, socket) = handshake(&gateway, "/ws?room=secret", &[("sec-websocket-protocol", &entry)]).await;
    assert_eq!(Client { socket }.close_code().await, 3003);
    // And without one.
    assert_eq!(refused(&gateway, "/ws?room=lobby", &[]).await, (401, Some("Bearer".to_owned())));
}

/// A browser gives up a connection whose answer names none of the subprotocols that it offered.
#[tokio::test]
async fn raw_by_its_name_is_answered_with_it_and_the_token_is_not() {
    let (gateway, _folder) = gateway("", "").await;
    let entry = tokens::subprotocol(&lobby());
    for offer in [format!("{entry}, {RAW}"), format!("{RAW}, {entry}")] {
        let (head, socket) = handshake(&gateway, "/ws?room=lobby", &[("sec-websocket-protocol", &offer)]).await;
        assert!(head.contains("sec-websocket-protocol: wscluster.raw\r\n") && !head.contains("bearer"), "{head}");
        let mut client = Client { socket };
        client.send_text("hello").await;
        assert_eq!(client.next_text().await, "hello");
    }
    // Its name opens no room.
    let unknown = refused(&gateway, "/ws?room=lobby", &[("sec-websocket-protocol", RAW)]).await;
    assert_eq!(unknown, (401, Some("Bearer".to_owned())));
    assert_eq!(refused(&gateway, "/ws", &[("sec-websocket-protocol", RAW)]).await.0, 400, "no room");
    let (_, socket) =
        handshake(&gateway, "/ws?room=secret", &[("sec-websocket-protocol", &format!("{entry}, {RAW}"))]).await;
    assert_eq!(Client { socket }.close_code().await, 3003);
}

#[tokio::test]
async fn what_a_raw_client_sends_before_its_token_is_checked_is_not_lost() {
    let publisher = Publisher::start(Answer::Body(tokens::jwks(&[("rs", tokens::rsa_jwk())]))).await;
    let jwt = format!("jwt: {{algorithms: [RS256], jwksUrl: '{}'}}", publisher.url);
    let gateway = Gateway::start(&format!("auth: {{{jwt}}}"), None).await;
    let entry = tokens::subprotocol(&signed("rs"));
    let (_, socket) = handshake(&gateway, "/ws?room=lobby", &[("sec-websocket-protocol", &entry)]).await;
    let mut client = Client { socket };
    client.send_text("early").await;
    assert_eq!(client.next_text().await, "early");
}

fn signed(kid: &str) -> String {
    let claims = json!({"exp": tokens::now() + 60, "rooms": {"subscribe": ["lobby"], "publish": ["lobby"]}});
    tokens::token_with(&json!({"alg": "RS256", "kid": kid}), &claims, Signer::Rs256(tokens::RSA_PRIVATE))
}

#[tokio::test]
async fn a_token_in_the_url_is_not_taken() {
    let (gateway, _folder) = gateway("", "").await;
    let token = lobby();
    for name in ["token", "access_token", "authorization", "jwt"] {
        let path = format!("/ws?room=lobby&{name}={token}");
        assert_eq!(refused(&gateway, &path, &[]).await.0, 401, "{name}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_told_where_the_client_can_see_it() {
    let (gateway, _folder) = gateway("", "").await;
    for token in [forged(), tokens::for_rooms("ada", -1, &["*"], &[]), "nonsense".into(), "x".repeat(8193)] {
        let mut client = gateway.client().await;
        let answer = show(&mut client, &token).await;
        assert_eq!(
            (&answer["type"], &answer["code"], &answer["ref"]),
            (&json!("error"), &json!("unauthorized"), &json!(1))
        );
        assert_eq!(client.close_code().await, 3000);
        let headers = [("authorization", &*bearer(&token)), ("sec-websocket-protocol", V1)];
        assert_eq!(refused(&gateway, "/ws", &headers).await, (401, Some("Bearer".to_owned())));
        let offer = format!("{V1}, {}", tokens::subprotocol(&token));
        let (_, socket) = handshake(&gateway, "/ws", &[("sec-websocket-protocol", &offer)]).await;
        let mut client = Client { socket };
        assert_eq!(client.next().await["type"], "welcome");
        assert_eq!(client.next().await["code"], "unauthorized");
        assert_eq!(client.close_code().await, 3000);
        let entry = tokens::subprotocol(&token);
        let (_, socket) = handshake(&gateway, "/ws?room=lobby", &[("sec-websocket-protocol", &entry)]).await;
        assert_eq!(Client { socket }.close_code().await, 3000);
    }
    let odd = format!("{V1}, wscluster.bearer.!!!");
    let (_, socket) = handshake(&gateway, "/ws", &[("sec-websocket-protocol", &odd)]).await;
    assert_eq!(Client { socket }.close_code().await, 3000);
    assert_eq!(gateway.metric("ws_handshakes_rejected_total{reason=\"unauthorized\"}").await, 4);
    assert_eq!(gateway.metric("auth_refused_total{reason=\"expired\"}").await, 4);
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"unauthorized\"}").await == 13 }).await;
}

#[tokio::test]
async fn without_settings_for_tokens_none_are_taken() {
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    assert_eq!(show(&mut client, &lobby()).await["code"], "unauthorized");
    assert_eq!(client.close_code().await, 3000);
    assert_eq!(refused(&gateway, "/ws?room=a", &[("authorization", &bearer(&lobby()))]).await.0, 401);
}

#[tokio::test]
async fn requests_wait_until_the_token_before_them_is_checked() {
    let publisher = Publisher::start(Answer::Body(tokens::jwks(&[("old", tokens::ec_jwk())]))).await;
    let jwt = format!("jwt: {{algorithms: [RS256, ES256], jwksUrl: '{}'}}", publisher.url);
    let gateway = Gateway::start(&format!("auth: {{{jwt}}}"), None).await;
    publisher.asked_for(1).await;
    publisher.answers(Answer::Body(tokens::jwks(&[("new", tokens::rsa_jwk())])));
    let mut client = gateway.client().await;
    // Its key has to be fetched first: that takes a while.
    client.send(json!({"type": "auth", "ref": 1, "token": signed("new")})).await;
    client.send(json!({"type": "subscribe", "ref": 2, "room": "lobby"})).await;
    client.send(json!({"type": "publish", "ref": 3, "room": "lobby", "payload": 1})).await;
    assert_eq!(client.next().await, json!({"type": "ok", "ref": 1}));
    let subscribed = client.next().await;
    assert_eq!((&subscribed["type"], &subscribed["ref"]), (&json!("subscribed"), &json!(2)), "{subscribed}");
    let frames = [client.next().await, client.next().await];
    assert!(frames.iter().any(|frame| frame["ref"] == 3 && frame["type"] == "ok"), "{frames:?}");
    assert_eq!(publisher.asked(), 2);
}

#[tokio::test]
async fn without_the_keys_the_client_is_told_to_come_again() {
    let publisher = Publisher::start(Answer::Status(http::StatusCode::BAD_GATEWAY)).await;
    let jwt = format!("jwt: {{algorithms: [RS256], jwksUrl: '{}'}}", publisher.url);
    let gateway = Gateway::start(&format!("auth: {{{jwt}}}"), None).await;
    let mut client = gateway.client().await;
    assert_eq!(show(&mut client, &signed("rs")).await["code"], "unavailable");
    assert_eq!(client.close_code().await, 1013);
    assert_eq!(refused(&gateway, "/ws?room=lobby", &[("authorization", &bearer(&signed("rs")))]).await.0, 503);
    assert!(gateway.metric("auth_jwks_fetches_total{result=\"failed\"}").await >= 1);
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_that_is_refreshed() {
    let (gateway, _folder) = gateway("", "").await;
    let ends = tokens::now() + 2;
    let short = || tokens::for_rooms("ada", ends - tokens::now(), &["lobby"], &["lobby"]);
    let (mut left, mut renewed) = (gateway.client().await, gateway.client().await);
    let headers = [("authorization", &*bearer(&short()))];
    let mut raw = Client::open(gateway.public, "/ws?room=lobby", &headers).await.unwrap();
    for client in [&mut left, &mut renewed] {
        assert_eq!(show(client, &short()).await["type"], "ok");
        assert_eq!(subscribe(client, "lobby").await["type"], "subscribed");
    }
    assert_eq!(show(&mut renewed, &lobby()).await["type"], "ok");
    assert_eq!(left.close_code().await, 3000);
    assert!(tokens::now() >= ends, "not before its time");
    assert_eq!(raw.close_code().await, 3000);
    // The other was to end at the same moment, and did not.
    assert_eq!(renewed.ask(json!({"type": "ping", "ref": 9})).await, json!({"type": "pong", "ref": 9}));
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"token_expired\"}").await == 2 }).await;
}

#[tokio::test]
async fn a_new_token_may_allow_less() {
    let (gateway, _folder) = gateway("", "").await;
    let mut client = gateway.client().await;
    show(&mut client, &tokens::for_rooms("ada", 60, &["a", "b"], &["*"])).await;
    client.subscribe("a").await;
    client.subscribe("b").await;
    let narrow = tokens::for_rooms("ada", 60, &["b"], &["*"]);
    assert_eq!(show(&mut client, &narrow).await["type"], "ok");
    let told = client.next().await;
    assert_eq!((&told["type"], &told["code"], &told["room"]), (&json!("error"), &json!("forbidden"), &json!("a")));
    until(|| async { gateway.metric("ws_subscriptions").await == 1 }).await;
    client.send(json!({"type": "publish", "ref": 3, "room": "a", "payload": "unseen"})).await;
    assert_eq!(client.next().await["ref"], 3);
    client.send(json!({"type": "publish", "ref": 4, "room": "b", "payload": "seen"})).await;
    let frames = [client.next().await, client.next().await];
    assert!(frames.iter().any(|frame| frame["payload"] == "seen"), "{frames:?}");
}

#[tokio::test]
async fn who_shows_no_token_in_time_is_closed_where_one_is_needed() {
    let limits = "limits: {authTimeoutSeconds: 1}";
    let (strict, _one) = gateway("", limits).await;
    let (open, _two) = gateway(", anonymous: {subscribe: [news]}", limits).await;
    let mut guest = open.client().await;
    let mut known = strict.client().await;
    assert_eq!(show(&mut known, &lobby()).await["type"], "ok");
    let begun = Instant::now();
    let mut nobody = strict.client().await;
    assert_eq!(nobody.close_code().await, 3008);
    let waited = begun.elapsed().as_secs_f64();
    assert!((0.9..5.0).contains(&waited), "{waited}");
    // Those that came before it are still there.
    for client in [&mut known, &mut guest] {
        assert_eq!(client.ask(json!({"type": "ping", "ref": 9})).await["type"], "pong");
    }
    assert_eq!(subscribe(&mut guest, "news").await["type"], "subscribed");
    assert_eq!(subscribe(&mut guest, "lobby").await["code"], "forbidden");
    assert_eq!(guest.publish("news", json!(1)).await["code"], "forbidden");
    // A token adds to what everybody may do.
    assert_eq!(show(&mut guest, &lobby()).await["type"], "ok");
    for room in ["lobby", "news"] {
        assert_eq!(subscribe(&mut guest, room).await["type"], "subscribed", "{room}");
    }
}

#[tokio::test]
async fn the_http_api_takes_tokens() {
    let (gateway, _folder) = gateway("", "").await;
    let post = async |room: &str, authorization: &str| {
        let headers = format!("content-type: application/json\r\n{authorization}");
        let path = format!("/api/v1/rooms/{room}/messages");
        http(gateway.public, "POST", &path, &headers, r#"{"payload":1}"#).await.0
    };
    let shown = |token: &str| format!("authorization: {}\r\n", bearer(token));
    assert!((200..300).contains(&post("lobby", &shown(&lobby())).await));
    assert_eq!(post("secret", &shown(&lobby())).await, 403);
    assert_eq!(post("lobby", "").await, 403, "nobody in particular may nothing");
    for wrong in [forged(), tokens::for_rooms("ada", -5, &["*"], &["*"])] {
        assert_eq!(post("lobby", &shown(&wrong)).await, 401);
    }
}

#[tokio::test]
async fn secrets_are_rotated_while_the_gateway_runs() {
    let (gateway, folder) = gateway("", "").await;
    let path = folder.path().join("secret");
    let with = |secret: &str| tokens::token(&json!({"exp": tokens::now() + 60}), Signer::Hs256(secret.as_bytes()));
    let taken = async |token: String| show(&mut gateway.client().await, &token).await["type"] == "ok";
    assert!(!taken(with("the secret that comes next, of 32 bytes")).await);
    std::fs::write(&path, format!("{}\nthe secret that comes next, of 32 bytes", tokens::SECRET)).unwrap();
    until(|| async { taken(with("the secret that comes next, of 32 bytes")).await }).await;
    assert!(taken(lobby()).await, "the old one still holds");
    std::fs::write(&path, "the secret that comes next, of 32 bytes").unwrap();
    until(|| async { !taken(lobby()).await }).await;
    assert!(taken(with("the secret that comes next, of 32 bytes")).await);
}

/// A gateway that says all that it ever says, and what it was told.
#[tokio::test]
async fn no_secret_is_logged_measured_or_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("secret"), tokens::SECRET).unwrap();
    std::fs::write(path("api-key"), "k3y-of-the-api").unwrap();
    let jwt = format!("jwt: {{algorithms: [HS256], secretFile: {}}}", path("secret").display());
    std::fs::write(path("gateway.yaml"), format!("auth: {{{jwt}}}")).unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (public, admin) = (free(), free());
    let command = |name: &str| {
        let mut command = tokio::process::Command::new(BINARY);
        command.args([name, "--listen", &public.to_string(), "--admin-listen", &admin.to_string()]);
        command.arg("--config").arg(path("gateway.yaml")).arg("--socket").arg(path("gateway.sock"));
        command.arg("--api-key-file").arg(path("api-key")).env("WSCLUSTER_LOG", "trace").kill_on_drop(true);
        command
    };
    let log = std::fs::File::create(path("log")).unwrap();
    let both = log.try_clone().unwrap();
    let mut child = command("serve").stdout(Stdio::from(both)).stderr(Stdio::from(log)).spawn().unwrap();
    until(|| async { TcpStream::connect(admin).await.is_ok() }).await;

    let (good, bad) = (lobby(), forged());
    for token in [&good, &bad, "k3y-of-the-api"] {
        let mut client = Client::connect(public).await;
        show(&mut client, token).await;
        let headers = format!("authorization: {}\r\ncontent-type: application/json\r\n", bearer(token));
        http(public, "POST", "/api/v1/rooms/lobby/messages", &headers, r#"{"payload":1}"#).await;
        let authorization = bearer(token);
        let headers = [("authorization", &*authorization), ("sec-websocket-protocol", V1)];
        let _ = Client::open(public, "/ws", &headers).await;
        let offer = format!("{V1}, {}", tokens::subprotocol(token));
        let _ = Client::open(public, "/ws", &[("sec-websocket-protocol", &offer)]).await;
    }
    let metrics = http(admin, "GET", "/metrics", "", "").await.1;
    let shown = command("config").output().await.unwrap();
    child.kill().await.unwrap();
    let said = std::fs::read_to_string(path("log")).unwrap();
    assert!(said.contains("keys loaded"), "the log is the one that is looked at: {said}");
    let shown = String::from_utf8([shown.stdout, shown.stderr].concat()).unwrap();
    assert!(shown.contains("secretFile"), "{shown}");
    let parts = |token: &str| token.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let entry = |token: &str| tokens::subprotocol(token).rsplit('.').next().unwrap().to_owned();
    let mut secrets = vec![tokens::SECRET.to_owned(), "k3y-of-the-api".to_owned(), entry(&good), entry(&bad)];
    // The header says nothing; claims and signatures do.
    secrets.extend([&good, &bad].into_iter().flat_map(|token| parts(token).split_off(1)));
    for secret in secrets {
        for (what, text) in [("log", &said), ("metrics", &metrics), ("config", &shown)] {
            assert!(!text.contains(&secret), "{secret} is in the {what}");
        }
    }
}

#[tokio::test]
async fn a_close_frame_says_why() {
    let (gateway, _folder) = gateway("", "").await;
    let mut client = gateway.client().await;
    show(&mut client, &forged()).await;
    let close = soon(client.socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = close else { panic!("{close:?}") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (3000, "unauthorized"));
}
