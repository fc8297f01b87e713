//! Letting go of connections where one is over TLS: it stays, and goes on.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Stream, begin};
use crate::clock;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::protocol::Protocol;
use crate::session::Session;
use crate::shared::{Parts, Shared};
use crate::tls::{accept, test_configs};

fn gateway() -> Arc<Shared> {
    Shared::new(&Parts {
        settings: config::share(Config::default()),
        redis: None,
        node: "n".into(),
        revision: "r".into(),
        admin_token: None,
        api_key_file: None,
        shards: 1,
        demo: false,
        metrics: Arc::new(Metrics::new()),
    })
}

fn serve(shared: &Arc<Shared>, number: u128, stream: Stream<TcpStream>) {
    let place = shared.connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 10, 0).ok().unwrap();
    let session = Session::new(number, Protocol::V1, vec![], &shared.config(), clock::now(), 0.5);
    begin(shared, stream.try_map(TcpStream::into_std).unwrap(), session.into(), place);
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>, frame: Value, answer: &str) {
    client.send(Message::text(frame.to_string())).await.unwrap();
    loop {
        let text = client.next().await.unwrap().unwrap();
        if text.to_text().unwrap().contains(answer) {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_over_tls_is_not_let_go_of_and_goes_on() {
    let shared = gateway();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _plain = TcpStream::connect(address).await.unwrap();
    serve(&shared, 1, listener.accept().await.unwrap().0.into());
    let (ours, theirs) = test_configs(&rustls::version::TLS13);
    let socket = TcpStream::connect(address).await.unwrap();
    let (served, peer) = listener.accept().await.unwrap();
    let connecting = TlsConnector::from(theirs).connect("localhost".try_into().unwrap(), socket);
    let (secured, stream) = tokio::join!(accept(served, peer, ours, &shared.tls_handshakes, 0), connecting);
    serve(&shared, 2, secured.unwrap());
    let mut client = WebSocketStream::from_raw_socket(stream.unwrap(), Role::Client, None).await;
    ask(&mut client, json!({"type": "subscribe", "ref": 1, "room": "a"}), "subscribed").await;
    let frozen = shared.shards.freeze().await;
    assert_eq!(frozen.iter().map(|each| each.session.number).collect::<Vec<_>>(), [1]);
    assert!(frozen[0].stream.is_some());
    ask(&mut client, json!({"type": "publish", "ref": 2, "room": "a", "payload": "still here"}), "still here").await;
    assert_eq!(shared.connections.len(), 1);
    shared.shards.stop().await;
}
