//! One connection as the core sees it: how far it got, what was asked on it, what it has delivered.
//!
//! It does not know whether it is the session's current connection or the next one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::effect::{Effect, LinkId, Publish, Question, Token};
use crate::{MessageId, frame::Outgoing};

/// A drain notice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) retry_at: Duration,
    pub(super) deadline: Duration,
}

/// What a pending request was about.
#[derive(Debug)]
pub(super) enum Pending {
    Auth,
    Subscribe {
        room: Arc<str>,
        since: Option<MessageId>,
    },
    Unsubscribe,
    Publish(Token),
    Ask(Token),
    /// Who is in a room that the application follows.
    Members,
}

/// A room on one connection.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub(super) confirmed: bool,
    /// The last entry that this connection delivered, or where it began.
    pub(super) last: MessageId,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) node: Option<String>,
    pub(super) session: String,
    pub(super) started: Duration,
    pub(super) heard: Duration,
    pub(super) heartbeat: Option<Duration>,
    pub(super) drain: Option<Drain>,
    pub(super) rooms: BTreeMap<Arc<str>, Subscription>,
    /// When to ask again for rooms that the gateway could not serve just now.
    pub(super) ask_again_at: Option<Duration>,
    /// When another token is needed.
    pub(super) refresh_at: Option<Duration>,
    pending: BTreeMap<u64, Pending>,
    last_reference: u64,
}

impl Link {
    pub(super) fn new(id: LinkId, now: Duration) -> Self {
        Self {
            id,
            node: None,
            session: String::new(),
            started: now,
            heard: now,
            heartbeat: None,
            drain: None,
            rooms: BTreeMap::new(),
            ask_again_at: None,
            refresh_at: None,
            pending: BTreeMap::new(),
            last_reference: 0,
        }
    }

    /// Whether the gateway has welcomed us.
    pub(super) fn welcomed(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn node(&self) -> &str {
        self.node.as_deref().unwrap_or_default()
    }

    pub(super) fn authenticate(&mut self, token: &str, effects: &mut VecDeque<Effect>) {
        let reference = self.reference(Pending::Auth);
        effects.push_back(Effect::Send(self.id, Outgoing::Auth { reference, token }.text()));
    }

    pub(super) fn subscribe(
        &mut self,
        room: &Arc<str>,
        since: Option<MessageId>,
        presence: bool,
        effects: &mut VecDeque<Effect>,
    ) {
        let reference = self.reference(Pending::Subscribe { room: room.clone(), since });
        self.rooms.insert(room.clone(), Subscription::default());
        effects.push_back(Effect::Send(self.id, Outgoing::Subscribe { reference, room, since, presence }.text()));
    }

    pub(super) fn unsubscribe(&mut self, room: &str, effects: &mut VecDeque<Effect>) {
        if self.rooms.remove(room).is_some() {
            let reference = self.reference(Pending::Unsubscribe);
            effects.push_back(Effect::Send(self.id, Outgoing::Unsubscribe { reference, room }.text()));
        }
    }

    pub(super) fn publish(&mut self, token: Token, publish: &Publish, effects: &mut VecDeque<Effect>) {
        let reference = self.reference(Pending::Publish(token));
        let Publish { room, payload, key, .. } = publish;
        effects.push_back(Effect::Send(self.id, Outgoing::Publish { reference, room, payload, key }.text()));
    }

    pub(super) fn ask(&mut self, token: Token, question: &Question, effects: &mut VecDeque<Effect>) {
        let reference = self.reference(Pending::Ask(token));
        let frame = match question {
            Question::Presence { room } => Outgoing::Presence { reference, room },
            Question::History { room, before, limit } => {
                Outgoing::History { reference, room, before: *before, limit: *limit }
            }
        };
        effects.push_back(Effect::Send(self.id, frame.text()));
    }

    /// Asks who is in a room that the application follows.
    pub(super) fn ask_for_members(&mut self, room: &Arc<str>, effects: &mut VecDeque<Effect>) {
        let reference = self.reference(Pending::Members);
        effects.push_back(Effect::Send(self.id, Outgoing::Presence { reference, room }.text()));
    }

    /// The request that an answer belongs to.
    pub(super) fn answered(&mut self, reference: Option<u64>) -> Option<Pending> {
        self.pending.remove(&reference?)
    }

    /// Whether a publish still waits for its answer here.
    pub(super) fn publishing(&self) -> bool {
        self.pending.values().any(|pending| matches!(pending, Pending::Publish(_)))
    }

    /// The publishes and the questions that will have no answer here, each in the order in which they were sent.
    pub(super) fn unanswered(self) -> (Vec<Token>, Vec<Token>) {
        let (mut publishes, mut questions) = (Vec::new(), Vec::new());
        for pending in self.pending.into_values() {
            match pending {
                Pending::Publish(token) => publishes.push(token),
                Pending::Ask(token) => questions.push(token),
                _ => {}
            }
        }
        (publishes, questions)
    }

    /// When this connection must count as dead, and why.
    pub(super) fn dies_at(&self, connect_timeout: Duration) -> Option<(Duration, &'static str)> {
        if !self.welcomed() {
            return Some((self.started + connect_timeout, "no welcome in time"));
        }
        self.heartbeat.map(|interval| (self.heard + interval * 2, "nothing heard for two heartbeats"))
    }

    fn reference(&mut self, pending: Pending) -> u64 {
        self.last_reference += 1;
        self.pending.insert(self.last_reference, pending);
        self.last_reference
    }
}
