//! Two sockets and what goes between them, bytes and ends, in both directions. While one takes no more, nothing is read
//! from the other: so at most one buffer's worth is kept, and the sender feels it. Knows no poll and no threads.

use std::io::{self, ErrorKind};

use super::stream::Stream;

/// Reads of one direction before others have their turn.
const READS: usize = 4;

/// One of two sockets.
#[expect(clippy::struct_excessive_bools)] // Facts of a socket that come and go independently.
pub(super) struct Side<S> {
    pub(super) stream: S,
    /// What was read from the other one and this one did not take yet.
    unsent: Vec<u8>,
    /// There may be bytes to read.
    readable: bool,
    /// The end of its bytes was announced: a short read is not the last one.
    ending: bool,
    /// The end of its bytes was read.
    ended: bool,
    /// It took no more; until the poll says otherwise.
    blocked: bool,
    /// The other one's end was passed on.
    finished: bool,
}

/// A forwarded connection.
pub(super) struct Pair<C, O> {
    pub(super) client: Side<C>,
    pub(super) owner: Side<O>,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) to_owner: usize,
    pub(super) to_client: usize,
    /// There is more to do at once.
    pub(super) more: bool,
}

impl<S: Stream> Side<S> {
    /// `unsent` is to be written to it before all else.
    pub(super) fn new(stream: S, unsent: Vec<u8>) -> Self {
        Self { stream, unsent, readable: true, ending: false, ended: false, blocked: false, finished: false }
    }

    /// What the poll says.
    pub(super) fn announced(&mut self, readable: bool, writable: bool, ending: bool) {
        self.readable |= readable || ending;
        self.ending |= ending;
        self.blocked &= !writable;
    }

    /// Writes what waits. `false`: something still does.
    fn flush(&mut self) -> io::Result<bool> {
        if self.blocked {
            return Ok(false);
        }
        let waiting = std::mem::take(&mut self.unsent);
        self.write(&waiting)?;
        Ok(self.unsent.is_empty() && !self.blocked)
    }

