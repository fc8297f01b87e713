//! Owners that are gone, drain, are full, hang, die or lie: the client is served where it came, in time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Error as WsError;
use wscluster_gateway::affinity::cookie::{Key, Keys};

use crate::support::{Gateway, http, until};
use crate::{DAY, Fleet, TOKEN, Visitor, cookie, signed, tell};

/// Comes to `g0` with a cookie for `owner`, and is served there with a new cookie.
async fn missed(fleet: &Fleet, owner: &str, reason: &str) {
    let name = format!("ws_affinity_missed_total{{reason=\"{reason}\"}}");
    let before = fleet.gateways[0].metric(&name).await;
    let mut visitor = Visitor::with(cookie(owner, "r1", DAY));
    let visit = visitor.visit(fleet.public(0)).await;
    assert_eq!((&*visit.node, visit.cookie_set), ("g0", true), "{reason}");
    assert_eq!(fleet.gateways[0].metric(&name).await, before + 1, "{reason}");
    let again = visitor.visit(fleet.public(0)).await;
    assert_eq!((&*again.node, again.cookie_set), ("g0", false), "{reason}: it stays there");
}

#[tokio::test]
async fn forged_expired_foreign_and_odd_cookies_are_ignored() {
    let fleet = Fleet::start(2, "").await;
    let good = cookie("g1", "r1", DAY);
    let forged = good.replacen("v1.k1.", "v1.k1.A", 1);
    let foreign = Keys { current: Key::new("k1", &[8; 32]).unwrap(), others: Vec::new() };
    let unknown = Keys { current: Key::new("k9", &[7; 32]).unwrap(), others: Vec::new() };
    let odd = [
        forged,
        format!("{good}A"),
        cookie("g1", "r1", 0),
        signed(&foreign, "g1", "r1", DAY),
        signed(&unknown, "g1", "r1", DAY),
        "x".repeat(2000),
        String::new(),
    ];
    for (n, odd) in odd.into_iter().enumerate() {
        let visit = Visitor::with(odd).visit(fleet.public(0)).await;
        assert_eq!((&*visit.node, visit.cookie_set), ("g0", true), "cookie {n}");
    }
    assert_eq!(fleet.gateways[0].metric("ws_affinity_handshakes_total{outcome=\"new\"}").await, 7);
    assert_eq!(Visitor::with(good).visit(fleet.public(0)).await.node, "g1 via g0");
}

#[tokio::test]
async fn a_cookie_holds_until_it_expires_and_not_when_it_is_shown_again_after_that() {
    let fleet = Fleet::start(2, "").await;
    let short = cookie("g1", "r1", 700);
    assert_eq!(Visitor::with(short.clone()).visit(fleet.public(0)).await.owner, "g1");
    until(async || Visitor::with(short.clone()).visit(fleet.public(0)).await.owner == "g0").await;
}

#[tokio::test]
async fn an_owner_that_is_unknown_gone_or_of_another_revision_is_not_asked() {
    let mut fleet = Fleet::start(0, "").await;
    fleet.add("", None).await;
    missed(&fleet, "g1", "no_peers").await;
    fleet.add("", None).await;
    fleet.tell_peers().await;
    missed(&fleet, "g7", "gone").await;
    let visit = Visitor::with(cookie("g1", "r0", DAY)).visit(fleet.public(0)).await;
    assert_eq!((&*visit.node, visit.cookie_set), ("g0", true));
    assert_eq!(fleet.gateways[0].metric("ws_affinity_missed_total{reason=\"revision\"}").await, 1);
    assert_eq!(Visitor::with(cookie("g1", "r1", DAY)).visit(fleet.public(0)).await.owner, "g1");
    // Told anew, without it.
    tell(&fleet.gateways[0], &[("g0".into(), fleet.gateways[0].peer.unwrap())]).await;
    missed(&fleet, "g1", "gone").await;
}

#[tokio::test]
async fn an_owner_that_drains_or_is_full_is_left_alone() {
    let fleet = Fleet::start(3, "maxConnections: 2").await;
    http(fleet.gateways[1].admin, "POST", "/v1/drain", &format!("authorization: Bearer {TOKEN}\r\n"), "{}").await;
    missed(&fleet, "g1", "busy").await;
    let _inside = [fleet.gateways[2].client().await, fleet.gateways[2].client().await];
    missed(&fleet, "g2", "busy").await;
}

#[tokio::test]
async fn beyond_its_limit_a_gateway_serves_itself() {
    let fleet = Fleet::start(2, "maxConnections: 10").await;
    let mut inside = Vec::new();
    fleet.gateways[0].settings.store({
        let yaml = fleet.settings("maxConnections: 10").replace("cookie-keys", "cookie-keys, maxForwardedPercent: 20");
        std::sync::Arc::new(wscluster_gateway::config::Config::parse(&yaml).unwrap().into())
    });
    for _ in 0..2 {
        inside.push(Visitor::with(cookie("g1", "r1", DAY)).visit(fleet.public(0)).await);
        assert_eq!(inside.last().unwrap().owner, "g1");
    }
    missed(&fleet, "g1", "limit").await;
    inside.pop();
    until(async || fleet.gateways[0].connections().await["forwarded"] == 1).await;
    assert_eq!(Visitor::with(cookie("g1", "r1", DAY)).visit(fleet.public(0)).await.owner, "g1");
}

