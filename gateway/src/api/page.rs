//! A page of messages: bounded by number and by bytes. Pure.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::clock::Millis;
use crate::entry::{Entry, EntryId};

const DEFAULT: usize = 50;
const MOST: usize = 200;
/// A page is cut after so many bytes of payloads; one message it has in any case, or a reader could never get past it.
const BYTES: usize = 1 << 20;

/// A message of a room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Message {
    /// Its id, which is also a cursor.
    #[schema(value_type = String, example = "1764000000000-0")]
    id: EntryId,
    /// When its writer says it was written, in milliseconds since the Unix epoch.
    timestamp: Millis,
    /// JSON, as it was written; a foreign writer's text that is no JSON comes as a string.
    #[schema(value_type = serde_json::Value)]
    payload: Box<RawValue>,
}

/// Messages, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// The messages.
    messages: Vec<Message>,
    /// The range holds more than these.
    more: bool,
}

/// How many messages are asked for.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::bad(format!("limit: use 1 to {MOST}"))),
    }
}

/// The first of `entries` that are before `before`.
pub(super) fn oldest(entries: Vec<Entry>, before: EntryId, limit: usize) -> Page {
    let entries: Vec<_> = entries.into_iter().take_while(|entry| entry.id < before).collect();
    let count = fitting(entries.iter(), limit);
    page(entries.iter().take(count), entries.len() > count)
}

/// The last of `entries`.
pub(super) fn newest(entries: &[Entry], limit: usize) -> Page {
    let count = fitting(entries.iter().rev(), limit);
    page(entries.iter().skip(entries.len() - count), entries.len() > count)
}

fn fitting<'a>(entries: impl Iterator<Item = &'a Entry>, limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |(index, entry): &(usize, &Entry)| {
        bytes += entry.payload.as_str().len();
        *index == 0 || bytes <= BYTES
    };
    entries.take(limit).enumerate().take_while(fits).count()
}

fn page<'a>(entries: impl Iterator<Item = &'a Entry>, more: bool) -> Page {
    Page { messages: entries.map(message).collect(), more }
}

fn message(entry: &Entry) -> Message {
    let payload = RawValue::from_string(entry.json().into_owned()).expect("an entry's JSON is JSON");
    Message { id: entry.id, timestamp: entry.timestamp, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(sizes: &[usize]) -> Vec<Entry> {
        let entry = |(ms, size): (usize, &usize)| {
            Entry::new(EntryId { ms: ms as u64 + 1, seq: 0 }, 0, "1".repeat(*size).as_str().into())
        };
        sizes.iter().enumerate().map(entry).collect()
    }

    fn ids(page: &Page) -> (Vec<u64>, bool) {
        (page.messages.iter().map(|message| message.id.ms).collect(), page.more)
    }

    #[test]
    fn the_number_is_limited_at_below_and_above() {
        assert_eq!(ids(&newest(&entries(&[1, 1]), 3)), (vec![1, 2], false));
        assert_eq!(ids(&newest(&entries(&[1, 1, 1]), 3)), (vec![1, 2, 3], false));
        assert_eq!(ids(&newest(&entries(&[1, 1, 1, 1]), 3)), (vec![2, 3, 4], true));
        assert_eq!(ids(&oldest(entries(&[1, 1, 1, 1]), EntryId::MAX, 3)), (vec![1, 2, 3], true));
        for (asked, good) in [(0, false), (1, true), (MOST, true), (MOST + 1, false)] {
            assert_eq!(limit(Some(asked)).is_ok(), good, "{asked}");
        }
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let before = EntryId { ms: 3, seq: 0 };
        assert_eq!(ids(&oldest(entries(&[1, 1, 1, 1]), before, 3)), (vec![1, 2], false));
        assert_eq!(ids(&oldest(entries(&[1, 1, 1, 1]), before, 1)), (vec![1], true));
    }

    #[test]
    fn the_bytes_are_limited_at_below_and_above_but_one_message_always_comes() {
        let half = BYTES / 2;
        assert_eq!(ids(&newest(&entries(&[half, half - 1]), 9)), (vec![1, 2], false));
        assert_eq!(ids(&newest(&entries(&[half, half]), 9)), (vec![1, 2], false));
        assert_eq!(ids(&newest(&entries(&[half, half + 1]), 9)), (vec![2], true));
        assert_eq!(ids(&oldest(entries(&[half, half + 1]), EntryId::MAX, 9)), (vec![1], true));
        assert_eq!(ids(&newest(&entries(&[1, BYTES + 1]), 9)), (vec![2], true));
    }
}
