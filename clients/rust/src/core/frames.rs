//! What a gateway's frames mean to the session.
//!
//! It does not know which connection will serve next.

use std::{sync::Arc, time::Duration};

use super::effect::Answer;
use super::{Core, Effect, LinkId, Token, find, link::Pending};
use crate::{Event, History, Listing, MessageId, Past, PublishError, RequestError, frame::Incoming};

impl Core {
    /// A text frame arrived.
    pub(crate) fn frame(&mut self, id: LinkId, frame: &Incoming<'_>, now: Duration) {
        if self.link(id).is_none() {
            return;
        }
        match frame.kind.as_ref() {
            "message" => return self.message(id, frame),
            "welcome" => self.welcome(id, frame, now),
            "subscribed" => self.subscribed(id, frame),
            "ok" => self.confirmed(id, frame),
            "error" => self.refused(id, frame, now),
            "resync" => self.resync(id, frame),
            "drain" => self.drain(id, frame, now),
            "drainCancelled" => self.drain_cancelled(id),
            "presence" => self.presence(id, frame),
            "history" => self.history(id, frame),
            "join" | "leave" => self.changed(id, frame),
            _ => {}
        }
        self.advance(now);
    }

    fn welcome(&mut self, id: LinkId, frame: &Incoming<'_>, now: Duration) {
        let Some(link) = self.link(id) else { return };
        link.node = Some(frame.node.clone().unwrap_or_default());
        link.session = frame.session.clone().unwrap_or_default();
        link.heard = now;
        link.heartbeat = frame.heartbeat_ms.filter(|interval| *interval > 0).map(Duration::from_millis);
        if self.is_current(id) {
            self.announce_connected();
        } else {
            self.next_welcomed(now);
        }
    }

    fn subscribed(&mut self, id: LinkId, frame: &Incoming<'_>) {
        let Some(link) = find(&mut self.current, &mut self.next, id) else { return };
        let Some(Pending::Subscribe { room, since }) = link.answered(frame.reference) else { return };
        let (Some(state), Some(subscription)) = (self.rooms.get_mut(&room), link.rooms.get_mut(&room)) else { return };
        let proven = since.is_none() || frame.recovered == Some(true);
        let position = frame.position.or(since).unwrap_or(MessageId::MIN);
        subscription.confirmed = true;
        subscription.last = if proven { since.unwrap_or(position) } else { position };
        let presence = state.presence;
        let cursor = *state.cursor.get_or_insert(position);
        let first = !std::mem::replace(&mut state.announced, true);
        if first {
            self.emit(Event::Subscribed { room: room.clone(), position: cursor });
        }
        if !proven {
            let reason = frame.reason.as_deref().unwrap_or("unrecovered").to_owned();
            self.rebase(id, room.clone(), position, reason);
        } else if !first {
            self.emit(Event::Recovered { room: room.clone(), replayed: frame.replayed.unwrap_or(0) });
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.id == id && presence) {
            current.ask_for_members(&room, &mut self.effects);
        }
    }

    /// Who is in a room: as an answer to the application, to ourselves, or unasked.
    fn presence(&mut self, id: LinkId, frame: &Incoming<'_>) {
        let listing = Listing { members: frame.members.clone().unwrap_or_default(), count: frame.count.unwrap_or(0) };
        match self.link(id).and_then(|link| link.answered(frame.reference)) {
            Some(Pending::Ask(token)) => {
                self.effects.push_back(Effect::Answered(token, Ok(Answer::Presence(listing))));
            }
            _ => self.follow(id, frame, |room| {
                let Listing { members, count } = listing;
                Event::Presence { room, members, count }
            }),
        }
    }

    fn changed(&mut self, id: LinkId, frame: &Incoming<'_>) {
        let (members, count) = (frame.members.clone().unwrap_or_default(), frame.count.unwrap_or(0));
        let join = frame.kind == "join";
        self.follow(id, frame, |room| {
            if join { Event::Join { room, members, count } } else { Event::Leave { room, members, count } }
        });
    }

    /// Tells of a room that is followed. Only by the connection that serves: the next one is asked when it does.
    fn follow(&mut self, id: LinkId, frame: &Incoming<'_>, event: impl FnOnce(Arc<str>) -> Event) {
        let Some((room, state)) = frame.room.as_deref().and_then(|name| self.rooms.get_key_value(name)) else { return };
        if state.presence && self.is_current(id) {
            self.emit(event(room.clone()));
        }
    }

    fn history(&mut self, id: LinkId, frame: &Incoming<'_>) {
        let Some(Pending::Ask(token)) = self.link(id).and_then(|link| link.answered(frame.reference)) else { return };
        let messages = frame.messages.iter().flatten();
        let past = messages
            .map(|each| Past { id: each.id, timestamp: each.timestamp, payload: each.payload.to_owned() })
            .collect();
        let page = History { messages: past, more: frame.more.unwrap_or(false) };
        self.effects.push_back(Effect::Answered(token, Ok(Answer::History(page))));
    }

