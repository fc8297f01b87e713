//! What a client sends: bytes to frames, frames to the session, in the order in which they were sent.

use std::io::{ErrorKind, Read, Write};

use super::connection::Conn;
use super::context::Context;
use crate::codec::{self, Incoming};
use crate::entry::Text;
use crate::protocol::{self, Protocol};
use crate::session::Event;

/// Requests of one client that may be under way at once; more are not read from the socket.
const IN_FLIGHT: u16 = 64;
/// Reads of one client before others have their turn.
const READS: usize = 4;

impl Conn {
    /// Reads what is there. `buffer` is the shard's: nothing stays in it.
    pub(super) fn read(&mut self, buffer: &mut [u8], cx: &mut Context) {
        self.readable = true;
        for _ in 0..READS {
            if !self.reads_on() {
                return;
            }
            let result = self.stream.read(buffer);
            self.tell_back(cx);
            match result {
                Ok(0) => return self.lost(cx),
                Ok(read) => {
                    self.half_closed |= self.stream.is_finished();
                    self.input(&mut buffer[..read], cx);
                    // A short read has emptied the socket: what comes later is announced anew. An end is not.
                    if read < buffer.len() && !self.half_closed {
                        self.readable = false;
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lost(cx),
            }
        }
        cx.ready.push(self.slot);
    }

    /// The answer to a ping is overdue. It may be in the socket: this shard may be late, or leave the client unread until the log
    /// has answered. Only who has said nothing at all is silent.
    pub(super) fn look_for_answer(&mut self, buffer: &mut [u8], cx: &mut Context) {
        if self.is_ending() {
            return;
        }
        if !cx.freezing {
            self.read(buffer, cx);
        }
        let unread = cx.freezing || self.readable || !self.reads_on();
        if unread && self.session.heartbeat.is_overdue(cx.now) {
            self.session.heartbeat.excuse(&cx.config.heartbeat, cx.now);
        }
    }

    /// TLS may have something to say about what came: an alert, or to renew the keys.
    fn tell_back(&mut self, cx: &mut Context) {
        if self.stream.unsent() > 0 && !self.blocked {
            let _ = self.stream.flush();
            self.mark_dirty(cx);
        }
    }

    /// Takes bytes that were read.
    pub(super) fn input(&mut self, mut bytes: &mut [u8], cx: &mut Context) {
        let most = cx.config.limits.max_message_bytes;
        while !bytes.is_empty() && self.listens() {
            match self.decoder.next(bytes, most) {
                Ok((used, incoming)) => {
                    bytes = &mut bytes[used..];
                    if let Some(incoming) = incoming {
                        self.take(incoming, cx);
                    }
                }
                Err(_) if self.is_ending() => return self.close_answered(cx),
                Err(violation) => return self.violated(violation, cx),
            }
        }
    }

    fn take(&mut self, incoming: Incoming, cx: &mut Context) {
        let last = matches!(incoming, Incoming::Close(_) | Incoming::Binary);
        if self.is_ending() {
            if last {
                self.close_answered(cx);
            }
            return;
        }
        if last {
            self.rare().finished = true;
        }
        match incoming {
            Incoming::Ping(payload) => self.push_urgent(codec::pong_frame(&payload), cx),
            Incoming::Pong => self.step(Event::Pong, cx),
            incoming if self.waits() => self.rare().pending.push_back(incoming),
            incoming => self.handle(incoming, cx),
        }
    }

    /// Handles something in its turn, or puts it back.
    fn handle(&mut self, incoming: Incoming, cx: &mut Context) {
        match incoming {
            Incoming::Text(text) => self.text(text, cx),
            Incoming::Binary => {
                self.step(Event::Binary, cx);
                self.close_answered(cx);
            }
            Incoming::Close(frame) => self.answer_close(frame.as_ref(), cx),
            Incoming::Ping(_) | Incoming::Pong => {}
        }
    }

    fn text(&mut self, text: Text, cx: &mut Context) {
        let event = if self.session.protocol == Protocol::Raw {
            Event::Text(text)
        } else {
            match protocol::parse(text.as_str()) {
                // Requests take effect in the order in which they were sent.
                Ok(request) if self.session.must_wait(&request) => {
                    return self.rare().pending.push_front(Incoming::Text(text));
                }
                Ok(request) => Event::Request(request),
                Err(_) => Event::Text(text),
            }
        };
        cx.shared.metrics.received();
        self.step(event, cx);
    }

    /// Goes on with what waited, as far as may be.
    pub(super) fn go_on(&mut self, cx: &mut Context) {
        while !self.is_ending() && !self.is_busy() {
            let Some(rare) = self.rare.as_mut() else { break };
            let waiting = rare.pending.len();
            let Some(next) = rare.pending.pop_front() else { break };
            self.handle(next, cx);
            if self.rare.as_ref().is_some_and(|rare| rare.pending.len() >= waiting) {
                break;
            }
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
        if self.readable && self.reads_on() {
            cx.ready.push(self.slot);
        }
    }

    /// Whether what comes can still mean something.
    fn listens(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| match &rare.ending {
            Some(ending) => !ending.deaf,
            None => !rare.finished,
        })
    }

    /// What comes now must wait behind what came before.
    fn waits(&self) -> bool {
        self.is_busy() || self.rare.as_ref().is_some_and(|rare| !rare.pending.is_empty())
    }

    fn is_busy(&self) -> bool {
        let raw = self.session.protocol == Protocol::Raw;
        let raw_waits = raw && (self.session.joining() || self.session.authenticating());
        raw_waits || self.in_flight >= IN_FLIGHT
    }

    /// Whether more is to be read from the socket.
    fn reads_on(&self) -> bool {
        self.is_ending() || !self.waits()
    }
}
