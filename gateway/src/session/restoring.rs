//! Whether a session that came with cursors got everything that it had missed: judged once per session, over the answers
//! of its first moment. Knows nothing of rooms.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Answers within so many milliseconds after the first one are judged together: a client that comes back subscribes to
/// all its rooms at once.
const TOGETHER: Millis = 1000;

/// How far the judgement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Restoring {
    /// No cursor was shown.
    #[default]
    Not,
    /// All that was answered so far was recovered; judged at this time.
    Until(Millis),
    /// It was judged.
    Judged,
}

impl Restoring {
    /// A subscription with a cursor was answered. One that is not recovered decides at once.
    pub(super) fn answered(&mut self, recovered: bool, now: Millis) -> Option<bool> {
        match (*self, recovered) {
            (Self::Judged, _) | (Self::Until(_), true) => None,
            (Self::Not, true) => {
                *self = Self::Until(now + TOGETHER);
                None
            }
            (_, false) => {
                *self = Self::Judged;
                Some(false)
            }
        }
    }

    /// When it will be judged; `Millis::MAX`: not by time.
    pub(super) fn due_at(self) -> Millis {
        if let Self::Until(at) = self { at } else { Millis::MAX }
    }

    /// Nothing more is looked at: the time is over, or the session.
    pub(super) fn judge(&mut self) -> Option<bool> {
        let recovered = matches!(self, Self::Until(_)).then_some(true);
        if recovered.is_some() {
            *self = Self::Judged;
        }
        recovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_recovered_when_all_answers_of_its_first_moment_were() {
        let mut session = Restoring::default();
        assert_eq!((session.due_at(), session.judge()), (Millis::MAX, None), "no cursor, nothing to judge");
        assert_eq!((session.answered(true, 500), session.due_at()), (None, 1500));
        assert_eq!((session.answered(true, 900), session.due_at()), (None, 1500), "later answers put nothing off");
        assert_eq!(session.judge(), Some(true));
        assert_eq!((session.judge(), session.answered(false, 2000)), (None, None), "once");
    }

    #[test]
    fn one_room_that_is_not_recovered_decides_at_once_and_once() {
        for before in [0, 1, 3] {
            let mut session = Restoring::default();
            (0..before).for_each(|at| assert_eq!(session.answered(true, at), None));
            assert_eq!(session.answered(false, 10), Some(false), "after {before}");
            assert_eq!((session.answered(false, 11), session.answered(true, 12), session.judge()), (None, None, None));
        }
    }
}
