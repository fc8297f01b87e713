//! The PROXY protocol, version 2: the client's real address, told by a load balancer ahead of the first byte. Parses,
//! and reads exactly the header from a socket, so that what follows is HTTP. Knows nothing of HTTP or of limits.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2. Version 1 (a line of text) is refused:
//! no load balancer that this project configures sends it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The twelve bytes that no HTTP request starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;
/// Longest header that is taken. Addresses need 36 bytes; the rest is for extensions (a TLS certificate's names, a VPC
/// endpoint's id), which are skipped. The protocol allows 65,551; a sender of that much is no load balancer.
pub const LONGEST: usize = 4096;
/// How long a load balancer may take to send the header: it has it before it connects.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many more bytes belong to the header; reading just these never reads past it.
    More(usize),
    /// The header ends here.
    Done {
        /// Bytes of the header.
        length: usize,
        /// The client's address; `None` if the load balancer speaks for itself (a health check) or does not know.
        source: Option<SocketAddr>,
    },
}

/// Why a header is refused. The connection is to be closed without an answer: its sender speaks no HTTP yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The load balancer does not send the header.
    #[error("no PROXY protocol header: switch it on at the load balancer, or proxyProtocol off here")]
    Missing,
    /// The readable form.
    #[error("PROXY protocol version 1: set the load balancer to version 2")]
    Version1,
    /// A version that is not known yet.
    #[error("PROXY protocol version {0}: set the load balancer to version 2")]
    Version(u8),
    /// Neither LOCAL nor PROXY.
    #[error("PROXY protocol command {0} is unknown")]
    Command(u8),
    /// UDP, or a family that is not known yet.
    #[error("PROXY protocol family and transport {0:#04x} cannot carry a WebSocket")]
    Family(u8),
    /// No room for the addresses that the family has.
    #[error("PROXY protocol header of {0} bytes is too short for its addresses")]
    Short(usize),
    /// Longer than [`LONGEST`].
    #[error("PROXY protocol header of {0} bytes is longer than {LONGEST}")]
    Long(usize),
}

/// Understands the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    check_signature(bytes)?;
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Parsed::More(FIXED - bytes.len()));
    };
    let body = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let length = FIXED + body;
    let kind = Kind::of(fixed[12], fixed[13])?;
    if length > LONGEST {
        return Err(ProxyError::Long(length));
    }
    if body < kind.addresses() {
        return Err(ProxyError::Short(length));
    }
    if rest.len() < body {
        return Ok(Parsed::More(body - rest.len()));
    }
    Ok(Parsed::Done { length, source: kind.source(rest) })
}

/// Reads the header off a socket and returns who the client is. Reads no byte past it, and waits no longer than [`PATIENCE`].
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    tokio::time::timeout(PATIENCE, read_all(stream)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::with_capacity(64);
    loop {
        match parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Parsed::Done { source, .. } => return Ok(source),
            Parsed::More(missing) => {
                let read = bytes.len();
                bytes.resize(read + missing, 0);
                stream.read_exact(&mut bytes[read..]).await?;
            }
        }
    }
}

fn check_signature(bytes: &[u8]) -> Result<(), ProxyError> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] == SIGNATURE[..seen] {
        return Ok(());
    }
    Err(if bytes.starts_with(b"PROXY ") { ProxyError::Version1 } else { ProxyError::Missing })
}

/// What a header speaks of.
#[derive(Clone, Copy)]
enum Kind {
    /// Nothing that we use: the connection's own address holds.
    Unknown,
    V4,
    V6,
}

impl Kind {
    fn of(version_and_command: u8, family_and_transport: u8) -> Result<Self, ProxyError> {
        let (version, command) = (version_and_command >> 4, version_and_command & 0xf);
        match (version, command, family_and_transport) {
            (2, 0, _) | (2, 1, 0x00 | 0x31) => Ok(Self::Unknown),
            (2, 1, 0x11) => Ok(Self::V4),
            (2, 1, 0x21) => Ok(Self::V6),
            (2, 1, other) => Err(ProxyError::Family(other)),
            (2, command, _) => Err(ProxyError::Command(command)),
            (version, ..) => Err(ProxyError::Version(version)),
        }
    }

