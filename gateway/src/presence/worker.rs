//! Does for each room what is due: one turn of a room at a time, many rooms at once, so that their commands share the
//! way to the roster. Decides nothing.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;

use super::notice::notices;
use super::room::{Step, Terms};
use super::roster::Reading;
use super::{Asking, Entry, Listing, Presence};
use crate::clock::{self, Millis};
use crate::error::LogError;
use crate::log::Signal;
use crate::room::RoomId;
use crate::shard::Connection;
use crate::socket::Item;

/// Rooms whose turns may be under way at once.
const AT_ONCE: usize = 64;

/// Works for ever.
pub(super) async fn run(presence: Arc<Presence>) {
    let mut turns = FuturesUnordered::new();
    loop {
        let next = presence.begin(AT_ONCE - turns.len());
        for room in next.due {
            turns.push(turn(Arc::clone(&presence), room));
        }
        let free = turns.len() < AT_ONCE;
        tokio::select! {
            Some(()) = turns.next(), if !turns.is_empty() => {}
            () = presence.wake.notified(), if free => {}
            () = tokio::time::sleep_until(clock::instant(next.at)), if free => {}
        }
    }
}

/// Follows what other gateways tell. Whatever is missed is found by the sweep.
pub(super) async fn listen(presence: Arc<Presence>) {
    let mut signals = presence.hub.signals();
    loop {
        match signals.recv().await {
            Ok(Signal::PresenceChanged { room }) => presence.hinted(&room),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// What is due now, and when something is due next.
struct Next {
    due: Vec<RoomId>,
    at: Millis,
}

/// What came of a step, for those who are to be told.
#[derive(Default)]
struct Done {
    told: Vec<Arc<Connection>>,
    items: Vec<Item>,
    asking: Vec<Asking>,
    answer: Option<Result<Arc<Listing>, LogError>>,
    hint: bool,
}

async fn turn(presence: Arc<Presence>, room: RoomId) {
    while let Some(step) = presence.next(&room) {
        let done = match step {
            Step::Write(write) => {
                let result = presence.roster.write(&room, &write).await;
                presence.metrics.presence_wrote(result.as_ref());
                presence.done(&room, |entry, terms, now| Done {
                    hint: entry.room.wrote(&result, terms, now),
                    ..Done::default()
                })
            }
            Step::Renew { version } => {
                let lease = presence.terms().lease;
                let result = presence.roster.renew(&room, version, lease).await;
                presence.metrics.presence_renewed(result.as_ref());
                presence.done(&room, |entry, terms, now| {
                    entry.room.renewed(&result, terms, now);
                    Done::default()
                })
            }
            Step::Read { query, hint } => {
                if hint {
                    presence.hint(&room).await;
                }
                let result = presence.roster.read(&room, query).await;
                presence.metrics.presence_read(result.as_ref().err());
                presence.done(&room, |entry, terms, now| read(&room, entry, &result, terms, now))
            }
        };
        presence.tell(&room, done).await;
    }
    presence.end(&room);
}

fn read(room: &RoomId, entry: &mut Entry, result: &Result<Reading, LogError>, terms: &Terms, now: Millis) -> Done {
    let sayings = entry.room.read(result, terms, now);
    let told = if sayings.is_empty() { Vec::new() } else { entry.listeners() };
    let items = notices(room, &sayings).into_iter().map(Item::Notice).collect();
    let asking = std::mem::take(&mut entry.asking);
    let answer = (!asking.is_empty()).then(|| match result {
        Ok(reading) => Ok(Arc::new(entry.room.answer(reading))),
        Err(error) => Err(error.clone()),
    });
    Done { told, items, asking, answer, hint: false }
}

impl Entry {
    fn listeners(&self) -> Vec<Arc<Connection>> {
        self.here.values().map(|here| Arc::clone(&here.connection)).collect()
    }
}

impl Presence {
    pub(super) fn terms(&self) -> Terms {
        let settings = &self.settings.load().presence;
        Terms { lease: settings.lease_seconds * 1000, most: settings.max_listed, chance: rand::random() }
    }

    fn begin(&self, free: usize) -> Next {
        let (now, mut rooms) = (clock::now(), self.rooms.lock());
        let due = std::iter::from_fn(|| rooms.take_due(now)).take(free).collect();
        Next { due, at: rooms.queue.first().map_or(now + 60_000, |(at, _)| *at) }
    }

    fn hinted(&self, room: &RoomId) {
        let mut rooms = self.rooms.lock();
        let Some(entry) = rooms.table.get_mut(room) else { return };
        entry.room.hinted(clock::now());
        rooms.settle(room);
        drop(rooms);
        self.wake.notify_one();
    }

    fn next(&self, room: &RoomId) -> Option<Step> {
        let (terms, mut rooms) = (self.terms(), self.rooms.lock());
        let entry = rooms.table.get_mut(room)?;
        entry.room.next(!entry.asking.is_empty(), &terms, clock::now())
    }

    fn done(&self, room: &RoomId, take: impl FnOnce(&mut Entry, &Terms, Millis) -> Done) -> Done {
        let (terms, mut rooms) = (self.terms(), self.rooms.lock());
        rooms.table.get_mut(room).map(|entry| take(entry, &terms, clock::now())).unwrap_or_default()
    }

    /// First what has changed, then the answers, which know of it.
    async fn tell(&self, room: &RoomId, done: Done) {
        for connection in &done.told {
            done.items.iter().for_each(|item| connection.tell(item.clone()));
        }
        let Some(answer) = done.answer else {
            if done.hint {
                self.hint(room).await;
            }
            return;
        };
        for asking in done.asking {
            match asking {
                Asking::Session(connection, reference) => {
                    let item = Item::Presence { reference, room: room.clone(), result: answer.clone() };
                    connection.tell(item);
                }
                Asking::Call(call) => drop(call.send(answer.clone())),
            }
        }
    }

    /// A hint that cannot be sent is not sent: others find out by their sweep.
    async fn hint(&self, room: &RoomId) {
        let signal = Signal::PresenceChanged { room: room.clone() };
        if let Err(error) = self.hub.log().signal(&signal).await {
            tracing::debug!(%error, "gateways are not told that presence has changed");
        }
    }

    fn end(&self, room: &RoomId) {
        let mut rooms = self.rooms.lock();
        if let Some(entry) = rooms.table.get_mut(room) {
            entry.busy = false;
        }
        rooms.settle(room);
        if rooms.table.is_empty() {
            self.empty.notify_waiters();
        }
    }
}
