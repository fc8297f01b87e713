//! Behind a load balancer that names the client (PROXY protocol, version 2).

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use support::{Gateway, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &str = "GET /ws?room=a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Connects as a load balancer does for a client, and returns the answer's first line.
async fn connect(gateway: SocketAddr, header: &[u8]) -> (TcpStream, String) {
    ask(TcpStream::connect(gateway).await.unwrap(), header).await
}

async fn ask(mut stream: TcpStream, header: &[u8]) -> (TcpStream, String) {
    stream.write_all(&[header, REQUEST.as_bytes()].concat()).await.unwrap();
    first_line(stream).await
}

async fn first_line(mut stream: TcpStream) -> (TcpStream, String) {
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

/// A header of IPv6, with an extension, that comes a byte at a time.
#[tokio::test]
async fn a_header_is_read_however_it_is_cut_and_not_a_byte_too_far() {
    let gateway = Gateway::start("{proxyProtocol: true, limits: {connectionsPerIp: 1}}", None).await;
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2a".to_vec();
    bytes.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend(Ipv6Addr::LOCALHOST.octets());
    bytes.extend([0x9c, 0x40, 0, 80, 0xea, 0, 3, 1, 2, 3]);
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in &bytes {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (stream, line) = ask(stream, b"").await;
    assert_eq!(line, SWITCHING);
    let (_, line) = connect(gateway.public, &bytes).await;
    assert!(line.starts_with("HTTP/1.1 503 "), "the second of one address: {line}");
    drop(stream);
}

/// The header names a proxy, and that names the client.
#[tokio::test]
async fn a_proxy_behind_a_load_balancer_is_believed_by_the_address_that_it_has_there() {
    let yaml = "{proxyProtocol: true, trustedProxies: [203.0.113.7/32], limits: {connectionsPerIp: 1}}";
    let gateway = Gateway::start(yaml, None).await;
    let forwarded =
        |client: u8| REQUEST.replace("Host: a", &format!("Host: a\r\nX-Forwarded-For: 198.51.100.{client}"));
    let connect = async |proxy: u8, client: u8| {
        let bytes = [&header([203, 0, 113, proxy])[..], forwarded(client).as_bytes()].concat();
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        first_line(stream).await
    };
    let (_one, first) = connect(7, 1).await;
    let (_two, second) = connect(7, 2).await;
    assert_eq!((first.as_str(), second.as_str()), (SWITCHING, SWITCHING));
    let (_three, third) = connect(8, 3).await;
    let (_, fourth) = connect(8, 4).await;
    assert_eq!(third, SWITCHING);
    assert!(fourth.starts_with("HTTP/1.1 503 "), "whoever is not listed is the client itself: {fourth}");
}

#[tokio::test]
async fn what_is_wrong_with_a_header_closes_the_connection_without_an_answer() {
    let gateway = Gateway::start("{proxyProtocol: true}", None).await;
    let wrong: [&[u8]; 5] = [
        b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for bytes in wrong {
        assert_eq!(connect(gateway.public, bytes).await.1, "", "{bytes:?}");
    }
    let counted = || gateway.metric("ws_handshakes_rejected_total{reason=\"proxy_protocol\"}");
    until(|| async { counted().await == wrong.len() as u64 }).await;
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
