//! Reads a client's frames from whatever pieces the network delivers. Keeps nothing between messages.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::close::{self, CloseFrame};
use super::header::{self, Header, LONGEST};
use super::{Opcode, Violation};
use crate::entry::Text;

/// Something whole that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(Text),
    /// A binary message begins. It is not read: nothing follows after this.
    Binary,
    /// A ping and its payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// A close frame. Nothing follows after this.
    Close(Option<CloseFrame>),
}

/// The state between two reads: plain data, and nothing at all between messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decoder(Option<Box<Partial>>);

/// A message or a frame that is not whole yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Partial {
    /// A header of which some bytes have come.
    head: Vec<u8>,
    /// The frame whose payload is being read.
    frame: Option<Reading>,
    /// The payload of a control frame, as far as it has come.
    control: Vec<u8>,
    /// The text message that is being put together.
    message: Option<Assembly>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    header: Header,
    read: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Assembly {
    bytes: Vec<u8>,
    /// Bytes that are known to be UTF-8.
    valid: usize,
}

impl Assembly {
    fn add(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.bytes.extend_from_slice(bytes);
        self.valid += match std::str::from_utf8(&self.bytes[self.valid..]) {
            Ok(text) => text.len(),
            // A character that is cut off may be whole with the next piece; any other fault is one already.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        };
        Ok(())
    }

    fn finish(self) -> Result<Text, Violation> {
        Ok(String::from_utf8(self.bytes).map_err(|_| Violation::Utf8)?.into())
    }
}

impl Decoder {
    /// Whether a message or frame is half read.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Reads from the front of `input` until something is whole or nothing is left. Returns how many bytes were read.
    /// A message of more than `most` bytes is refused before it is read. `input` is changed.
    pub fn next(&mut self, input: &mut [u8], most: usize) -> Result<(usize, Option<Incoming>), Violation> {
        if self.0.is_none()
            && let Some(whole) = whole(input, most)?
        {
            return Ok(whole);
        }
        if input.is_empty() {
            return Ok((0, None));
        }
        let partial = self.0.get_or_insert_default();
        let (read, incoming) = partial.next(input, most)?;
        if partial.is_empty() {
            self.0 = None;
        }
        Ok((read, incoming))
    }
}

/// The usual case: an unfragmented frame that came in one piece.
fn whole(input: &mut [u8], most: usize) -> Result<Option<(usize, Option<Incoming>)>, Violation> {
    let Some((head, used)) = header::parse(input)? else { return Ok(None) };
    check(&head, false, 0, most)?;
    if head.opcode == Opcode::Binary {
        return Ok(Some((used, Some(Incoming::Binary))));
    }
    let Some(payload) = usize::try_from(head.length).ok().and_then(|length| input[used..].get_mut(..length)) else {
        return Ok(None);
    };
    if !head.fin {
        return Ok(None);
    }
    header::unmask(payload, head.mask, 0);
    let incoming = match head.opcode {
        Opcode::Text => Incoming::Text(std::str::from_utf8(payload).map_err(|_| Violation::Utf8)?.into()),
        _ => control(head.opcode, payload)?,
    };
    Ok(Some((used + payload.len(), Some(incoming))))
}

/// What can be said of a frame by its header and what came before.
fn check(head: &Header, within_message: bool, assembled: usize, most: usize) -> Result<(), Violation> {
    match head.opcode {
        Opcode::Continuation if !within_message => {
            return Err(Violation::Protocol("a continuation of nothing"));
        }
        Opcode::Text | Opcode::Binary if within_message => {
            return Err(Violation::Protocol("a new message within a fragmented one"));
        }
        Opcode::Close | Opcode::Ping | Opcode::Pong | Opcode::Binary => return Ok(()),
        Opcode::Text | Opcode::Continuation => {}
    }
    if head.length > most.saturating_sub(assembled) as u64 { Err(Violation::TooBig) } else { Ok(()) }
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Incoming, Violation> {
    match opcode {
        Opcode::Close => Ok(Incoming::Close(close::parse(payload)?)),
        Opcode::Ping => Ok(Incoming::Ping(Bytes::copy_from_slice(payload))),
        _ => Ok(Incoming::Pong),
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.frame.is_none() && self.message.is_none()
    }

    fn next(&mut self, input: &mut [u8], most: usize) -> Result<(usize, Option<Incoming>), Violation> {
        let mut read = 0;
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.begin(&input[read..], most)? {
                    (used, Some(frame)) => {
                        read += used;
                        frame
                    }
                    (used, None) => return Ok((read + used, None)),
                },
            };
            if frame.header.opcode == Opcode::Binary {
                return Ok((read, Some(Incoming::Binary)));
            }
            let (used, whole) = self.payload(frame, &mut input[read..])?;
            read += used;
            if !whole {
                return Ok((read, None));
            }
            if let Some(incoming) = self.end(frame.header)? {
                return Ok((read, Some(incoming)));
            }
        }
    }

    /// Reads a header, which may come byte by byte.
    fn begin(&mut self, input: &[u8], most: usize) -> Result<(usize, Option<Reading>), Violation> {
        let before = self.head.len();
        let taken = input.len().min(LONGEST - before);
        self.head.extend_from_slice(&input[..taken]);
        let Some((header, length)) = header::parse(&self.head)? else { return Ok((taken, None)) };
        let assembled = self.message.as_ref().map_or(0, |message| message.bytes.len());
        check(&header, self.message.is_some(), assembled, most)?;
        self.head = Vec::new();
        let frame = Reading { header, read: 0 };
        self.frame = Some(frame);
        if header.opcode == Opcode::Text {
            self.message = Some(Assembly::default());
        }
        Ok((length - before, Some(frame)))
    }

    /// Reads as much of the payload as there is, and whether that is all of it.
    fn payload(&mut self, mut frame: Reading, input: &mut [u8]) -> Result<(usize, bool), Violation> {
        let left = frame.header.length - frame.read;
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let piece = &mut input[..taken];
        header::unmask(piece, frame.header.mask, frame.read);
        if frame.header.opcode.is_control() {
            self.control.extend_from_slice(piece);
        } else if let Some(message) = &mut self.message {
            message.add(piece)?;
        }
        frame.read += taken as u64;
        self.frame = Some(frame);
        Ok((taken, frame.read == frame.header.length))
    }

    fn end(&mut self, header: Header) -> Result<Option<Incoming>, Violation> {
        self.frame = None;
        if header.opcode.is_control() {
            return control(header.opcode, &std::mem::take(&mut self.control)).map(Some);
        }
        if !header.fin {
            return Ok(None);
        }
        self.message.take().map(|message| message.finish().map(Incoming::Text)).transpose()
    }
}
