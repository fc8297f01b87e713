//! The connections of this gateway, kept in shards so that they do not wait for one another.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed},
};

use hashbrown::HashTable;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::affinity::wire::Via;
use crate::clock::Millis;
use crate::drain::Told;
use crate::outbox::Budget;
use crate::protocol::Protocol;
use crate::socket::{Command, Inbox, Item};

/// Number of a connection within this process.
pub type ConnectionId = u64;

const SHARDS: u64 = 16;

/// The place of a connection that its shard has not taken yet.
const UNSERVED: u32 = u32::MAX;

/// A connection, as the rest of the gateway sees it.
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// How it speaks.
    pub protocol: Protocol,
    /// When it was opened.
    pub opened_at: Millis,
    /// Bytes that wait for it.
    pub bytes: AtomicUsize,
    /// Whether it was told to move, and when.
    pub told: Told,
    /// The shard that serves it.
    pub inbox: Arc<Inbox>,
    /// Its place in that shard; the shard's own.
    pub(crate) slot: AtomicU32,
    shedding: AtomicBool,
    /// The way it came, if that was through another gateway.
    pub via: Option<Box<Via>>,
    /// As IPv6, in which it is a byte shorter.
    address: Ipv6Addr,
    session: u128,
}

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many connections as there may be.
    Gateway,
    /// As many connections as there may be from one address.
    Address,
}

/// The connections of this gateway.
pub struct Connections {
    shards: Vec<Mutex<HashTable<Arc<Connection>>>>,
    addresses: Mutex<HashMap<Ipv6Addr, u32>>,
    budget: Arc<Budget>,
    count: AtomicUsize,
    /// Told when the last one has ended.
    emptied: Notify,
    next: AtomicU64,
    shedding: Mutex<()>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            addresses: Mutex::default(),
            budget: Arc::default(),
            count: AtomicUsize::new(0),
            emptied: Notify::new(),
            next: AtomicU64::new(1),
            shedding: Mutex::new(()),
        }
    }
}

/// A place among the connections, taken before the handshake is answered. Given back when dropped, unless a connection
/// was added in it: that gives it back when it is removed.
pub struct Place {
    /// `None`: a connection has it.
    connections: Option<Arc<Connections>>,
    address: Ipv6Addr,
    via: Option<Box<Via>>,
}

impl Place {
    /// The same for a connection that comes through another gateway.
    #[must_use]
    pub fn through(mut self, via: Option<Via>) -> Self {
        self.via = via.map(Box::new);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(connections) = &self.connections {
            connections.give_back(self.address);
        }
    }
}

impl Connections {
    /// Takes a place, if there is one.
    pub fn admit(self: &Arc<Self>, address: IpAddr, most: usize, most_per_address: u32) -> Result<Place, Full> {
        let (address, mut addresses) = (as_ipv6(address), self.addresses.lock());
        let same = addresses.get(&address).copied().unwrap_or(0);
        if most_per_address > 0 && same >= most_per_address {
            return Err(Full::Address);
        }
        // Counted under the lock, so that two handshakes cannot take the last place.
        if self.count.load(Relaxed) >= most {
            return Err(Full::Gateway);
        }
        self.count.fetch_add(1, Relaxed);
        addresses.insert(address, same + 1);
        Ok(Place { connections: Some(Arc::clone(self)), address, via: None })
    }

    fn give_back(&self, address: Ipv6Addr) {
        let mut addresses = self.addresses.lock();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
        drop(addresses);
        if self.count.fetch_sub(1, Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// Adds a connection that has a place, to be served by the shard of `inbox`.
    pub fn add(
        &self,
        protocol: Protocol,
        mut place: Place,
        session: u128,
        now: Millis,
        inbox: Arc<Inbox>,
    ) -> Arc<Connection> {
        let id = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection {
            id,
            protocol,
            opened_at: now,
            bytes: AtomicUsize::new(0),
            told: Told::default(),
            inbox,
            slot: AtomicU32::new(UNSERVED),
            shedding: AtomicBool::new(false),
            via: place.via.take(),
            address: place.address,
            session,
        });
        place.connections = None;
        self.shard(id).lock().insert_unique(hash(id), Arc::clone(&connection), |each| hash(each.id));
        connection
    }

    /// Removes a connection, and gives its place back.
    pub fn remove(&self, connection: &Connection) {
        let id = connection.id;
        if let Ok(entry) = self.shard(id).lock().find_entry(hash(id), |each| each.id == id) {
            entry.remove();
            self.give_back(connection.address);
        }
    }

    /// Number of connections, those in a handshake included.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All connections.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.shards.iter().flat_map(|shard| shard.lock().iter().cloned().collect::<Vec<_>>()).collect()
    }

    /// The connection of a session. Looks at all of them: sessions are ended by hand, and rarely.
    pub fn of_session(&self, id: u128) -> Option<Arc<Connection>> {
        let find = |shard: &Mutex<HashTable<Arc<Connection>>>| {
            shard.lock().iter().find(|connection| connection.session == id).cloned()
        };
        self.shards.iter().find_map(find)
    }

    /// Bytes that wait for all connections.
    pub fn buffered(&self) -> usize {
        self.budget.used()
    }

