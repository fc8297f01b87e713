//! The numbered messages themselves, and the names of the rooms that they go to.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbered {
    /// The message's number in its room, from 1.
    #[serde(rename = "seq")]
    pub number: u64,
    /// When it was due to be sent, in milliseconds (with fractions) since the Unix epoch.
    pub sent_at: f64,
}

impl Numbered {
    /// As JSON of at least `bytes` bytes.
    pub fn encode(&self, bytes: usize) -> String {
        let head = format!(r#"{{"seq":{},"sentAt":{:.3}"#, self.number, self.sent_at);
        let frame = head.len() + r#","pad":""}"#.len();
        match bytes.checked_sub(frame) {
            Some(pad) => format!(r#"{head},"pad":"{:x<pad$}"}}"#, ""),
            None => head + "}",
        }
    }

    /// From a message's payload; none if it is not one of ours.
    pub fn decode(payload: &RawValue) -> Option<Self> {
        serde_json::from_str(payload.get()).ok()
    }
}

/// The rooms of one run: `probe-<run>-<n>`.
#[derive(Debug, Clone)]
pub struct Rooms {
    prefix: String,
    count: usize,
}

impl Rooms {
    /// So many rooms of the run named `run`.
    pub fn new(run: &str, count: usize) -> Self {
        Self { prefix: format!("probe-{run}-"), count }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A room's name.
    pub fn name(&self, index: usize) -> String {
        format!("{}{index}", self.prefix)
    }

    /// The room that has this name.
    pub fn index(&self, name: &str) -> Option<usize> {
        let index = name.strip_prefix(&self.prefix)?.parse().ok()?;
        (index < self.count).then_some(index)
    }

    /// The rooms of a session that has `each` of them: spread evenly, in turn.
    pub fn of_session(&self, session: usize, each: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.count;
        (0..each.min(count)).map(move |n| (session * each + n) % count)
    }

    /// The one room of a session where rooms are of mixed size: most hold one or two of `sessions`, a few hold many (the
    /// first of 2,000 rooms has 8% of the sessions), as it is with people.
    pub fn of_mixed(&self, session: usize, sessions: usize) -> usize {
        let share = (session as f64 + 0.5) / sessions as f64;
        ((share.powi(3) * self.count as f64) as usize).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_that_was_asked_for_and_survives_json() {
        let message = Numbered { number: 17, sent_at: 1_764_000_000_000.25 };
        for bytes in [0, 10, 50, 51, 52, 64, 1024] {
            let text = message.encode(bytes);
            assert!(text.len() >= bytes && text.len() <= bytes.max(52), "{bytes}: {text}");
            assert_eq!(Numbered::decode(&RawValue::from_string(text).unwrap()), Some(message));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_decoded() {
        for text in ["{}", "1", "\"seq\"", r#"{"seq":-1,"sentAt":1}"#] {
            assert_eq!(Numbered::decode(&RawValue::from_string(text.to_owned()).unwrap()), None);
        }
    }

    #[test]
    fn rooms_are_named_and_spread_evenly() {
        let rooms = Rooms::new("r1", 3);
        assert_eq!(rooms.index(&rooms.name(2)), Some(2));
        for stranger in ["probe-r1-3", "probe-r2-0", "probe-r1-", "lobby"] {
            assert_eq!(rooms.index(stranger), None);
        }
        assert_eq!(rooms.of_session(1, 2).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(rooms.of_session(4, 9).collect::<Vec<_>>().len(), 3);
    }

    #[test]
    fn rooms_of_mixed_size_are_few_large_ones_and_many_small_ones_and_none_is_empty() {
        let (rooms, sessions) = (Rooms::new("r", 2000), 10_000);
        let mut sizes = vec![0; rooms.count()];
        (0..sessions).for_each(|session| sizes[rooms.of_mixed(session, sessions)] += 1);
        assert!((700..900).contains(&sizes[0]), "{}", sizes[0]);
        assert!(sizes.iter().all(|size| *size > 0));
        assert!(sizes.iter().filter(|size| **size <= 3).count() > 1000);
    }
}
