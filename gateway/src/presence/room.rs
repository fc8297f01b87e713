//! One room as this gateway keeps it: its own part, what the roster has of it, and when to write, renew and read. Pure:
//! `next` says what to do, the other functions take what came of it.

use std::collections::{BTreeMap, BTreeSet};

use super::roster::{Query, Reading, Write};
use super::told::{Saying, Told, named_again};
use super::{Listing, Member};
use crate::clock::Millis;

/// Members that one write changes at most.
const MOST_CHANGES: usize = 500;
/// A room with more members than this is large: its changes are told once a second.
const SMALL: usize = 200;
/// Changes of a small room that follow one another are told together, in milliseconds.
const SMALL_PACE: Millis = 50;
const LARGE_PACE: Millis = 1000;
/// A reading that is due because a lease ends comes so much after that end, in milliseconds.
const AFTER_EXPIRY: Millis = 20;

/// How presence is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// How long a part is kept without being renewed.
    pub(super) lease: Millis,
    /// Members that are named.
    pub(super) most: usize,
    /// Chance, from 0 to 1.
    pub(super) chance: f64,
}

impl Terms {
    /// About `time`, so that gateways do not all come at once.
    fn about(&self, time: Millis) -> Millis {
        (time as f64 * (0.8 + 0.4 * self.chance)) as Millis
    }
}

/// What to do next with the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Write),
    Renew { version: u64 },
    Read { query: Query, hint: bool },
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Room {
    /// Sessions here, and their users.
    ours: BTreeMap<String, Option<String>>,
    /// Sessions that came or left since the last write.
    changed: BTreeSet<String>,
    /// All of our part must be written.
    whole: bool,
    /// The roster has a part of ours.
    kept: bool,
    /// The write under way removes our part.
    removing: bool,
    version: u64,
    /// A write that other gateways were not told of.
    unhinted: bool,
    renew_at: Millis,
    read_at: Millis,
    last_read: Millis,
    /// Nothing is tried before.
    retry_at: Millis,
    /// The roster has lost something: until then, who is missing in it may only not have been written anew.
    distrust_until: Millis,
    told: Told,
}

impl Room {
    pub(super) fn join(&mut self, member: Member, now: Millis) {
        if self.ours.is_empty() && !self.kept {
            self.whole = true;
        }
        self.changed.insert(member.session.clone());
        self.ours.insert(member.session, member.user);
        self.hinted(now);
    }

    pub(super) fn leave(&mut self, session: &str, now: Millis) {
        if self.ours.remove(session).is_some() {
            self.changed.insert(session.to_owned());
            self.hinted(now);
        }
        if self.ours.is_empty() {
            self.told = Told::Nothing;
        }
    }

    /// Who is in the room may have changed.
    pub(super) fn hinted(&mut self, now: Millis) {
        let pace = if self.told.count() > SMALL { LARGE_PACE } else { SMALL_PACE };
        self.read_at = self.read_at.min((self.last_read + pace).max(now));
    }

    pub(super) fn members(&self) -> usize {
        self.ours.len()
    }

    #[cfg(test)]
    pub(super) fn named(&self) -> bool {
        matches!(self.told, Told::Named(_))
    }

    /// Nothing of it is here, and nothing of it is in the roster.
    pub(super) fn over(&self) -> bool {
        self.ours.is_empty() && !self.pending() && !self.kept
    }

    fn pending(&self) -> bool {
        self.whole || !self.changed.is_empty()
    }

    /// When there is something to do, if anything. `asked`: someone waits to be told who is here.
    pub(super) fn due(&self, asked: bool) -> Option<Millis> {
        if asked {
            return Some(0);
        }
        let work = match (self.pending(), self.ours.is_empty()) {
            (true, _) => 0,
            (false, false) => self.renew_at.min(self.read_at),
            (false, true) => return None,
        };
        Some(work.max(self.retry_at))
    }

    pub(super) fn next(&mut self, asked: bool, terms: &Terms, now: Millis) -> Option<Step> {
        let may = now >= self.retry_at;
        if may && self.pending() {
            return Some(Step::Write(self.write(terms, now)));
        }
        if may && self.kept && now >= self.renew_at {
            return Some(Step::Renew { version: self.version });
        }
        let due = may && !self.ours.is_empty() && now >= self.read_at;
        (asked || due).then(|| Step::Read { query: self.query(asked, terms), hint: std::mem::take(&mut self.unhinted) })
    }

