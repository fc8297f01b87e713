//! Whether every session received what it was owed: each message once, and in order.
//!
//! It is fed what was published and what arrived, and knows nothing of sockets, Redis or time. A session costs a few
//! dozen bytes per room, however many messages flow.

use std::fmt;

use wscluster_client::MessageId;

use crate::ledger::{Fate, Ledger};

/// How many violations are told in words.
const EXAMPLES: usize = 10;

/// What an arrival was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next of its room, or one after it (what is between may still come, late).
    InOrder,
    /// One that a later message had overtaken.
    Reordered,
    /// One that had arrived before.
    Duplicated,
    /// Nothing that the session was owed explains it: never published, or from before the session's position.
    Unexpected,
}

/// The whole result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Deliveries that were owed (and those of uncertain publishes that came).
    pub expected: u64,
    /// Distinct deliveries that came.
    pub received: u64,
    /// Deliveries that were owed and never came.
    pub lost: u64,
    /// Deliveries beyond the first of the same message.
    pub duplicated: u64,
    /// Deliveries that a later message had overtaken.
    pub reordered: u64,
    /// Deliveries that nothing explains.
    pub unexpected: u64,
    /// The first few violations in words.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing was lost, doubled, reordered or invented.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.unexpected == 0
    }
}

/// One room of one session.
#[derive(Debug)]
struct Track {
    room: usize,
    position: MessageId,
    /// The highest number that has arrived.
    highest: u64,
    /// The numbers below it that have not, as inclusive ranges in order.
    missing: Vec<(u64, u64)>,
    received: u64,
}

/// Publications and arrivals, compared.
#[derive(Debug)]
pub struct Checker {
    rooms: Vec<Ledger>,
    sessions: Vec<Vec<Track>>,
    duplicated: u64,
    reordered: u64,
    unexpected: u64,
    received: u64,
    examples: Vec<String>,
}

impl Checker {
    /// For so many sessions and rooms, each named by its index.
    pub fn new(sessions: usize, rooms: usize) -> Self {
        Self {
            rooms: (0..rooms).map(|_| Ledger::default()).collect(),
            sessions: (0..sessions).map(|_| Vec::new()).collect(),
            duplicated: 0,
            reordered: 0,
            unexpected: 0,
            received: 0,
            examples: Vec::new(),
        }
    }

    /// The record of what was published to a room.
    pub fn room(&mut self, room: usize) -> &mut Ledger {
        &mut self.rooms[room]
    }

    /// All rooms' records.
    pub fn rooms(&self) -> &[Ledger] {
        &self.rooms
    }

    /// From here on the session is owed what is published to the room after `position`.
    pub fn start(&mut self, session: usize, room: usize, position: MessageId) {
        self.sessions[session].push(Track { room, position, highest: 0, missing: Vec::new(), received: 0 });
    }

    /// The session received number `number` of a room, as entry `id`.
    pub fn deliver(&mut self, session: usize, room: usize, number: u64, id: MessageId) -> Arrival {
        let arrival = self.classify(session, room, number, id);
        match arrival {
            Arrival::InOrder => self.received += 1,
            Arrival::Reordered => (self.received, self.reordered) = (self.received + 1, self.reordered + 1),
            Arrival::Duplicated => self.duplicated += 1,
            Arrival::Unexpected => self.unexpected += 1,
        }
        if arrival != Arrival::InOrder {
            self.example(format_args!("session {session}, room {room}: number {number} (entry {id}) {arrival}"));
        }
        arrival
    }

    /// Distinct deliveries so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many deliveries are owed and have not come yet.
    pub fn outstanding(&self) -> u64 {
        self.tracks().map(|(_, track)| self.owed(track).count() as u64).sum()
    }

    /// Takes stock: what has not come by now is lost.
    pub fn findings(&self) -> Findings {
        let mut findings = Findings {
            expected: 0,
            received: self.received,
            lost: 0,
            duplicated: self.duplicated,
            reordered: self.reordered,
            unexpected: self.unexpected,
            examples: self.examples.clone(),
        };
        for (session, track) in self.tracks() {
            let mut owed = self.owed(track);
            if let Some((number, id)) = owed.next() {
                let count = 1 + owed.count() as u64;
                findings.lost += count;
                if findings.examples.len() < EXAMPLES {
                    findings.examples.push(format!(
                        "session {session}, room {}: {count} lost, the first is number {number} (entry {id})",
                        track.room
                    ));
                }
            }
        }
        findings.expected = findings.received + findings.lost;
        findings
    }

    fn classify(&mut self, session: usize, room: usize, number: u64, id: MessageId) -> Arrival {
        let explained = match self.rooms[room].fate(number) {
            Some(Fate::Published(known)) => known == id,
            Some(Fate::Pending | Fate::Uncertain) => true,
            Some(Fate::Failed) | None => false,
        };
        let track = self.sessions[session].iter_mut().find(|track| track.room == room);
        match track {
            Some(track) if explained && id > track.position => track.arrived(number),
            _ => Arrival::Unexpected,
        }
    }

    fn tracks(&self) -> impl Iterator<Item = (usize, &Track)> {
        self.sessions.iter().enumerate().flat_map(|(session, tracks)| tracks.iter().map(move |track| (session, track)))
    }

    fn owed(&self, track: &Track) -> impl Iterator<Item = (u64, MessageId)> {
        let ledger = &self.rooms[track.room];
        let rest = (track.highest + 1, ledger.last());
        let ranges = track.missing.clone().into_iter().chain([rest]);
        let position = track.position;
        ranges.flat_map(move |(from, to)| ledger.owed(from, to, position))
    }

    fn example(&mut self, text: fmt::Arguments<'_>) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text.to_string());
        }
    }
}

impl Track {
    fn arrived(&mut self, number: u64) -> Arrival {
        if number > self.highest {
            if number > self.highest + 1 {
                self.missing.push((self.highest + 1, number - 1));
            }
            self.highest = number;
            self.received += 1;
            return Arrival::InOrder;
        }
        let Some(index) = self.missing.iter().position(|(from, to)| (*from..=*to).contains(&number)) else {
            return Arrival::Duplicated;
        };
        let (from, to) = self.missing.remove(index);
        let rest = [(from, number - 1), (number + 1, to)].into_iter().filter(|(from, to)| from <= to);
        self.missing.splice(index..index, rest);
        self.received += 1;
        Arrival::Reordered
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InOrder => "came in order",
            Self::Reordered => "came after a later one",
            Self::Duplicated => "came once more",
            Self::Unexpected => "came without having been published to this session",
        })
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
