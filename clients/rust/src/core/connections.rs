//! Opening, losing and replacing connections: the part of the core that decides which connection serves.
//!
//! It does not know what the frames say.

use std::time::Duration;

use super::{
    Core, Effect, End, LinkId, find,
    link::{Drain, Link},
};
use crate::{Event, Retry, after_close, after_refusal};

impl Core {
    /// The handshake is done.
    pub(crate) fn opened(&mut self, id: LinkId, now: Duration) {
        if let Some(link) = self.link(id) {
            link.heard = now;
        }
    }

    /// There is a token for a connection, good for so long; none leaves it as it is.
    pub(crate) fn authenticate(&mut self, id: LinkId, token: Option<&str>, good_for: Option<Duration>, now: Duration) {
        let Some(link) = find(&mut self.current, &mut self.next, id) else { return };
        link.refresh_at = good_for.map(|time| now + refresh_after(time));
        if let Some(token) = token {
            link.authenticate(token, &mut self.effects);
        }
    }

    /// A connection ended, or never came to be.
    pub(crate) fn ended(&mut self, id: LinkId, end: &End, now: Duration) {
        if self.next.as_ref().is_some_and(|next| next.id == id) {
            self.next_ended(end, now);
        } else if self.current.as_ref().is_some_and(|current| current.id == id) {
            self.current_ended(end, now);
        }
        self.advance(now);
    }

    /// The gateway asks us to move.
    pub(super) fn drained(&mut self, id: LinkId, retry_after: Duration, deadline: Duration, now: Duration) {
        let Some(link) = self.link(id) else { return };
        let first = link.drain.is_none();
        let lived = now.saturating_sub(link.started);
        link.drain = Some(Drain { retry_at: now + retry_after, deadline: now + deadline });
        match (first, self.is_current(id)) {
            (true, true) => {
                if lived >= self.settings.stable_after {
                    self.failures = 0;
                }
                self.emit(Event::Drain { retry_after, deadline });
                self.follow_drain();
            }
            // To serve there would only mean to move once more; unless the alternative is to be closed.
            (true, false) if self.may_try_again(now) => self.turn_back("it drains, too", now),
            _ => {}
        }
    }

    /// The drain was cancelled: we stay, unless we have left.
    pub(super) fn drain_cancelled(&mut self, id: LinkId) {
        let cancelled = self.link(id).and_then(|link| link.drain.take()).is_some();
        if !(cancelled && self.is_current(id)) {
            return;
        }
        self.open_at = None;
        if let Some(next) = self.next.take() {
            self.effects.push_back(Effect::Leave(next.id));
            self.forget(next);
        }
        self.emit(Event::DrainCancelled);
    }

    /// The next connection was welcomed: by another gateway than the one that is to be left, or nothing is gained.
    pub(super) fn next_welcomed(&mut self, now: Duration) {
        let (Some(current), Some(next)) = (&self.current, &self.next) else { return };
        if !next.node().is_empty() && next.node() == current.node() {
            self.turn_back("it is the gateway that drains", now);
        }
    }

    /// Gives the next connection up, as if it had failed.
    fn turn_back(&mut self, reason: &str, now: Duration) {
        let Some(next) = &self.next else { return };
        self.effects.push_back(Effect::Leave(next.id));
        self.next_ended(&End::Closed { code: None, reason: reason.to_owned() }, now);
    }

    /// Whether another attempt is sure to come before the current connection is closed.
    fn may_try_again(&self, now: Duration) -> bool {
        let drain = self.current.as_ref().and_then(|current| current.drain);
        let longest = self.settings.backoff.ceiling(self.failures);
        drain.is_some_and(|drain| now + longest < drain.deadline)
    }

    pub(super) fn is_current(&self, id: LinkId) -> bool {
        self.current.as_ref().is_some_and(|current| current.id == id)
    }

    /// Opens the connection that is missing.
    pub(super) fn open(&mut self, now: Duration) {
        let drain = self.current.as_ref().map(|current| current.drain);
        let slot = match drain {
            None => &mut self.current,
            Some(Some(drain)) if self.next.is_none() && now < drain.deadline => &mut self.next,
            _ => return,
        };
        self.last_link += 1;
        let id = LinkId(self.last_link);
        *slot = Some(Link::new(id, now));
        self.effects.push_back(Effect::Open(id));
    }

    /// Lets the next connection serve and leaves the current one. Nothing of it is missed: whatever it has not
    /// delivered yet comes from the next one.
    pub(super) fn cut_over(&mut self, now: Duration) {
        let Some(next) = self.next.take() else { return };
        let to = next.node().to_owned();
        let Some(old) = self.current.replace(next) else { return };
        self.effects.push_back(Effect::Leave(old.id));
        let from = old.node().to_owned();
        self.forget(old);
        self.failures = 0;
        self.emit(Event::Moved { from, to });
        self.ask_for_members();
        self.follow_drain();
        self.advance(now);
    }