    /// An entry: at or before the connection's own last one it is a fault of the gateway's; at or before the session's
    /// cursor the other connection was quicker; else it is the application's.
    fn message(&mut self, id: LinkId, frame: &Incoming<'_>) {
        let (Some(name), Some(entry)) = (frame.room.as_deref(), frame.id) else { return };
        let Some(link) = find(&mut self.current, &mut self.next, id) else { return };
        let Some(subscription) = link.rooms.get_mut(name).filter(|subscription| subscription.confirmed) else { return };
        let Some((room, _)) = self.rooms.get_key_value(name) else { return };
        let room = room.clone();
        if entry <= subscription.last {
            return self.emit(Event::Repeated { room, id: entry, payload: frame.payload() });
        }
        subscription.last = entry;
        let Some(state) = self.rooms.get_mut(&room) else { return };
        if state.cursor.is_none_or(|cursor| entry > cursor) {
            state.cursor = Some(entry);
            self.emit(Event::Message { room, id: entry, timestamp: frame.timestamp(), payload: frame.payload() });
        }
    }

    fn confirmed(&mut self, id: LinkId, frame: &Incoming<'_>) {
        match self.link(id).and_then(|link| link.answered(frame.reference)) {
            Some(Pending::Publish(token)) => {
                self.outbound.answered(token);
                self.effects.push_back(Effect::Published(token, frame.id.ok_or(PublishError::Uncertain)));
            }
            Some(Pending::Auth) => self.token_refused = false,
            _ => {}
        }
    }

    fn refused(&mut self, id: LinkId, frame: &Incoming<'_>, now: Duration) {
        let code = frame.code.clone().unwrap_or_default();
        let message = frame.message.clone().unwrap_or_default();
        match self.link(id).and_then(|link| link.answered(frame.reference)) {
            Some(Pending::Publish(token)) => self.publish_refused(token, code, message, now),
            Some(Pending::Ask(token)) => {
                self.effects.push_back(Effect::Answered(token, Err(RequestError::Rejected { code, message })));
            }
            Some(Pending::Subscribe { room, .. }) if passes(&code) => self.ask_again(id, &room, now),
            Some(Pending::Subscribe { room, .. }) => self.give_up(room, code, message),
            Some(Pending::Auth | Pending::Unsubscribe | Pending::Members) | None => {
                self.emit(Event::Error { code, message });
            }
        }
    }

    /// What waits to be sent one by one is sent again; else the application decides, since more was sent after it.
    fn publish_refused(&mut self, token: Token, code: String, message: String, now: Duration) {
        let at = now + self.settings.backoff.delay(1, &mut self.jitter);
        if !(passes(&code) && self.outbound.again(token, at)) {
            self.outbound.answered(token);
            self.effects.push_back(Effect::Published(token, Err(PublishError::Rejected { code, message })));
        }
    }

    /// The gateway cannot serve a room just now: ask for it again, on the same connection.
    fn ask_again(&mut self, id: LinkId, room: &str, now: Duration) {
        let delay = self.settings.backoff.delay(1, &mut self.jitter);
        if let Some(link) = self.link(id) {
            link.rooms.remove(room);
            link.ask_again_at.get_or_insert(now + delay);
        }
    }

    fn give_up(&mut self, room: Arc<str>, code: String, message: String) {
        self.rooms.remove(&room);
        for link in self.current.iter_mut().chain(&mut self.next) {
            link.rooms.remove(&room);
        }
        self.emit(Event::SubscribeFailed { room, code, message });
    }

    fn resync(&mut self, id: LinkId, frame: &Incoming<'_>) {
        let Some((room, state)) = frame.room.as_deref().and_then(|name| self.rooms.get_key_value(name)) else { return };
        let (room, cursor) = (room.clone(), state.cursor);
        let Some(position) = frame.position.or(cursor) else { return };
        if let Some(subscription) = self.link(id).and_then(|link| link.rooms.get_mut(&room)) {
            subscription.last = position;
        }
        self.rebase(id, room, position, frame.reason.clone().unwrap_or_default());
    }

    /// A room goes on at `position`, with what lies between missing. Forward only on the connection that serves: the
    /// next one may have missed what the current one still brings. Back in any case: the stream itself went back.
    fn rebase(&mut self, id: LinkId, room: Arc<str>, position: MessageId, reason: String) {
        let serving = self.is_current(id);
        if let Some(state) = self.rooms.get_mut(&room)
            && (serving || state.cursor.is_none_or(|cursor| position < cursor))
        {
            state.cursor = Some(position);
        }
        self.emit(Event::Resync { room, reason });
    }

    fn drain(&mut self, id: LinkId, frame: &Incoming<'_>, now: Duration) {
        let retry_after = Duration::from_millis(frame.retry_after_ms.unwrap_or(0));
        let deadline = frame.deadline_ms.map_or(Duration::from_hours(24), Duration::from_millis);
        self.drained(id, retry_after, deadline, now);
    }
}

/// Whether a refusal may be gone in a moment.
fn passes(code: &str) -> bool {
    matches!(code, "unavailable" | "rate_limited")
}