#[tokio::test]
async fn what_the_owner_refuses_for_good_is_refused_and_what_it_cannot_judge_is_served() {
    let fleet = Fleet::start(2, "auth: {anonymous: {subscribe: [open]}}").await;
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    let refused = visitor.open("127.0.0.1", fleet.public(0), "/ws?room=secret", &[]).await.err();
    let Some(WsError::Http(response)) = refused else { panic!("{refused:?}") };
    assert_eq!((response.status().as_u16(), response.headers().contains_key("set-cookie")), (403, false));
    assert!(!response.headers().contains_key("wscluster-proof"));
    let body = String::from_utf8(response.into_body().unwrap()).unwrap();
    assert_eq!(body, "not allowed in room secret\n");
    let counted = async |n: usize| fleet.gateways[n].metric("ws_handshakes_rejected_total{reason=\"forbidden\"}").await;
    assert_eq!((counted(0).await, counted(1).await), (0, 1), "judged by the owner");
    assert_eq!(fleet.gateways[0].metric("ws_affinity_handshakes_total{outcome=\"refused\"}").await, 1);
    // A token where none is taken: 401, as anywhere.
    let token = [("authorization", "Bearer a.b.c")];
    let refused = visitor.open("127.0.0.1", fleet.public(0), "/ws?room=open", &token).await.err();
    assert!(matches!(refused, Some(WsError::Http(response)) if response.status() == 401));
    assert!(visitor.open("127.0.0.1", fleet.public(0), "/ws?room=open", &[]).await.is_ok());
}

#[tokio::test]
async fn an_address_is_counted_where_its_session_is() {
    let fleet = Fleet::start(2, "limits: {connectionsPerIp: 1}").await;
    let visit = async |from: &str| Visitor::with(cookie("g1", "r1", DAY)).visit_from(from, fleet.public(0)).await;
    let (one, other) = (visit("127.0.0.2").await, visit("127.0.0.3").await);
    assert_eq!((&*one.owner, &*other.owner), ("g1", "g1"), "the forwarder's address is nobody's");
    let second = visit("127.0.0.2").await;
    assert_eq!(second.node, "g0", "full for this address, there; not here, where it has none");
    drop(one);
    until(async || visit("127.0.0.2").await.owner == "g1" || visit("127.0.0.4").await.owner != "g1").await;
}

/// What a peer port does that is none.
#[derive(Clone, Copy, Debug)]
enum Fake {
    /// Takes connections and says nothing.
    Hangs,
    /// Reads the handshake and is gone.
    Dies,
    /// Is gone within its answer.
    DiesLate,
    /// Says welcome without a proof.
    Lies,
    /// Refuses without a proof.
    LiesNo,
}

async fn fake(kind: Fake) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let said = answer(kind, &mut stream).await;
            stream.write_all(said.as_bytes()).await.unwrap();
            if matches!(kind, Fake::Hangs | Fake::Lies | Fake::LiesNo) {
                open.push(stream);
            }
        }
    });
    address
}

async fn answer(kind: Fake, stream: &mut TcpStream) -> &'static str {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    match kind {
        Fake::Hangs | Fake::Dies => "",
        Fake::DiesLate => "HTTP/1.1 101 Switching Protocols\r\nconnection: Upg",
        Fake::Lies => {
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nwscluster-proof: v1.YQ\r\n\
             sec-websocket-accept: x\r\n\r\n"
        }
        Fake::LiesNo => "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    }
}

#[tokio::test]
async fn an_owner_that_dies_or_lies_in_mid_handshake_costs_no_handshake() {
    for (kind, reason) in [
        (Fake::Dies, "unreachable"),
        (Fake::DiesLate, "unreachable"),
        (Fake::Lies, "unproven"),
        (Fake::LiesNo, "unproven"),
    ] {
        let fleet = Fleet::start(1, "").await;
        tell(&fleet.gateways[0], &[("g1".into(), fake(kind).await)]).await;
        missed(&fleet, "g1", reason).await;
    }
    let fleet = Fleet::start(1, "").await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    tell(&fleet.gateways[0], &[("g1".into(), nobody)]).await;
    missed(&fleet, "g1", "unreachable").await;
}

#[tokio::test]
async fn an_owner_that_hangs_holds_up_a_handshake_for_a_moment_and_the_next_one_not_at_all() {
    let fleet = Fleet::start(1, "").await;
    tell(&fleet.gateways[0], &[("g1".into(), fake(Fake::Hangs).await)]).await;
    let began = Instant::now();
    missed(&fleet, "g1", "timeout").await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..20 {
        missed(&fleet, "g1", "shunned").await;
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_owner_of_another_cluster_is_not_believed_and_does_not_believe() {
    let fleet = Fleet::start(1, "").await;
    let member = crate::Member { name: "g1", token: Some("another token"), peers: true, ..crate::Member::default() };
    let stranger = Gateway::start_all(&fleet.settings(""), None, member).await;
    tell(&fleet.gateways[0], &[("g1".into(), stranger.peer.unwrap())]).await;
    missed(&fleet, "g1", "unproven").await;
    assert_eq!(stranger.metric("ws_handshakes_rejected_total{reason=\"peer_proof\"}").await, 1);
    assert_eq!(stranger.connections().await["connections"], json!(0));
}

#[tokio::test]
async fn an_address_that_is_another_gateways_now_is_told_so() {
    let fleet = Fleet::start(2, "").await;
    tell(&fleet.gateways[0], &[("g5".into(), fleet.gateways[1].peer.unwrap())]).await;
    missed(&fleet, "g5", "busy").await;
}
