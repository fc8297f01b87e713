//! To whose pace a client is given what it has missed: the next passage is read when the last one is nearly written. What
//! comes live meanwhile is kept for a moment at most; the log has it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::{Conn, Held};
use super::context::Context;
use crate::entry::Delivery;
use crate::replay::PASSAGE_BYTES;
use crate::session::{Event, Receipt, Replay};

/// More is read when no more of it waits than this, so that a client that reads never waits for the log.
const NEARLY_WRITTEN: usize = PASSAGE_BYTES / 2;
/// Most bytes that are kept of what comes live while a passage is being read.
const HELD: usize = PASSAGE_BYTES;
/// What a client is given at once when much waits for all of them: its place in the queue must not cost it the connection.
const LITTLE: usize = PASSAGE_BYTES / 8;

/// Bytes that a client is given at once.
pub(super) fn most(cx: &Context) -> usize {
    if is_tight(cx) { LITTLE } else { PASSAGE_BYTES }
}

fn is_tight(cx: &Context) -> bool {
    cx.shared.connections.budget().used() > cx.config.backpressure.total_buffer_bytes / 2
}

impl Conn {
    /// Steps the session over an answer that may bring what the client has missed.
    pub(super) fn step_reading(&mut self, mut event: Event, cx: &mut Context) {
        let reads = matches!(event, Event::Joined { .. } | Event::ReadOn { .. });
        match &mut event {
            // It comes back to many rooms at once, each with its past: one after another.
            Event::Joined { replay: Some(replay), .. } if replay.count > 0 && !self.has_room(cx) => replay.first = None,
            // Much may wait for all of them by now.
            Event::Joined { replay: Some(Replay { first: Some(passage), .. }), .. }
            | Event::ReadOn { passage: Some(passage), .. } => passage.shorten(self.session.protocol, most(cx)),
            _ => {}
        }
        self.step(event, cx);
        if reads {
            // At once: who comes next in this turn of the shard is given little when this was much.
            self.account(cx);
            if self.session.is_reading() {
                self.rare().reading = true;
            }
        }
    }

    /// Asks for more of what the client has missed, if there is room for it.
    pub(super) fn read_on(&mut self, cx: &mut Context) {
        let reading = self.rare.as_ref().is_some_and(|rare| rare.reading && rare.ending.is_none());
        if !reading || cx.freezing || !self.has_room(cx) {
            return;
        }
        if self.session.is_reading() {
            self.step(Event::Roomy, cx);
        } else {
            self.rare().reading = false;
        }
    }

    fn has_room(&self, cx: &Context) -> bool {
        let most = if is_tight(cx) { 0 } else { NEARLY_WRITTEN };
        self.outbox.replayed_bytes() <= most
    }

    /// Keeps a message until what comes before it was read. Of too many none is kept: they are read back later.
    pub(super) fn hold(&mut self, message: &Arc<Delivery>, cx: &mut Context) {
        let bytes = message.cost(self.session.protocol);
        let rare = self.rare();
        rare.held_bytes += bytes;
        rare.held.push_back(Held::Message(Arc::clone(message)));
        if rare.held_bytes > HELD && self.pass_over_held() == Receipt::TooFar {
            return self.overflow("connection", cx);
        }
        self.account(cx);
    }

    /// Lets go of the messages that were kept. Word of holes stays.
    pub(super) fn pass_over_held(&mut self) -> Receipt {
        let mut worst = Receipt::Known;
        for held in self.take_held() {
            match held {
                Held::Message(message) if self.session.pass_over(&message) == Receipt::TooFar => {
                    worst = Receipt::TooFar;
                }
                Held::Message(_) => {}
                gap @ Held::Gap { .. } => self.rare().held.push_back(gap),
            }
        }
        worst
    }

    pub(super) fn take_held(&mut self) -> VecDeque<Held> {
        let Some(rare) = self.rare.as_mut() else { return VecDeque::new() };
        rare.held_bytes = 0;
        std::mem::take(&mut rare.held)
    }
}