    fn query(&self, asked: bool, terms: &Terms) -> Query {
        let large = matches!(self.told, Told::Counted(_)) && !asked;
        Query { most: if large { named_again(terms.most) } else { terms.most }, partial: asked }
    }

    fn write(&mut self, terms: &Terms, now: Millis) -> Write {
        let whole = std::mem::take(&mut self.whole);
        if whole {
            self.changed = self.ours.keys().cloned().collect();
        }
        let rest = self.changed.iter().nth(MOST_CHANGES).cloned();
        let rest = rest.map(|first| self.changed.split_off(&first)).unwrap_or_default();
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for session in std::mem::replace(&mut self.changed, rest) {
            match self.ours.get(&session) {
                Some(user) => add.push(Member { session, user: user.clone() }),
                None => remove.push(session),
            }
        }
        let before = self.version;
        self.removing = self.ours.is_empty() && !self.pending();
        // Never a number that an earlier part of ours may have had.
        self.version = now.max(before + 1);
        Write { whole, before, version: self.version, add, remove, lease: terms.lease }
    }

    /// A write is done; returns whether the others must be told at once, since nothing more will be read here.
    pub(super) fn wrote<E>(&mut self, result: &Result<bool, E>, terms: &Terms, now: Millis) -> bool {
        match result {
            Ok(true) => {
                self.kept = !self.removing;
                self.whole |= self.removing && !self.ours.is_empty();
                self.renew_at = now + terms.about(terms.lease / 3);
                self.unhinted = self.kept;
                self.hinted(now);
                return !self.kept;
            }
            Ok(false) => self.lost(terms, now),
            // Whatever was written of it.
            Err(_) => {
                self.whole = true;
                self.failed(terms, now);
            }
        }
        false
    }

    /// A renewal is done.
    pub(super) fn renewed<E>(&mut self, result: &Result<bool, E>, terms: &Terms, now: Millis) {
        match result {
            Ok(true) => self.renew_at = now + terms.about(terms.lease / 3),
            Ok(false) => self.lost(terms, now),
            Err(_) => self.failed(terms, now),
        }
    }

    /// A reading is done; returns what the members here are to be told.
    pub(super) fn read<E>(&mut self, result: &Result<Reading, E>, terms: &Terms, now: Millis) -> Vec<Saying> {
        let Ok(reading) = result else {
            self.failed(terms, now);
            return Vec::new();
        };
        self.last_read = now;
        if self.ours.is_empty() {
            return Vec::new();
        }
        if self.kept && !self.pending() && reading.own_version != Some(self.version) {
            self.lost(terms, now);
        }
        let sweep = terms.about(terms.lease / 2);
        self.read_at = now + reading.first_expiry.map_or(sweep, |ends| sweep.min(ends + AFTER_EXPIRY));
        let (listing, trusted) = (self.with_ours(&reading.listing), now >= self.distrust_until);
        let ours = &self.ours;
        self.told.update(&listing, terms.most, trusted, |session| ours.contains_key(session))
    }

    /// What the roster says, with our own part as it is by now.
    fn with_ours(&self, listing: &Listing) -> Listing {
        if !listing.complete() {
            return listing.clone();
        }
        let mut named: BTreeMap<_, _> =
            listing.members.iter().map(|each| (each.session.clone(), each.user.clone())).collect();
        named.retain(|session, _| !self.changed.contains(session));
        named.extend(self.ours.iter().map(|(session, user)| (session.clone(), user.clone())));
        let members: Vec<_> = named.into_iter().map(|(session, user)| Member { session, user }).collect();
        Listing { count: members.len(), members }
    }

    /// What someone who asks is answered: what the members here know, where that is everything.
    pub(super) fn answer(&self, reading: &Reading) -> Listing {
        self.told.listing().unwrap_or_else(|| reading.listing.clone())
    }

    /// The roster has lost our part, and perhaps those of others.
    fn lost(&mut self, terms: &Terms, now: Millis) {
        self.whole = true;
        self.distrust_until = now + terms.lease;
    }

    fn failed(&mut self, terms: &Terms, now: Millis) {
        const LEAST: Millis = 250;
        self.retry_at = now + LEAST + (terms.chance * 750.0) as Millis;
        // Others could not renew their leases either.
        self.distrust_until = now + terms.lease;
    }
}
