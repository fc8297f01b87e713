//! What waits to be written to one connection, in order and counted in bytes, and the budget that all connections
//! share. Knows nothing of rooms, and writes to whatever it is given.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Frames that one write carries at most.
const BATCH: usize = 64;

/// Bytes that wait for all connections together.
#[derive(Debug, Default)]
pub struct Budget {
    used: AtomicUsize,
}

impl Budget {
    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Counts one connection's bytes anew.
    pub(crate) fn change(&self, before: usize, after: usize) {
        if after > before {
            self.used.fetch_add(after - before, Relaxed);
        } else if before > after {
            self.used.fetch_sub(before - after, Relaxed);
        }
    }
}

/// What a frame is, for those who must make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An answer, or something else that must not be dropped while the connection lives.
    Answer,
    /// A message, by the milliseconds of its id, or word of a hole: may be replaced by word of a hole.
    Message(Millis),
    /// A message of a replay. It does not count against the client that asked for it, only against the total.
    Replayed(Millis),
}

#[derive(Debug)]
struct Queued {
    bytes: Bytes,
    kind: Kind,
}

/// The frames that wait for one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Queued>,
    /// The first frame is partly written.
    begun: bool,
    /// Control frames at the front that overtook what else waits.
    urgent: u32,
    live: usize,
    replayed: usize,
}

/// An outbox written down: whether the first frame is partly written, and what is left of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    begun: bool,
    frames: Vec<(Vec<u8>, Kind)>,
}

impl From<Outbox> for Unsent {
    fn from(outbox: Outbox) -> Self {
        let frames = outbox.frames.iter().map(|frame| (frame.bytes.to_vec(), frame.kind)).collect();
        Self { begun: outbox.begun, frames }
    }
}

impl From<Unsent> for Outbox {
    fn from(unsent: Unsent) -> Self {
        let mut outbox = Self { begun: unsent.begun, ..Self::default() };
        unsent.frames.into_iter().for_each(|(bytes, kind)| outbox.push(bytes.into(), kind));
        outbox
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Messages.
    pub messages: u64,
    /// Milliseconds of the oldest one's id.
    pub oldest: Option<Millis>,
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing waits any more.
    Empty,
    /// The socket takes no more for now.
    Blocked,
}

impl Outbox {
    /// One in which something is begun: its rest is written before everything else, and never dropped.
    pub fn begun(rest: Bytes) -> Self {
        let mut outbox = Self { begun: !rest.is_empty(), ..Self::default() };
        if outbox.begun {
            outbox.push(rest, Kind::Answer);
        }
        outbox
    }

    /// Bytes that wait, those of replays not counted.
    pub fn live_bytes(&self) -> usize {
        self.live
    }

    /// Bytes of replays that wait.
    pub fn replayed_bytes(&self) -> usize {
        self.replayed
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.live + self.replayed
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Queues a frame.
    pub fn push(&mut self, bytes: Bytes, kind: Kind) {
        *self.counter(kind) += bytes.len();
        self.frames.push_back(Queued { bytes, kind });
    }

    /// Queues a control frame before everything that is not begun: a ping must not wait behind a long replay.
    pub fn push_urgent(&mut self, bytes: Bytes) {
        self.live += bytes.len();
        let at = usize::from(self.begun) + self.urgent as usize;
        self.frames.insert(at.min(self.frames.len()), Queued { bytes, kind: Kind::Answer });
        self.urgent += 1;
    }

    /// Drops what waits. A frame that is partly written stays: the client could not read on without its rest.
    pub fn drop_all(&mut self) {
        self.retain(|_| false);
    }

    /// Drops the messages that wait.
    pub fn drop_messages(&mut self) {
        self.retain(|kind| kind == Kind::Answer);
    }

    /// Writes until nothing waits or the socket takes no more. A socket that has taken bytes without sending them says
    /// so when it is flushed, and counts as one that takes no more.
    pub fn write_to(&mut self, socket: &mut impl Write, written: &mut Written) -> io::Result<Progress> {
        while let Some(first) = self.frames.front() {
            let result = if self.frames.len() == 1 {
                socket.write(&first.bytes)
            } else {
                let mut slices = [IoSlice::new(&[]); BATCH];
                let count = self.frames.len().min(BATCH);
                for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                    *slice = IoSlice::new(&frame.bytes);
                }
                socket.write_vectored(&slices[..count])
            };
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.advance(bytes, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // The buffer of a queue that was long once would stay for good.
        if self.frames.capacity() > 0 {
            self.frames = VecDeque::new();
        }
        match socket.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Progress::Blocked),
            result => result.map(|()| Progress::Empty),
        }
    }

    fn advance(&mut self, mut bytes: usize, written: &mut Written) {
        while bytes > 0 {
            let Some(first) = self.frames.front_mut() else { return };
            let taken = bytes.min(first.bytes.len());
            first.bytes.advance(taken);
            bytes -= taken;
            let (kind, whole) = (first.kind, first.bytes.is_empty());
            *self.counter(kind) -= taken;
            // Whatever is at the front and was not begun yet may be one of those that overtook.
            if !self.begun {
                self.urgent = self.urgent.saturating_sub(1);
            }
            self.begun = !whole;
            if !whole {
                return;
            }
            if let Kind::Message(ms) | Kind::Replayed(ms) = kind {
                written.messages += 1;
                written.oldest = Some(written.oldest.map_or(ms, |oldest| oldest.min(ms)));
            }
            self.frames.pop_front();
        }
    }

