//! A gateway fleet behind one address, in this process: connection number n is served by gateway `gn`.
//!
//! It speaks `wscluster.v1.json` truthfully on an in-memory log and does to a connection what it is ordered to.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::CloseFrame,
    },
};
use wscluster_client::{Client, Events, MessageId, SUBPROTOCOL};

/// What a connection can be made to do.
#[derive(Debug)]
pub(crate) enum Order {
    Send(String),
    Close(u16),
    /// Ends the TCP connection without a word.
    Break,
    /// Neither reads nor writes any more.
    Silence,
}

/// What a connection may do wrong with the next message.
#[derive(Debug)]
pub(crate) enum Fault {
    Lose,
    /// Sends it after the one that follows.
    Swap,
    Repeat,
}

/// What a connection has been told and has said.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<Value>,
    /// Frames that were written to it.
    pub(crate) sent: usize,
    /// The close code that the client sent.
    pub(crate) goodbye: Option<u16>,
}

#[derive(Default)]
struct State {
    log: BTreeMap<String, Vec<(MessageId, Value)>>,
    subscribers: BTreeSet<(usize, String)>,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    seen: Vec<Seen>,
    faults: BTreeMap<usize, Fault>,
    held: BTreeMap<usize, String>,
    refuse: usize,
    /// Gateways that serve in turn; none: each connection has its own.
    fleet: Vec<String>,
    /// They find whoever shows their cookie.
    finds: bool,
    heartbeat: u64,
    last_id: u64,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Self { address, state: Arc::default(), changed: watch::Sender::new(0) };
        let (state, changed) = (fake.state.clone(), fake.changed.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, state.clone(), changed.clone()));
            }
        });
        fake
    }

    pub(crate) fn client(&self) -> (Client, Events) {
        let backoff = wscluster_client::Backoff {
            base: std::time::Duration::from_millis(2),
            max: std::time::Duration::from_millis(20),
        };
        Client::builder(format!("ws://{}/ws", self.address)).backoff(backoff).connect().unwrap()
    }

    pub(crate) fn heartbeat(&self, millis: u64) {
        self.lock().heartbeat = millis;
    }

    /// Answers the next handshakes with 503.
    pub(crate) fn refuse(&self, handshakes: usize) {
        self.lock().refuse = handshakes;
    }

    /// From now on these gateways serve in turn and set cookies. With `finds` they pass on whoever was on another of them.
    pub(crate) fn fleet(&self, gateways: &[&str], finds: bool) {
        let mut state = self.lock();
        state.fleet = gateways.iter().map(|name| (*name).to_owned()).collect();
        state.finds = finds;
    }

    /// How many handshakes are still to be refused.
    pub(crate) fn refusing(&self) -> usize {
        self.lock().refuse
    }

    /// Appends to a room, as any backend would.
    pub(crate) fn append(&self, room: &str, payload: Value) -> MessageId {
        append(&mut self.lock(), room, payload)
    }

    pub(crate) fn order(&self, connection: usize, order: Order) {
        self.lock().orders[connection].send(order).ok();
    }

    pub(crate) fn drain(&self, connection: usize, retry_after: u64, deadline: u64) {
        let notice = json!({"type": "drain", "retryAfterMs": retry_after, "deadlineMs": deadline});
        self.order(connection, Order::Send(notice.to_string()));
    }

    /// Makes a connection do the next message wrong.
    pub(crate) fn fault(&self, connection: usize, fault: Fault) {
        self.lock().faults.insert(connection, fault);
    }

    /// Waits until `fact` holds of what the connections have seen.
    pub(crate) async fn until(&self, fact: impl Fn(&[Seen]) -> bool) {
        let mut changes = self.changed.subscribe();
        while !fact(&self.lock().seen) {
            changes.changed().await.unwrap();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn append(state: &mut State, room: &str, payload: Value) -> MessageId {
    state.last_id += 1;
    let id = MessageId::new(1000, state.last_id);
    let text = message(room, id, &payload);
    state.log.entry(room.to_owned()).or_default().push((id, payload));
    for (connection, _) in state.subscribers.iter().filter(|(_, name)| name == room) {
        let mut texts = vec![text.clone()];
        texts.extend(state.held.remove(connection));
        match state.faults.remove(connection) {
            Some(Fault::Lose) => texts.clear(),
            Some(Fault::Swap) => drop(state.held.insert(*connection, texts.remove(0))),
            Some(Fault::Repeat) => texts.push(text.clone()),
            None => {}
        }
        for text in texts {
            state.orders[*connection].send(Order::Send(text)).ok();
        }
    }
    id
}

fn message(room: &str, id: MessageId, payload: &Value) -> String {
    json!({"type": "message", "room": room, "id": id, "timestamp": 7, "payload": payload}).to_string()
}

/// Who serves a handshake, and the way to it.
fn choose(state: &State, request: &Request) -> Option<(String, String)> {
    let here = state.fleet.get(state.orders.len() % state.fleet.len().max(1))?;
    let cookie = request.headers().get("cookie").and_then(|cookie| cookie.to_str().ok()?.strip_prefix("at="));
    let known = state.fleet.iter().find(|name| state.finds && Some(&***name) == cookie);
    let owner = known.unwrap_or(here);
    Some((owner.clone(), if owner == here { owner.clone() } else { format!("{owner} via {here}") }))
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, changed: watch::Sender<u64>) {
    let mut node = None;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let mut state = state.lock().unwrap();
        if state.refuse > 0 {
            state.refuse -= 1;
            return Err(http::Response::builder().status(503).body(None).unwrap());
        }
        assert_eq!(request.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        response.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        if let Some((owner, way)) = choose(&state, request) {
            response.headers_mut().insert("set-cookie", format!("at={owner}; Max-Age=60").parse().unwrap());
            node = Some(way);
        }
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async(stream, check).await else { return };
    let (sender, orders) = mpsc::unbounded_channel();
    let (connection, heartbeat) = {
        let mut state = state.lock().unwrap();
        state.orders.push(sender);
        state.seen.push(Seen::default());
        (state.orders.len() - 1, state.heartbeat)
    };
    let welcome = json!({
        "type": "welcome", "session": format!("s{connection}"), "node": node.unwrap_or_else(|| format!("g{connection}")),
        "heartbeatMs": heartbeat, "maxMessageBytes": 65536, "resumeWindowMs": 1000, "new": "field",
    });
    let mut link = Link { connection, socket, orders, state, changed };
    link.send(welcome.to_string()).await;
    link.run().await;
    link.state.lock().unwrap().subscribers.retain(|(subscriber, _)| *subscriber != connection);
}

struct Link {
    connection: usize,
    socket: WebSocketStream<TcpStream>,
    orders: mpsc::UnboundedReceiver<Order>,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Link {
    async fn run(&mut self) {
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Send(text)) => self.send(text).await,
                    Some(Order::Close(code)) => {
                        let frame = CloseFrame { code: code.into(), reason: "ordered".into() };
                        self.socket.close(Some(frame)).await.ok();
                    }
                    Some(Order::Silence) => std::future::pending().await,
                    Some(Order::Break) | None => return,
                },
                frame = self.socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.request(&serde_json::from_str(&text).unwrap()).await,
                    Some(Ok(Message::Close(frame))) => {
                        self.see(|seen| seen.goodbye = frame.map(|frame| frame.code.into()));
                    }
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }

    async fn request(&mut self, request: &Value) {
        self.see(|seen| seen.requests.push(request.clone()));
        let room = request["room"].as_str().unwrap_or_default();
        let answers = match request["type"].as_str().unwrap() {
            "subscribe" => self.subscribe(room, request),
            "publish" => {
                let id = append(&mut self.state.lock().unwrap(), room, request["payload"].clone());
                vec![json!({"type": "ok", "ref": request["ref"], "id": id}).to_string()]
            }
            _ => vec![json!({"type": "ok", "ref": request["ref"]}).to_string()],
        };
        for answer in answers {
            self.send(answer).await;
        }
    }

    fn subscribe(&self, room: &str, request: &Value) -> Vec<String> {
        let mut state = self.state.lock().unwrap();
        let log = state.log.entry(room.to_owned()).or_default();
        let last = log.last().map_or(MessageId::MIN, |(id, _)| *id);
        let since = request.get("since").map_or(last, |since| since.as_str().unwrap().parse().unwrap());
        let replay: Vec<_> =
            (log.iter().filter(|(id, _)| *id > since)).map(|(id, payload)| message(room, *id, payload)).collect();
        let answer = json!({
            "type": "subscribed", "ref": request["ref"], "room": room, "position": since,
            "recovered": true, "replayed": replay.len(),
        });
        state.subscribers.insert((self.connection, room.to_owned()));
        [answer.to_string()].into_iter().chain(replay).collect()
    }

    async fn send(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.ok();
        self.see(|seen| seen.sent += 1);
    }

    fn see(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.state.lock().unwrap().seen[self.connection]);
        self.changed.send_modify(|count| *count += 1);
    }
}
