//! A room of 2,000 members of which 5% never read: those are closed, within bounds of memory, and the others do not
//! notice. Latency is compared between rounds with and without them, taken in turns on one gateway, so that whatever
//! else the machine does falls on both.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::SinkExt;
use support::{Client, Process, http, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// Members that read, in every round.
const HEALTHY: usize = 1900;
/// Members that come for a round: they read in one and stall in the next.
const OTHERS: usize = 100;
/// Messages of a round, and the time between two.
const MESSAGES: usize = 40;
const PACE: Duration = Duration::from_millis(80);
/// Pairs of rounds. Many and short: a hiccup of the machine spoils one or two, and the median stays.
const PAIRS: usize = 7;
/// Bytes of a message: those of a round are more than the kernel holds for one who does not read, and what may wait.
const BYTES: usize = 8000;
const MAX_BUFFERED: u64 = 32 * 1024;
const TOTAL: u64 = 16 << 20;
/// How long a round may take, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn five_percent_stalled_readers_are_closed_and_the_others_do_not_notice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut room = Room::open().await;
        room.round(false).await;
        let (mut ratios, mut peaks) = (Vec::new(), (0, 0));
        for pair in 1..=PAIRS {
            let (without, with) = (room.round(false).await, room.round(true).await);
            ratios.push(with.p99.as_secs_f64() / without.p99.as_secs_f64());
            peaks = (peaks.0.max(without.memory), peaks.1.max(with.memory));
            println!("pair {pair}: p99 {:?} without, {:?} with stalled readers", without.p99, with.p99);
            room.every_stalled_one_was_closed(pair).await;
        }
        ratios.sort_by(f64::total_cmp);
        println!("ratios {ratios:.2?}; anonymous memory at most {} and {} KiB", peaks.0 / 1024, peaks.1 / 1024);
        assert!(ratios[PAIRS / 2] <= 1.5, "the healthy ones noticed: {ratios:.2?}");
        // What may wait for those who stall, and what an allocator keeps for itself.
        let most = peaks.0 + OTHERS as u64 * MAX_BUFFERED + (16 << 20);
        assert!(peaks.1 <= most, "{} bytes of memory, {} without stalled readers", peaks.1, peaks.0);
        // Before the gateway goes: its members would take that for a fault.
        room.members.shutdown().await;
    });
}

/// A gateway with its healthy members.
struct Room {
    gateway: Process,
    writer: Client,
    began: Instant,
    next: usize,
    members: JoinSet<()>,
    results: mpsc::UnboundedReceiver<Vec<Duration>>,
}

/// What a round came to.
struct Round {
    p99: Duration,
    /// Most anonymous memory of the gateway, in bytes.
    memory: u64,
}

impl Room {
    async fn open() -> Self {
        let yaml = format!(
            "backpressure: {{maxBufferedBytes: {MAX_BUFFERED}, totalBufferBytes: {TOTAL}}}\n\
             limits: {{handshakesPerSecond: 0, messagesPerSecond: 1000000, burst: 1000000}}\n\
             heartbeat: {{intervalSeconds: 3600}}"
        );
        let gateway = Process::start(&yaml, None).await;
        let (began, mut members) = (Instant::now(), JoinSet::new());
        let (sender, results) = mpsc::unbounded_channel();
        for _ in 0..HEALTHY {
            let (stream, sender) = (enter(gateway.public).await, sender.clone());
            members.spawn(read_rounds(stream, 0, began, sender));
        }
        let writer = Client::connect(gateway.public).await;
        let room = Self { gateway, writer, began, next: 0, members, results };
        room.has(HEALTHY).await;
        room
    }

    /// One round: publishes to the pace, while everyone healthy reads.
    async fn round(&mut self, stalled: bool) -> Round {
        let (mut reading, mut silent) = (JoinSet::new(), Vec::new());
        for _ in 0..OTHERS {
            if stalled {
                silent.push(Client::raw(self.gateway.public, "room=a").await);
            } else {
                let (nobody, _) = mpsc::unbounded_channel();
                reading.spawn(read_rounds(enter(self.gateway.public).await, self.next, self.began, nobody));
            }
        }
        self.has(HEALTHY + OTHERS).await;
        let peaks = Arc::new(Peaks::default());
        let process = self.gateway.child.id().unwrap();
        let watching = tokio::spawn(watch(self.gateway.admin, process, Arc::clone(&peaks)));
        self.publish().await;
        let mut latencies = Vec::with_capacity(HEALTHY * MESSAGES);
        for _ in 0..HEALTHY {
            let got = tokio::time::timeout(PATIENCE, self.results.recv()).await;
            latencies.extend(got.expect("a healthy member did not get everything").expect("a healthy member was cut"));
        }
        assert!(!watching.is_finished(), "nobody looked");
        watching.abort();
        let (memory, waiting) = (peaks.memory.load(Relaxed), peaks.waiting.load(Relaxed));
        assert!(waiting <= TOTAL, "{waiting} bytes waited");
        // Not before the last message came: who stalls must be closed for that, not for leaving.
        if stalled {
            until(|| async { self.subscriptions().await == HEALTHY }).await;
        }
        drop((reading, silent));
        self.has(HEALTHY).await;
        assert!(self.members.try_join_next().is_none(), "a healthy member was closed");
        latencies.sort_unstable();
        Round { p99: latencies[latencies.len() * 99 / 100], memory }
    }