    /// Bytes that both addresses and both ports take.
    fn addresses(self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::V4 => 12,
            Self::V6 => 36,
        }
    }

    fn source(self, body: &[u8]) -> Option<SocketAddr> {
        let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
        match self {
            Self::Unknown => None,
            Self::V4 => Some((Ipv4Addr::from(*body.first_chunk::<4>()?), port(8)?).into()),
            Self::V6 => Some((Ipv6Addr::from(*body.first_chunk::<16>()?), port(32)?).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x9c, 0x40, 0, 80];

    fn v6() -> Vec<u8> {
        let mut body = Vec::new();
        body.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        body.extend(Ipv6Addr::LOCALHOST.octets());
        body.extend([0x9c, 0x40, 0, 80]);
        body
    }

    fn source(bytes: &[u8]) -> Option<SocketAddr> {
        match parse(bytes).unwrap() {
            Parsed::Done { source, length } if length == bytes.len() => source,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_clients_address_is_read() {
        assert_eq!(source(&header(0x21, 0x11, &V4)), Some("203.0.113.7:40000".parse().unwrap()));
        assert_eq!(source(&header(0x21, 0x21, &v6())), Some("[2001:db8::7]:40000".parse().unwrap()));
    }

    #[test]
    fn a_health_check_and_an_unknown_client_have_no_address() {
        assert_eq!(source(&header(0x20, 0x00, &[])), None);
        assert_eq!(source(&header(0x20, 0x11, &V4)), None, "LOCAL: what it says of addresses is to be ignored");
        assert_eq!(source(&header(0x21, 0x00, &[])), None);
        assert_eq!(source(&header(0x21, 0x31, &[0; 216])), None, "a Unix socket");
    }

    #[test]
    fn extensions_are_skipped() {
        let with_extension = [&V4[..], &[0xea, 0, 3, 1, 2, 3]].concat();
        assert_eq!(source(&header(0x21, 0x11, &with_extension)), Some("203.0.113.7:40000".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (b"GET /ws HTTP/1.1\r\n".to_vec(), ProxyError::Missing),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(), ProxyError::Version1),
            (header(0x11, 0x11, &V4), ProxyError::Version(1)),
            (header(0x22, 0x11, &V4), ProxyError::Command(2)),
            (header(0x21, 0x12, &V4), ProxyError::Family(0x12)),
            (header(0x21, 0x41, &V4), ProxyError::Family(0x41)),
            (header(0x21, 0x11, &V4[..11]), ProxyError::Short(27)),
            (header(0x21, 0x21, &v6()[..35]), ProxyError::Short(51)),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
        for (length, ok) in [(LONGEST - 1, true), (LONGEST, true), (LONGEST + 1, false)] {
            let bytes = header(0x21, 0x11, &[&V4[..], &vec![0; length - FIXED - V4.len()]].concat());
            assert_eq!(parse(&bytes).is_ok(), ok, "{length}");
            // Too long is said before the bytes are waited for.
            assert_eq!(parse(&bytes[..FIXED]).is_ok(), ok, "{length}");
        }
    }

    #[tokio::test]
    async fn what_follows_the_header_stays_in_the_socket() {
        let bytes = [header(0x21, 0x11, &V4), b"GET / HTTP/1.1".to_vec()].concat();
        let mut stream = &bytes[..];
        assert_eq!(read(&mut stream).await.unwrap(), Some("203.0.113.7:40000".parse().unwrap()));
        assert_eq!(stream, b"GET / HTTP/1.1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_header_is_not_waited_for_longer_than_agreed() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let started = tokio::time::Instant::now();
        assert_eq!(read(&mut ours).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), PATIENCE);
        drop(theirs);
        assert_eq!(read(&mut ours).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_a_prefix_never_asks_past_the_header(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
            let whole = header(0x21, 0x11, &[&V4[..], &bytes].concat());
            for end in 0..whole.len() {
                match parse(&whole[..end]) {
                    Ok(Parsed::More(more)) => prop_assert!(more > 0 && end + more <= whole.len()),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(parse(&whole), parse(&[&whole[..], b"GET"].concat()));
        }
    }
}
