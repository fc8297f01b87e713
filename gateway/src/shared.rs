//! What the parts of a running gateway share: settings, rooms, connections, metrics, the drain. Knows no listener.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::affinity::forwards::Forward;
use crate::affinity::proof::ClusterKey;
use crate::affinity::{Affinity, Member};
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
use crate::rebalance::Rebalance;
use crate::replay::Replays;
use crate::session::Bucket;
use crate::shard::Connections;
use crate::socket::Shards;
use crate::tls::{Certificates, Handshakes};

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
    /// The revision of the fleet that this gateway is of.
    pub revision: String,
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
    /// The rebalance.
    pub rebalance: Arc<Rebalance>,
    /// Name of this gateway.
    pub node: Arc<str>,
    /// Needed for admin calls that change something, when set.
    pub admin_token: Option<String>,
    /// Which gateway a client that comes back was on.
    pub affinity: Arc<Affinity>,
    /// Checks credentials.
    pub auth: Arc<Authenticator>,
    demo: bool,
    /// What clients are shown over TLS.
    pub(crate) certificates: Arc<Certificates>,
    /// TLS handshakes that are under way.
    pub(crate) tls_handshakes: Handshakes,
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
        let affinity = affinity(parts);
        let drain = Drain::new(Arc::clone(&parts.settings), Arc::clone(&connections), Arc::clone(&metrics));
        drain.attach(Arc::clone(&affinity));
        let rebalance = Rebalance::new(
            Arc::clone(&parts.settings),
            Arc::clone(&connections),
            Arc::clone(&drain),
            Arc::clone(&metrics),
        );
        let shared = Arc::new(Self {
            drain,
            rebalance,
            settings: Arc::clone(&parts.settings),
            presence,
            replays: Replays::default(),
            hub,
            connections,
            metrics,
            node: parts.node.as_str().into(),
            admin_token: parts.admin_token.clone(),
            affinity,
            auth: Authenticator::start(
                Arc::clone(&parts.settings),
                parts.api_key_file.clone(),
                Arc::clone(&parts.metrics),
            ),
            demo: parts.demo,
            certificates: Certificates::start(Arc::clone(&parts.settings), Arc::clone(&parts.metrics)),
            tls_handshakes: Handshakes::new(Arc::clone(&parts.metrics)),
            shards,
            handshakes: Mutex::new(Bucket::full(clock::now())),
        });
        shared.shards.start(&shared);
        shared.affinity.splicers.start(&shared);
        let (metrics, settings) = (Arc::clone(&shared.metrics), Arc::clone(&shared.settings));
        let node = Arc::clone(&shared.node);
        tokio::spawn(async move { metrics.traces.follow(settings, node).await });
        shared
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<InForce> {
        self.settings.load_full()
    }

    /// Whether sessions are taken over from other gateways, to which their clients came. Whatever makes this gateway send
    /// its sessions away belongs here.
    pub fn accepts_forwarded(&self) -> bool {
        !self.drain.active() && !self.drain.is_closed() && !self.rebalance.active()
    }

    /// A connection that ran through here to another gateway has ended.
    pub(crate) fn forward_ended(&self, forward: &Forward) {
        self.affinity.forwards.remove(forward);
        self.drain.forward_closed(forward);
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
        let (config, drain) = (self.config(), self.drain.status());
        Snapshot {
            shards: self.shards.inboxes().iter().map(|inbox| inbox.load()).collect(),
            buffered: self.connections.buffered(),
            buffer_limit: config.backpressure.total_buffer_bytes,
            subscriptions: self.hub.subscriptions(),
            rooms: self.hub.rooms(),
            presence_members: self.presence.memberships(),
            presence_rooms: self.presence.rooms(),
            forwarded: self.affinity.forwards.len(),
            drain_remaining: if self.drain.active() { drain.remaining } else { 0 },
            drain_rate: drain.rate,
            health: self.hub.log().health(),
            config_hash: config.hash(),
            key_set_age: self.auth.key_set_age(),
        }
    }
}

fn affinity(parts: &Parts) -> Arc<Affinity> {
    let member = Member {
        pod: parts.node.as_str().into(),
        revision: parts.revision.as_str().into(),
        key: parts.admin_token.as_deref().map(ClusterKey::from_token),
    };
    let (settings, metrics) = (Arc::clone(&parts.settings), Arc::clone(&parts.metrics));
    Affinity::start(member, settings, metrics, parts.shards).expect("the process has file descriptors at its start")
}
