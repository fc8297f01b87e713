//! Limits on who comes in.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Gateway, soon, until};

/// A connection that was refused or not, and the answer's head.
struct Answer {
    status: u16,
    head: String,
    _open: TcpStream,
}

impl Answer {
    /// Seconds after which to come back.
    fn retry_after(&self) -> Option<u32> {
        self.head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok())
    }

    /// Refused, but welcome in some seconds.
    fn is_busy(&self) -> bool {
        self.status == 503 && self.retry_after().is_some_and(|seconds| (1..=5).contains(&seconds))
    }
}

/// A handshake from an address of this machine.
async fn knock(gateway: &Gateway, from: &str, query: &str) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(gateway.public).await.unwrap();
    let request = format!(
        "GET /ws?{query} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, _open: stream }
}

const HERE: &str = "127.0.0.1";

async fn open(gateway: &Gateway, connections: u64) {
    until(|| async { gateway.connections().await["connections"] == connections }).await;
}

#[tokio::test]
async fn max_connections_admits_up_to_the_limit_and_refuses_the_next() {
    let gateway = Gateway::start("maxConnections: 3", None).await;
    let mut inside = Vec::new();
    for n in 1..=3 {
        inside.push(knock(&gateway, HERE, "room=a").await);
        assert_eq!(inside.last().unwrap().status, 101, "connection {n}");
    }
    assert!(knock(&gateway, HERE, "room=a").await.is_busy());
    assert_eq!(gateway.metric("ws_handshakes_rejected_total{reason=\"max_connections\"}").await, 1);
    inside.pop();
    open(&gateway, 2).await;
    assert_eq!(knock(&gateway, HERE, "room=a").await.status, 101, "a place that was left is taken again");
}

#[tokio::test]
async fn connections_per_ip_admits_up_to_the_limit_and_other_addresses_still() {
    let gateway = Gateway::start("limits: {connectionsPerIp: 2}", None).await;
    let one = knock(&gateway, HERE, "room=a").await;
    let two = knock(&gateway, HERE, "room=a").await;
    assert_eq!((one.status, two.status), (101, 101));
    assert!(knock(&gateway, HERE, "room=a").await.is_busy());
    assert_eq!(gateway.metric("ws_handshakes_rejected_total{reason=\"connections_per_ip\"}").await, 1);
    let elsewhere = knock(&gateway, "127.0.0.2", "room=a").await;
    assert_eq!(elsewhere.status, 101, "another address has places of its own");
    drop(one);
    open(&gateway, 2).await;
    assert_eq!(knock(&gateway, HERE, "room=a").await.status, 101, "a place that was left is taken again");
}

#[tokio::test]
async fn no_limit_per_ip_is_no_limit() {
    let gateway = Gateway::start("limits: {connectionsPerIp: 0}", None).await;
    let mut inside = Vec::new();
    for _ in 0..20 {
        inside.push(knock(&gateway, HERE, "room=a").await);
    }
    assert!(inside.iter().all(|answer| answer.status == 101));
}

#[tokio::test]
async fn handshakes_per_second_admits_a_second_of_them_at_once_and_then_the_rate() {
    const RATE: u64 = 5;
    let gateway = Gateway::start(&format!("limits: {{handshakesPerSecond: {RATE}}}"), None).await;
    let (began, mut inside, mut refused) = (std::time::Instant::now(), Vec::new(), 0u64);
    for n in 0..RATE {
        inside.push(knock(&gateway, HERE, "room=a").await);
        assert_eq!(inside.last().unwrap().status, 101, "handshake {n}");
    }
    // On and on, until the rate has let three more in.
    soon(async {
        while inside.len() < RATE as usize + 3 {
            let answer = knock(&gateway, HERE, "room=a").await;
            if answer.status == 101 {
                inside.push(answer);
            } else {
                assert!(answer.is_busy(), "{}", answer.head);
                refused += 1;
            }
        }
    })
    .await;
    let seconds = began.elapsed().as_secs_f64();
    // The gateway's clock has milliseconds.
    assert!((seconds + 0.001) * RATE as f64 >= 3.0, "three more came after {seconds} s");
    assert!(refused > 0);
    let counted = gateway.metric("ws_handshakes_rejected_total{reason=\"handshake_rate\"}").await;
    assert_eq!(counted, refused);
}

#[tokio::test]
async fn room_ids_in_the_url_have_up_to_200_bytes() {
    let gateway = Gateway::start("", None).await;
    let cases = [("a".into(), 101), ("a".repeat(199), 101), ("a".repeat(200), 101), ("a".repeat(201), 400)];
    for (room, status) in cases {
        assert_eq!(knock(&gateway, HERE, &format!("room={room}")).await.status, status, "{} bytes", room.len());
    }
    // 100 characters of two bytes each.
    assert_eq!(knock(&gateway, HERE, &format!("room={}", "%C3%A9".repeat(100))).await.status, 101);
    assert_eq!(knock(&gateway, HERE, &format!("room={}a", "%C3%A9".repeat(100))).await.status, 400);
    assert_eq!(knock(&gateway, HERE, "room=").await.status, 400);
}

#[tokio::test]
async fn rooms_in_the_url_are_as_many_as_a_connection_may_have() {
    let gateway = Gateway::start("limits: {maxRoomsPerConnection: 3}", None).await;
    let cases = [("room=1&room=2", 101), ("room=1&room=2&room=3", 101), ("room=1&room=2&room=3&room=4", 400)];
    for (query, status) in cases {
        assert_eq!(knock(&gateway, HERE, query).await.status, status, "{query}");
    }
    assert_eq!(knock(&gateway, HERE, "room=1&room=1&room=1&room=1").await.status, 101, "a room counts once");
}
