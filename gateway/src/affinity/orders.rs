//! Orders about connections that are forwarded: sent to the gateways that serve them, and obeyed by those. Whose turn it
//! is, and how fast, is the drain's to decide.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::Affinity;
use super::ask::Question;
use super::forwards::Forward;
use super::peers::Peer;
use super::wire::{self, Addressee, Obeyed, Order, Say};
use crate::clock::{self, Millis};
use crate::shard::Connections;

/// Sessions that one order names.
const MOST: usize = 5000;

/// A connection whose client is to be told something, and how long it is to wait.
pub type Turn = (Arc<Forward>, Millis);

/// Parts turns by the gateway that has to be asked, in orders that are not too long.
pub fn by_owner(turns: Vec<Turn>) -> Vec<(Peer, Vec<Turn>)> {
    let mut owners: BTreeMap<Peer, Vec<Turn>> = BTreeMap::new();
    for turn in turns {
        owners.entry(turn.0.owner.clone()).or_default().push(turn);
    }
    let mut orders = Vec::new();
    for (owner, mut turns) in owners {
        while turns.len() > MOST {
            let rest = turns.split_off(MOST);
            orders.push((owner.clone(), std::mem::replace(&mut turns, rest)));
        }
        orders.push((owner, turns));
    }
    orders
}

impl Affinity {
    /// Has an owner tell sessions something. Returns the numbers of those that it told: none, if it does not answer.
    pub async fn order(&self, owner: &Peer, say: Say, turns: &[Turn]) -> Vec<u64> {
        let to = turns
            .iter()
            .map(|(forward, retry_after_ms)| Addressee { forward: forward.id, retry_after_ms: *retry_after_ms });
        let order = Order { say, to: to.collect() };
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let body = serde_json::to_vec(&order).expect("an order is JSON");
        let question = Question { method: Method::POST, target: wire::ORDERS.into(), headers, body };
        let obeyed = match self.ask(owner, question).await {
            Ok(answer) if answer.status == StatusCode::OK => serde_json::from_slice(&answer.body).ok(),
            Ok(answer) => {
                tracing::warn!(owner = &*owner.name, status = answer.status.as_u16(), "an order was not taken");
                None
            }
            Err(missed) => {
                tracing::warn!(owner = &*owner.name, reason = missed.label(), "an order did not reach its gateway");
                None
            }
        };
        obeyed.map_or_else(Vec::new, |Obeyed { told }| told)
    }
}

/// Does what another gateway says about sessions that came through it. Nobody is told twice to move, by whomever; and
/// while this gateway drains itself nobody is told to stay.
pub fn obey(connections: &Connections, draining: bool, from: &str, order: &Order) -> Obeyed {
    let mut wanted: HashMap<u64, Addressee> = order.to.iter().map(|each| (each.forward, *each)).collect();
    let mut obeyed = Obeyed::default();
    for connection in connections.all() {
        let Some(via) = connection.via.as_deref().filter(|via| via.gateway == from) else { continue };
        if !connection.is_served() {
            continue;
        }
        let Some(addressee) = wanted.remove(&via.forward) else { continue };
        let news = match order.say {
            Say::Drain { .. } => connection.told.set(clock::now()),
            Say::DrainCancelled => !draining && connection.told.clear(),
            Say::DrainForced | Say::GoingAway => true,
        };
        if news {
            connection.tell(order.say.item(addressee));
        }
        obeyed.told.push(via.forward);
    }
    obeyed
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::affinity::forwards::Forwards;
    use crate::affinity::wire::Via;
    use crate::protocol::Protocol;
    use crate::shard::Connection;
    use crate::socket::{Command, Shards};

    fn turn(owner: &str) -> Turn {
        let owner = Peer { name: owner.into(), address: ([10, 0, 0, 1], 1).into() };
        (Arc::new(Forwards::prepare(owner, 0)), 0)
    }

    #[test]
    fn each_owner_is_asked_once_unless_an_order_would_be_too_long() {
        let turns = (0..=MOST).map(|_| turn("b")).chain([turn("a"), turn("a")]).collect();
        let orders: Vec<_> =
            by_owner(turns).into_iter().map(|(owner, turns)| (owner.name.to_string(), turns.len())).collect();
        assert_eq!(orders, [("a".into(), 2), ("b".into(), MOST), ("b".into(), 1)]);
    }

    struct World {
        connections: Arc<Connections>,
        shards: Shards,
    }

    impl World {
        fn new() -> Self {
            Self { connections: Arc::default(), shards: Shards::new(1).unwrap() }
        }

        fn connect(&mut self, via: Option<(&str, u64)>) -> Arc<Connection> {
            let place = self.connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 100, 0).ok().unwrap();
            let via = via.map(|(gateway, forward)| Via { gateway: gateway.into(), forward });
            let place = place.through(via);
            let connection = self.connections.add(Protocol::V1, place, 0, 0, self.shards.choose());
            connection.slot.store(0, Relaxed);
            connection
        }

        fn obey(&self, draining: bool, say: Say, forwards: &[u64]) -> (Vec<u64>, usize) {
            let to = forwards.iter().map(|forward| Addressee { forward: *forward, retry_after_ms: 7 }).collect();
            let mut told = obey(&self.connections, draining, "f", &Order { say, to }).told;
            told.sort_unstable();
            let mut commands = Vec::new();
            self.shards.inboxes()[0].take(&mut commands);
            let words = commands.iter().filter(|command| matches!(command, Command::Tell(..))).count();
            (told, words)
        }
    }

    const DRAIN: Say = Say::Drain { deadline_ms: 9 };

    #[test]
    fn only_sessions_that_came_through_the_one_who_orders_are_told_and_each_once() {
        let mut world = World::new();
        let one = world.connect(Some(("f", 1)));
        let others = [world.connect(Some(("g", 1))), world.connect(None), world.connect(Some(("f", 2)))];
        assert_eq!(world.obey(false, DRAIN, &[1, 99]), (vec![1], 1));
        assert!(one.told.is_set());
        assert!(others.iter().all(|other| !other.told.is_set()));
        assert_eq!(world.obey(false, DRAIN, &[1, 2]), (vec![1, 2], 1), "who was told is not told again");
        assert_eq!(world.obey(false, Say::DrainCancelled, &[1]), (vec![1], 1));
        assert_eq!(world.obey(false, Say::DrainCancelled, &[1]), (vec![1], 0));
        assert_eq!(world.obey(true, Say::DrainCancelled, &[2]), (vec![2], 0), "we drain: it has to move all the same");
        assert_eq!(world.obey(false, Say::DrainForced, &[2]), (vec![2], 1));
    }

    #[test]
    fn who_is_not_served_yet_is_told_later() {
        let mut world = World::new();
        let connection = world.connect(Some(("f", 1)));
        connection.slot.store(u32::MAX, Relaxed);
        assert_eq!(world.obey(false, DRAIN, &[1]), (vec![], 0));
        connection.slot.store(3, Relaxed);
        assert_eq!(world.obey(false, DRAIN, &[1]), (vec![1], 1));
    }
}
