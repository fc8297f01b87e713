//! What is measured: how many sessions in how many rooms, and what happens to them. Knows nothing of processes.

use std::time::Duration;

use clap::ValueEnum;

use super::BenchArgs;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Sessions in rooms of ten that do nothing: memory, heartbeats
    Idle,
    /// One room with thousands of members, 10 and 50 messages a second, and as many as the server delivers
    HotRoom,
    /// Thousands of rooms with one member or ten, and what their number costs Redis
    ManyRooms,
    /// A room with members that stop reading: the server's memory, and what the others notice
    Slow,
}

/// Sessions that one process can hold.
const MOST: u32 = 19_000;

/// A part of a scenario: one server, one set of sessions.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) scenario: Scenario,
    /// For people.
    pub(crate) name: String,
    pub(crate) rooms: u32,
    pub(crate) members: u32,
    pub(crate) payload_bytes: u32,
    /// Percentage of the members that stop reading.
    pub(crate) stalled: u32,
    pub(crate) phases: Vec<Phase>,
}

/// What happens to the sessions.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    /// For people.
    pub(crate) name: String,
    /// As the load generator takes it.
    pub(crate) argument: String,
    seconds: u32,
}

impl Scenario {
    /// As on the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::HotRoom => "hot-room",
            Self::ManyRooms => "many-rooms",
            Self::Slow => "slow",
        }
    }

    /// Its parts.
    pub(crate) fn loads(self, args: &BenchArgs) -> Vec<Load> {
        let seconds = |usual: u32| args.seconds.unwrap_or(usual);
        match self {
            Self::Idle => {
                let rooms = args.sessions.unwrap_or(MOST) / 10;
                // Longer than everybody's heartbeat interval (25 s).
                vec![self.load(rooms, 10, vec![Phase::idle(seconds(27))])]
            }
            Self::HotRoom => {
                let sizes = if args.full { vec![1000, 5000, MOST] } else { vec![args.sessions.unwrap_or(5000)] };
                let phases =
                    || vec![Phase::rate(10, seconds(4)), Phase::rate(50, seconds(3)), Phase::saturate(seconds(3))];
                sizes.into_iter().map(|members| self.load(1, members, phases())).collect()
            }
            Self::ManyRooms => {
                let most = args.sessions.unwrap_or(MOST);
                let shapes = [(most.min(100), 1, 1000), (most, 1, 1000), (most / 10, 10, 300)];
                let phases = |rate| vec![Phase::rate(rate, seconds(4))];
                shapes.into_iter().map(|(rooms, members, rate)| self.load(rooms, members, phases(rate))).collect()
            }
            Self::Slow => {
                // 320 KB a second for each member: the kernel's buffers and what may wait for one member are full in time.
                let load = self.load(1, args.sessions.unwrap_or(500), vec![Phase::rate(20, seconds(20))]);
                let load = Load { payload_bytes: 16_384, ..load };
                let stalled = Load { stalled: 5, name: format!("{}, 5% stalled", load.name), ..load.clone() };
                vec![load, stalled]
            }
        }
    }

    fn load(self, rooms: u32, members: u32, phases: Vec<Phase>) -> Load {
        let name = match (rooms, members) {
            (1, members) => format!("1 room of {members}"),
            (rooms, 1) => format!("{rooms} rooms of 1"),
            (rooms, members) => format!("{rooms} rooms of {members}"),
        };
        Load { scenario: self, name, rooms, members, payload_bytes: 64, stalled: 0, phases }
    }
}

impl Load {
    /// How long a run takes, roughly: starting, connecting, the phases with their warm-up.
    pub(crate) fn expected(&self) -> Duration {
        let sessions = self.rooms * self.members;
        let phases: u32 = self.phases.iter().map(|phase| phase.seconds + 1).sum();
        Duration::from_secs(u64::from(3 + sessions / 4000 + phases))
    }
}

impl Phase {
    fn idle(seconds: u32) -> Self {
        Self { name: "idle".into(), argument: format!("idle:{seconds}"), seconds }
    }

    fn rate(per_second: u32, seconds: u32) -> Self {
        Self { name: format!("{per_second}/s"), argument: format!("rate:{per_second}:{seconds}"), seconds }
    }

    /// Thirty-two messages under way: what a server does when it never has to wait.
    fn saturate(seconds: u32) -> Self {
        Self { name: "saturated".into(), argument: format!("saturate:32:{seconds}"), seconds }
    }
}
