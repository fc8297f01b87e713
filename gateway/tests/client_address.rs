//! Behind proxies that name the client in a header.

mod support;

use support::{Client, Gateway, http};

const SETTINGS: &str = "trustedProxies: [127.0.0.0/8]\nlimits: {connectionsPerIp: 1}";

async fn enter(gateway: &Gateway, headers: &[(&'static str, &str)]) -> Option<Client> {
    Client::open(gateway.public, "/ws?room=a", headers).await.ok()
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let gateway = Gateway::start(SETTINGS, None).await;
    let first = enter(&gateway, &[("x-forwarded-for", "1.2.3.4, 203.0.113.7")]).await;
    let same = enter(&gateway, &[("x-forwarded-for", "9.9.9.9, 203.0.113.7:5000, 127.0.0.9")]).await;
    let by_the_other = enter(&gateway, &[("forwarded", "for=203.0.113.7;proto=https")]).await;
    let other = enter(&gateway, &[("forwarded", "for=\"[2001:db8::7]:4711\"")]).await;
    assert!(first.is_some() && other.is_some());
    assert!(same.is_none() && by_the_other.is_none(), "the second of one address");
    assert_eq!(gateway.metric("ws_handshakes_rejected_total{reason=\"connections_per_ip\"}").await, 2);
}

#[tokio::test]
async fn the_word_of_others_is_nothing() {
    let gateway = Gateway::start("trustedProxies: [10.0.0.0/8]\nlimits: {connectionsPerIp: 1}", None).await;
    let first = enter(&gateway, &[("x-forwarded-for", "203.0.113.7")]).await;
    let second = enter(&gateway, &[("x-forwarded-for", "203.0.113.8")]).await;
    assert!(first.is_some() && second.is_none());
}

#[tokio::test]
async fn what_a_proxy_says_in_vain_is_counted_and_the_client_is_the_proxy() {
    let gateway = Gateway::start(SETTINGS, None).await;
    let first = enter(&gateway, &[("x-forwarded-for", "somebody")]).await;
    let second = enter(&gateway, &[("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.8")]).await;
    assert!(first.is_some() && second.is_none());
    for reason in ["malformed", "disagree"] {
        assert_eq!(gateway.metric(&format!("ws_client_address_ignored_total{{reason=\"{reason}\"}}")).await, 1);
    }
}

#[tokio::test]
async fn each_client_of_a_proxy_has_its_own_allowance_of_the_http_api() {
    let yaml = "trustedProxies: [127.0.0.1/32]\nlimits: {messagesPerSecond: 1, burst: 1}";
    let gateway = Gateway::start(yaml, None).await;
    let ask = async |client: u8| {
        let header = format!("x-forwarded-for: 203.0.113.{client}\r\n");
        http(gateway.public, "GET", "/api/v1/rooms/a/messages", &header, "").await.0
    };
    assert_eq!((ask(7).await, ask(7).await, ask(8).await), (200, 429, 200));
}
