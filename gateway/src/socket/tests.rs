//! Connections that are written down, given to another gateway in the same state, and go on: a thousand of them, in
//! every state that a connection can be in, while messages are being published.

mod reading;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Frozen, Item, begin, carry_on};
use crate::clock;
use crate::config::{self, Config};
use crate::log::redis::Address;
use crate::metrics::Metrics;
use crate::protocol::Protocol;
use crate::redis_server::RedisServer;
use crate::room::RoomId;
use crate::session::Session;
use crate::shared::{Parts, Shared};

const SESSIONS: usize = 1000;
const ROOMS: usize = 7;
const MESSAGES: usize = 120;
/// A room in which everything is written before anybody comes.
const PAST: &str = "past";
const PATIENCE: Duration = Duration::from_secs(40);

/// What a client was doing when its connection was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In no room.
    Idle,
    /// In one room.
    OneRoom,
    /// In every room.
    AllRooms,
    /// A raw client.
    Raw,
    /// Listed among the members.
    Present,
    /// Half of a frame was sent.
    HalfFrame,
    /// The first fragment of a message was sent, and a piece of the second one's header.
    HalfMessage,
    /// It does not read for now.
    NotReading,
    /// It has just asked for a room and for its past.
    Joining,
    /// It is given what it has missed, and does not read for now.
    ReadingBack,
    /// It has just published, and waits for the answer.
    Publishing,
    /// It was told to move.
    Draining,
}

const STATES: [State; 12] = [
    State::Idle,
    State::OneRoom,
    State::AllRooms,
    State::Raw,
    State::Present,
    State::HalfFrame,
    State::HalfMessage,
    State::NotReading,
    State::Joining,
    State::ReadingBack,
    State::Publishing,
    State::Draining,
];

fn gateway(url: &str) -> Arc<Shared> {
    let yaml = "{maxConnections: 2000, backpressure: {maxBufferedBytes: 4000000}, streams: {trim: {maxLen: 100000}}}";
    gateway_with(yaml, Some(url))
}

/// Without the address of a Redis its log is in memory.
fn gateway_with(yaml: &str, redis: Option<&str>) -> Arc<Shared> {
    Shared::new(&Parts {
        settings: config::share(Config::parse(yaml).unwrap()),
        redis: redis.map(|url| Address::parse(url).unwrap()),
        node: "n".into(),
        revision: "r".into(),
        admin_token: None,
        api_key_file: None,
        shards: 2,
        demo: false,
        metrics: Arc::new(Metrics::new()),
    })
}

fn room(number: usize) -> String {
    format!("r{}", number % ROOMS)
}

/// A masked frame of a client.
fn frame(first: u8, payload: &str) -> Vec<u8> {
    assert!(payload.len() <= 125);
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload.as_bytes()].concat()
}

struct Client {
    state: State,
    number: usize,
    socket: WebSocketStream<TcpStream>,
    /// What it still has to send of a message.
    rest: Vec<u8>,
    /// The last number seen in each room.
    seen: HashMap<String, usize>,
    answered: bool,
}

impl Client {
    async fn connect(shared: &Arc<Shared>, listener: &TcpListener, number: usize) -> Self {
        let state = STATES[number % STATES.len()];
        let socket = TcpSocket::new_v4().unwrap();
        let stalls = matches!(state, State::NotReading | State::ReadingBack);
        if stalls {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let stream = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let served = listener.accept().await.unwrap().0.into_std().unwrap();
        if stalls {
            socket2::SockRef::from(&served).set_send_buffer_size(8192).unwrap();
        }
        let place = shared.connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000, 0).ok().unwrap();
        let raw = state == State::Raw;
        let protocol = if raw { Protocol::Raw } else { Protocol::V1 };
        let rooms = if raw { vec![RoomId::parse(&room(number)).unwrap()] } else { Vec::new() };
        let session = Session::new(number as u128, protocol, rooms, &shared.config(), clock::now(), 0.5);
        begin(shared, served.into(), session.into(), place);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Self { state, number, socket, rest: Vec::new(), seen: HashMap::new(), answered: false }
    }

