//! Behind a load balancer that names the client (PROXY protocol, version 2).

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use support::{Gateway, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &str = "GET /ws?room=a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Connects as a load balancer does for a client, and returns the answer's first line.
async fn connect(gateway: SocketAddr, header: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(&[header, REQUEST.as_bytes()].concat()).await.unwrap();
    let mut line = String::new();
    while !line.ends_with('\n') {
        match soon(stream.read_u8()).await {
            Ok(byte) => line.push(byte.into()),
            Err(_) => break,
        }
    }
    (stream, line)
}

fn header(client: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend(Ipv4Addr::from(client).octets());
    bytes.extend([10, 0, 0, 1, 0x9c, 0x40, 0, 80]);
    bytes
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\n";

#[tokio::test]
async fn clients_are_told_apart_by_the_address_that_the_load_balancer_names() {
    let gateway = Gateway::start("{proxyProtocol: true, limits: {connectionsPerIp: 1}}", None).await;
    let (_first, line) = connect(gateway.public, &header([203, 0, 113, 7])).await;
    assert_eq!(line, SWITCHING);
    let (_, line) = connect(gateway.public, &header([203, 0, 113, 7])).await;
    assert!(line.starts_with("HTTP/1.1 503 "), "the second of one address: {line}");
    let (_other, line) = connect(gateway.public, &header([203, 0, 113, 8])).await;
    assert_eq!(line, SWITCHING, "another address");
}

#[tokio::test]
async fn a_load_balancers_own_connection_counts_as_its_own() {
    let gateway = Gateway::start("{proxyProtocol: true}", None).await;
    let (_, line) = connect(gateway.public, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    assert_eq!(line, SWITCHING);
}

#[tokio::test]
async fn a_connection_without_the_header_is_closed_and_counted() {
    let gateway = Gateway::start("{proxyProtocol: true}", None).await;
    // A health check that only connects is none of these.
    drop(TcpStream::connect(gateway.public).await.unwrap());
    let (_, line) = connect(gateway.public, b"").await;
    assert_eq!(line, "");
    let counted = || async { gateway.metric("ws_handshakes_rejected_total{reason=\"proxy_protocol\"}").await == 1 };
    until(counted).await;
}

#[tokio::test]
async fn the_header_is_refused_where_it_is_not_expected() {
    let gateway = Gateway::start("", None).await;
    let (_, line) = connect(gateway.public, &header([203, 0, 113, 7])).await;
    assert_ne!(line, SWITCHING);
}

#[tokio::test]
async fn the_admin_port_expects_no_header() {
    let gateway = Gateway::start("{proxyProtocol: true}", None).await;
    assert_eq!(gateway.admin("GET", "/livez").await.0, 200);
}
