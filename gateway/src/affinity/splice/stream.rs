//! What a spliced connection needs of its two sockets. The one place that says what a client's socket is.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// The connection of a client, plain or over TLS. That to another gateway is plain.
pub(crate) type ClientStream = crate::socket::Stream<TcpStream>;

/// A socket that does not block.
pub(crate) trait Stream: Read + Write {
    /// What the poll watches.
    fn source(&mut self) -> &mut TcpStream;

    /// Nothing more is written: the other end reads all that was, and then the end.
    fn finish(&mut self) -> io::Result<()>;

    /// Whether a read that does not fill its buffer has taken all there was, so that more is announced anew.
    fn short_read_empties(&self) -> bool;
}

impl Stream for TcpStream {
    fn source(&mut self) -> &mut TcpStream {
        self
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn short_read_empties(&self) -> bool {
        true
    }
}

impl Stream for ClientStream {
    fn source(&mut self) -> &mut TcpStream {
        self.socket()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.close()
    }

    /// Over TLS a record may have been decrypted in part.
    fn short_read_empties(&self) -> bool {
        !self.is_secured()
    }
}