    async fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Subscribes before anything is published.
    async fn settle(&mut self) {
        let rooms = match self.state {
            State::Idle | State::Raw | State::Joining | State::ReadingBack => 0,
            State::AllRooms => ROOMS,
            _ => 1,
        };
        for index in 0..rooms {
            let presence = self.state == State::Present;
            self.send(&json!({"type": "subscribe", "room": room(self.number + index), "presence": presence})).await;
        }
        let mut left = rooms;
        while left > 0 {
            let text = self.socket.next().await.unwrap().unwrap();
            left -= usize::from(text.to_text().is_ok_and(|text| text.contains(r#""type":"subscribed""#)));
        }
    }

    /// Gets into its state.
    async fn pose(&mut self) {
        let publish =
            json!({"type": "publish", "ref": 9, "room": format!("of-{}", self.number), "payload": 1}).to_string();
        let raw = self.socket.get_mut();
        match self.state {
            State::HalfFrame => {
                let whole = frame(0x81, &publish);
                raw.write_all(&whole[..30]).await.unwrap();
                self.rest = whole[30..].to_vec();
            }
            State::HalfMessage => {
                let (first, second) = publish.split_at(20);
                let second = frame(0x80, second);
                raw.write_all(&[frame(0x01, first), second[..3].to_vec()].concat()).await.unwrap();
                self.rest = second[3..].to_vec();
            }
            State::Joining | State::ReadingBack => {
                let past = self.state == State::ReadingBack;
                let room = if past { PAST.to_owned() } else { room(self.number) };
                self.send(&json!({"type": "subscribe", "room": room, "since": "0-0"})).await;
            }
            State::Publishing => self.send(&serde_json::from_str(&publish).unwrap()).await,
            _ => {}
        }
    }

    /// Sends what it still has to send, and reads until it has everything.
    async fn finish(mut self) -> Self {
        let rest = std::mem::take(&mut self.rest);
        self.socket.get_mut().write_all(&rest).await.unwrap();
        while !self.is_done() {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let next =
                next.unwrap_or_else(|_| panic!("{:?} {} waits for more than {:?}", self.state, self.number, self.seen));
            match next.expect("the connection goes on").expect("it is in order") {
                Message::Text(text) => self.take(text.as_str()),
                Message::Close(close) => panic!("{:?} {} was closed: {close:?}", self.state, self.number),
                _ => {}
            }
        }
        self
    }

    fn take(&mut self, text: &str) {
        let frame: Value = serde_json::from_str(text).unwrap();
        let (room, number) = match (self.state, frame["type"].as_str()) {
            (State::Raw, _) => (room(self.number), &frame["n"]),
            (_, Some("message")) => (frame["room"].as_str().unwrap().to_owned(), &frame["payload"]["n"]),
            (_, Some("ok")) => return self.answered |= frame["ref"] == 9,
            (_, Some("resync" | "error")) => panic!("{:?} {}: {text}", self.state, self.number),
            _ => return,
        };
        let number = number.as_u64().unwrap() as usize;
        let last = self.seen.insert(room, number).unwrap_or(0);
        assert_eq!(number, last + 1, "{:?} {}: the sequence is broken", self.state, self.number);
    }

    fn is_done(&self) -> bool {
        let rooms = match self.state {
            State::Idle => 0,
            State::AllRooms => ROOMS,
            _ => 1,
        };
        let asks = matches!(self.state, State::HalfFrame | State::HalfMessage | State::Publishing);
        let whole = self.seen.values().filter(|seen| **seen == MESSAGES).count() == rooms;
        whole && (self.answered || !asks)
    }
}

/// Writes numbers `from..=to` to every room, as a backend does.
async fn publish(shared: &Shared, from: usize, to: usize) {
    let rooms: Vec<_> = (0..ROOMS).map(room).collect();
    publish_to(shared, &rooms, from, to).await;
}

async fn publish_to(shared: &Shared, rooms: &[String], from: usize, to: usize) {
    for number in from..=to {
        let payload = json!({"n": number, "filling": "x".repeat(1500)}).to_string();
        for room in rooms {
            let room = RoomId::parse(room).unwrap();
            shared.hub.log().append(&room, &payload.as_str().into(), None, clock::now()).await.unwrap();
        }
    }
}

/// Waits until as much waits for those who are given their past as is given at once.
async fn reading_back(shared: &Shared, clients: &[Client]) {
    let waits = |client: &Client| {
        let connection = shared.connections.of_session(client.number as u128).unwrap();
        connection.bytes.load(std::sync::atomic::Ordering::Relaxed) > 0
    };
    while !clients.iter().filter(|client| client.state == State::ReadingBack).all(waits) {
        tokio::task::yield_now().await;
    }
}

/// As it would go to another process: text, and beside it the socket.
fn through_text(mut frozen: Frozen) -> (Frozen, std::net::TcpStream) {
    let stream = frozen.stream.take().expect("the socket is let go of");
    let text = serde_json::to_string(&frozen).unwrap();
    (serde_json::from_str(&text).unwrap(), stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_in_every_state_go_on_in_another_gateway() {
    let redis = RedisServer::start(&[]).await;
    let (first, second) = (gateway(&redis.url()), gateway(&redis.url()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clients = Vec::new();
    for number in 0..SESSIONS {
        clients.push(Client::connect(&first, &listener, number).await);
    }
    for client in &mut clients {
        client.settle().await;
    }
    publish(&first, 1, MESSAGES / 3).await;
    publish_to(&first, &[PAST.to_owned()], 1, MESSAGES).await;
    for client in clients.iter().filter(|client| client.state == State::Draining) {
        let connection = first.connections.of_session(client.number as u128).unwrap();
        connection.tell(Item::Drain { retry_after_ms: 0, deadline_ms: 600_000 });
    }
    for client in &mut clients {
        client.pose().await;
    }
    tokio::time::timeout(PATIENCE, reading_back(&first, &clients)).await.expect("they are given their past");
    let during = publish(&second, MESSAGES / 3 + 1, 2 * MESSAGES / 3);
    let (frozen, ()) = tokio::join!(first.shards.freeze(), during);
    assert_eq!(frozen.len(), SESSIONS);
    assert_eq!((first.hub.rooms(), first.hub.subscriptions(), first.connections.len()), (0, 0, 0));
    assert_eq!(first.connections.buffered(), 0);
    let half_read = frozen.iter().filter(|each| !each.decoder.is_idle()).count();
    let reading = frozen.iter().filter(|each| each.session.is_reading()).count();
    assert!(reading >= 60, "{reading} with more to be given than waits");
    let unsent = frozen.iter().filter(|each| each.unsent != crate::outbox::Unsent::default()).count();
    assert!(half_read >= 150 && unsent >= 50, "{half_read} half read, {unsent} with something unsent");
    for each in frozen {
        let (frozen, stream) = through_text(each);
        let place = second.connections.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000, 0).ok().unwrap();
        carry_on(&second, frozen, stream, place);
    }
    publish(&second, 2 * MESSAGES / 3 + 1, MESSAGES).await;
    let done = futures::future::join_all(clients.into_iter().map(|client| tokio::spawn(client.finish()))).await;
    assert_eq!(done.into_iter().filter(|client| client.as_ref().is_ok_and(Client::is_done)).count(), SESSIONS);
    first.shards.stop().await;
    second.shards.stop().await;
}
