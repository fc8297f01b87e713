//! The session as a state machine: things that happened go in, [`Effect`]s come out.
//!
//! It knows no socket and no clock (`now` counts from the session's start) and draws chance from a seed.
//!
//! Why merging two connections by id is enough: each delivers a contiguous, ordered part of the room's stream, from
//! the cursor it was subscribed with. A connection is only ever subscribed with a cursor that the session has reached,
//! so what either brings next is at or before the session's cursor (a duplicate) or directly after it.

mod connections;
mod effect;
mod frames;
mod link;
#[cfg(test)]
mod model;
mod outgoing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) use effect::{Answer, Effect, End, LinkId, Question, Settings, Token};

use self::{link::Link, outgoing::Outbound};
use crate::{Event, MessageId, backoff::Jitter};

/// A room as the session sees it, whatever connection serves it.
#[derive(Debug, Default)]
struct Room {
    /// The last entry that the application has seen, or where it begins; none until a gateway has said.
    cursor: Option<MessageId>,
    /// Whether the application was told that the room is subscribed.
    announced: bool,
    /// Whether the session is listed there, and told who else is.
    presence: bool,
}

/// All of a session's state apart from its sockets.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    jitter: Jitter,
    rooms: BTreeMap<Arc<str>, Room>,
    /// The connection that serves the session.
    current: Option<Link>,
    /// The connection that will take over.
    next: Option<Link>,
    last_link: u32,
    /// When to open a connection: the current one, or the next one of a drain.
    open_at: Option<Duration>,
    failures: u32,
    outbound: Outbound,
    /// A token was refused, and no other has been accepted since.
    token_refused: bool,
    finished: bool,
    effects: VecDeque<Effect>,
}

impl Core {
    /// A session that will connect at its first tick.
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            jitter: Jitter::new(seed),
            rooms: BTreeMap::new(),
            current: None,
            next: None,
            last_link: 0,
            open_at: Some(Duration::ZERO),
            failures: 0,
            outbound: Outbound::new(seed),
            token_refused: false,
            finished: false,
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do, in order.
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The application wants a room, from after `since` or from now on.
    pub(crate) fn subscribe(&mut self, room: Arc<str>, since: Option<MessageId>, presence: bool, now: Duration) {
        if self.finished || self.rooms.contains_key(&room) {
            return;
        }
        self.rooms.insert(room, Room { cursor: since, announced: false, presence });
        self.advance(now);
    }

    /// The application no longer wants a room.
    pub(crate) fn unsubscribe(&mut self, room: &str, now: Duration) {
        if self.rooms.remove(room).is_some() {
            for link in self.current.iter_mut().chain(&mut self.next) {
                link.unsubscribe(room, &mut self.effects);
            }
            self.advance(now);
        }
    }

    /// The application is done.
    pub(crate) fn close(&mut self) {
        let links: Vec<_> = self.current.take().into_iter().chain(self.next.take()).collect();
        for link in links {
            self.effects.push_back(Effect::Leave(link.id));
            self.forget(link);
        }
        self.finish("closed by the application".to_owned());
    }

    /// Something, anything, arrived on a connection.
    pub(crate) fn heard(&mut self, id: LinkId, now: Duration) {
        if let Some(link) = self.link(id) {
            link.heard = now;
        }
    }

    /// When [`Core::tick`] has something to do; it may be called at any other time too.
    pub(crate) fn wakeup(&self) -> Option<Duration> {
        let links = self.current.iter().chain(&self.next);
        let of_links = links.flat_map(|link| {
            let dies_at = link.dies_at(self.settings.connect_timeout).map(|(at, _)| at);
            [dies_at, link.ask_again_at, link.refresh_at]
        });
        of_links.chain([self.open_at, self.outbound.again_at()]).flatten().min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.bury(now);
        for link in self.current.iter_mut().chain(&mut self.next) {
            link.ask_again_at = link.ask_again_at.filter(|at| *at > now);
            if link.refresh_at.is_some_and(|at| at <= now) {
                link.refresh_at = None;
                self.effects.push_back(Effect::Refresh(link.id));
            }
        }
        if self.open_at.is_some_and(|at| at <= now) {
            self.open_at = None;
            self.open(now);
        }
        self.advance(now);
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        find(&mut self.current, &mut self.next, id)
    }

    fn emit(&mut self, event: Event) {
        self.effects.push_back(Effect::Emit(event));
    }

    /// Does what the state allows by now: asks for rooms, and cuts over when everything is there.
    fn advance(&mut self, now: Duration) {
        self.ask_for_rooms();
        self.flush(now);
        if self.next_is_ready() && !self.current.as_ref().is_some_and(Link::publishing) {
            self.cut_over(now);
        }
    }

    /// Subscribes on each connection what it lacks. The next one gets a room only with a cursor: without one it would
    /// begin anywhere, and the part between its beginning and the current connection's end would be a gap.
    fn ask_for_rooms(&mut self) {
        let alone = self.current.is_none();
        for (link, needs_cursor) in [(&mut self.current, false), (&mut self.next, !alone)] {
            let Some(link) = link.as_mut().filter(|link| link.welcomed() && link.ask_again_at.is_none()) else {
                continue;
            };
            for (room, state) in &self.rooms {
                if !link.rooms.contains_key(room) && (state.cursor.is_some() || !needs_cursor) {
                    link.subscribe(room, state.cursor, state.presence, &mut self.effects);
                }
            }
        }
    }

    fn next_is_ready(&self) -> bool {
        self.next.as_ref().is_some_and(|next| {
            let confirmed = |room| next.rooms.get(room).is_some_and(|subscription| subscription.confirmed);
            next.welcomed() && self.rooms.keys().all(confirmed)
        })
    }

    fn finish(&mut self, reason: String) {
        if !std::mem::replace(&mut self.finished, true) {
            self.open_at = None;
            self.outbound.give_up(&mut self.effects);
            self.emit(Event::Closed { reason });
            self.effects.push_back(Effect::Finish);
        }
    }
}

/// Apart from `Core::link` so that the rest of the core may be borrowed beside it.
fn find<'a>(current: &'a mut Option<Link>, next: &'a mut Option<Link>, id: LinkId) -> Option<&'a mut Link> {
    current.iter_mut().chain(next).find(|link| link.id == id)
}
