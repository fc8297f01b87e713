//! How a connection ends (RFC 6455 section 7): the close frames, and how long either side may take.

use std::io::ErrorKind;
use std::time::Duration;

use mio::net::TcpStream;

use super::connection::Conn;
use super::context::Context;
use crate::clock::Millis;
use crate::codec::{self, CloseFrame, Violation};
use crate::outbox::Kind;
use crate::protocol::close;
use crate::session::{Closing, Event};

/// How long a client has to answer a close frame, in milliseconds.
const PATIENCE: Millis = 2000;
/// How long a client has that does not read.
const SLOW_PATIENCE: Millis = 1000;

/// A connection that is being closed.
pub(super) struct Ending {
    /// Value of the metrics' label `reason`.
    pub(super) reason: &'static str,
    /// When it is cut.
    pub(super) until: Millis,
    /// Nothing more is understood: the client has said good-bye, or broke the protocol.
    pub(super) deaf: bool,
    /// Our side of the connection is closed.
    shut: bool,
}

impl Conn {
    pub(super) fn ending(&self) -> Option<&Ending> {
        self.rare.as_ref()?.ending.as_ref()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending().is_some()
    }

    /// Says good-bye first.
    pub(super) fn end_with(&mut self, closing: Closing, cx: &mut Context) {
        let slow = closing.reason == "slow";
        if slow {
            self.outbox.drop_all();
        }
        let patience = if slow { SLOW_PATIENCE } else { PATIENCE };
        self.end(Some(closing.code), closing.reason, closing.reason, patience, false, cx);
    }

    /// The client said good-bye: it gets its code back.
    pub(super) fn answer_close(&mut self, frame: Option<&CloseFrame>, cx: &mut Context) {
        self.end(frame.map(|frame| frame.code), "", "client", PATIENCE, true, cx);
    }

    /// The client broke the protocol.
    pub(super) fn violated(&mut self, violation: Violation, cx: &mut Context) {
        match violation {
            Violation::TooBig => {
                self.step(Event::TooLarge, cx);
                if let Some(ending) = self.rare().ending.as_mut() {
                    ending.deaf = true;
                }
            }
            Violation::Utf8 => {
                self.end(Some(close::INVALID_PAYLOAD), "not UTF-8", "protocol_error", PATIENCE, true, cx);
            }
            Violation::Protocol(what) => {
                self.end(Some(close::PROTOCOL_ERROR), what, "protocol_error", PATIENCE, true, cx);
            }
        }
    }

    fn end(
        &mut self,
        code: Option<u16>,
        text: &str,
        reason: &'static str,
        patience: Millis,
        deaf: bool,
        cx: &mut Context,
    ) {
        if self.is_ending() {
            return;
        }
        let rare = self.rare();
        rare.forget();
        rare.ending = Some(Ending { reason, until: cx.now + patience, deaf, shut: false });
        self.outbox.push(codec::close_frame(code, text), Kind::Answer);
        self.mark_dirty(cx);
        self.rearm(cx);
    }

    /// Something was written: if that was the close frame and nothing more is to be read, our side is done.
    pub(super) fn written(&mut self, _cx: &mut Context) {
        let done = !self.has_unsent();
        let Some(ending) = self.rare.as_mut().and_then(|rare| rare.ending.as_mut()) else { return };
        if done && ending.deaf && !ending.shut {
            ending.shut = true;
            // Reading goes on until the client's end: unread bytes would turn our close into a reset.
            let closed = self.stream.close();
            if closed.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                (ending.shut, self.blocked) = (false, true);
            }
        }
    }

    /// The client answered our close frame.
    pub(super) fn close_answered(&mut self, cx: &mut Context) {
        if let Some(ending) = self.rare().ending.as_mut() {
            ending.deaf = true;
        }
        self.written(cx);
    }

    /// The connection has no other end any more.
    pub(super) fn lost(&mut self, cx: &mut Context) {
        let reason = self.ending().map_or("lost", |ending| ending.reason);
        self.stream.say_good_bye();
        self.is_gone(reason, cx);
    }

    /// The client took too long: what it did not read is dropped, here and in the kernel.
    pub(super) fn ending_is_due(&mut self, cx: &mut Context) {
        let Some(ending) = self.ending() else { return };
        if ending.until > cx.now {
            return;
        }
        let reason = ending.reason;
        if self.has_unsent() {
            abort(self.stream.socket());
        } else {
            self.stream.say_good_bye();
        }
        self.is_gone(reason, cx);
    }

    fn is_gone(&mut self, reason: &'static str, cx: &mut Context) {
        let until = Millis::MAX;
        let rare = self.rare();
        rare.forget();
        rare.ending = Some(Ending { reason, until, deaf: true, shut: true });
        cx.gone.push((self.slot, reason));
    }
}

/// Makes the close a reset, so that the kernel does not keep for minutes what a dead client did not read.
fn abort(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
