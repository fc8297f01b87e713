//! The client and a real gateway on its embedded log.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use wscluster_client::{Backoff, Builder, Client, Event, Events, Subscribe};
use wscluster_gateway::{
    config::{self, Config},
    metrics::Metrics,
    server::{self, Shutdown, World},
    shared::Parts,
};

async fn gateway() -> (SocketAddr, mpsc::Sender<Shutdown>) {
    let (address, _, shutdown) = named_gateway("test").await;
    (address, shutdown)
}

/// A gateway: its public address, its admin address, and how to end it.
async fn named_gateway(node: &str) -> (SocketAddr, SocketAddr, mpsc::Sender<Shutdown>) {
    let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (public.local_addr().unwrap(), admin.local_addr().unwrap());
    let parts = Parts {
        settings: config::share(Config::parse("").unwrap()),
        redis: None,
        node: node.into(),
        revision: "r1".into(),
        admin_token: None,
        api_key_file: None,
        shards: 2,
        demo: false,
        metrics: Arc::new(Metrics::new()),
    };
    let (shutdown, receiver) = mpsc::channel(4);
    tokio::spawn(server::run(World { public, admin, peer: None, socket: None, parts }, receiver));
    (addresses.0, addresses.1, shutdown)
}

/// Begins a drain, or cancels it.
async fn drain(admin: SocketAddr, method: &str) {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request =
        format!("{method} /v1/drain HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A way to whichever gateway is named.
async fn balancer(to: SocketAddr) -> (SocketAddr, Arc<Mutex<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(to)));
    let chosen = target.clone();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = *chosen.lock().unwrap();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            });
        }
    });
    (address, target)
}

/// A way to the gateway that can be cut: while it is, nothing gets through.
async fn way(to: SocketAddr) -> (SocketAddr, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let open = tokio::sync::watch::Sender::new(true);
    let watch = open.subscribe();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut watch = watch.clone();
            tokio::spawn(async move {
                if !*watch.borrow() {
                    return;
                }
                let mut to = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    _ = watch.wait_for(|open| !open) => {}
                }
            });
        }
    });
    (address, open)
}

fn builder(address: SocketAddr) -> Builder {
    let backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_millis(50) };
    Client::builder(format!("ws://{address}/ws")).backoff(backoff)
}

async fn until<T>(events: &mut Events, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = wanted(&events.next().await.expect("the session goes on")) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), search).await.expect("it did not happen in time")
}

