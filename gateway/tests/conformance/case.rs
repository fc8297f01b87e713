//! What a case is: bytes to send, and what must come back. Plain data; knows no socket.

use crate::frame::Frame;

/// A case.
pub(crate) struct Case {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    /// Section of RFC 6455.
    pub(crate) rfc: &'static str,
    pub(crate) stage: Stage,
    pub(crate) script: Vec<Step>,
    pub(crate) expect: Expect,
}

/// With which settings the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// The defaults: messages of up to 65,536 bytes.
    Plain,
    /// Messages of up to [`LARGE`] bytes.
    Large,
    /// Messages of up to [`SMALL`] bytes.
    Small,
}

/// Longest message on the stage `Large`.
pub(crate) const LARGE: usize = 4 << 20;
/// Longest message on the stage `Small`.
pub(crate) const SMALL: usize = 1000;

/// A step of what the client does.
#[derive(Clone)]
pub(crate) enum Step {
    /// Write, at once.
    Write(Vec<u8>),
    /// Write in pieces of so many bytes.
    Chop(Vec<u8>, usize),
    /// Wait until the gateway has taken from its socket what was written: what follows comes by itself.
    Taken,
    /// End the client's half of the TCP connection.
    EndOfInput,
}

/// What must come back.
#[derive(Clone)]
pub(crate) struct Expect {
    /// What the room gets, in order; nothing else. The client itself gets it back for as long as it is connected.
    pub(crate) room: Vec<Vec<u8>>,
    /// The pings that are answered. Pongs may be left out but for the last one (RFC 6455 section 5.5.3).
    pub(crate) pings: Vec<Vec<u8>>,
    pub(crate) end: End,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection works on: a ping is answered, and the client's good-bye is returned.
    Open,
    /// A close frame with one of these codes (1005: none), then the end of TCP.
    Closed(&'static [u16]),
    /// The end of TCP, with or without a close frame.
    Gone,
}

impl Case {
    pub(crate) fn new(group: &'static str, rfc: &'static str, name: impl Into<String>) -> Self {
        let expect = Expect { room: Vec::new(), pings: Vec::new(), end: End::Open };
        Self { group, name: name.into(), rfc, stage: Stage::Plain, script: Vec::new(), expect }
    }

    pub(crate) fn on(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// Sends a frame at once.
    pub(crate) fn send(self, frame: impl Into<Frame>) -> Self {
        let bytes = frame.into().bytes();
        self.write(bytes)
    }

    /// Sends bytes at once.
    pub(crate) fn write(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.script.push(Step::Write(bytes.into()));
        self
    }

    /// Sends what was scripted so far as one stream of bytes, in pieces.
    pub(crate) fn chopped(mut self, piece: usize) -> Self {
        let written = |step: Step| if let Step::Write(bytes) = step { bytes } else { Vec::new() };
        let all = self.script.drain(..).flat_map(written).collect();
        self.script.push(Step::Chop(all, piece));
        self
    }

    /// Sends what was scripted so far as one stream of bytes, in two pieces; the second one when the first was taken.
    pub(crate) fn split_at(mut self, at: usize) -> Self {
        let written = |step: Step| if let Step::Write(bytes) = step { bytes } else { Vec::new() };
        let mut all: Vec<u8> = self.script.drain(..).flat_map(written).collect();
        let rest = all.split_off(at.min(all.len()));
        self.script.extend([Step::Write(all), Step::Taken, Step::Write(rest)]);
        self
    }

    pub(crate) fn taken(mut self) -> Self {
        self.script.push(Step::Taken);
        self
    }

    pub(crate) fn end_of_input(mut self) -> Self {
        self.script.push(Step::EndOfInput);
        self
    }

    /// The room gets this, next.
    pub(crate) fn room(mut self, text: impl AsRef<[u8]>) -> Self {
        self.expect.room.push(text.as_ref().to_vec());
        self
    }

    /// This ping is answered, next.
    pub(crate) fn pong(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.expect.pings.push(payload.as_ref().to_vec());
        self
    }

    pub(crate) fn closed(mut self, codes: &'static [u16]) -> Self {
        self.expect.end = End::Closed(codes);
        self
    }

    pub(crate) fn gone(mut self) -> Self {
        self.expect.end = End::Gone;
        self
    }

    /// As on the command line and in the table.
    pub(crate) fn full_name(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }
}
