//! Clients that are given what they have missed, and read slowly or not at all.

use std::sync::atomic::Ordering::Relaxed;

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::replay::PASSAGE_BYTES;
use crate::shard::Connection;

const LARGE: usize = 4000;

/// A client of `gateway` with small buffers in the kernel, and its connection.
struct Slow {
    socket: WebSocketStream<TcpStream>,
    connection: Arc<Connection>,
    /// The last number that it was given.
    last: u64,
    /// The most bytes that waited for it when it looked.
    peak: usize,
}

impl Slow {
    async fn resume(gateway: &Arc<Shared>, number: u128, room: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let served = listener.accept().await.unwrap().0.into_std().unwrap();
        socket2::SockRef::from(&served).set_send_buffer_size(8192).unwrap();
        let place = gateway.connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000, 0).ok().unwrap();
        let session = Session::new(number, Protocol::V1, Vec::new(), &gateway.config(), clock::now(), 0.5);
        begin(gateway, served.into(), session.into(), place);
        let connection = gateway.connections.of_session(number).unwrap();
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let frame = json!({"type": "subscribe", "ref": 1, "room": room, "since": "0-0"}).to_string();
        socket.send(Message::text(frame)).await.unwrap();
        Self { socket, connection, last: 0, peak: 0 }
    }

    fn waiting(&mut self) -> usize {
        let waiting = self.connection.bytes.load(Relaxed);
        self.peak = self.peak.max(waiting);
        waiting
    }

    /// Reads one frame; a close code is an error. Numbers must follow each other.
    async fn read(&mut self) -> Result<Value, CloseCode> {
        self.waiting();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("it is given nothing");
            match next.expect("the connection goes on").expect("it is in order") {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] == "message" {
                        let number = frame["payload"]["n"].as_u64().unwrap();
                        assert_eq!(number, self.last + 1, "the sequence is broken");
                        self.last = number;
                    }
                    return Ok(frame);
                }
                Message::Close(frame) => return Err(frame.unwrap().code),
                _ => {}
            }
        }
    }

    async fn read_to(&mut self, number: u64) {
        while self.last < number {
            let frame = self.read().await.expect("it is not closed");
            assert_ne!(frame["type"], "resync", "{frame}");
        }
    }
}

async fn publish(gateway: &Shared, name: &str, numbers: std::ops::RangeInclusive<u64>) {
    let name = RoomId::parse(name).unwrap();
    for n in numbers {
        let payload = json!({"n": n, "filling": "x".repeat(LARGE)}).to_string();
        gateway.hub.log().append(&name, &payload.as_str().into(), None, clock::now()).await.unwrap();
    }
}

fn settings(total: usize) -> String {
    format!(
        "{{backpressure: {{maxBufferedBytes: 8000, totalBufferBytes: {total}}}, streams: {{trim: {{maxLen: 100000}}}}}}"
    )
}

/// What waits for a client at most: a passage, and the half of one during which the next is read.
const MOST: usize = PASSAGE_BYTES + PASSAGE_BYTES / 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_slow_client_is_a_passage_however_much_it_has_missed() {
    let gateway = gateway_with(&settings(100_000_000), None);
    // Less than one passage, one or two, and as many messages as fit into a replay: most of 8 MiB.
    for (number, missed) in [10, 16, 20, 2000].into_iter().enumerate() {
        let name = format!("r{missed}");
        publish(&gateway, &name, 1..=missed).await;
        let mut slow = Slow::resume(&gateway, number as u128, &name).await;
        let welcome = slow.read().await.unwrap();
        assert_eq!(welcome["type"], "welcome");
        let answer = slow.read().await.unwrap();
        assert_eq!((answer["recovered"].as_bool(), answer["replayed"].as_u64()), (Some(true), Some(missed)));
        slow.read_to(missed).await;
        assert!(slow.peak <= MOST, "{missed}: {} bytes waited", slow.peak);
        assert!(slow.peak > 0 && (missed < 2000 || slow.peak > PASSAGE_BYTES / 2), "{missed}: {}", slow.peak);
        publish(&gateway, &name, missed + 1..=missed + 1).await;
        slow.read_to(missed + 1).await;
    }
    gateway.shards.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_everything_that_is_written_while_it_catches_up_and_holds_nothing_of_it() {
    const BEFORE: u64 = 200;
    const AFTER: u64 = 900;
    let gateway = gateway_with(&settings(100_000_000), None);
    publish(&gateway, "r", 1..=BEFORE).await;
    let mut slow = Slow::resume(&gateway, 1, "r").await;
    // More than may wait for a client: 900 of 4,000 bytes, of which 8,000 may.
    for n in BEFORE + 1..=AFTER {
        publish(&gateway, "r", n..=n).await;
        if n % 3 == 0 {
            slow.read().await.expect("it is not closed");
        }
    }
    slow.read_to(AFTER).await;
    assert!(slow.peak <= MOST + PASSAGE_BYTES, "{} bytes waited", slow.peak);
    while slow.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    publish(&gateway, "r", AFTER + 1..=AFTER + 1).await;
    slow.read_to(AFTER + 1).await;
    gateway.shards.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_falls_behind_by_more_than_a_replay_is_closed() {
    let gateway = gateway_with(&settings(100_000_000), None);
    publish(&gateway, "r", 1..=100).await;
    let mut slow = Slow::resume(&gateway, 1, "r").await;
    slow.read_to(1).await;
    publish(&gateway, "r", 101..=2300).await;
    let code = loop {
        if let Err(code) = slow.read().await {
            break code;
        }
    };
    assert_eq!((u16::from(code), slow.peak <= MOST), (1013, true));
    gateway.shards.stop().await;
}

/// Together they would be given more at once than may wait for all clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_is_closed_because_of_what_all_of_them_have_missed() {
    const CLIENTS: u128 = 200;
    const MISSED: u64 = 40;
    const TOTAL: usize = 4_000_000;
    let gateway = gateway_with(&settings(TOTAL), None);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        publish(&gateway, &format!("r{number}"), 1..=MISSED).await;
    }
    for number in 0..CLIENTS {
        clients.push(Slow::resume(&gateway, number, &format!("r{number}")).await);
    }
    let read = clients.into_iter().map(|mut client| async {
        client.read_to(MISSED).await;
        client
    });
    futures::future::join_all(read).await;
    gateway.shards.stop().await;
}
