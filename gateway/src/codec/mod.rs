//! WebSocket frames (RFC 6455 section 5), as a server reads and writes them. Knows no socket: bytes in, messages out.
//!
//! Owned rather than a library's, because a library's state carries buffers per connection: this one takes eight bytes
//! while a connection is idle (see `docs/decisions/0007-data-path.md`).

mod close;
mod decode;
mod encode;
mod header;
#[cfg(test)]
mod tests;

pub use close::{CloseFrame, may_be_sent};
pub use decode::{Decoder, Incoming};
pub use encode::{close_frame, frame_cost, ping_frame, pong_frame, text_frame};

/// What a client did against the protocol. The connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Against RFC 6455: close code 1002. The text says what.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text that is no UTF-8: close code 1007.
    #[error("text must be UTF-8")]
    Utf8,
    /// A message longer than allowed, which was not read: close code 1009.
    #[error("the message is too long")]
    TooBig,
}

/// What a frame carries (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn parse(bits: u8) -> Result<Self, Violation> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(Violation::Protocol("a reserved opcode")),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn is_control(self) -> bool {
        self.bits() & 8 != 0
    }
}
