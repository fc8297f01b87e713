//! Who gets through the TLS handshake, and what becomes of those who do not.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gateway;
use crate::mounted::{Mounted, connect_with, websocket};
use crate::support::{Gateway, http, soon, until};

async fn fails(gateway: &Gateway, reason: &str, times: u64) {
    let line = format!("tls_handshake_failures_total{{reason=\"{reason}\"}}");
    until(|| async { gateway.metric(&line).await == times }).await;
}

/// Sends something, and returns all that comes back.
async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    answer
}

/// A ClientHello of TLS 1.0 (3, 1) or 1.1 (3, 2), which are RFC 2246 and RFC 4346.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; TLS_RSA_WITH_AES_128_CBC_SHA; no compression.
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    // One extension, without which it would be refused for another reason: signature_algorithms, RSA with SHA-256.
    body.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 1]);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[tokio::test]
async fn tls_1_0_and_1_1_are_refused() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    for minor in [1, 2] {
        // A fatal alert (RFC 8446 section 6): protocol_version.
        assert_eq!(answer(gateway.public, &old_hello(minor)).await, [21, 3, 3, 0, 2, 2, 70], "1.{}", minor - 1);
    }
    fails(&gateway, "incompatible", 2).await;
}

#[tokio::test]
async fn http_1_1_is_agreed_on_and_nothing_else() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    for (offered, agreed) in [(&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let config = mounted.client_config(rustls::ALL_VERSIONS, offered);
        let stream = connect_with(gateway.public, config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
    }
    let only = mounted.client_config(rustls::ALL_VERSIONS, &["h2"]);
    assert!(connect_with(gateway.public, only).await.is_err());
    fails(&gateway, "protocol", 1).await;
}

#[tokio::test]
async fn plain_http_is_told_that_tls_is_spoken_here() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let (status, body) = http(gateway.public, "GET", "/ws", "", "").await;
    assert_eq!((status, body.as_str()), (400, "this port speaks TLS: use wss:// or https:// to reach it\n"));
    fails(&gateway, "plain_http", 1).await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed_with_an_alert() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let garbage = answer(gateway.public, b"\x00\x01\x02\x03\x04\x05\x06\x07").await;
    assert_eq!(garbage[..3], [21, 3, 3], "{garbage:?}");
    // The beginning of a handshake, and then the end.
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(&old_hello(3)[..20]).await.unwrap();
    drop(stream);
    fails(&gateway, "malformed", 1).await;
    fails(&gateway, "lost", 1).await;
    // A health check that only connects is none of these.
    drop(TcpStream::connect(gateway.public).await.unwrap());
    mounted.client(gateway.public).await;
    fails(&gateway, "lost", 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    assert!(Mounted::new().connect(gateway.public).await.is_err());
    fails(&gateway, "certificate", 1).await;
}

#[tokio::test]
async fn a_load_balancer_names_the_client_ahead_of_tls() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "proxyProtocol: true\nlimits: {connectionsPerIp: 1}").await;
    let connect = async |last: u8| {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend([203, 0, 113, last, 10, 0, 0, 1, 0x9c, 0x40, 0, 80]);
        stream.write_all(&header).await.unwrap();
        let config = mounted.client_config(rustls::ALL_VERSIONS, &[]);
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    };
    let first = websocket(connect(7).await, gateway.public).await;
    let second = crate::support::Client::over(connect(7).await, gateway.public, "/ws?room=a", &[]).await;
    assert!(second.is_err(), "the second of one address");
    let other = websocket(connect(8).await, gateway.public).await;
    assert!(mounted.connect(gateway.public).await.is_err(), "TLS without the header");
    drop((first, other));
}
