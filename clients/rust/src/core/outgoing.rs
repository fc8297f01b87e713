//! What the application sends: publishes, each with a key by which it can be sent again, and questions.
//!
//! It does not know why there is a connection or none.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::value::RawValue;

use super::{
    Core,
    effect::{Effect, Publish, Question, Token},
    link::Link,
};
use crate::{PublishError, RequestError};

/// Gateways remember a key for five minutes; what was first sent longer ago than this is not sent again.
const REMEMBERED: Duration = Duration::from_mins(4);

/// The publishes that have no answer yet.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Begins every key of this session.
    prefix: String,
    publishes: BTreeMap<Token, Publish>,
    /// Those that are on no connection, in order.
    waiting: VecDeque<Token>,
    /// What waits has waited for a connection: it is sent one by one, so that nothing is over the rate, and what is
    /// refused for a moment can be sent again before what comes after it.
    one_by_one: bool,
    /// Nothing is sent before.
    again_at: Option<Duration>,
}

impl Outbound {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            prefix: format!("{seed:016x}"),
            publishes: BTreeMap::new(),
            waiting: VecDeque::new(),
            one_by_one: false,
            again_at: None,
        }
    }

    pub(super) fn again_at(&self) -> Option<Duration> {
        self.again_at
    }

    /// A publish that has its answer.
    pub(super) fn answered(&mut self, token: Token) {
        self.publishes.remove(&token);
    }

    /// Sends one again that was refused for a moment; false if others have been sent after it.
    pub(super) fn again(&mut self, token: Token, at: Duration) -> bool {
        if self.one_by_one {
            self.waiting.push_front(token);
            self.again_at = Some(at);
        }
        self.one_by_one
    }

    /// Takes back what has no answer from a connection that is gone.
    fn take_back(&mut self, tokens: Vec<Token>) {
        for token in tokens.into_iter().rev() {
            self.waiting.push_front(token);
            self.one_by_one = true;
        }
    }

    /// The session is over.
    pub(super) fn give_up(&mut self, effects: &mut VecDeque<Effect>) {
        self.waiting.clear();
        self.again_at = None;
        for (token, publish) in std::mem::take(&mut self.publishes) {
            let sent = publish.first_sent.is_some();
            let error = if sent { PublishError::Uncertain } else { PublishError::NotConnected };
            effects.push_back(Effect::Published(token, Err(error)));
        }
    }
}

impl Core {
    /// The application publishes. `key` is its own, or one is made.
    pub(crate) fn publish(
        &mut self,
        token: Token,
        room: Arc<str>,
        payload: Box<RawValue>,
        key: Option<String>,
        now: Duration,
    ) {
        if let Err(error) = self.may_wait() {
            return self.effects.push_back(Effect::Published(token, Err(error)));
        }
        let key = key.unwrap_or_else(|| format!("{}-{token}", self.outbound.prefix));
        self.outbound.one_by_one |= !self.serves();
        self.outbound.publishes.insert(token, Publish { room, payload, key, first_sent: None });
        self.outbound.waiting.push_back(token);
        self.flush(now);
    }

    /// The application asks something.
    pub(crate) fn ask(&mut self, token: Token, question: &Question) {
        match self.current.as_mut().filter(|current| current.welcomed()) {
            Some(current) => current.ask(token, question, &mut self.effects),
            None => self.effects.push_back(Effect::Answered(token, Err(RequestError::NotConnected))),
        }
    }

    /// Sends what waits, unless a cut-over is near: it must not overtake what is on the old connection.
    pub(super) fn flush(&mut self, now: Duration) {
        let (ready, outbound) = (self.next_is_ready(), &mut self.outbound);
        let Some(current) = self.current.as_mut().filter(|current| current.welcomed() && !ready) else { return };
        if outbound.again_at.is_some_and(|at| at > now) {
            return;
        }
        outbound.again_at = None;
        while !(outbound.one_by_one && current.publishing()) {
            let Some(token) = outbound.waiting.pop_front() else {
                outbound.one_by_one = false;
                return;
            };
            let Some(publish) = outbound.publishes.get_mut(&token) else { continue };
            if now.saturating_sub(*publish.first_sent.get_or_insert(now)) > REMEMBERED {
                outbound.publishes.remove(&token);
                self.effects.push_back(Effect::Published(token, Err(PublishError::Uncertain)));
                continue;
            }
            current.publish(token, publish, &mut self.effects);
        }
    }

    /// What was asked on a connection that is gone.
    pub(super) fn forget(&mut self, link: Link) {
        let (publishes, questions) = link.unanswered();
        self.outbound.take_back(publishes);
        let lost = |token| Effect::Answered(token, Err(RequestError::NotConnected));
        self.effects.extend(questions.into_iter().map(lost));
    }

    fn serves(&self) -> bool {
        self.current.as_ref().is_some_and(Link::welcomed)
    }

    fn may_wait(&self) -> Result<(), PublishError> {
        match self.settings.queue {
            _ if self.finished => Err(PublishError::NotConnected),
            0 if !self.serves() => Err(PublishError::NotConnected),
            most if !self.serves() && self.outbound.waiting.len() >= most => Err(PublishError::QueueFull),
            _ => Ok(()),
        }
    }
}