    /// The bytes that wait for all connections, to be counted by the shards.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Waits until there are none, once no more are admitted.
    pub async fn ended(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Has the connections make room that keep most waiting, until no more than `limit` bytes wait. Returns how many
    /// were told to.
    pub fn shed(&self, limit: usize) -> usize {
        if self.budget.used() <= limit {
            return 0;
        }
        let Some(_one_at_a_time) = self.shedding.try_lock() else { return 0 };
        let mut told = 0;
        let mut fullest = self.all();
        fullest.sort_by_key(|connection| std::cmp::Reverse(connection.bytes.load(Relaxed)));
        let mut over = self.budget.used().saturating_sub(limit);
        for connection in fullest {
            let bytes = connection.bytes.load(Relaxed);
            if over == 0 || bytes == 0 {
                break;
            }
            over = over.saturating_sub(bytes);
            // Told once: its shard has not come to it yet.
            if !connection.shedding.swap(true, Relaxed) {
                connection.tell(Item::Shed);
                told += 1;
            }
        }
        told
    }

    fn shard(&self, id: ConnectionId) -> &Mutex<HashTable<Arc<Connection>>> {
        &self.shards[(id % SHARDS) as usize]
    }
}

impl Connection {
    /// Tells it something.
    pub fn tell(self: &Arc<Self>, item: Item) {
        self.inbox.send(Command::Tell(Arc::clone(self), item));
    }

    /// Whether its shard has taken it. What it is told before that is lost.
    pub fn is_served(&self) -> bool {
        self.slot.load(Acquire) != UNSERVED
    }

    /// It has made room, and may be asked again.
    pub(crate) fn has_shed(&self) {
        self.shedding.store(false, Relaxed);
    }

    /// The name of this gateway, `node`, as the client is told it: with the one that the connection comes through, since
    /// the same session over another way is another connection, worth moving to.
    pub fn welcomed_by(&self, node: &Arc<str>) -> Arc<str> {
        self.via.as_ref().map_or_else(|| Arc::clone(node), |via| format!("{node} via {}", via.gateway).into())
    }

    /// The id of its session.
    pub fn session(&self) -> String {
        format!("{:032x}", self.session)
    }

    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.address.to_canonical()
    }
}

/// Ids are counted: spreads them over all bits (Fibonacci hashing).
fn hash(id: ConnectionId) -> u64 {
    id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Shards;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_number_of_connections_is_limited_at_below_and_above() {
        let connections = Arc::new(Connections::default());
        let places: Vec<_> = (0..3).map(|_| connections.admit(HERE, 3, 0)).collect();
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(connections.admit(HERE, 3, 0).err(), Some(Full::Gateway));
        drop(places);
        assert!(connections.admit(HERE, 3, 0).is_ok());
        assert!(connections.is_empty());
    }

    #[test]
    fn the_number_per_address_is_limited_at_below_and_above() {
        let connections = Arc::new(Connections::default());
        let other = IpAddr::from([127, 0, 0, 2]);
        let one = connections.admit(HERE, 9, 2).ok();
        let two = connections.admit(HERE, 9, 2).ok();
        assert!(one.is_some() && two.is_some());
        assert_eq!(connections.admit(HERE, 9, 2).err(), Some(Full::Address));
        assert!(connections.admit(other, 9, 2).is_ok());
        drop(one);
        assert!(connections.admit(HERE, 9, 2).is_ok());
    }

    #[tokio::test]
    async fn a_connection_keeps_its_place_until_it_is_removed_and_gives_it_back_once() {
        let connections = Arc::new(Connections::default());
        let shards = Shards::new(1).unwrap();
        let add = || {
            let place = connections.admit(HERE, 2, 0).ok().unwrap();
            connections.add(Protocol::V1, place, 0, 0, shards.choose())
        };
        let (first, second) = (add(), add());
        assert_eq!((connections.len(), connections.admit(HERE, 2, 0).err()), (2, Some(Full::Gateway)));
        let ended = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.ended().await }
        });
        connections.remove(&first);
        connections.remove(&first);
        assert_eq!(
            (connections.len(), connections.all().len(), connections.addresses.lock()[&as_ipv6(HERE)]),
            (1, 1, 1)
        );
        tokio::task::yield_now().await;
        assert!(!ended.is_finished());
        connections.remove(&second);
        ended.await.unwrap();
        assert!(connections.is_empty() && connections.all().is_empty() && connections.addresses.lock().is_empty());
    }

    #[test]
    fn over_the_total_the_fullest_go_first() {
        let connections = Arc::new(Connections::default());
        let shards = Shards::new(1).unwrap();
        let all = [100, 900, 500].map(|bytes| {
            let place = connections.admit(HERE, 9, 0).ok().unwrap();
            let connection = connections.add(Protocol::Raw, place, 0, 0, shards.choose());
            connection.bytes.store(bytes, Relaxed);
            connections.budget.change(0, bytes);
            connection
        });
        let told = || all.each_ref().map(|connection| connection.shedding.load(Relaxed));
        assert_eq!(connections.shed(1500), 0);
        assert_eq!(told(), [false, false, false], "at the limit nothing happens");
        assert_eq!(connections.shed(1499), 1);
        assert_eq!(told(), [false, true, false]);
        assert_eq!(connections.shed(599), 1, "who was told is not told again");
        assert_eq!(told(), [false, true, true]);
    }
}
