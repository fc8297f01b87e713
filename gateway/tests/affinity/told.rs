//! `/v1/peers` on the admin port.

use serde_json::{Value, json};

use crate::support::{Gateway, Member, http};
use crate::{TOKEN, put_peers};

async fn gateway() -> Gateway {
    Gateway::start_all("", None, Member { token: Some(TOKEN), ..Member::default() }).await
}

async fn told(gateway: &Gateway) -> Value {
    let (status, body) = gateway.admin("GET", "/v1/peers").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn peers_are_told_with_the_token_and_stay_until_others_are() {
    let gateway = gateway().await;
    assert_eq!(told(&gateway).await, json!({"peers": {}}));
    let list = json!({"peers": {"a": "10.1.2.3:8081", "b": "[fd00::1]:8081"}});
    let body = list.to_string();
    assert_eq!(http(gateway.admin, "PUT", "/v1/peers", "", &body).await.0, 401);
    assert_eq!(http(gateway.admin, "PUT", "/v1/peers", "authorization: Bearer x\r\n", &body).await.0, 401);
    assert_eq!(told(&gateway).await, json!({"peers": {}}));
    let (status, answer) = put_peers(&gateway, &body).await;
    assert_eq!((status, serde_json::from_str::<Value>(&answer).unwrap()), (200, list.clone()));
    assert_eq!(told(&gateway).await, list);
    let (status, answer) = put_peers(&gateway, r#"{"peers": {"a": "10.1.2.3:8081", "b": "nowhere"}}"#).await;
    assert_eq!((status, answer.contains(r#"b: "nowhere" is no address"#)), (400, true), "{answer}");
    let (status, answer) = put_peers(&gateway, r#"{"peer": {}}"#).await;
    assert_eq!((status, answer.contains("unknown field `peer`")), (400, true), "{answer}");
    assert_eq!(put_peers(&gateway, "").await.0, 400);
    assert_eq!(told(&gateway).await, list, "what is bad changes nothing");
    assert_eq!(put_peers(&gateway, r#"{"peers": {}}"#).await.0, 200);
    assert_eq!(told(&gateway).await, json!({"peers": {}}));
}

#[tokio::test]
async fn a_list_is_as_long_as_the_largest_fleet_and_no_longer() {
    let gateway = gateway().await;
    let list = |count: usize| {
        let peers: serde_json::Map<_, _> =
            (0..count).map(|n| (format!("{}{n}", "p".repeat(240)), json!("10.0.0.1:1"))).collect();
        json!({ "peers": peers }).to_string()
    };
    assert_eq!(put_peers(&gateway, &list(5000)).await.0, 200);
    let (status, answer) = put_peers(&gateway, &list(5001)).await;
    assert_eq!((status, answer.contains("at most 5000")), (400, true), "{answer}");
    assert_eq!(put_peers(&gateway, &list(10_000)).await.0, 413);
}