    /// Every message says its number and when it was to be sent: what is late at the start counts as late.
    async fn publish(&mut self) {
        let start = Instant::now() + PACE;
        for n in 0..MESSAGES {
            let at = start + PACE * n as u32;
            tokio::time::sleep_until(at.into()).await;
            let head = format!("{:010} {:020} ", self.next, (at - self.began).as_micros());
            let frame = format!(r#"{{"type":"publish","room":"a","payload":"{head:x<0$}"}}"#, BYTES - 2);
            self.writer.socket.send(Message::text(frame)).await.unwrap();
            self.next += 1;
        }
        for _ in 0..MESSAGES {
            assert_eq!(self.writer.next().await["type"], "ok");
        }
    }

    async fn every_stalled_one_was_closed(&self, rounds: usize) {
        let expect = (OTHERS * rounds) as u64;
        until(|| async { self.metric("ws_connections_closed_total{reason=\"slow\"}").await == expect }).await;
        assert_eq!(self.metric("ws_slow_closes_total{limit=\"connection\"}").await, expect);
        assert_eq!(self.metric("ws_slow_closes_total{limit=\"total\"}").await, 0);
    }

    async fn subscriptions(&self) -> usize {
        let (_, body) = http(self.gateway.admin, "GET", "/v1/connections", "", "").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        body["subscriptions"].as_u64().unwrap() as usize
    }

    async fn has(&self, members: usize) {
        until(|| async { self.subscriptions().await == members }).await;
    }

    async fn metric(&self, line: &str) -> u64 {
        metric(self.gateway.admin, line).await
    }
}

async fn metric(admin: SocketAddr, line: &str) -> u64 {
    let (_, text) = http(admin, "GET", "/metrics", "", "").await;
    let found = text.lines().find_map(|have| have.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line}")).parse::<f64>().unwrap() as u64
}

/// Most that was seen in a round: the gateway's anonymous memory, and what waited in it for its clients, in bytes.
#[derive(Default)]
struct Peaks {
    memory: AtomicU64,
    waiting: AtomicU64,
}

/// Looks again and again.
async fn watch(admin: SocketAddr, process: u32, peaks: Arc<Peaks>) {
    loop {
        peaks.memory.fetch_max(anonymous_memory(process), Relaxed);
        peaks.waiting.fetch_max(metric(admin, "ws_send_buffer_bytes").await, Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `RssAnon` in bytes (proc(5)).
fn anonymous_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Connects to the room in the raw protocol, by hand: 2,000 clients cost little then.
async fn enter(gateway: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    let request = "GET /ws?room=a HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// Reads rounds of messages, from number `next` on, in order and each whole; tells the latencies of each round.
async fn read_rounds(
    mut stream: TcpStream,
    mut next: usize,
    began: Instant,
    tell: mpsc::UnboundedSender<Vec<Duration>>,
) {
    const HEADER: usize = 4;
    let mut frame = vec![0; HEADER + BYTES];
    loop {
        let mut latencies = Vec::with_capacity(MESSAGES);
        for _ in 0..MESSAGES {
            stream.read_exact(&mut frame).await.expect("a healthy member is not closed");
            assert_eq!(frame[..HEADER], [0x81, 126, (BYTES >> 8) as u8, (BYTES & 0xff) as u8]);
            let text = std::str::from_utf8(&frame[HEADER + 1..HEADER + 32]).unwrap();
            let (number, due) = text.trim().split_once(' ').unwrap();
            assert_eq!(number.parse(), Ok(next), "in order, none lost, none twice");
            latencies.push(began.elapsed().saturating_sub(Duration::from_micros(due.parse().unwrap())));
            next += 1;
        }
        if tell.send(latencies).is_err() {
            return std::future::pending().await;
        }
    }
}
