//! Certificates that change while the gateway runs, and TLS that is switched on and off.

use std::sync::Arc;

use serde_json::json;
use wscluster_gateway::config::{Config, InForce};

use crate::gateway;
use crate::mounted::{Mounted, shown};
use crate::support::{Gateway, soon, until};

fn set(gateway: &Gateway, yaml: &str) {
    gateway.settings.store(Arc::new(InForce::from(Config::parse(yaml).unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_who_comes_and_nobody_is_dropped() {
    const CLIENTS: usize = 200;
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = mounted.client(gateway.public).await;
        client.subscribe("a").await;
        clients.push(client);
    }
    let first = shown(clients[0].socket.get_ref());
    let (certificate, key) = mounted.sign();
    mounted.mount(&certificate, &key);
    let rotated = || async { shown(&mounted.connect(gateway.public).await.unwrap()) != first };
    until(rotated).await;
    let mut late = mounted.client(gateway.public).await;
    late.publish("a", json!("to all")).await;
    for client in &mut clients {
        assert_eq!(client.message().await.1, json!("to all"));
        assert_eq!(shown(client.socket.get_ref()), first);
    }
    assert_eq!(gateway.metric("tls_certificate_reads_total{result=\"applied\"}").await, 2);
    assert_eq!(gateway.metric("ws_active_connections").await, CLIENTS as u64 + 1);
}

#[tokio::test]
async fn a_bad_pair_is_refused_and_the_old_one_stays() {
    let mounted = Mounted::new();
    let gateway = gateway(&mounted, "").await;
    let first = shown(&mounted.connect(gateway.public).await.unwrap());
    let refused = || gateway.metric("tls_certificate_reads_total{result=\"refused\"}");
    let ((certificate, key), (other, _)) = (mounted.sign(), mounted.sign());
    for (times, (certificate, key)) in
        [(1, (&other, &key)), (2, (&String::new(), &key)), (3, (&certificate, &"-".into()))]
    {
        mounted.mount(certificate, key);
        until(|| async { refused().await == times }).await;
        assert_eq!(shown(&mounted.connect(gateway.public).await.unwrap()), first);
        assert_eq!(gateway.metric("tls_certificate_refused").await, 1);
    }
    mounted.mount(&certificate, &key);
    until(|| async { gateway.metric("tls_certificate_refused").await == 0 }).await;
    assert_ne!(shown(&mounted.connect(gateway.public).await.unwrap()), first);
}

#[tokio::test]
async fn tls_is_switched_on_and_off_for_who_comes_and_nobody_is_dropped() {
    let mounted = Mounted::new();
    let gateway = Gateway::start("", None).await;
    let mut plain = gateway.client().await;
    plain.subscribe("a").await;
    set(&gateway, &mounted.settings());
    until(|| async { mounted.connect(gateway.public).await.is_ok() }).await;
    let mut secured = mounted.client(gateway.public).await;
    secured.subscribe("a").await;
    set(&gateway, "");
    until(|| async { mounted.connect(gateway.public).await.is_err() }).await;
    let mut third = gateway.client().await;
    third.publish("a", json!("to both")).await;
    assert_eq!(plain.message().await.1, json!("to both"));
    assert_eq!(secured.message().await.1, json!("to both"));
}

/// Never in plain text where TLS was asked for from the start.
#[tokio::test]
async fn without_any_certificate_nobody_comes_in() {
    let mounted = Mounted::new();
    mounted.mount("", "");
    let gateway = gateway(&mounted, "").await;
    assert!(mounted.connect(gateway.public).await.is_err());
    assert!(soon(gateway_plainly(&gateway)).await.is_err());
    assert_eq!(gateway.metric("tls_handshake_failures_total{reason=\"no_certificate\"}").await, 2);
    let (certificate, key) = mounted.sign();
    mounted.mount(&certificate, &key);
    until(|| async { mounted.connect(gateway.public).await.is_ok() }).await;
}

async fn gateway_plainly(gateway: &Gateway) -> Result<(), ()> {
    crate::support::Client::open(gateway.public, "/ws?room=a", &[]).await.map(drop).map_err(drop)
}
