//! Turns a session's events and a publisher's answers into the checker's and the activity's records.
//!
//! Plain data behind whatever lock its owner chooses; time is an argument.

use wscluster_client::{Event, MessageId};

use crate::{
    activity::{Activity, Millis},
    checker::Checker,
    ledger::Ledger,
    payload::{Numbered, Rooms},
    report::{Report, Verdict},
};

/// All that is known about a run while it goes on.
#[derive(Debug)]
pub struct Recorder {
    /// What was published and what arrived.
    pub checker: Checker,
    /// What happened to the connections.
    pub activity: Activity,
    /// The last thing that went wrong, in words.
    pub last_error: Option<String>,
    rooms: Rooms,
    sessions: usize,
    subscriptions: usize,
    closing: bool,
}

impl Recorder {
    /// For so many sessions.
    pub fn new(sessions: usize, rooms: Rooms) -> Self {
        Self {
            checker: Checker::new(sessions, rooms.count()),
            activity: Activity::new(sessions),
            last_error: None,
            rooms,
            sessions,
            subscriptions: 0,
            closing: false,
        }
    }

    /// From now on the sessions end because we end them.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// How many subscriptions have been confirmed.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Something happened to a session.
    pub fn event(&mut self, session: usize, event: Event, now: Millis) {
        if self.closing {
            return;
        }
        match event {
            Event::Message { room, id, payload, .. } => self.arrived(session, &room, id, &payload, now),
            Event::Repeated { room, id, payload } => self.check(session, &room, id, Numbered::decode(&payload)),
            Event::Connected { .. } => self.activity.connected(session, now),
            Event::Moved { .. } => {
                self.activity.connected(session, now);
                self.activity.served(session, now);
            }
            Event::Subscribed { room, position } => self.subscribed(session, &room, position, now),
            Event::Recovered { .. } => self.activity.served(session, now),
            Event::Resync { room, reason } => {
                self.activity.resyncs += 1;
                self.activity.served(session, now);
                self.fault(session, &format!("resync of {room}: {reason}"));
            }
            Event::Disconnected { code, reason, announced, .. } => {
                self.activity.disconnected(session, code, announced, now);
                self.fault(session, &format!("disconnected ({code:?}, announced: {announced}): {reason}"));
            }
            Event::ConnectFailed { reason, .. } => {
                self.activity.connect_errors += 1;
                self.fault(session, &format!("could not connect: {reason}"));
            }
            Event::SubscribeFailed { room, code, message } => {
                self.fault(session, &format!("could not subscribe {room}: {code}: {message}"));
            }
            Event::Error { code, message } => self.fault(session, &format!("{code}: {message}")),
            Event::Closed { reason } => self.fault(session, &format!("ended: {reason}")),
            _ => {}
        }
    }

    /// The run's report as of now.
    pub fn report(&self, seconds: f64, now: Millis) -> Report {
        let found = self.checker.findings();
        let gaps = self.activity.gaps(now);
        let sum = |count: fn(&Ledger) -> u64| self.checker.rooms().iter().map(count).sum();
        Report {
            sessions: self.sessions as u64,
            rooms: self.rooms.count() as u64,
            published: sum(Ledger::published),
            uncertain: sum(|room| room.uncertain().count() as u64),
            expected: found.expected,
            received: found.received,
            lost: found.lost,
            duplicated: found.duplicated,
            reordered: found.reordered,
            unexpected: found.unexpected,
            resyncs: self.activity.resyncs,
            moves: self.activity.moves(),
            disconnects_without_notice: self.activity.without_notice,
            forced: self.activity.forced,
            longest_gap_ms: gaps.max,
            gap_p99_ms: gaps.p99,
            gap_ms: gaps,
            peak_reconnects_per_second: self.activity.peak_reconnects(),
            breaks: self.activity.breaks.clone(),
            connect_errors: self.activity.connect_errors,
            latency_ms: self.activity.latency(),
            duration_seconds: seconds,
            verdict: if found.is_clean() { Verdict::Ok } else { Verdict::Failed },
            examples: found.examples,
            detail: None,
        }
    }

