//! Keys of the cookie that change while gateways run.

use std::sync::Arc;

use wscluster_gateway::config::Config;

use crate::support::until;
use crate::{Fleet, KEY, Visitor};

/// 32 times the byte 9.
const NEW: &str = "k2 CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk";

/// Waits until a gateway has read its file so many times.
async fn has_read(fleet: &Fleet, times: u64) {
    for gateway in &fleet.gateways {
        until(async || gateway.metric("auth_key_file_reads_total{result=\"applied\"}").await == times).await;
    }
}

/// Comes back to the other gateway.
async fn finds_home(fleet: &Fleet, visitor: &mut Visitor) {
    let visit = visitor.visit(fleet.public(1)).await;
    assert_eq!(visit.owner, "g0");
}

#[tokio::test]
async fn a_rotation_in_two_steps_loses_nobody() {
    let fleet = Fleet::start(2, "").await;
    let mut old = Visitor::default();
    assert_eq!(old.visit(fleet.public(0)).await.owner, "g0");
    // Read by all, written by none.
    fleet.write_keys(&[KEY, NEW]);
    has_read(&fleet, 2).await;
    finds_home(&fleet, &mut old).await;
    let mut between = Visitor::default();
    between.visit(fleet.public(0)).await;
    assert!(between.cookie.as_deref().unwrap().starts_with("v1.k1."));
    // Written by all.
    fleet.write_keys(&[NEW, KEY]);
    has_read(&fleet, 3).await;
    let mut new = Visitor::default();
    new.visit(fleet.public(0)).await;
    assert!(new.cookie.as_deref().unwrap().starts_with("v1.k2."));
    for visitor in [&mut old, &mut between, &mut new] {
        finds_home(&fleet, visitor).await;
    }
    // The old one is taken away: what it signed says nothing any more.
    fleet.write_keys(&[NEW]);
    has_read(&fleet, 4).await;
    finds_home(&fleet, &mut new).await;
    assert_eq!(old.visit(fleet.public(1)).await.owner, "g1");
}

#[tokio::test]
async fn a_bad_file_is_refused_and_the_old_keys_stay() {
    let fleet = Fleet::start(2, "").await;
    let mut visitor = Visitor::default();
    visitor.visit(fleet.public(0)).await;
    fleet.write_keys(&["k1 short"]);
    for gateway in &fleet.gateways {
        until(async || gateway.metric("auth_key_file_reads_total{result=\"refused\"}").await == 1).await;
    }
    finds_home(&fleet, &mut visitor).await;
    std::fs::remove_file(fleet.keys_file()).unwrap();
    for gateway in &fleet.gateways {
        until(async || gateway.metric("auth_key_file_reads_total{result=\"refused\"}").await == 2).await;
    }
    finds_home(&fleet, &mut visitor).await;
}

#[tokio::test]
async fn affinity_is_switched_off_and_on_with_other_keys_while_gateways_run() {
    let fleet = Fleet::start(2, "").await;
    let gateway = &fleet.gateways[1];
    let apply = |yaml: &str| gateway.settings.store(Arc::new(Config::parse(yaml).unwrap().into()));
    let mut visitor = Visitor::default();
    visitor.visit(fleet.public(0)).await;
    finds_home(&fleet, &mut visitor).await;
    apply("");
    let visit = visitor.visit(gateway.public).await;
    assert_eq!((&*visit.node, visit.cookie_set), ("g1", false));
    let other = fleet.folder.path().join("other-keys");
    std::fs::write(&other, NEW).unwrap();
    apply(&format!("affinity: {{keysFile: {other:?}}}"));
    let signs_with_it = async || {
        let mut new = Visitor::default();
        new.visit(gateway.public).await;
        new.cookie.is_some_and(|cookie| cookie.starts_with("v1.k2."))
    };
    until(signs_with_it).await;
    assert_eq!(visitor.visit(gateway.public).await.node, "g1", "what the former keys signed is foreign");
}
