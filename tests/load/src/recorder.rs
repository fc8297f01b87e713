//! Counts deliveries and their latencies, from the time at which a message was to be sent, so that a server that stalls is
//! not spared (coordinated omission). Knows nothing of sockets.

use hdrhistogram::Histogram;

use crate::payload::Stamp;

/// What was received of the messages from `first` on.
#[derive(Debug)]
pub(crate) struct Recorder {
    first: u64,
    members: u32,
    messages: Vec<Message>,
    deliveries: u64,
    complete: u64,
    last_at: u64,
    latency: Histogram<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Message {
    received: u32,
    scheduled: u64,
    last_at: u64,
}

impl Recorder {
    /// Of messages from the number `first` on, each for so many members.
    pub(crate) fn new(first: u64, members: u32) -> Self {
        // 1 µs to 10 minutes with three digits.
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are sound");
        Self { first, members, messages: Vec::new(), deliveries: 0, complete: 0, last_at: 0, latency }
    }

    /// One delivery, received at `now`; messages from before are not counted.
    pub(crate) fn delivered(&mut self, stamp: Stamp, now: u64) {
        let Some(index) = stamp.number.checked_sub(self.first) else { return };
        let index = index as usize;
        if index >= self.messages.len() {
            self.messages.resize(index + 1, Message::default());
        }
        let message = &mut self.messages[index];
        *message = Message { received: message.received + 1, scheduled: stamp.scheduled, last_at: now };
        self.complete += u64::from(message.received == self.members);
        self.deliveries += 1;
        self.last_at = now;
        self.latency.saturating_record(now.saturating_sub(stamp.scheduled) / 1000);
    }

    /// Deliveries so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Messages that all members have.
    pub(crate) fn complete(&self) -> u64 {
        self.complete
    }

    /// Deliveries beyond one for each member.
    pub(crate) fn doubled(&self) -> u64 {
        self.messages.iter().map(|message| u64::from(message.received.saturating_sub(self.members))).sum()
    }

    /// When the last delivery came, in nanoseconds of the run.
    pub(crate) fn last_at(&self) -> u64 {
        self.last_at
    }

    /// Latency in milliseconds that a share of all deliveries did not pass.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The same of each complete message's last delivery.
    pub(crate) fn last_ms(&self, quantile: f64) -> f64 {
        let complete = self.messages.iter().filter(|message| message.received >= self.members);
        let mut nanos: Vec<_> = complete.map(|message| message.last_at.saturating_sub(message.scheduled)).collect();
        nanos.sort_unstable();
        let rank = ((nanos.len() as f64 * quantile).ceil() as usize).saturating_sub(1);
        nanos.get(rank).map_or(0.0, |nanos| *nanos as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stamp(number: u64, scheduled_ms: u64) -> Stamp {
        Stamp { number, scheduled: scheduled_ms * MS }
    }

    #[test]
    fn latency_runs_from_the_schedule_and_the_last_member_counts_for_itself() {
        let mut recorder = Recorder::new(10, 2);
        recorder.delivered(stamp(9, 0), 5 * MS);
        assert_eq!(recorder.deliveries(), 0, "from before");
        recorder.delivered(stamp(10, 0), 5 * MS);
        recorder.delivered(stamp(10, 0), 20 * MS);
        recorder.delivered(stamp(11, 10), 15 * MS);
        assert_eq!((recorder.deliveries(), recorder.complete(), recorder.doubled()), (3, 1, 0));
        assert!((recorder.latency_ms(0.5) - 5.0).abs() < 0.1);
        assert!((recorder.last_ms(0.5) - 20.0).abs() < 0.1, "the incomplete one has no last");
        recorder.delivered(stamp(10, 0), 21 * MS);
        assert_eq!((recorder.doubled(), recorder.last_at()), (1, 21 * MS));
    }
}