    fn arrived(
        &mut self,
        session: usize,
        room: &str,
        id: MessageId,
        payload: &serde_json::value::RawValue,
        now: Millis,
    ) {
        let numbered = Numbered::decode(payload);
        self.activity.served(session, now);
        if let Some(numbered) = numbered {
            self.activity.delivered(session, numbered.sent_at, now);
        }
        self.check(session, room, id, numbered);
    }

    /// Number 0 is never published, so what is not ours counts as unexpected.
    fn check(&mut self, session: usize, room: &str, id: MessageId, numbered: Option<Numbered>) {
        if let Some(room) = self.rooms.index(room) {
            self.checker.deliver(session, room, numbered.map_or(0, |numbered| numbered.number), id);
        }
    }

    fn subscribed(&mut self, session: usize, room: &str, position: MessageId, now: Millis) {
        if let Some(room) = self.rooms.index(room) {
            self.checker.start(session, room, position);
            self.subscriptions += 1;
            self.activity.served(session, now);
        }
    }

    fn fault(&mut self, session: usize, text: &str) {
        tracing::debug!(session, "{text}");
        self.last_error = Some(format!("session {session}: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::ledger::Fate;

    fn id(number: u64) -> MessageId {
        MessageId::new(number, 0)
    }

    fn recorder() -> Recorder {
        let mut recorder = Recorder::new(1, Rooms::new("r", 1));
        for milliseconds in 1..=3 {
            let number = recorder.checker.room(0).issue();
            recorder.checker.room(0).decide(number, Fate::Published(id(milliseconds)));
        }
        recorder.event(0, Event::Connected { node: "a".into(), session: "s".into() }, 0.0);
        recorder.event(0, Event::Subscribed { room: "probe-r-0".into(), position: id(0) }, 0.0);
        recorder
    }

    fn message(number: u64) -> Event {
        let payload = Numbered { number, sent_at: 0.0 }.encode(0);
        let payload = RawValue::from_string(payload).unwrap();
        Event::Message { room: "probe-r-0".into(), id: id(number), timestamp: 0, payload }
    }

    fn repeated(number: u64) -> Event {
        let Event::Message { room, id, payload, .. } = message(number) else { unreachable!() };
        Event::Repeated { room, id, payload }
    }

    #[test]
    fn a_run_without_faults_is_ok() {
        let mut recorder = recorder();
        (1..=3).for_each(|number| recorder.event(0, message(number), 5.0));
        let report = recorder.report(1.0, 5.0);
        assert_eq!((report.verdict, report.expected, report.received), (Verdict::Ok, 3, 3));
        assert_eq!((report.published, report.longest_gap_ms), (3, 5));
        assert_eq!(recorder.last_error, None);
    }

    #[test]
    fn what_a_gateway_repeats_on_a_connection_is_a_violation_though_the_client_hides_it() {
        let mut recorder = recorder();
        (1..=3).for_each(|number| recorder.event(0, message(number), 5.0));
        recorder.event(0, repeated(2), 5.0);
        let report = recorder.report(1.0, 5.0);
        assert_eq!((report.verdict, report.duplicated), (Verdict::Failed, 1));
    }

    #[test]
    fn what_a_gateway_swaps_on_a_connection_is_reordered_not_lost() {
        let mut recorder = recorder();
        for event in [message(1), message(3), repeated(2)] {
            recorder.event(0, event, 5.0);
        }
        let report = recorder.report(1.0, 5.0);
        assert_eq!((report.reordered, report.lost, report.duplicated), (1, 0, 0));
    }

    #[test]
    fn a_message_that_is_not_ours_is_unexpected() {
        let mut recorder = recorder();
        let payload = RawValue::from_string("{\"x\":1}".to_owned()).unwrap();
        recorder.event(0, Event::Message { room: "probe-r-0".into(), id: id(9), timestamp: 0, payload }, 0.0);
        assert_eq!(recorder.report(1.0, 0.0).unexpected, 1);
    }

    #[test]
    fn our_own_closing_is_no_fault() {
        let mut recorder = recorder();
        recorder.close();
        recorder.event(
            0,
            Event::Disconnected { code: None, reason: String::new(), announced: false, will_return: true },
            0.0,
        );
        assert_eq!(recorder.report(1.0, 0.0).disconnects_without_notice, 0);
    }
}
