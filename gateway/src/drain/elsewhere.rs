//! A drain's sessions on other gateways: their connections run through this one, so their owners tell them to move when
//! this drain says so, and close them at its deadline. Deciding when is `run`'s and `pace`'s.

use std::collections::HashSet;
use std::sync::Arc;

use super::Drain;
use super::run::Run;
use crate::affinity::Affinity;
use crate::affinity::forwards::{Forward, Word};
use crate::affinity::orders::{self, Turn};
use crate::affinity::wire::Say;
use crate::clock::{self, Millis};

/// After so long an owner is asked again that did not answer, or did not know a session yet, in milliseconds.
const ASK_AGAIN: Millis = 1000;
/// How long a session has to go that its owner was asked to close, in milliseconds.
const FORCE_PATIENCE: Millis = 2000;

impl Drain {
    /// What is asked of other gateways is asked by `affinity`.
    pub(crate) fn attach(&self, affinity: Arc<Affinity>) {
        // Once, at the start.
        let _ = self.affinity.set(affinity);
    }

    /// Connections that run through here to other gateways.
    pub(super) fn forwarded(&self) -> usize {
        self.affinity.get().map_or(0, |affinity| affinity.forwards.len())
    }

    /// Those among them whose clients are to be told.
    pub(super) fn waiting_elsewhere(&self, now: Millis) -> Vec<Arc<Forward>> {
        let all = self.affinity.get().map(|affinity| affinity.forwards.all());
        all.into_iter().flatten().filter(|forward| forward.waits(now)).collect()
    }

    /// Those among them who are being told, or were a short while ago.
    pub(super) fn moving_elsewhere(&self, now: Millis) -> usize {
        let moves = |forward: &Arc<Forward>| match forward.word() {
            Word::Untold => false,
            Word::Asked => true,
            Word::Told => forward.told.is_recent(now),
        };
        let all = self.affinity.get().map(|affinity| affinity.forwards.all());
        all.into_iter().flatten().filter(moves).count()
    }

    /// Has owners tell sessions to move.
    pub(super) fn tell_elsewhere(self: &Arc<Self>, number: u64, turns: Vec<Turn>, deadline_ms: Millis) {
        let Some(affinity) = self.affinity.get() else { return };
        set_words(&turns, Word::Asked);
        for (owner, turns) in orders::by_owner(turns) {
            let (drain, affinity) = (Arc::clone(self), Arc::clone(affinity));
            tokio::spawn(async move {
                let told = affinity.order(&owner, Say::Drain { deadline_ms }, &turns).await;
                drain.were_told(number, &told.into_iter().collect(), &turns);
            });
        }
    }

    /// The owner has told some; the others are asked for again.
    fn were_told(self: &Arc<Self>, number: u64, told: &HashSet<u64>, turns: &[Turn]) {
        let mut run = self.run.lock();
        let Some(run) = run.as_mut().filter(|run| run.number == number) else {
            // Cancelled meanwhile.
            set_words(turns, Word::Told);
            return self.stay_elsewhere();
        };
        for (forward, _) in turns {
            if !told.contains(&forward.id) {
                forward.ask_again(clock::now() + ASK_AGAIN);
                run.untold();
                continue;
            }
            forward.told.set(clock::now());
            forward.set_word(Word::Told);
            self.metrics.drain_noticed();
            if forward.has_ended() {
                // Its client was faster than its owner's answer.
                self.count_closed(run, forward);
            }
        }
    }

    /// Those who were told to move need not any more. Until their owners have said so, no other drain tells them.
    pub(super) fn stay_elsewhere(&self) {
        let Some(affinity) = self.affinity.get() else { return };
        let told = affinity.forwards.all().into_iter().filter(|forward| forward.word() == Word::Told);
        for (owner, turns) in orders::by_owner(told.map(|forward| (forward, 0)).collect()) {
            set_words(&turns, Word::Asked);
            let affinity = Arc::clone(affinity);
            tokio::spawn(async move {
                affinity.order(&owner, Say::DrainCancelled, &turns).await;
                set_words(&turns, Word::Untold);
            });
        }
    }

    /// The deadline: owners close what is left, and what they do not close is cut.
    pub(super) fn force_elsewhere(&self, deadline: Millis, now: Millis) {
        let Some(affinity) = self.affinity.get() else { return };
        let left = affinity.forwards.all();
        if now >= deadline + FORCE_PATIENCE {
            left.iter().for_each(Forward::cut);
        }
        self.send_orders(Say::DrainForced, left.into_iter().filter(|forward| forward.force()).collect());
    }

    /// The gateway stops: owners close what runs through here.
    pub(crate) fn leave_elsewhere(&self) {
        let Some(affinity) = self.affinity.get() else { return };
        let left = affinity.forwards.all().into_iter().filter(|forward| !forward.is_forced()).collect();
        self.send_orders(Say::GoingAway, left);
    }

    fn send_orders(&self, say: Say, to: Vec<Arc<Forward>>) {
        let Some(affinity) = self.affinity.get() else { return };
        for (owner, turns) in orders::by_owner(to.into_iter().map(|forward| (forward, 0)).collect()) {
            let affinity = Arc::clone(affinity);
            tokio::spawn(async move { affinity.order(&owner, say, &turns).await });
        }
    }

    /// A connection to another gateway has ended.
    pub(crate) fn forward_closed(&self, forward: &Forward) {
        {
            let mut run = self.run.lock();
            forward.end();
            if let Some(run) = run.as_mut() {
                self.count_closed(run, forward);
            }
        }
        self.changed();
    }

    fn count_closed(&self, run: &mut Run, forward: &Forward) {
        if forward.is_forced() {
            run.forced();
            self.metrics.drain_forced();
        } else if forward.word() == Word::Told {
            run.moved();
            self.metrics.drain_moved();
        }
    }
}

fn set_words(turns: &[Turn], word: Word) {
    for (forward, _) in turns {
        forward.set_word(word);
    }
}
