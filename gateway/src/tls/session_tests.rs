//! A session against rustls' other interface as the client, over a socket that takes and gives in any pieces.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::Session;
use crate::tls::buffers::{LONGEST_RECORD, READ, RECORD};

/// Both directions between the two, and how much of them goes at once: each call is given the next number, and nothing
/// for a zero.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    pieces: Vec<usize>,
    calls: usize,
    ended: bool,
}

impl Wire {
    fn next(&mut self) -> io::Result<usize> {
        self.calls += 1;
        match self.pieces.get(self.calls % self.pieces.len().max(1)) {
            Some(0) => Err(ErrorKind::WouldBlock.into()),
            Some(most) => Ok(*most),
            None => Ok(usize::MAX),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.next()?.min(buffer.len());
        match self.to_server.read(&mut buffer[..most])? {
            0 if !self.ended => Err(ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.next()?.min(bytes.len());
        self.to_client.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pair {
    server: Session,
    client: ClientConnection,
    wire: Wire,
}

/// What both sides of a test need, of whom the one trusts the other.
pub(crate) fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

impl Pair {
    /// Before the handshake.
    fn new(version: &'static SupportedProtocolVersion, pieces: Vec<usize>) -> Self {
        let (server, client) = configs(version);
        let client = ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
        Self { server: Session::new(server).unwrap(), client, wire: Wire { pieces, ..Wire::default() } }
    }

    fn open(version: &'static SupportedProtocolVersion, pieces: Vec<usize>) -> Self {
        let mut pair = Self::new(version, pieces);
        loop {
            pair.client_turn();
            if !blocked(pair.server.handshake(&mut pair.wire)) && !pair.client.is_handshaking() {
                pair.client_turn();
                return pair;
            }
        }
    }

    /// The client sends what it has and takes what has come.
    fn client_turn(&mut self) {
        let mut sent = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut sent).unwrap();
        }
        self.wire.to_server.extend(sent);
        let mut received = &std::mem::take(&mut self.wire.to_client)[..];
        while !received.is_empty() {
            self.client.read_tls(&mut received).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    /// What the client has got.
    fn client_got(&mut self) -> Vec<u8> {
        let mut got = vec![0; 1 << 16];
        self.client_turn();
        let count = self
            .client
            .reader()
            .read(&mut got)
            .or_else(|error| if blocked::<()>(Err(error)) { Ok(0) } else { Err(ErrorKind::Other) });
        got.truncate(count.unwrap());
        got
    }

    fn read(&mut self, buffer: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; buffer];
        let read = self.server.read(&mut self.wire, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

fn blocked<T>(result: io::Result<T>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::WouldBlock => true,
        Err(error) => panic!("{error}"),
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn nothing_is_kept_while_idle() {
    for version in VERSIONS {
        let mut pair = Pair::open(version, vec![]);
        let large = vec![7; 50_000];
        pair.client.writer().write_all(&large).unwrap();
        pair.client_turn();
        assert_eq!(pair.read(100_000).unwrap(), large);
        pair.server.write(&mut pair.wire, &[IoSlice::new(&[8; 5000])]).unwrap();
        assert_eq!(pair.client_got(), [8; 5000]);
        let Session { half_read, plaintext, unsent, .. } = &pair.server;
        assert_eq!((half_read.capacity(), plaintext.bytes.capacity(), unsent.bytes.capacity()), (0, 0, 0));
    }
}

#[test]
fn what_the_socket_did_not_take_is_at_most_a_record_and_blocks() {
    let mut pair = Pair::open(&rustls::version::TLS13, vec![]);
    pair.wire.pieces = vec![0];
    let large = vec![1; 3 * RECORD];
    assert_eq!(pair.server.write(&mut pair.wire, &[IoSlice::new(&large)]).unwrap(), RECORD);
    assert!((RECORD..RECORD + 100).contains(&pair.server.unsent()), "{}", pair.server.unsent());
    assert!(blocked(pair.server.write(&mut pair.wire, &[IoSlice::new(&large)])));
    assert!(blocked(pair.server.flush(&mut pair.wire)));
    pair.wire.pieces.clear();
    pair.server.flush(&mut pair.wire).unwrap();
    assert_eq!((pair.server.unsent(), pair.client_got().len()), (0, RECORD));
}

#[test]
fn keys_are_renewed_when_the_client_asks() {
    let mut pair = Pair::open(&rustls::version::TLS13, vec![]);
    for n in 0..20_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(&[n]).unwrap();
        pair.client_turn();
        assert_eq!(pair.read(10).unwrap(), [n]);
        pair.server.write(&mut pair.wire, &[IoSlice::new(&[n])]).unwrap();
        assert_eq!(pair.client_got(), [n]);
    }
}

#[test]
fn both_sides_say_good_bye() {
    for version in VERSIONS {
        let mut pair = Pair::open(version, vec![]);
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        pair.client_turn();
        assert_eq!(pair.read(100).unwrap(), b"last");
        assert!(pair.server.is_finished());
        assert_eq!(pair.read(100).unwrap(), b"");
        pair.server.write(&mut pair.wire, &[IoSlice::new(b"answer")]).unwrap();
        pair.server.close();
        pair.server.close();
        pair.server.flush(&mut pair.wire).unwrap();
        assert_eq!(pair.client_got(), b"answer");
        assert_eq!(pair.client.reader().read(&mut [0; 9]).unwrap(), 0, "an end that was announced");
        assert_eq!(pair.server.write(&mut pair.wire, &[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn an_end_that_was_not_announced_is_an_error() {
    let mut pair = Pair::open(&rustls::version::TLS13, vec![]);
    pair.client.writer().write_all(b"cut").unwrap();
    pair.client_turn();
    pair.wire.ended = true;
    assert_eq!(pair.read(100).unwrap(), b"cut");
    assert_eq!(pair.read(100).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let mut early = Pair::new(&rustls::version::TLS13, vec![]);
    early.client_turn();
    early.wire.to_server.truncate(100);
    early.wire.ended = true;
    assert_eq!(early.server.handshake(&mut early.wire).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_record_that_was_tampered_with_ends_the_session_with_an_alert() {
    for version in VERSIONS {
        let mut pair = Pair::open(version, vec![]);
        pair.client.writer().write_all(b"secret").unwrap();
        pair.client_turn();
        *pair.wire.to_server.back_mut().unwrap() ^= 1;
        assert_eq!(pair.read(100).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(pair.read(100).unwrap_err().kind(), ErrorKind::InvalidData, "for good");
        pair.server.close();
        pair.server.flush(&mut pair.wire).unwrap();
        let mut alert = &pair.wire.to_client[..];
        pair.client.read_tls(&mut alert).unwrap();
        let told = pair.client.process_new_packets().unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
        assert_eq!(pair.server.write(&mut pair.wire, &[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn a_handshake_that_never_ends_is_not_collected_for_ever() {
    let mut session = Session::new(configs(&rustls::version::TLS13).0).unwrap();
    let mut wire = Wire::default();
    // A ClientHello of 65,535 bytes, a byte in each record.
    wire.to_server.extend([22, 3, 1, 0, 4, 1, 0, 0xff, 0xff]);
    for _ in 0..65_000 {
        wire.to_server.extend([22, 3, 1, 0, 1, 0]);
    }
    assert_eq!(session.handshake(&mut wire).unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(session.half_read.len() <= LONGEST_RECORD + READ);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the socket takes and gives at once, both get what the other wrote, whole and in order.
    #[test]
    fn the_streams_are_the_same_however_they_are_cut(
        tls13: bool,
        pieces in proptest::collection::vec(prop_oneof![Just(0_usize), 1_usize..50, 1_usize..40_000], 1..8),
        sent in proptest::collection::vec(0_usize..25_000, 1..4),
        buffer in prop_oneof![50_usize..500, 1_usize..70_000],
        slices in proptest::collection::vec(0_usize..9_000, 1..8),
    ) {
        // A socket that never takes anything proves nothing.
        let pieces = [pieces, vec![3000]].concat();
        let mut pair = Pair::open(VERSIONS[usize::from(tls13)], pieces);
        let (mut expect, mut got) = (Vec::new(), Vec::new());
        for (number, length) in sent.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|at| (at * 31 + number) as u8).collect();
            expect.extend_from_slice(&bytes);
            pair.client.writer().write_all(&bytes).unwrap();
            pair.client_turn();
            for _ in 0..3 {
                match pair.read(buffer) {
                    Ok(bytes) => got.extend(bytes),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        }
        while got.len() < expect.len() {
            match pair.read(buffer) {
                Ok(bytes) => got.extend(bytes),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        prop_assert!(got == expect);
        let filling: Vec<Vec<u8>> = slices.iter().enumerate().map(|(number, length)| vec![number as u8; *length]).collect();
        let (expect, mut got, mut written) = (filling.concat(), Vec::new(), 0);
        while got.len() < expect.len() {
            let mut rest = Vec::new();
            let mut skip = written;
            for each in &filling {
                let skipped = skip.min(each.len());
                skip -= skipped;
                rest.push(IoSlice::new(&each[skipped..]));
            }
            let result = if written < expect.len() { pair.server.write(&mut pair.wire, &rest) } else { pair.server.flush(&mut pair.wire).map(|()| 0) };
            match result {
                Ok(count) => written += count,
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            prop_assert!(pair.server.unsent() < RECORD + 300);
            got.extend(pair.client_got());
        }
        prop_assert!(got == expect);
    }
}
