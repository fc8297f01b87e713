//! The buffers of TLS sessions: those that a thread has once, and what waits in a session. Knows nothing of keys.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Write};

/// Most plaintext of one record (RFC 8446 section 5.1), and so most that is encrypted before the socket has taken it.
pub(super) const RECORD: usize = 16 * 1024;
/// Longest record: what encryption may add comes on top (RFC 5246 section 6.2.3).
pub(super) const LONGEST_RECORD: usize = 5 + RECORD + 2048;
/// Ciphertext that is read at once.
pub(super) const READ: usize = 64 * 1024;

/// What a thread needs while it works on a session; nothing stays in it.
pub(super) struct Scratch {
    pub(super) received: Box<[u8]>,
    pub(super) gathered: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        received: vec![0; LONGEST_RECORD + READ].into_boxed_slice(),
        gathered: Vec::with_capacity(RECORD),
        sealed: vec![0; LONGEST_RECORD],
    });
}

/// Bytes of which the first so many are done with. Takes no memory while there are none.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    done: usize,
}

impl Waiting {
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.done += count;
        if self.done == self.bytes.len() {
            *self = Self::default();
        }
    }
}

/// The first bytes of the slices, as many as a record takes. Copied together only where they are in several.
pub(super) fn one_record<'a>(slices: &'a [IoSlice<'_>], gathered: &'a mut Vec<u8>) -> &'a [u8] {
    match slices {
        [] => &[],
        [first, rest @ ..] if rest.is_empty() || first.len() >= RECORD => &first[..first.len().min(RECORD)],
        _ => {
            gathered.clear();
            for slice in slices {
                let fits = slice.len().min(RECORD - gathered.len());
                gathered.extend_from_slice(&slice[..fits]);
            }
            gathered
        }
    }
}

/// Writes until all is taken or the socket takes no more; returns how much it took.
pub(super) fn send(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
