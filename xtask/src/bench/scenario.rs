//! What is measured: how many sessions in how many rooms, and what happens to them. Knows nothing of processes.

use std::time::Duration;

use clap::ValueEnum;

use super::BenchArgs;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Sessions in rooms of ten that do nothing: memory, heartbeats
    Idle,
    /// All sessions connect at once; they all leave, and come back at 2,000 a second
    Storm,
    /// One room with thousands of members, 10 and 50 messages a second, and as many as the server delivers
    HotRoom,
    /// Thousands of rooms with one member or ten, and what their number costs Redis
    ManyRooms,
    /// Each session publishes to a room of its own and receives it, 64 bytes and 1 KiB
    Echo,
    /// A room with members that stop reading: the server's memory, and what the others notice
    Slow,
    /// On the testbed: one gateway of six with 3,000 sessions each leaves (ours only, once)
    Drain,
    /// On the testbed: 100,000 sessions on six gateways through a rolling upgrade (ours only, once)
    Fleet,
    /// On the testbed: 200 WsClusters; the operator's turns, writes and memory (ours only, once)
    Operator,
}

/// Sessions that one process can hold.
pub(super) const MOST: u32 = 19_000;

/// Connections that are begun at the same time in a storm: what everybody's listen queue takes.
const AT_ONCE: u32 = 1000;

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
    /// Whether members publish to their rooms themselves.
    pub(crate) echo: bool,
    /// Sessions that connect at the same time; where it is a storm, those that fail are counted.
    pub(crate) storm: Option<u32>,
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
            Self::Storm => "storm",
            Self::HotRoom => "hot-room",
            Self::ManyRooms => "many-rooms",
            Self::Echo => "echo",
            Self::Slow => "slow",
            Self::Drain => "drain",
            Self::Fleet => "fleet",
            Self::Operator => "operator",
        }
    }

    /// Its parts; none of one that runs on the testbed.
    pub(crate) fn loads(self, args: &BenchArgs) -> Vec<Load> {
        let seconds = |usual: u32| args.seconds.unwrap_or(usual);
        match self {
            Self::Idle => {
                let rooms = args.sessions.unwrap_or(MOST) / 10;
                // Longer than everybody's heartbeat interval (25 s).
                vec![self.load(rooms, 10, vec![Phase::idle(seconds(27))])]
            }
            Self::Storm => {
                let rooms = args.sessions.unwrap_or(MOST) / 10;
                let load = self.load(rooms, 10, vec![Phase::reconnect(2000, rooms * 10)]);
                vec![Load { storm: Some(AT_ONCE), ..load }]
            }
            Self::HotRoom => {
                let sizes = if args.full { vec![1000, 5000, MOST] } else { vec![args.sessions.unwrap_or(5000)] };
                let phases =
                    || vec![Phase::rate(10, seconds(4)), Phase::rate(50, seconds(3)), Phase::saturate(32, seconds(3))];
                sizes.into_iter().map(|members| self.load(1, members, phases())).collect()
            }
            Self::ManyRooms => {
                let most = args.sessions.unwrap_or(MOST);
                let shapes = [(most.min(100), 1, 1000), (most, 1, 1000), (most / 10, 10, 300)];
                let phases = |rate| vec![Phase::rate(rate, seconds(4))];
                shapes.into_iter().map(|(rooms, members, rate)| self.load(rooms, members, phases(rate))).collect()
            }
            Self::Echo => {
                let rooms = args.sessions.unwrap_or(1000);
                let phases = || vec![Phase::rate(1000, seconds(4)), Phase::saturate(256, seconds(3))];
                let echo = |payload_bytes| {
                    let load = self.load(rooms, 1, phases());
                    Load { echo: true, payload_bytes, name: format!("{}, {payload_bytes} bytes", load.name), ..load }
                };
                vec![echo(64), echo(1024)]
            }
            Self::Slow => {
                // 320 KB a second for each member: the kernel's buffers and what may wait for one member are full in time.
                let load = self.load(1, args.sessions.unwrap_or(500), vec![Phase::rate(20, seconds(20))]);
                let load = Load { payload_bytes: 16_384, ..load };
                let stalled = Load { stalled: 5, name: format!("{}, 5% stalled", load.name), ..load.clone() };
                vec![load, stalled]
            }
            Self::Drain | Self::Fleet | Self::Operator => Vec::new(),
        }
    }

    fn load(self, rooms: u32, members: u32, phases: Vec<Phase>) -> Load {
        let name = match (rooms, members) {
            (1, members) => format!("1 room of {members}"),
            (rooms, 1) => format!("{rooms} rooms of 1"),
            (rooms, members) => format!("{rooms} rooms of {members}"),
        };
        Load { scenario: self, name, rooms, members, payload_bytes: 64, stalled: 0, echo: false, storm: None, phases }
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

    /// So many messages under way: what a server does when it never has to wait.
    fn saturate(in_flight: u32, seconds: u32) -> Self {
        Self { name: "saturated".into(), argument: format!("saturate:{in_flight}:{seconds}"), seconds }
    }

    fn reconnect(per_second: u32, sessions: u32) -> Self {
        let name = format!("back at {per_second}/s");
        Self { name, argument: format!("reconnect:{per_second}"), seconds: 5 + sessions / per_second }
    }
}
