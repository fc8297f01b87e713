//! All connections of the process on one thread and one epoll instance: opens them, reads, counts deliveries, publishes.
//! What is published when, and what it is measured for, is the phases' matter.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::connection::{Connection, Stage};
use crate::frame::{self, Kind};
use crate::options::Options;
use crate::payload::{self, Reader, Stamp};
use crate::recorder::Recorder;
use crate::subject::{self, Meaning};

const BUFFER: usize = 256 * 1024;
const EVENTS: usize = 512;
const TIMER: u64 = u64::MAX;

/// The connections and what came of them.
pub(crate) struct Engine {
    options: Options,
    epoll: Epoll,
    timer: TimerFd,
    armed: u64,
    started: Instant,
    host: String,
    /// Members first, room by room; then publishers. `None` is one that was closed.
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    reader: Reader,
    next_publisher: u32,
    /// Messages published so far.
    pub(crate) published: u64,
    /// What was received.
    pub(crate) recorder: Recorder,
    /// Connections where they are to be.
    pub(crate) live: u32,
    /// Connections that did not get so far.
    pub(crate) failed: u32,
    /// Why the first of them did not.
    pub(crate) first_failure: String,
    /// Whether failures are expected: the server may not be ready.
    pub(crate) scouting: bool,
    /// Refusals and connections that the server closed.
    pub(crate) refused: u64,
    /// Microseconds from the connect to the room joined.
    pub(crate) joined: Histogram<u64>,
}

impl Engine {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        Ok(Self {
            epoll,
            timer,
            armed: 0,
            started: Instant::now(),
            host: options.address.to_string(),
            connections: Vec::new(),
            buffer: vec![0; BUFFER],
            scratch: Vec::new(),
            reader: Reader::default(),
            next_publisher: 0,
            published: 0,
            recorder: Recorder::new(0, options.readers()),
            live: 0,
            failed: 0,
            first_failure: String::new(),
            scouting: false,
            refused: 0,
            joined: Histogram::new_with_bounds(1, 600_000_000, 3)?,
            options,
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Nanoseconds of the run.
    pub(crate) fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Opens the next connection.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.connections.push(None);
        self.open_at(self.opened() - 1, self.now())
    }

    /// Opens a connection that is not there, as one that was to be begun at that time.
    pub(crate) fn open_at(&mut self, index: u32, begun: u64) -> Result<()> {
        let room = (index < self.options.sessions()).then(|| index / self.options.members);
        let connection = Connection::open(self.options.address, index, room, begun)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(connection.stream(), EpollEvent::new(flags, u64::from(index)))?;
        self.connections[index as usize] = Some(connection);
        Ok(())
    }

    /// Ends the connections of all members at once, without a farewell.
    pub(crate) fn drop_members(&mut self) {
        for connection in &mut self.connections[..self.options.sessions() as usize] {
            self.live -= u32::from(connection.take().is_some_and(|connection| connection.stage == Stage::Live));
        }
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u32 {
        self.connections.len() as u32
    }

    /// Handles what is there; when nothing is, waits for it, or until a time of the run.
    pub(crate) fn turn(&mut self, until: u64) -> Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout = self.arm(until)?;
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other.context("epoll")?,
        };
        // Out of the way of the borrow checker; put back below.
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = events[..count].iter().try_for_each(|event| match event.data() {
            TIMER => Ok(()),
            index => self.ready(index as usize, event.events(), &mut buffer),
        });
        self.buffer = buffer;
        outcome
    }

    /// The timer wakes to the nanosecond; epoll's own timeout only to the millisecond.
    fn arm(&mut self, until: u64) -> Result<EpollTimeout> {
        let now = self.now();
        if until <= now {
            return Ok(EpollTimeout::ZERO);
        }
        if self.armed != until {
            let after = TimeSpec::from(Duration::from_nanos(until - now));
            self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?;
            self.armed = until;
        }
        Ok(EpollTimeout::NONE)
    }

    /// An error before a session is where it is to be ends the run; after that it is counted.
    fn ready(&mut self, index: usize, flags: EpollFlags, buffer: &mut [u8]) -> Result<()> {
        let Some(mut connection) = self.connections[index].take() else { return Ok(()) };
        if connection.stage == Stage::Live && self.options.stalls(index as u32) {
            self.connections[index] = Some(connection);
            return Ok(());
        }
        match self.drive(&mut connection, flags, buffer) {
            Ok(()) => self.connections[index] = Some(connection),
            Err(_) if connection.stage == Stage::Live => {
                self.refused += 1;
                self.live -= 1;
            }
            Err(error) if self.scouting || self.options.count_failures => {
                self.failed += 1;
                if self.first_failure.is_empty() {
                    self.first_failure = format!("{error:#}");
                }
            }
            Err(error) => {
                return Err(error.context(format!("connection {index} of {:?}", self.options.subject)));
            }
        }
        Ok(())
    }

