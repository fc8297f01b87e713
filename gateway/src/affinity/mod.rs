//! Cookie affinity: a client that comes back finds the gateway that it was on, whichever one its load balancer chose. A
//! cookie says where it was (`cookie`); who serves it is decided purely (`choice`); a handshake for another gateway is
//! taken there (`forward`) over a port on which gateways prove themselves (`proof`), and its bytes are carried (`splice`).

pub mod ask;
pub mod choice;
pub mod cookie;
pub mod forward;
pub mod forwards;
pub mod keys;
pub mod orders;
pub mod peers;
pub mod proof;
pub mod set_cookie;
pub mod splice;
pub mod wire;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, header};

use crate::auth::KeyFile;
use crate::clock::{self, Millis};
use crate::config::{self, InForce};
use crate::metrics::Metrics;
use ask::{Answer, Question};
use choice::{Choice, Here, Missed, Outcome};
use cookie::Keys;
use forwards::{Forwards, Seat};
use peers::{Peer, Peers};
use proof::{ClusterKey, Seen};
use splice::Splicers;
use wire::Envelope;

const POLL: Duration = Duration::from_secs(1);
/// The revision of a gateway that was not told any.
pub const NO_REVISION: &str = "-";

/// What a gateway is among others.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of its pod.
    pub pod: Arc<str>,
    /// The revision of the fleet that it is of.
    pub revision: Arc<str>,
    /// What it proves itself with; `None`: it cannot, and forwards nothing.
    pub key: Option<ClusterKey>,
}

/// The affinity of clients to gateways.
pub struct Affinity {
    /// What this gateway is.
    pub member: Member,
    /// The gateways that it may forward to.
    pub peers: Peers,
    /// The connections that it forwards.
    pub forwards: Arc<Forwards>,
    /// The requests that were taken on the peer port.
    pub seen: Seen,
    pub(crate) splicers: Splicers,
    settings: config::Shared,
    metrics: Arc<Metrics>,
    keys: ArcSwapOption<KeyFile<Keys>>,
}

impl Affinity {
    /// Follows the file of keys that the settings name. `threads` carry what is forwarded.
    pub(crate) fn start(
        member: Member,
        settings: config::Shared,
        metrics: Arc<Metrics>,
        threads: usize,
    ) -> std::io::Result<Arc<Self>> {
        let affinity = Arc::new(Self {
            splicers: Splicers::new(if member.key.is_some() { threads } else { 0 })?,
            member,
            peers: Peers::default(),
            forwards: Arc::default(),
            seen: Seen::default(),
            settings,
            metrics,
            keys: ArcSwapOption::empty(),
        });
        affinity.reload();
        tokio::spawn(follow(Arc::downgrade(&affinity)));
        Ok(affinity)
    }

    /// Who serves a handshake. `None`: affinity is off, or has no keys yet.
    pub fn choose(&self, headers: &HeaderMap, config: &InForce, draining: bool) -> Option<Choice> {
        let (settings, keys) = (config.affinity.as_ref()?, self.keys.load().as_ref()?.keys()?);
        let now = clock::now();
        let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        let shown = lines.into_iter().find_map(|line| keys.read_header(line, &settings.cookie.name, now));
        let here = Here {
            pod: &self.member.pod,
            revision: &self.member.revision,
            draining,
            has_room: self.forwards.len() < settings.most_forwarded(config.max_connections),
            max_age: settings.cookie.max_age(),
        };
        Some(choice::choose(shown.as_ref(), &here, |pod| self.find(pod, now), now))
    }

    fn find(&self, pod: &str, now: Millis) -> Result<Peer, Missed> {
        if self.member.key.is_none() {
            return Err(Missed::NoPeers);
        }
        self.peers.find(pod, now)
    }

    /// The header that makes a client come back to a gateway. `None`: there are no keys, or the pod has no name that a
    /// cookie can carry.
    pub fn set_cookie(&self, pod: &str, config: &InForce) -> Option<HeaderValue> {
        let (settings, keys) = (config.affinity.as_ref()?, self.keys.load().as_ref()?.keys()?);
        let expires_at = clock::now() + settings.cookie.max_age();
        let revision = self.member.revision.to_string();
        let value = keys.write(&cookie::Affinity { pod: pod.to_owned(), revision, expires_at })?;
        set_cookie::header(&settings.cookie, &value)
    }

    /// Counts what became of a handshake.
    pub fn count(&self, outcome: Outcome) {
        self.metrics.affinity(outcome);
    }

    /// A place for one more connection that is forwarded, if there is any.
    pub(crate) fn take_seat(&self, config: &InForce) -> Option<Seat> {
        self.forwards.take_seat(config.affinity.as_ref()?.most_forwarded(config.max_connections))
    }

    /// Asks another gateway in our name.
    pub(crate) async fn ask(&self, peer: &Peer, mut question: Question) -> Result<Answer, Missed> {
        let key = self.member.key.as_ref().ok_or(Missed::NoPeers)?;
        let Member { pod, revision, .. } = &self.member;
        let envelope = Envelope { from: Arc::clone(pod), to: Arc::clone(&peer.name), revision: Arc::clone(revision) };
        envelope.write(&mut question.headers);
        ask::ask(key, peer, question).await
    }

    /// Looks at the file, and at which one the settings name.
    fn reload(&self) {
        let config = self.settings.load();
        let Some(settings) = &config.affinity else { return self.keys.store(None) };
        match &*self.keys.load() {
            Some(file) if file.path() == settings.keys_file => file.reload(&self.metrics),
            _ => {
                let pod = &self.member.pod;
                if !cookie::is_pod(pod) {
                    tracing::warn!(%pod, "no cookie can carry this gateway's name: set --node to lower-case letters, digits, - and .");
                }
                let file = KeyFile::open(settings.keys_file.clone(), keys::understand, &self.metrics);
                self.keys.store(Some(Arc::new(file)));
            }
        }
    }
}

/// Looks at the file as long as somebody needs it.
async fn follow(affinity: Weak<Affinity>) {
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        let Some(affinity) = affinity.upgrade() else { return };
        affinity.reload();
    }
}
