//! Frames by hand (RFC 6455 section 5.2): what a client writes, wrong ones included, and what a server may write. A
//! codec of the test's own, so that the gateway's is not judged by itself.

/// A frame of a client.
#[derive(Clone)]
pub(crate) struct Frame {
    fin: bool,
    reserved: u8,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: Length,
    payload: Vec<u8>,
}

/// How the length is written.
#[derive(Clone, Copy)]
enum Length {
    /// As short as can be, as it must be.
    Shortest,
    /// In two bytes, whether it needs them or not.
    Two,
    /// In eight bytes; this number, whether it is true or not.
    Eight(u64),
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl Frame {
    pub(crate) fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { fin: true, reserved: 0, opcode, mask: Some(MASK), length: Length::Shortest, payload }
    }

    /// More frames of this message follow.
    pub(crate) fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Reserved bits: 4 is RSV1, 2 is RSV2, 1 is RSV3.
    pub(crate) fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    pub(crate) fn masked(mut self, mask: [u8; 4]) -> Self {
        self.mask = Some(mask);
        self
    }

    pub(crate) fn unmasked(mut self) -> Self {
        self.mask = None;
        self
    }

    pub(crate) fn length_in_two(mut self) -> Self {
        self.length = Length::Two;
        self
    }

    pub(crate) fn length_in_eight(mut self) -> Self {
        self.length = Length::Eight(self.payload.len() as u64);
        self
    }

    /// Says that it is so long, in eight bytes.
    pub(crate) fn claiming(mut self, length: u64) -> Self {
        self.length = Length::Eight(length);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        let masked = u8::from(self.mask.is_some()) << 7;
        let length = self.payload.len();
        match self.length {
            Length::Shortest if length < 126 => bytes.push(masked + length as u8),
            Length::Shortest if length > 0xffff => put_eight(&mut bytes, masked, length as u64),
            Length::Shortest | Length::Two => {
                bytes.push(masked + 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            Length::Eight(claimed) => put_eight(&mut bytes, masked, claimed),
        }
        let mask = self.mask.unwrap_or_default();
        bytes.extend(self.mask.iter().flatten());
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

fn put_eight(bytes: &mut Vec<u8>, masked: u8, length: u64) {
    bytes.push(masked + 127);
    bytes.extend(length.to_be_bytes());
}

pub(crate) fn text(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(1, payload)
}

pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(2, payload)
}

/// The first frame of a message in several.
pub(crate) fn first(payload: impl AsRef<[u8]>) -> Frame {
    text(payload).unfinished()
}

/// A frame in the middle of a message.
pub(crate) fn more(payload: impl AsRef<[u8]>) -> Frame {
    last(payload).unfinished()
}

/// The last frame of a message in several.
pub(crate) fn last(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(0, payload)
}

pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(9, payload)
}

pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(10, payload)
}

pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    Frame::new(8, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// A close frame with this body.
pub(crate) fn close_with(body: impl AsRef<[u8]>) -> Frame {
    Frame::new(8, body)
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Text(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    /// Its code, 1005 when there was none.
    Close(u16),
}

/// Takes a frame off the front of `bytes` if there is a whole one. What a server must not send is an error.
pub(crate) fn parse(bytes: &mut Vec<u8>) -> Result<Option<Received>, String> {
    let Some((header, length)) = length(bytes)? else { return Ok(None) };
    if bytes.len() < header + length {
        return Ok(None);
    }
    let first = bytes[0];
    let payload: Vec<u8> = bytes.drain(..header + length).skip(header).collect();
    match first {
        0x81 if std::str::from_utf8(&payload).is_err() => Err("a text that is no UTF-8".into()),
        0x81 => Ok(Some(Received::Text(payload))),
        0x88..=0x8a if payload.len() > 125 => Err("a control frame of more than 125 bytes".into()),
        0x88 => close_code(&payload).map(Some),
        0x89 => Ok(Some(Received::Ping)),
        0x8a => Ok(Some(Received::Pong(payload))),
        other => Err(format!("a frame that begins with {other:#04x}")),
    }
}

/// Bytes of the header and of the payload.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some(second) = bytes.get(1) else { return Ok(None) };
    let (header, length) = match second {
        0..126 => (2, u64::from(*second)),
        126 if bytes.len() < 4 => return Ok(None),
        126 => (4, u64::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 if bytes.len() < 10 => return Ok(None),
        127 => (10, u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes"))),
        _ => return Err("a masked frame".into()),
    };
    let least = [(2, 0), (4, 126), (10, 0x1_0000)].iter().find(|(of, _)| *of == header).expect("a header").1;
    if length < least {
        return Err(format!("a length of {length} in a header of {header} bytes"));
    }
    Ok(Some((header, length as usize)))
}

fn close_code(body: &[u8]) -> Result<Received, String> {
    match body {
        [] => Ok(Received::Close(1005)),
        [_] => Err("a close frame with one byte".into()),
        [high, low, reason @ ..] => match std::str::from_utf8(reason) {
            Ok(_) => Ok(Received::Close(u16::from_be_bytes([*high, *low]))),
            Err(_) => Err("a reason that is no UTF-8".into()),
        },
    }
}
