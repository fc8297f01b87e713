//! The drain on paused time, with connections that nobody serves.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::config::{self, Config};
use crate::protocol::Protocol;
use crate::socket::{Command, Shards};

struct World {
    drain: Arc<Drain>,
    connections: Arc<Connections>,
    shards: Shards,
    clients: Vec<Arc<Connection>>,
}

fn world(clients: usize, settings: config::Drain) -> World {
    let config = config::share(Config { drain: settings, ..Config::default() });
    let connections = Arc::new(Connections::default());
    let drain = Drain::new(config, Arc::clone(&connections), Arc::new(Metrics::new()));
    let mut world = World { drain, connections, shards: Shards::new(1).unwrap(), clients: Vec::new() };
    (0..clients).for_each(|_| world.connect());
    world
}

impl World {
    fn connect(&mut self) {
        let place = self.connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 1000, 0).ok().unwrap();
        let connection = self.connections.add(Protocol::V1, place, 0, clock::now(), self.shards.choose());
        connection.slot.store(0, Relaxed);
        self.clients.push(connection);
    }

    fn leave(&mut self, reason: &'static str) {
        let connection = self.clients.remove(0);
        self.connections.remove(&connection);
        self.drain.closed(&connection, reason);
    }

    /// What the first client was told.
    fn told(&self) -> Vec<Item> {
        let mut commands = Vec::new();
        self.shards.inboxes()[0].take(&mut commands);
        let first = |command| match command {
            Command::Tell(connection, item) if Arc::ptr_eq(&connection, &self.clients[0]) => Some(item),
            _ => None,
        };
        commands.into_iter().filter_map(first).collect()
    }

    fn noticed(&self) -> usize {
        self.clients.iter().filter(|each| each.told.is_set()).count()
    }
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn settings(min_seconds: u64, per_second: u32) -> config::Drain {
    config::Drain { timeout_seconds: 60, connections_per_second: per_second, min_seconds, resume_window_seconds: 120 }
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_after_the_wait_and_to_the_pace() {
    let world = world(100, settings(5, 10));
    world.drain.start(Wish::default());
    pass(4950).await;
    assert_eq!(world.noticed(), 0);
    pass(1100).await;
    assert_eq!(world.noticed(), 10);
    pass(10_000).await;
    assert_eq!(world.noticed(), 100);
}

#[tokio::test(start_paused = true)]
async fn it_is_over_when_all_have_left_and_not_before_the_wait_is() {
    let mut world = world(1, settings(5, 0));
    world.drain.start(Wish::default());
    world.leave("client");
    assert_eq!(world.drain.status().state, Phase::Draining);
    let status = world.drain.finished().await;
    assert_eq!((status.state, status.remaining), (Phase::Drained, 0));
    assert!(clock::now() >= status.started_at.unwrap() + 5000);
}

#[tokio::test(start_paused = true)]
async fn who_comes_during_a_drain_is_told_at_once() {
    let mut world = world(0, settings(0, 0));
    world.drain.start(Wish::default());
    pass(30_000).await;
    world.connect();
    pass(250).await;
    assert_eq!(world.noticed(), 1);
    assert_eq!(world.drain.status().state, Phase::Draining);
}

#[tokio::test(start_paused = true)]
async fn who_has_not_been_taken_by_its_shard_is_told_later() {
    let world = world(1, settings(0, 0));
    world.clients[0].slot.store(u32::MAX, Relaxed);
    world.drain.start(Wish::default());
    pass(1000).await;
    assert_eq!(world.noticed(), 0, "it would not hear it");
    world.clients[0].slot.store(0, Relaxed);
    pass(200).await;
    assert_eq!(world.noticed(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_forces_the_rest() {
    let mut world = world(2, settings(0, 0));
    world.drain.start(Wish { timeout_seconds: Some(3), ..Wish::default() });
    pass(1000).await;
    world.leave("client");
    assert_eq!(world.drain.finished().await.remaining, 1);
    pass(200).await;
    let told = world.told();
    assert!(matches!(told[0], Item::Drain { retry_after_ms: 0..=500, deadline_ms: 1..=3000 }));
    assert!(matches!(told[1], Item::DrainForced));
    world.leave("drain_forced");
    let status = world.drain.status();
    assert_eq!((status.state, status.noticed, status.moved, status.forced), (Phase::Drained, 2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn starting_again_changes_only_what_is_named() {
    let world = world(100, settings(0, 10));
    let first = world.drain.start(Wish::default());
    pass(1000).await;
    let again = world.drain.start(Wish::default());
    assert_eq!((first.started_at, first.deadline_at), (again.started_at, again.deadline_at));
    let later = world.drain.start(Wish { timeout_seconds: Some(120), connections_per_second: Some(1000) });
    assert_eq!(later.deadline_at, Some(first.started_at.unwrap() + 120_000));
    pass(200).await;
    assert_eq!(world.noticed(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_drain_leaves_the_rest_and_can_begin_anew() {
    let mut world = world(3, settings(0, 0));
    world.drain.start(Wish::default());
    pass(1000).await;
    world.leave("client");
    assert_eq!(world.drain.cancel().unwrap().state, Phase::Running);
    assert_eq!(world.noticed(), 0);
    assert!(world.told().iter().any(|item| matches!(item, Item::DrainCancelled)));
    pass(1000).await;
    assert_eq!(world.noticed(), 0);
    world.drain.start(Wish::default());
    pass(1000).await;
    assert_eq!(world.noticed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_drain_to_exit_cannot_be_cancelled() {
    let world = world(1, settings(0, 0));
    assert!(!world.drain.start(Wish::default()).exiting);
    assert!(world.drain.start_to_exit().exiting);
    assert_eq!(world.drain.cancel(), Err(Exiting));
    assert!(world.drain.active());
}
