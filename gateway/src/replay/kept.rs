//! What was read lately, for others who ask for the same: so much and no more, for a moment. Knows no log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::stretch::Stretch;

/// How long something that was read is kept for others.
pub(super) const KEPT: Duration = Duration::from_secs(1);
/// Most bytes that are kept, of all rooms together, payloads only.
const MOST: usize = 16 << 20;

/// Stretches, the oldest first. Those who use one keep it, too; this is for those who come later.
#[derive(Default)]
pub(super) struct Kept(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    stretches: VecDeque<(Instant, Arc<Stretch>)>,
    bytes: usize,
}

impl Kept {
    /// Keeps a stretch. The oldest go to make room.
    pub(super) fn keep(&self, stretch: Arc<Stretch>) {
        let mut ring = self.0.lock();
        ring.bytes += stretch.bytes;
        ring.stretches.push_back((Instant::now(), stretch));
        while ring.bytes > MOST {
            ring.forget_one();
        }
    }

    /// Forgets what was kept long enough.
    pub(super) fn expire(&self) {
        let mut ring = self.0.lock();
        while ring.stretches.front().is_some_and(|(read_at, _)| read_at.elapsed() >= KEPT) {
            ring.forget_one();
        }
    }
}

impl Ring {
    fn forget_one(&mut self) {
        if let Some((_, stretch)) = self.stretches.pop_front() {
            self.bytes -= stretch.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Delivery, Entry, EntryId};
    use crate::room::RoomId;

    fn stretch(bytes: usize) -> Arc<Stretch> {
        let entry = Entry::new(EntryId { ms: 1, seq: 0 }, 1, "x".repeat(bytes).into());
        let messages = vec![Delivery::new(RoomId::parse("a").unwrap(), entry)];
        Arc::new(Stretch::cut(EntryId::ZERO, messages).remove(0))
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_go_first_at_above_and_below_what_may_be_kept_and_all_after_a_moment() {
        let kept = Kept::default();
        let stretches = [stretch(MOST / 2), stretch(MOST / 2 - 1), stretch(1), stretch(1)];
        let alive = || stretches.each_ref().map(|stretch| Arc::strong_count(stretch) > 1);
        for (number, expect) in [[true, false, false, false], [true, true, false, false], [true, true, true, false]]
            .into_iter()
            .chain([[false, true, true, true]])
            .enumerate()
        {
            kept.keep(Arc::clone(&stretches[number]));
            assert_eq!(alive(), expect, "{number}");
        }
        tokio::time::advance(KEPT / 2).await;
        kept.expire();
        assert_eq!(alive(), [false, true, true, true]);
        tokio::time::advance(KEPT).await;
        kept.expire();
        assert_eq!((alive(), kept.0.lock().bytes), ([false; 4], 0));
    }
}
