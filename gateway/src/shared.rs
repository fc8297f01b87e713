//! What the parts of a running gateway share: settings, rooms, connections, metrics, the drain. Knows no listener.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::Authenticator;
use crate::clock;
use crate::config::{self, InForce};
use crate::drain::Drain;
use crate::hub::Hub;
use crate::log::memory::MemoryLog;
use crate::log::redis::{Address, RedisLog};
use crate::log::{Feed, Log};
use crate::metrics::{Metrics, Snapshot};
use crate::presence::{MemoryRoster, Presence, RedisRoster, Roster};
use crate::replay::Replays;
use crate::session::Bucket;
use crate::shard::Connections;
use crate::socket::Shards;

/// What the shared parts are made of.
pub struct Parts {
    /// The settings.
    pub settings: config::Shared,
    /// Where rooms are; `None` is in this process.
    pub redis: Option<Address>,
    /// Name of this gateway.
    pub node: String,
    /// Needed for admin calls that change something, when set.
    pub admin_token: Option<String>,
    /// File with the keys of the HTTP API, followed while running.
    pub api_key_file: Option<PathBuf>,
    /// Threads that serve connections.
    pub shards: usize,
    /// Serve the example page, whatever the settings say.
    pub demo: bool,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// What the parts share.
pub struct Shared {
    /// The settings in force.
    pub settings: config::Shared,
    /// The rooms.
    pub hub: Arc<Hub>,
    /// Who is in the rooms.
    pub presence: Arc<Presence>,
    /// What clients that resume are given.
    pub replays: Replays,
    /// The connections.
    pub connections: Arc<Connections>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The drain.
    pub drain: Arc<Drain>,
    /// Name of this gateway.
    pub node: Arc<str>,
    /// Needed for admin calls that change something, when set.
    pub admin_token: Option<String>,
    /// Checks credentials.
    pub auth: Arc<Authenticator>,
    demo: bool,
    /// The threads that serve the connections.
    pub shards: Arc<Shards>,
    handshakes: Mutex<Bucket>,
}

impl Shared {
    /// Makes the parts, and lets the log feed the hub.
    pub(crate) fn new(parts: &Parts) -> Arc<Self> {
        let connections = Arc::new(Connections::default());
        let shards = Arc::new(Shards::new(parts.shards).expect("the process has file descriptors at its start"));
        let metrics = Arc::clone(&parts.metrics);
        let hub = Arc::new(Hub::new(Arc::clone(&shards)));
        let feed: Arc<dyn Feed> = Arc::clone(&hub) as _;
        let settings = Arc::clone(&parts.settings);
        let (log, roster): (Arc<dyn Log>, Arc<dyn Roster>) = match &parts.redis {
            Some(address) => {
                let log = RedisLog::start(address.clone(), settings, feed, Arc::clone(&metrics));
                let roster = RedisRoster::new(log.commands(), &parts.node);
                (log, roster)
            }
            None => (Arc::new(MemoryLog::new(settings, feed)), Arc::new(MemoryRoster::default())),
        };
        hub.attach(log);
        let presence = Presence::start(Arc::clone(&parts.settings), roster, Arc::clone(&hub), Arc::clone(&metrics));
        let shared = Arc::new(Self {
            drain: Drain::new(Arc::clone(&parts.settings), Arc::clone(&connections), Arc::clone(&metrics)),
            settings: Arc::clone(&parts.settings),
            presence,
            replays: Replays::default(),
            hub,
            connections,
            metrics,
            node: parts.node.as_str().into(),
            admin_token: parts.admin_token.clone(),
            auth: Authenticator::start(
                Arc::clone(&parts.settings),
                parts.api_key_file.clone(),
                Arc::clone(&parts.metrics),
            ),
            demo: parts.demo,
            shards,
            handshakes: Mutex::new(Bucket::full(clock::now())),
        });
        shared.shards.start(&shared);
        shared
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<InForce> {
        self.settings.load_full()
    }

    /// Whether the example page is served.
    pub fn serves_demo(&self) -> bool {
        self.demo || self.settings.load().demo
    }

    /// Whether one more handshake is within the rate.
    pub fn handshake_in_time(&self, config: &InForce) -> bool {
        let rate = f64::from(config.limits.handshakes_per_second);
        rate == 0.0 || self.handshakes.lock().take(rate, rate, clock::now())
    }

    /// What is measured when it is asked for.
    pub fn snapshot(&self) -> Snapshot {
        let config = self.config();
        Snapshot {
            shards: self.shards.inboxes().iter().map(|inbox| inbox.load()).collect(),
            buffered: self.connections.buffered(),
            buffer_limit: config.backpressure.total_buffer_bytes,
            subscriptions: self.hub.subscriptions(),
            rooms: self.hub.rooms(),
            presence_members: self.presence.memberships(),
            presence_rooms: self.presence.rooms(),
            drain_remaining: if self.drain.active() { self.connections.len() } else { 0 },
            drain_rate: self.drain.rate(),
            health: self.hub.log().health(),
            config_hash: config.hash(),
            key_set_age: self.auth.key_set_age(),
        }
    }
}