    fn retain(&mut self, keep: impl Fn(Kind) -> bool) {
        let begun = if self.begun { self.frames.pop_front() } else { None };
        self.frames.retain(|frame| keep(frame.kind));
        if let Some(begun) = begun {
            self.frames.push_front(begun);
        }
        self.frames.shrink_to_fit();
        self.urgent = 0;
        (self.live, self.replayed) = (0, 0);
        for index in 0..self.frames.len() {
            let (kind, bytes) = (self.frames[index].kind, self.frames[index].bytes.len());
            *self.counter(kind) += bytes;
        }
    }

    fn counter(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Replayed(_) => &mut self.replayed,
            _ => &mut self.live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A socket that takes so many bytes at a time, then blocks.
    struct Narrow {
        takes: Vec<usize>,
        got: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Some(most) = self.takes.pop() else { return Err(ErrorKind::WouldBlock.into()) };
            let taken = &bytes[..bytes.len().min(most)];
            self.got.extend_from_slice(taken);
            Ok(taken.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write(outbox: &mut Outbox, takes: &[usize]) -> (Vec<u8>, Progress, Written) {
        let mut socket = Narrow { takes: takes.iter().rev().copied().collect(), got: Vec::new() };
        let mut written = Written::default();
        let progress = outbox.write_to(&mut socket, &mut written).unwrap();
        (socket.got, progress, written)
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn bytes_count_until_they_are_written() {
        let mut outbox = Outbox::default();
        outbox.push(bytes("abc"), Kind::Message(7));
        outbox.push(bytes("defg"), Kind::Replayed(5));
        assert_eq!((outbox.live_bytes(), outbox.bytes()), (3, 7));
        let (got, progress, written) = write(&mut outbox, &[2, 3]);
        assert_eq!((got.as_slice(), progress), (b"abc".as_slice(), Progress::Blocked));
        assert_eq!(written, Written { messages: 1, oldest: Some(7) });
        assert_eq!((outbox.live_bytes(), outbox.bytes()), (0, 4));
        let (got, progress, _) = write(&mut outbox, &[9]);
        assert_eq!((got.as_slice(), progress, outbox.bytes()), (b"defg".as_slice(), Progress::Empty, 0));
    }

    #[test]
    fn a_frame_that_is_begun_is_finished_before_anything_overtakes_or_is_dropped() {
        let mut outbox = Outbox::default();
        outbox.push(bytes("message"), Kind::Message(1));
        outbox.push(bytes("other"), Kind::Message(2));
        assert_eq!(write(&mut outbox, &[3]).0, b"mes");
        outbox.push_urgent(bytes("PING"));
        outbox.push_urgent(bytes("PONG"));
        outbox.push(bytes("answer"), Kind::Answer);
        outbox.drop_messages();
        assert_eq!(outbox.live_bytes(), "sagePINGPONGanswer".len());
        assert_eq!(write(&mut outbox, &[99, 99, 99, 99]).0, b"sagePINGPONGanswer");
        outbox.push(bytes("a"), Kind::Message(3));
        outbox.push_urgent(bytes("B"));
        outbox.drop_all();
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn what_is_begun_elsewhere_is_written_first_and_never_dropped() {
        let mut outbox = Outbox::begun(bytes("HTTP"));
        outbox.push(bytes("dropped"), Kind::Answer);
        outbox.push_urgent(bytes("PING"));
        outbox.drop_all();
        outbox.push_urgent(bytes("PONG"));
        assert_eq!(write(&mut outbox, &[99, 99]).0, b"HTTPPONG");
        let mut outbox = Outbox::begun(Bytes::new());
        outbox.push(bytes("dropped"), Kind::Answer);
        outbox.drop_all();
        assert!(outbox.is_empty());
    }

    #[test]
    fn control_frames_overtake_in_their_own_order() {
        let mut outbox = Outbox::default();
        outbox.push(bytes("x"), Kind::Message(1));
        outbox.push_urgent(bytes("1"));
        outbox.push_urgent(bytes("2"));
        assert_eq!(write(&mut outbox, &[1]).0, b"1");
        outbox.push_urgent(bytes("3"));
        assert_eq!(write(&mut outbox, &[9, 9, 9]).0, b"23x");
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_the_stream_is_the_frames_in_order(
            frames in proptest::collection::vec("[a-z]{1,200}", 1..100),
            takes in proptest::collection::vec(1usize..500, 0..400),
        ) {
            let mut outbox = Outbox::default();
            for frame in &frames {
                outbox.push(bytes(frame), Kind::Message(1));
            }
            let all = frames.concat();
            let (got, progress, written) = write(&mut outbox, &takes);
            prop_assert!(all.as_bytes().starts_with(&got));
            prop_assert_eq!(outbox.bytes(), all.len() - got.len());
            prop_assert_eq!(progress == Progress::Empty, got.len() == all.len());
            prop_assert_eq!(written.messages == frames.len() as u64, got.len() == all.len());
        }
    }
}