    /// Lets the stalled read on, to the end of what the server has for them. How many it had closed, of how many.
    pub(crate) fn wake_stalled(&mut self) -> (u32, u32) {
        let stalled: Vec<_> = (0..self.opened()).filter(|index| self.options.stalls(*index)).collect();
        let mut buffer = vec![0; BUFFER];
        let closed = stalled.iter().filter(|index| {
            let connection = &mut self.connections[**index as usize];
            connection.as_mut().is_none_or(|connection| {
                loop {
                    match connection.receive(&mut buffer) {
                        Ok(Some(_)) => {}
                        Ok(None) => break false,
                        Err(_) => break true, // the end, or a reset
                    }
                }
            })
        });
        (closed.count() as u32, stalled.len() as u32)
    }

    fn drive(&mut self, connection: &mut Connection, flags: EpollFlags, buffer: &mut [u8]) -> Result<()> {
        if connection.stage == Stage::Connecting {
            if let Some(error) = connection.stream().take_error()? {
                return Err(error).context("cannot connect");
            }
            if !flags.contains(EpollFlags::EPOLLOUT) {
                return Ok(());
            }
            if connection.room.is_none() && self.options.subject.publishes_by_http() {
                self.arrived(connection);
                return Ok(());
            }
            connection.stage = Stage::Upgrading;
            let request = self.options.subject.request(&self.host, connection.room, self.options.echo);
            connection.send(request.as_bytes())?;
        } else if flags.contains(EpollFlags::EPOLLOUT) {
            connection.flush()?;
        }
        // Edge-triggered: a read that did not fill the buffer took everything (epoll(7)).
        while let Some(bytes) = connection.receive(buffer)? {
            let used = self.understand(connection, bytes)?;
            connection.keep(&bytes[used..]);
            if bytes.len() < BUFFER {
                break;
            }
        }
        Ok(())
    }

    /// Takes all whole frames; returns their bytes.
    fn understand(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        if connection.room.is_none() && self.options.subject.publishes_by_http() {
            self.refused += subject::refusals(bytes);
            return Ok(bytes.len());
        }
        if connection.stage == Stage::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            ensure!(bytes.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(bytes));
            used = end + 4;
            connection.stage = Stage::Joining;
            if let Some(greeting) = self.options.subject.greeting(connection.room) {
                self.send(connection, &greeting)?;
            }
            if self.options.subject.is_live_at_once() {
                self.arrived(connection);
            }
        }
        let now = self.now();
        while let Some(frame) = frame::parse(&bytes[used..])? {
            used += frame.length;
            match frame.kind {
                Kind::Text => self.text(connection, frame.payload, now)?,
                Kind::Ping => {
                    let mut answer = Vec::new();
                    frame::pong(&mut answer, frame.payload);
                    connection.send(&answer)?;
                }
                Kind::Pong => {}
                Kind::Close => bail!("the server closed with {:?}", String::from_utf8_lossy(frame.payload)),
            }
        }
        Ok(used)
    }

    fn text(&mut self, connection: &mut Connection, text: &[u8], now: u64) -> Result<()> {
        let recorder = &mut self.recorder;
        if connection.room.is_some() && self.reader.read(text, |stamp| recorder.delivered(stamp, now)) > 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(text).context("a text frame that is no text")?;
        match self.options.subject.understand(text, connection.room) {
            Meaning::Answer(answer) => self.send(connection, &answer)?,
            Meaning::Live if connection.stage == Stage::Joining => self.arrived(connection),
            Meaning::Live | Meaning::Nothing => {}
            Meaning::Refused if connection.stage == Stage::Joining => bail!("refused: {text}"),
            Meaning::Refused => self.refused += 1,
        }
        Ok(())
    }

    /// It is where it is to be.
    fn arrived(&mut self, connection: &mut Connection) {
        connection.stage = Stage::Live;
        self.live += 1;
        self.joined.saturating_record(self.now().saturating_sub(connection.begun) / 1000);
    }

    fn send(&mut self, connection: &mut Connection, text: &str) -> Result<()> {
        self.scratch.clear();
        frame::text(&mut self.scratch, text.as_bytes());
        connection.send(&self.scratch)
    }

    /// Publishes the next message to a room, as one that was to be sent at `scheduled`.
    pub(crate) fn publish(&mut self, room: u32, scheduled: u64) -> Result<()> {
        let number = self.published;
        self.published += 1;
        let payload = payload::write(Stamp { number, scheduled }, self.options.payload_bytes as usize);
        let index = self.publisher(room) as usize;
        let mut connection = self.connections[index].take().context("the server closed a publisher's connection")?;
        if connection.room.is_none() && self.options.subject.publishes_by_http() {
            connection.send(subject::post(&self.host, room, &payload).as_bytes())?;
        } else {
            let text = self.options.subject.publish(number, room, &payload);
            self.send(&mut connection, &text)?;
        }
        self.connections[index] = Some(connection);
        Ok(())
    }

    /// The connection that publishes next to a room.
    fn publisher(&mut self, room: u32) -> u32 {
        if self.options.echo {
            return room * self.options.members;
        }
        let index = self.options.sessions() + self.next_publisher;
        self.next_publisher = (self.next_publisher + 1) % self.options.publishers;
        index
    }
}
