//! The Redis servers, whichever way they are joined: commands go to whoever serves their keys.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, RedisResult, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::address::{Address, Kind};
use super::cluster::Cluster;
use super::keys;
use super::link::{Link, Target, Way};
use super::sentinel;
use super::topology::Slots;
use crate::error::LogError;
use crate::metrics::Metrics;

/// What happened to some of what is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It may have changed unseen.
    News(Slots),
    /// Entries that were acknowledged may be gone.
    Lost(Slots),
}

/// The servers.
pub(super) enum Servers {
    /// One server at a time.
    One { target: Target, commands: Arc<Link>, reads: Arc<Link> },
    /// Many masters.
    Cluster(Arc<Cluster>),
}

impl Servers {
    pub(super) fn start(
        address: &Address,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let target = match address.kind() {
            Kind::Standalone => Target::Fixed(address.seeds()[0].clone()),
            Kind::Sentinel { master } => {
                Target::Master(sentinel::follow(address.clone(), master.clone(), stop.clone()))
            }
            Kind::Cluster => {
                return Self::Cluster(Cluster::start(address.clone(), Arc::clone(metrics), stop.clone(), events));
            }
        };
        let link = |way| Link::start(way, address, target.clone(), metrics, stop.clone());
        let (commands, reads) = (link(Way::Commands), link(Way::Reads));
        tokio::spawn(stop.clone().run_until_cancelled_owned(tend(Arc::clone(&reads), events)));
        Self::One { target, commands, reads }
    }

    /// Readers and writers that do not wait for one another. In a Cluster slots of one node are mostly neighbours: a
    /// node that hangs holds up its own lanes only.
    pub(super) fn lanes(&self) -> usize {
        if matches!(self, Self::One { .. }) { 1 } else { 16 }
    }

    fn link(&self, way: Way) -> Result<&Arc<Link>, &Arc<Cluster>> {
        match self {
            Self::One { commands, reads, .. } => Ok(if way == Way::Commands { commands } else { reads }),
            Self::Cluster(cluster) => Err(cluster),
        }
    }

    /// Does one command whose keys share a slot.
    pub(super) async fn query<T: FromRedisValue>(&self, way: Way, command: &mut Cmd) -> Result<T, LogError> {
        let cluster = match self.link(way) {
            Ok(link) => return link.query(command).await,
            Err(cluster) => cluster,
        };
        // Without a key any node will do.
        let slot = key_of(command).map_or_else(|| rand::random_range(0..keys::SLOTS), keys::slot_of_bytes);
        let answer = cluster.many(way, &[(slot, command.clone())]).await.pop().expect("one answer per command")?;
        redis::from_redis_value(answer).map_err(|_| LogError::Refused("Redis answered something unknown".into()))
    }

    /// Does many commands, each with the slot of its keys; those of one slot in their order.
    pub(super) async fn many(&self, way: Way, commands: Vec<(u16, Cmd)>) -> Vec<Result<Value, LogError>> {
        let link = match self.link(way) {
            Ok(link) => link,
            Err(cluster) => return cluster.many(way, &commands).await,
        };
        let count = commands.len();
        let mut pipeline = redis::Pipeline::with_capacity(count);
        // One that is refused does not refuse the others.
        pipeline.ignore_errors();
        for (_, command) in commands {
            pipeline.add_command(command);
        }
        match link.pipeline::<Vec<RedisResult<Value>>>(&pipeline).await {
            Ok(results) => results.into_iter().map(|result| link.outcome(result)).collect(),
            Err(error) => vec![Err(error); count],
        }
    }

    /// What must not be put into one command with keys of another slot: of interest in a Cluster only.
    pub(super) fn group(&self, key: &str) -> u16 {
        if matches!(self, Self::One { .. }) { 0 } else { keys::slot(key) }
    }

    pub(super) fn connected(&self) -> bool {
        match self {
            Self::One { commands, reads, .. } => commands.connected() && reads.connected(),
            Self::Cluster(cluster) => cluster.connected(),
        }
    }

    /// Since the last successful read; in a Cluster, of the node where that is longest ago.
    pub(super) fn seconds_since_read(&self) -> f64 {
        match self {
            Self::One { reads, .. } => reads.seconds_since_success(),
            Self::Cluster(cluster) => {
                cluster.masters().iter().map(|node| node.reads.seconds_since_success()).fold(0.0, f64::max)
            }
        }
    }
}

/// Tells whenever the link for reads was made.
async fn tend(reads: Arc<Link>, events: mpsc::UnboundedSender<Event>) {
    let (mut made, mut unproven) = (reads.made(), 0);
    while made.changed().await.is_ok() {
        let now = *made.borrow_and_update();
        let event = if now.unproven > unproven { Event::Lost(Slots::ALL) } else { Event::News(Slots::ALL) };
        unproven = now.unproven;
        let _ = events.send(event);
    }
}

/// The first key of a command, for those commands that are used here.
fn key_of(command: &Cmd) -> Option<&[u8]> {
    let argument = |index: usize| match command.args_iter().nth(index) {
        Some(redis::Arg::Simple(bytes)) => Some(bytes),
        _ => None,
    };
    match argument(0)?.to_ascii_uppercase().as_slice() {
        b"PING" | b"PUBLISH" | b"INFO" | b"CONFIG" | b"TIME" | b"SCAN" | b"SCRIPT" => None,
        b"XINFO" | b"OBJECT" => argument(2),
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" => argument(2).filter(|count| *count != b"0").and_then(|_| argument(3)),
        b"XREAD" => {
            let streams = command
                .args_iter()
                .position(|part| matches!(part, redis::Arg::Simple(text) if text.eq_ignore_ascii_case(b"streams")))?;
            argument(streams + 1)
        }
        _ => argument(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_command_is_found() {
        for (words, key) in [
            ("GET a", Some("a")),
            ("zrange a 0 -1", Some("a")),
            ("XINFO STREAM a", Some("a")),
            ("EVAL script 2 a b x", Some("a")),
            ("EVAL script 0 x", None),
            ("XREAD COUNT 1 STREAMS a 0", Some("a")),
            ("PUBLISH channel x", None),
            ("PING", None),
        ] {
            let mut words = words.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            command.arg(words.collect::<Vec<_>>());
            assert_eq!(key_of(&command), key.map(str::as_bytes), "{key:?}");
        }
    }
}
