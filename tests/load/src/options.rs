//! The command line: which server, how many sessions in how many rooms, and what happens in which order.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

use crate::subject::Subject;

/// Load on one WebSocket server, and what it cost. The answer is one JSON document on standard output.
#[derive(Debug, Parser)]
#[command(name = "wscluster-load", version)]
pub(crate) struct Options {
    /// What the server speaks.
    #[arg(long, value_enum, default_value = "wscluster")]
    pub(crate) subject: Subject,
    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: SocketAddr,
    /// Process of the server: its CPU time and memory are taken from the kernel.
    #[arg(long, value_name = "PID")]
    pub(crate) server: u32,
    /// Process of Redis, for its CPU time per entry.
    #[arg(long, value_name = "PID")]
    pub(crate) redis: Option<u32>,
    /// Rooms.
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms: u32,
    /// Sessions in each room.
    #[arg(long, default_value_t = 100)]
    pub(crate) members: u32,
    /// Percentage of the members that stop reading once they are in their room.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=90))]
    pub(crate) stalled_percent: u32,
    /// Each room's first member publishes to its room itself; there are no other publishers then.
    #[arg(long)]
    pub(crate) echo: bool,
    /// A session that does not come into being is counted, and does not end the run.
    #[arg(long)]
    pub(crate) count_failures: bool,
    /// Connections that publish.
    #[arg(long, default_value_t = 8)]
    pub(crate) publishers: u32,
    /// Length of a payload.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(48..=65_536))]
    pub(crate) payload_bytes: u32,
    /// Connections that are being opened at the same time.
    #[arg(long, default_value_t = 100)]
    pub(crate) connecting: usize,
    /// What to do once all are connected, in order: idle:SECONDS, rate:MESSAGES_PER_SECOND:SECONDS (open loop),
    /// saturate:MESSAGES_IN_FLIGHT:SECONDS, reconnect:SESSIONS_PER_SECOND (all members at once leave, and come back, open loop).
    #[arg(long = "phase", value_name = "PHASE")]
    pub(crate) phases: Vec<Phase>,
}

impl Options {
    /// Sessions that are in a room.
    pub(crate) fn sessions(&self) -> u32 {
        self.rooms * self.members
    }

    /// Connections that only publish.
    pub(crate) fn publishers(&self) -> u32 {
        if self.echo { 0 } else { self.publishers }
    }

    /// Whether a session stops reading: the first ones of each room.
    pub(crate) fn stalls(&self, index: u32) -> bool {
        index < self.sessions() && index % self.members < self.stalled()
    }

    /// Members of a room that read.
    pub(crate) fn readers(&self) -> u32 {
        self.members - self.stalled()
    }

    fn stalled(&self) -> u32 {
        self.members * self.stalled_percent / 100
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Nothing but heartbeats.
    Idle { time: Duration },
    /// Messages at a fixed rate, over all rooms, whatever the server does.
    Rate { per_second: f64, time: Duration },
    /// As fast as the server delivers, so many messages under way.
    Saturate { in_flight: u32, time: Duration },
    /// All members leave, and come back at a fixed rate, whatever the server does.
    Reconnect { per_second: f64 },
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let number = |text: &str| match text.parse::<f64>() {
            Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
            _ => Err(format!("{text:?} is no positive number")),
        };
        let time = |text: &str| Ok::<_, String>(Duration::from_secs_f64(number(text)?));
        match parts[..] {
            ["idle", seconds] => Ok(Self::Idle { time: time(seconds)? }),
            ["rate", rate, seconds] => Ok(Self::Rate { per_second: number(rate)?, time: time(seconds)? }),
            ["saturate", count, seconds] => {
                let in_flight =
                    count.parse().ok().filter(|count| *count > 0).ok_or("at least one message in flight")?;
                Ok(Self::Saturate { in_flight, time: time(seconds)? })
            }
            ["reconnect", rate] => Ok(Self::Reconnect { per_second: number(rate)? }),
            _ => {
                Err("use idle:SECONDS, rate:PER_SECOND:SECONDS, saturate:IN_FLIGHT:SECONDS or reconnect:PER_SECOND"
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_and_nonsense_is_refused() {
        let time = Duration::from_secs(5);
        assert_eq!("idle:5".parse(), Ok(Phase::Idle { time }));
        assert_eq!("rate:0.5:5".parse(), Ok(Phase::Rate { per_second: 0.5, time }));
        assert_eq!("saturate:8:5".parse(), Ok(Phase::Saturate { in_flight: 8, time }));
        assert_eq!("reconnect:2000".parse(), Ok(Phase::Reconnect { per_second: 2000.0 }));
        for bad in
            ["", "reconnect:0", "idle", "idle:0", "rate:5", "rate:-1:5", "rate:inf:5", "saturate:0:5", "burst:1:1"]
        {
            assert!(bad.parse::<Phase>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