    /// Ends the connections on which nothing is heard any more.
    pub(super) fn bury(&mut self, now: Duration) {
        let timeout = self.settings.connect_timeout;
        let dead: Vec<_> = (self.current.iter().chain(&self.next))
            .filter_map(|link| link.dies_at(timeout).filter(|(at, _)| *at <= now).map(|(_, reason)| (link.id, reason)))
            .collect();
        for (id, reason) in dead {
            self.effects.push_back(Effect::Abort(id));
            self.ended(id, &End::Closed { code: None, reason: reason.to_owned() }, now);
        }
    }

    /// Plans the next connection if the current one is being drained (it may have been so before it served).
    fn follow_drain(&mut self) {
        let drain = self.current.as_ref().and_then(|current| current.drain);
        self.open_at = drain.map(|drain| drain.retry_at).filter(|_| self.next.is_none());
    }

    fn next_ended(&mut self, end: &End, now: Duration) {
        if let Some(next) = self.next.take() {
            self.forget(next);
        }
        let (_, reason) = self.verdict(end);
        let delay = self.delay();
        let drain = self.current.as_ref().and_then(|current| current.drain);
        let retry_in = drain.filter(|drain| now + delay < drain.deadline).map(|_| delay);
        self.open_at = retry_in.map(|delay| now + delay);
        self.emit(Event::ConnectFailed { reason, retry_in });
    }

    fn current_ended(&mut self, end: &End, now: Duration) {
        let Some(link) = self.current.take() else { return };
        let (served, announced) = (link.welcomed(), link.drain.is_some());
        if served && now.saturating_sub(link.started) >= self.settings.stable_after {
            self.failures = 0;
        }
        self.forget(link);
        let (retry, reason) = self.verdict(end);
        if served {
            let will_return = retry != Retry::Never || self.next.is_some();
            let code = if let End::Closed { code, .. } = end { *code } else { None };
            self.emit(Event::Disconnected { code, reason: reason.clone(), announced, will_return });
        }
        self.current = self.next.take();
        match self.current.as_ref().map(Link::welcomed) {
            Some(welcomed) => self.promoted(welcomed),
            None => self.reconnect(retry, reason, served, now),
        }
    }

    /// The connection that was being prepared serves earlier than planned.
    fn promoted(&mut self, welcomed: bool) {
        if welcomed {
            self.announce_connected();
            self.ask_for_members();
        }
        self.follow_drain();
    }

    pub(super) fn announce_connected(&mut self) {
        if let Some(current) = &self.current {
            let (node, session) = (current.node().to_owned(), current.session.clone());
            self.emit(Event::Connected { node, session });
        }
    }

    /// Asks who is in the rooms that are followed, on the connection that has begun to serve: what the former one told
    /// may be old.
    fn ask_for_members(&mut self) {
        let Some(current) = &mut self.current else { return };
        for (room, _) in self.rooms.iter().filter(|(_, state)| state.presence) {
            if current.rooms.get(room).is_some_and(|subscription| subscription.confirmed) {
                current.ask_for_members(room, &mut self.effects);
            }
        }
    }

    /// A token that was refused may be replaced by another, once.
    fn verdict(&mut self, end: &End) -> (Retry, String) {
        let (retry, reason) = verdict(end);
        let unauthorized = matches!(end, End::Closed { code: Some(3000), .. } | End::Refused { status: Some(401), .. });
        let another = unauthorized && self.settings.tokens && !std::mem::replace(&mut self.token_refused, true);
        (if another { Retry::Soon } else { retry }, reason)
    }

    fn reconnect(&mut self, retry: Retry, reason: String, served: bool, now: Duration) {
        if retry == Retry::Never {
            if !served {
                self.emit(Event::ConnectFailed { reason: reason.clone(), retry_in: None });
            }
            return self.finish(reason);
        }
        if retry == Retry::Soon && served {
            self.failures = 0;
        }
        let delay = self.delay();
        self.open_at = Some(now + delay);
        if !served {
            self.emit(Event::ConnectFailed { reason, retry_in: Some(delay) });
        }
    }

    /// The delay before the next attempt, which counts as one more that has failed.
    fn delay(&mut self) -> Duration {
        let delay = self.settings.backoff.delay(self.failures, &mut self.jitter);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

/// Early enough that the next one is there in time.
fn refresh_after(good_for: Duration) -> Duration {
    good_for.saturating_sub((good_for / 5).min(Duration::from_mins(1)))
}

fn verdict(end: &End) -> (Retry, String) {
    match end {
        End::Refused { status, reason } => (after_refusal(*status), reason.clone()),
        End::Closed { code, reason } => {
            let named = code.map_or_else(|| reason.clone(), |code| format!("{code} {reason}").trim_end().to_owned());
            (after_close(*code), named)
        }
    }
}
