//! What was published to one room: which number has which fate. It does not know who should have received it.

use wscluster_client::MessageId;

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// On its way; no answer yet.
    Pending,
    /// In the stream, as this entry.
    Published(MessageId),
    /// The answer was lost: it may be in the stream or not.
    Uncertain,
    /// Refused: it is not in the stream.
    Failed,
}

/// A room's numbers, 1, 2, 3 and so on, with their fates.
#[derive(Debug, Default)]
pub struct Ledger {
    fates: Vec<Fate>,
}

impl Ledger {
    /// The next number, which is now pending.
    pub fn issue(&mut self) -> u64 {
        self.fates.push(Fate::Pending);
        self.last()
    }

    /// Writes down what became of a number that was issued.
    pub fn decide(&mut self, number: u64, fate: Fate) {
        if let Some(index) = self.index(number) {
            self.fates[index] = fate;
        }
    }

    /// What became of a number; none if it was never issued.
    pub fn fate(&self, number: u64) -> Option<Fate> {
        self.index(number).map(|index| self.fates[index])
    }

    /// The last number issued; zero before the first.
    pub fn last(&self) -> u64 {
        self.fates.len() as u64
    }

    /// The numbers from `from` to `to` that a session must receive that counts from `position`.
    pub fn owed(&self, from: u64, to: u64, position: MessageId) -> impl Iterator<Item = (u64, MessageId)> {
        (from.max(1)..=to.min(self.last())).filter_map(move |number| match self.fate(number) {
            Some(Fate::Published(id)) if id > position => Some((number, id)),
            _ => None,
        })
    }

    /// The numbers whose fate nobody knows.
    pub fn uncertain(&self) -> impl Iterator<Item = u64> {
        (1..).zip(&self.fates).filter(|(_, fate)| **fate == Fate::Uncertain).map(|(number, _)| number)
    }

    /// How many numbers are in the stream for certain.
    pub fn published(&self) -> u64 {
        self.fates.iter().filter(|fate| matches!(fate, Fate::Published(_))).count() as u64
    }

    fn index(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        (index < self.fates.len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_owed_what_was_published_after_its_position_and_nothing_doubtful() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.last(), 0);
        for milliseconds in 1..=5 {
            let number = ledger.issue();
            ledger.decide(number, Fate::Published(MessageId::new(milliseconds, 0)));
        }
        ledger.decide(3, Fate::Uncertain);
        ledger.decide(4, Fate::Failed);
        let owed = |from, to| ledger.owed(from, to, MessageId::new(1, 0)).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(owed(0, 100), [2, 5]);
        assert_eq!(owed(3, 4), [] as [u64; 0]);
        assert_eq!(ledger.uncertain().collect::<Vec<_>>(), [3]);
        assert_eq!(ledger.published(), 3);
    }

    #[test]
    fn numbers_that_were_never_issued_have_no_fate() {
        let mut ledger = Ledger::default();
        ledger.issue();
        ledger.decide(2, Fate::Failed);
        assert_eq!((ledger.fate(0), ledger.fate(1), ledger.fate(2)), (None, Some(Fate::Pending), None));
    }
}
