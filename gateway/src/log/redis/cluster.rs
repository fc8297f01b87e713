//! A Redis Cluster: two links per master, commands sent to the node that serves their slot, redirections followed, and
//! the topology asked for again and again (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Cmd, RedisError, RedisResult, Value};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::link::{Link, Target, Way};
use super::place::Place;
use super::servers::Event;
use super::topology::Topology;
use super::{Address, errors};
use crate::error::LogError;
use crate::metrics::Metrics;

const ASK_EVERY: Duration = Duration::from_secs(2);
/// While a master does not answer, or slots have none.
const ASK_SOON: Duration = Duration::from_millis(200);
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// Times that one command follows a redirection.
const MOST_ROUNDS: usize = 5;

/// A Cluster.
pub(super) struct Cluster {
    address: Address,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    topology: Arc<ArcSwap<Topology>>,
    nodes: Mutex<HashMap<Place, Arc<Node>>>,
    ask: Notify,
    /// Number of changes of the topology.
    changed: watch::Sender<u64>,
    events: mpsc::UnboundedSender<Event>,
}

/// A master.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) commands: Arc<Link>,
    pub(super) reads: Arc<Link>,
    stop: CancellationToken,
}

impl Node {
    pub(super) fn link(&self, way: Way) -> &Arc<Link> {
        if way == Way::Commands { &self.commands } else { &self.reads }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Where a redirection leads.
struct Redirect {
    to: Place,
    asking: bool,
}

impl Cluster {
    pub(super) fn start(
        address: Address,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        events: mpsc::UnboundedSender<Event>,
    ) -> Arc<Self> {
        let cluster = Arc::new(Self {
            address,
            metrics,
            stop: stop.clone(),
            topology: Arc::default(),
            nodes: Mutex::default(),
            ask: Notify::new(),
            changed: watch::Sender::new(0),
            events,
        });
        tokio::spawn(stop.run_until_cancelled_owned(Arc::clone(&cluster).keep_asking()));
        cluster
    }

    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// Tells whenever the topology has changed.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether a node serves a slot.
    pub(super) fn serves(&self, place: &Place, slot: u16) -> bool {
        self.topology.load().owner(slot) == Some(place)
    }

    /// The masters, in order of their places.
    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        let topology = self.topology();
        let nodes = self.nodes.lock();
        topology.masters().filter_map(|place| nodes.get(place).cloned()).collect()
    }

    /// Whether every slot is served by a master that answers.
    pub(super) fn connected(&self) -> bool {
        let connected = |node: &Arc<Node>| node.commands.connected() && node.reads.connected();
        self.topology.load().is_complete() && self.masters().iter().all(connected)
    }

    /// Does commands, each in its slot; those of one slot in their order. The answers come in the order of the commands.
    pub(super) async fn many(&self, way: Way, commands: &[(u16, Cmd)]) -> Vec<Result<Value, LogError>> {
        let mut answers: Vec<Option<Result<Value, LogError>>> = commands.iter().map(|_| None).collect();
        let mut open: Vec<(usize, Option<Redirect>)> = (0..commands.len()).map(|index| (index, None)).collect();
        for _ in 0..MOST_ROUNDS {
            open = self.round(way, commands, open, &mut answers).await;
            if open.is_empty() {
                break;
            }
            self.ask.notify_one();
        }
        let unsettled = || Err(LogError::Unavailable("the Redis Cluster is being reorganised".into()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unsettled)).collect()
    }

    /// Sends what is open, and returns what was redirected.
    async fn round(
        &self,
        way: Way,
        commands: &[(u16, Cmd)],
        open: Vec<(usize, Option<Redirect>)>,
        answers: &mut [Option<Result<Value, LogError>>],
    ) -> Vec<(usize, Option<Redirect>)> {
        let topology = self.topology();
        let mut batches: BTreeMap<Place, Vec<(usize, bool)>> = BTreeMap::new();
        for (index, redirect) in open {
            let asking = redirect.as_ref().is_some_and(|redirect| redirect.asking);
            match redirect.map(|redirect| redirect.to).or_else(|| topology.owner(commands[index].0).cloned()) {
                Some(place) => batches.entry(place).or_default().push((index, asking)),
                None => answers[index] = Some(Err(LogError::Unavailable("no node serves the slot".into()))),
            }
        }
        let sent = batches.into_iter().map(async |(place, batch)| {
            let results = self.send(way, &place, commands, &batch).await;
            (place, batch, results)
        });
        let mut redirected = Vec::new();
        for (place, batch, results) in join_all(sent).await {
            for ((index, _), result) in batch.into_iter().zip(results) {
                match result {
                    Ok(result) => match redirection(&result, &place) {
                        Some(redirect) => redirected.push((index, Some(redirect))),
                        None => answers[index] = Some(result.map_err(|error| errors::classify(&error))),
                    },
                    Err(error) => answers[index] = Some(Err(error)),
                }
            }
        }
        redirected.sort_by_key(|(index, _)| *index);
        redirected
    }

    async fn send(
        &self,
        way: Way,
        place: &Place,
        commands: &[(u16, Cmd)],
        batch: &[(usize, bool)],
    ) -> Vec<Result<RedisResult<Value>, LogError>> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for (index, asking) in batch {
            if *asking {
                pipeline.cmd("ASKING").ignore();
            }
            pipeline.add_command(commands[*index].1.clone());
        }
        let node = self.node(place);
        node.link(way).ready().await;
        match node.link(way).pipeline::<Vec<RedisResult<Value>>>(&pipeline).await {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(error) => {
                self.ask.notify_one();
                batch.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    /// A node, known or not yet.
    fn node(&self, place: &Place) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(place) {
            return Arc::clone(node);
        }
        let stop = self.stop.child_token();
        let link = |way| Link::start(way, &self.address, Target::Fixed(place.clone()), &self.metrics, stop.clone());
        let (commands, reads) = (link(Way::Commands), link(Way::Reads));
        let node = Arc::new(Node { place: place.clone(), commands, reads, stop: stop.clone() });
        nodes.insert(place.clone(), Arc::clone(&node));
        tokio::spawn(stop.run_until_cancelled_owned(self.tend(&node)));
        node
    }

    /// Tells whenever the link for reads was made again: what the node serves may have news, or may be lost.
    fn tend(&self, node: &Arc<Node>) -> impl Future<Output = ()> + Send + 'static {
        let (events, mut made, place) = (self.events.clone(), node.reads.made(), node.place.clone());
        let topology = Arc::clone(&self.topology);
        async move {
            let mut unproven = 0;
            while made.changed().await.is_ok() {
                let now = *made.borrow_and_update();
                let slots = topology.load().slots_of(&place);
                let event = if now.unproven > unproven { Event::Lost(slots) } else { Event::News(slots) };
                unproven = now.unproven;
                let _ = events.send(event);
            }
        }
    }

    async fn keep_asking(self: Arc<Self>) {
        let mut silent = false;
        loop {
            match self.ask_anyone().await {
                Ok(topology) => {
                    silent = false;
                    self.take(topology);
                }
                Err(reason) if !std::mem::replace(&mut silent, true) => {
                    tracing::warn!(reason, redis = %self.address, "no node of the Redis Cluster tells its slots; asking on");
                }
                Err(_) => {}
            }
            let pause = if self.connected() { ASK_EVERY } else { ASK_SOON };
            let _ = tokio::time::timeout(pause, self.ask.notified()).await;
            // However many commands fail at once.
            tokio::time::sleep(ASK_SOON / 4).await;
        }
    }

    /// Asks the nodes that answer, then those that the address names.
    async fn ask_anyone(&self) -> Result<Topology, String> {
        let mut nodes: Vec<_> = self.nodes.lock().values().filter(|node| node.commands.connected()).cloned().collect();
        if !nodes.is_empty() {
            let first = rand::random_range(0..nodes.len());
            nodes.rotate_left(first);
        }
        for node in nodes {
            let mut slots = slots_command();
            let answer = tokio::time::timeout(ASK_PATIENCE, node.commands.query::<Value>(&mut slots)).await;
            if let Some(topology) =
                answer.ok().and_then(Result::ok).and_then(|answer| Topology::parse(answer, &node.place))
            {
                return Ok(topology);
            }
        }
        let mut reason = "the address names no node".to_owned();
        for place in self.address.seeds() {
            match self.ask_seed(place).await {
                Ok(answer) => match Topology::parse(answer, place) {
                    Some(topology) => return Ok(topology),
                    None => reason = format!("{place} serves no slots and knows nobody who does"),
                },
                Err(error) => reason = format!("{place}: {}", errors::describe(&error)),
            }
        }
        Err(reason)
    }

    async fn ask_seed(&self, place: &Place) -> Result<Value, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ASK_PATIENCE))
            .set_response_timeout(Some(ASK_PATIENCE));
        let mut connection = self.address.client(place)?.get_multiplexed_async_connection_with_config(&config).await?;
        slots_command().query_async(&mut connection).await
    }

    fn take(&self, topology: Topology) {
        let before = self.topology();
        if *before == topology {
            return;
        }
        let change = topology.since(&before);
        if !change.lost.is_empty() {
            tracing::warn!("a replica of the Redis Cluster took over: what was acknowledged last may be lost");
        }
        let places: Vec<_> = topology.masters().cloned().collect();
        self.topology.store(Arc::new(topology));
        self.nodes.lock().retain(|place, _| places.contains(place));
        for place in &places {
            self.node(place);
        }
        for event in [Event::Lost(change.lost), Event::News(change.moved)] {
            let _ = self.events.send(event);
        }
        self.changed.send_modify(|version| *version += 1);
    }
}

fn slots_command() -> Cmd {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

fn redirection(result: &RedisResult<Value>, asked: &Place) -> Option<Redirect> {
    let error = result.as_ref().err()?;
    let (to, _) = error.redirect_node()?;
    Some(Redirect { to: Place::of_redirect(to, asked)?, asking: error.code() == Some("ASK") })
}