    /// Writes, and keeps what is not taken.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    self.unsent = bytes.to_vec();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
            result => result?,
        }
        Ok(())
    }

    /// Reads once. `None`: nothing is there now. `Some(0)`: the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while self.readable {
            match self.stream.read(buffer) {
                Ok(read) => {
                    self.ended = read == 0;
                    self.readable =
                        !self.ended && (read == buffer.len() || self.ending || !self.stream.short_read_empties());
                    return Ok(Some(read));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl<C: Stream, O: Stream> Pair<C, O> {
    /// Moves what there is, with the thread's buffer. An error is of either socket, and the end of both.
    pub(super) fn turn(&mut self, buffer: &mut [u8]) -> io::Result<Turn> {
        let (to_owner, more) = pump(&mut self.client, &mut self.owner, buffer)?;
        let (to_client, more_back) = pump(&mut self.owner, &mut self.client, buffer)?;
        Ok(Turn { to_owner, to_client, more: more || more_back })
    }

    /// Whether one side has said its last word.
    pub(super) fn is_ending(&self) -> bool {
        self.client.ended || self.owner.ended
    }

    /// Whether both ends were passed on.
    pub(super) fn is_over(&self) -> bool {
        self.client.finished && self.owner.finished
    }

    /// Bytes that are kept here.
    #[cfg(test)]
    fn kept(&self) -> usize {
        self.client.unsent.len() + self.owner.unsent.len()
    }
}

/// Moves bytes, and the end behind them, one way: how many, and whether there is more at once.
fn pump<F: Stream, T: Stream>(from: &mut Side<F>, to: &mut Side<T>, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut moved = 0;
    for _ in 0..READS {
        if !to.flush()? {
            return Ok((moved, false));
        }
        let Some(read) = from.read(buffer)?.filter(|read| *read > 0) else { break };
        moved += read;
        to.write(&buffer[..read])?;
    }
    if from.ended && !to.finished && to.flush()? {
        to.finished = true;
        // The other end may be gone already: that it is told is all that matters.
        let _ = to.stream.finish();
    }
    Ok((moved, from.readable))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{Read, Write};

    use proptest::prelude::*;

    use super::*;

    /// A socket in memory: what comes in, and how much it takes.
    #[derive(Default)]
    struct Fake {
        coming: VecDeque<u8>,
        end: bool,
        taken: Vec<u8>,
        room: usize,
        finished: bool,
    }

    impl Read for Fake {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.coming.is_empty() && !self.end {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.coming.read(buffer)
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(!self.finished, "nothing is written after the end");
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= taken;
            self.taken.extend(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Fake {
        fn source(&mut self) -> &mut mio::net::TcpStream {
            unreachable!("no poll watches it")
        }
        fn finish(&mut self) -> io::Result<()> {
            self.finished = true;
            Ok(())
        }
        fn short_read_empties(&self) -> bool {
            true
        }
    }

    fn pair() -> Pair<Fake, Fake> {
        Pair { client: Side::new(Fake::default(), Vec::new()), owner: Side::new(Fake::default(), Vec::new()) }
    }

    /// Turns until nothing more happens at once.
    fn settle(pair: &mut Pair<Fake, Fake>, buffer: &mut [u8]) {
        while pair.turn(buffer).unwrap().more && pair.kept() == 0 {}
    }

    #[test]
    fn while_one_takes_no_more_nothing_is_read_from_the_other() {
        let (mut pair, mut buffer) = (pair(), [0; 16]);
        pair.owner.stream.coming = (0..=255).collect();
        pair.client.stream.room = 20;
        settle(&mut pair, &mut buffer);
        assert_eq!((pair.client.stream.taken.len(), pair.kept(), pair.owner.stream.coming.len()), (20, 12, 224));
        settle(&mut pair, &mut buffer);
        assert_eq!(pair.owner.stream.coming.len(), 224, "not before it is announced");
        pair.client.stream.room = 1000;
        pair.client.announced(false, true, false);
        settle(&mut pair, &mut buffer);
        assert_eq!(pair.client.stream.taken, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn an_end_is_passed_on_after_the_bytes_before_it_and_the_other_way_goes_on() {
        let (mut pair, mut buffer) = (pair(), [0; 16]);
        pair.client.stream.coming = (0..40).collect();
        pair.client.stream.end = true;
        pair.client.announced(true, false, true);
        pair.owner.stream.room = 30;
        settle(&mut pair, &mut buffer);
        assert!(!pair.owner.stream.finished, "ten bytes wait before it");
        pair.owner.stream.room = 30;
        pair.owner.announced(false, true, false);
        settle(&mut pair, &mut buffer);
        assert!(pair.owner.stream.finished && pair.is_ending() && !pair.is_over());
        pair.client.stream.room = 5;
        pair.owner.stream.coming = (0..5).collect();
        pair.owner.stream.end = true;
        pair.owner.announced(true, false, true);
        settle(&mut pair, &mut buffer);
        assert_eq!(pair.client.stream.taken, [0, 1, 2, 3, 4]);
        assert!(pair.client.stream.finished && pair.is_over());
    }

    #[test]
    fn what_came_with_the_handshake_goes_first() {
        let (mut pair, mut buffer) = (pair(), [0; 16]);
        pair.client = Side::new(Fake { room: 100, ..Fake::default() }, b"welcome ".to_vec());
        pair.owner.stream.coming.extend(b"message");
        settle(&mut pair, &mut buffer);
        assert_eq!(pair.client.stream.taken, b"welcome message");
    }

    proptest! {
        #[test]
        fn everything_arrives_in_order_in_whatever_pieces(
            steps in proptest::collection::vec((0usize..200, 0usize..100, 0usize..200, 0usize..100), 1..60),
            size in 1usize..64,
        ) {
            let (mut pair, mut buffer) = (pair(), vec![0; size]);
            let (mut up, mut down) = (Vec::new(), Vec::new());
            let mut next = (0..=255u8).cycle();
            for (sent_up, room_up, sent_down, room_down) in steps {
                let bytes: Vec<u8> = next.by_ref().take(sent_up).collect();
                pair.client.stream.coming.extend(&bytes);
                up.extend(bytes);
                let bytes: Vec<u8> = next.by_ref().take(sent_down).collect();
                pair.owner.stream.coming.extend(&bytes);
                down.extend(bytes);
                pair.owner.stream.room += room_up;
                pair.client.stream.room += room_down;
                pair.client.announced(true, true, false);
                pair.owner.announced(true, true, false);
                settle(&mut pair, &mut buffer);
                prop_assert!(pair.client.unsent.len() <= size && pair.owner.unsent.len() <= size);
                prop_assert!(up.starts_with(&pair.owner.stream.taken) && down.starts_with(&pair.client.stream.taken));
            }
            for side in [&mut pair.client, &mut pair.owner] {
                (side.stream.end, side.stream.room) = (true, usize::MAX);
            }
            while !pair.is_over() {
                pair.client.announced(true, true, true);
                pair.owner.announced(true, true, true);
                pair.turn(&mut buffer).unwrap();
            }
            prop_assert_eq!((&pair.owner.stream.taken, &pair.client.stream.taken), (&up, &down));
        }
    }
}
