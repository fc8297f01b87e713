//! What clients do all day, over TLS.

use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use wscluster_client::Event;
use wscluster_gateway::server::Shutdown;

use crate::gateway;
use crate::mounted::{Mounted, connect_with, websocket};
use crate::support::{http_over, soon, until};

#[tokio::test]
async fn clients_subscribe_publish_and_resume() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    for version in rustls::ALL_VERSIONS {
        let config = mounted.client_config(&[version], &[]);
        let stream = connect_with(gateway.public, config).await.unwrap();
        let mut client = websocket(stream, gateway.public).await;
        assert_eq!(client.next().await["type"], "welcome");
        let mut writer = mounted.client(gateway.public).await;
        let position = client.subscribe("a").await["position"].as_str().unwrap().to_owned();
        let mut sent = Vec::new();
        for n in 0..20 {
            sent.push(writer.publish("a", json!(n)).await["id"].clone());
            assert_eq!(client.message().await.1, json!(n));
        }
        client.leave().await;
        writer.leave().await;
        let mut again = mounted.client(gateway.public).await;
        assert_eq!(again.resume("a", &position).await["replayed"], 20);
        for id in sent {
            assert_eq!(again.message().await.0, id);
        }
        again.leave().await;
    }
    for version in ["1.2", "1.3"] {
        assert!(gateway.metric(&format!("tls_handshakes_total{{version=\"{version}\"}}")).await >= 1);
    }
    until(|| async { gateway.metric("ws_connections_closed_total{reason=\"client\"}").await == 6 }).await;
}

#[tokio::test]
async fn the_rust_client_comes_by_wss() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let url = format!("wss://localhost:{}/ws", gateway.public.port());
    let builder = wscluster_client::Client::builder(&url).authorities(mounted.authority_pem.clone());
    let (client, mut events) = builder.connect().unwrap();
    client.subscribe("lobby", None);
    let mut next = async |wanted: fn(&Event) -> bool| {
        soon(async { while !wanted(&events.next().await.expect("the client goes on")) {} }).await;
    };
    next(|event| matches!(event, Event::Subscribed { .. })).await;
    client.publish("lobby", "over TLS").unwrap().await.unwrap();
    next(|event| matches!(event, Event::Message { .. })).await;
}

/// Larger than a record, larger than what is read at once, and in pieces that are none of these.
#[tokio::test]
async fn large_and_fragmented_messages_come_through_whole() {
    let mounted = Mounted::new();
    let limits = "limits: {maxMessageBytes: 3000000}\nbackpressure: {maxBufferedBytes: 8000000}";
    let gateway = gateway(&mounted, limits).await;
    let (mut client, mut member) = (mounted.client(gateway.public).await, mounted.client(gateway.public).await);
    member.subscribe("a").await;
    for bytes in [1, 16_000, 16_384, 16_385, 65_536, 200_000, 2_000_000] {
        let payload = json!("x".repeat(bytes));
        let publish = json!({"type": "publish", "ref": 2, "room": "a", "payload": payload});
        client.send(publish.clone()).await;
        assert_eq!(member.message().await.1, payload, "{bytes}");
        assert_eq!(client.next().await["type"], "ok");
        let (text, piece) = (publish.to_string().into_bytes(), bytes / 3 + 7);
        let pieces: Vec<_> = text.chunks(piece).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let code = OpCode::Data(if index == 0 { Data::Text } else { Data::Continue });
            let header = FrameHeader { is_final: index + 1 == pieces.len(), opcode: code, ..FrameHeader::default() };
            client.socket.send(Message::Frame(Frame::from_payload(header, piece.to_vec().into()))).await.unwrap();
        }
        assert_eq!(member.message().await.1, payload, "{bytes} in pieces");
        assert_eq!(client.next().await["type"], "ok");
    }
}

/// All in one write, and so in one record: what came along with the handshake is in no socket any more.
#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_forgotten() {
    const TEXTS: usize = 2000;
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let mut stream = mounted.connect(gateway.public).await.unwrap();
    let mut bytes = b"GET /ws?room=a HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    for n in 0..TEXTS {
        let text = format!("{n:05}");
        bytes.extend([0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
        bytes.extend(text.bytes());
    }
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon(stream.read_u8()).await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    // As many as may come at once are answered.
    for n in 0..100 {
        let mut frame = [0; 7];
        soon(stream.read_exact(&mut frame)).await.unwrap();
        assert_eq!(frame[2..], *format!("{n:05}").as_bytes());
    }
}

#[tokio::test]
async fn the_http_api_and_the_other_routes_are_served() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let ask = async |method: &'static str, path: &'static str, headers: &'static str, body: &str| {
        let stream = mounted.connect(gateway.public).await.unwrap();
        http_over(stream, gateway.public, method, path, headers, body).await
    };
    let json = "content-type: application/json\r\n";
    let large = json!({"payload": "x".repeat(50_000)}).to_string();
    assert_eq!(ask("POST", "/api/v1/rooms/a/messages", json, &large).await.0, 200);
    let (status, body) = ask("GET", "/api/v1/rooms/a/messages", "", "").await;
    assert!(status == 200 && body.len() > 50_000, "{status}: {} bytes", body.len());
    assert_eq!(ask("GET", "/ws", "", "").await.0, 426);
    assert_eq!(gateway.admin("GET", "/livez").await.0, 200, "the admin port stays plain");
}

#[tokio::test]
async fn a_drain_moves_sessions_and_a_stop_says_good_bye() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "drain: {timeoutSeconds: 60}").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(mounted.client(gateway.public).await);
    }
    assert_eq!(gateway.admin("POST", "/v1/drain").await.0, 200);
    for client in &mut clients {
        assert_eq!(client.next().await["type"], "drain");
    }
    clients.pop().unwrap().leave().await;
    until(|| async { gateway.drain_status().await["remaining"] == 4 }).await;
    gateway.shutdown.send(Shutdown::Now).await.unwrap();
    for mut client in clients {
        assert_eq!(client.close_code().await, 1001);
        // Not an error: the end was announced (`close_notify`).
        let end = soon(client.socket.next()).await;
        assert!(end.is_none(), "{end:?}");
    }
    soon(gateway.run).await.unwrap();
}

#[tokio::test]
async fn a_client_that_vanishes_is_lost_and_one_that_sends_nonsense_is_told() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let lost = || gateway.metric("ws_connections_closed_total{reason=\"lost\"}");
    let client = mounted.client(gateway.public).await;
    // The socket under TLS ends without a word.
    drop(client.socket.into_inner().into_inner().0);
    until(|| async { lost().await == 1 }).await;
    let client = mounted.client(gateway.public).await;
    let (mut socket, _) = client.socket.into_inner().into_inner();
    socket.write_all(b"\x17\x03\x03\x00\x20 no record that anybody has sealed.").await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(socket.read_to_end(&mut rest)).await;
    // An alert, within a record of its own; sealed, so that only its length shows.
    assert!(rest.starts_with(b"\x17\x03\x03\x00\x13"), "{rest:?}");
    until(|| async { lost().await == 2 }).await;
    assert_eq!(gateway.metric("ws_active_connections").await, 0);
}