#[tokio::test]
async fn what_is_published_without_a_network_arrives_once_and_in_order() {
    let (gateway, _shutdown) = gateway().await;
    let (address, open) = way(gateway).await;
    let (client, mut events) = builder(address).connect().unwrap();
    client.subscribe("lobby", None);
    until(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    let mut answers: Vec<_> = (0..20).map(|n| client.publish("lobby", &n).unwrap()).collect();
    // Some of these are answered, some are lost with their answers, the rest waits.
    open.send(false).unwrap();
    until(&mut events, |event| matches!(event, Event::Disconnected { will_return: true, .. }).then_some(())).await;
    answers.extend((20..40).map(|n| client.publish("lobby", &n).unwrap()));
    open.send(true).unwrap();
    let mut ids = Vec::new();
    for answer in answers {
        ids.push(answer.await.unwrap());
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let page = client.history("lobby", None, Some(200)).await.unwrap();
    let found: Vec<_> = page.messages.iter().map(|message| message.payload.get().parse::<u64>().unwrap()).collect();
    assert_eq!((found, page.more), ((0..40).collect(), false));
    let newest = client.history("lobby", None, Some(15)).await.unwrap();
    let before = client.history("lobby", Some(newest.messages[0].id), Some(25)).await.unwrap();
    assert_eq!((newest.more, before.messages.len(), before.more), (true, 25, false));
}

#[tokio::test]
async fn members_come_and_go() {
    let (gateway, _shutdown) = gateway().await;
    let present = Subscribe { presence: true, ..Subscribe::default() };
    let (one, mut events) = builder(gateway).connect().unwrap();
    one.subscribe_with("lobby", present);
    let count = |event: &Event| if let Event::Presence { count, .. } = event { Some(*count) } else { None };
    assert_eq!(until(&mut events, count).await, 1);
    let (two, mut others) = builder(gateway).connect().unwrap();
    two.subscribe_with("lobby", present);
    let session = until(&mut others, |event| match event {
        Event::Connected { session, .. } => Some(session.clone()),
        _ => None,
    });
    let session = session.await;
    let came = |event: &Event| match event {
        Event::Join { members, count: 2, .. } => Some(members.clone()),
        _ => None,
    };
    assert_eq!(until(&mut events, came).await[0].session, session);
    assert_eq!(one.presence("lobby").await.unwrap().members.len(), 2);
    two.close();
    let left = |event: &Event| match event {
        Event::Leave { members, count: 1, .. } => Some(members.clone()),
        _ => None,
    };
    assert_eq!(until(&mut events, left).await[0].session, session);
}

fn failed(event: &Event) -> Option<String> {
    if let Event::ConnectFailed { reason, .. } = event { Some(reason.clone()) } else { None }
}

#[tokio::test]
async fn sent_back_to_the_gateway_that_drains_a_session_stays_until_it_is_cancelled() {
    let (gateway, admin, _shutdown) = named_gateway("a").await;
    let (client, mut events) = builder(gateway).connect().unwrap();
    client.subscribe("lobby", None);
    until(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    drain(admin, "POST").await;
    for _ in 0..2 {
        assert_eq!(until(&mut events, failed).await, "it is the gateway that drains");
    }
    drain(admin, "DELETE").await;
    let cancelled = |event: &Event| match event {
        Event::Disconnected { .. } | Event::Moved { .. } => panic!("{event:?}"),
        event => matches!(event, Event::DrainCancelled).then_some(()),
    };
    until(&mut events, cancelled).await;
    client.publish("lobby", "still here").unwrap().await.unwrap();
    until(&mut events, |event| matches!(event, Event::Message { .. }).then_some(())).await;
}

#[tokio::test]
async fn a_session_moves_past_a_gateway_that_says_drain_at_once() {
    let [(a, admin_a, _end_a), (b, admin_b, _end_b), (c, _, _end_c)] =
        [named_gateway("a").await, named_gateway("b").await, named_gateway("c").await];
    let (address, target) = balancer(a).await;
    let (client, mut events) = builder(address).connect().unwrap();
    client.subscribe("lobby", None);
    until(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    drain(admin_b, "POST").await;
    *target.lock().unwrap() = b;
    drain(admin_a, "POST").await;
    assert_eq!(until(&mut events, failed).await, "it drains, too");
    *target.lock().unwrap() = c;
    let moved = |event: &Event| match event {
        Event::Disconnected { .. } => panic!("{event:?}"),
        Event::Moved { from, to } => Some((from.clone(), to.clone())),
        _ => None,
    };
    assert_eq!(until(&mut events, moved).await, ("a".to_owned(), "c".to_owned()));
}

/// TLS in front of the gateway, and the authority that vouches for it.
async fn with_tls(to: SocketAddr) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut from) = acceptor.accept(from).await else { return };
                let mut to = TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            });
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn a_gateway_behind_tls_is_reached_if_its_authority_is_trusted() {
    let (gateway, _shutdown) = gateway().await;
    let (address, authority) = with_tls(gateway).await;
    let url = format!("wss://localhost:{}/ws", address.port());
    let (client, _events) = Client::builder(&url).authorities(authority).connect().unwrap();
    client.publish("lobby", "over TLS").unwrap().await.unwrap();
    let (_stranger, mut events) = Client::builder(&url).connect().unwrap();
    let reason = until(&mut events, |event| match event {
        Event::ConnectFailed { reason, .. } => Some(reason.clone()),
        Event::Connected { .. } => Some("it trusts anyone".to_owned()),
        _ => None,
    });
    let reason = reason.await;
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
}
