//! The command line, parsed once.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Parser;

use crate::token::{Source, Token};

const EXAMPLES: &str = "\
Examples:
  # 500 sessions in 50 rooms, 100 messages a second written to Redis with XADD; roll your gateways meanwhile
  wscluster-probe --url ws://chat.example.com/ws --redis redis://127.0.0.1:6379 \\
      --sessions 500 --rooms 50 --rate 100 --duration 5m --json report.json

  # A gateway on its embedded log: the probe publishes through WebSockets of its own
  wscluster-probe --url ws://127.0.0.1:8080/ws --sessions 20 --rooms 4 --rate 20 --duration 10s

  # Gateways that ask for a token
  wscluster-probe --url wss://chat.example.com/ws --token-file token.jwt --redis redis://127.0.0.1:6379

  # In a pod, steered from outside: GET /status, POST /finish (answers the report)
  wscluster-probe --url ws://chat/ws --redis redis://redis:6379 --control 0.0.0.0:9095

  # Something else: do 200 clients with cookies come back to the gateway that they were on?
  wscluster-probe --affinity --url ws://chat.example.com/ws --sessions 200 --reconnects 20

Exit status: 0 nothing lost, doubled or reordered; 1 something was; 2 the probe could not run.
With --affinity: 0 every client came back to its gateway each time; 1 one did not, or was not let in.";

/// Holds real sessions through any change to a fleet and proves that nothing was lost.
///
/// Each session follows its rooms; numbered messages are published at a steady rate. At the end every session's
/// sequence is compared with what was published since its subscription was confirmed.
#[derive(Debug, Clone, Parser)]
#[command(name = "wscluster-probe", version, after_help = EXAMPLES)]
pub struct Options {
    /// The gateways' address.
    #[arg(long, value_name = "ws://HOST:PORT/ws")]
    pub url: String,

    /// Shown by every session: a JWT, where the gateways ask for one. Better in the environment than in `ps`.
    #[arg(long, value_name = "JWT", env = "WSCLUSTER_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub token: Option<Token>,

    /// The same from a file, read anew for each connection: it may be rotated.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Publish with XADD to this Redis, as any backend does. Without it: through WebSockets of the probe's own.
    #[arg(long, value_name = "redis://HOST:PORT", env = "WSCLUSTER_REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,

    /// The key of a room's stream is this and the room.
    #[arg(long, value_name = "PREFIX", default_value = "room:")]
    pub key_prefix: String,

    /// Sessions to hold; with --affinity clients, by default 200.
    #[arg(long, value_name = "N", default_value = "100", default_value_if("affinity", "true", "200"))]
    pub sessions: NonZeroUsize,

    /// Prove that clients with cookies come back to the gateway that they were on, and nothing of messages. With --control
    /// they keep their cookies from one POST /measure to the next.
    #[arg(long)]
    pub affinity: bool,

    /// With --affinity: how often each client comes back.
    #[arg(long, value_name = "N", default_value = "20", requires = "affinity")]
    pub reconnects: NonZeroUsize,

    /// Rooms to spread them over.
    #[arg(long, value_name = "N", default_value = "10")]
    pub rooms: NonZeroUsize,

    /// Rooms that each session is in.
    #[arg(long, value_name = "N", default_value = "1")]
    pub rooms_per_session: NonZeroUsize,

    /// Rooms of mixed size, each session in one: a few large ones and many with one or two sessions.
    #[arg(long, conflicts_with = "rooms_per_session")]
    pub mixed_rooms: bool,

    /// Messages per second, over all rooms in turn; kept up whatever the answers do.
    #[arg(long, value_name = "MSG_PER_S", default_value = "10", value_parser = rate)]
    pub rate: f64,

    /// Bytes of each message's payload (at least what number and time take).
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub payload_bytes: usize,

    /// How long to publish (500ms, 30s, 5m, 1h). Default: 30s, or with --control until told to finish.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// How long to wait at the end for what is still under way.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub settle: Duration,

    /// New sessions per second; with --affinity connections.
    #[arg(long, value_name = "N_PER_S", default_value = "200", value_parser = positive_rate)]
    pub connect_rate: f64,

    /// How long all sessions may take to subscribe, beyond what their pace takes.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// Write the report as JSON to this file; `-` is standard output (the table then goes to standard error).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Have the report say what its summary is made of, so that the reports of several probes can be made one.
    #[arg(long)]
    pub detail: bool,

    /// Serve GET /status and POST /finish here; with --affinity GET /status and POST /measure.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub control: Option<SocketAddr>,

    /// With --control: how long to keep the report for whoever has not fetched it.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub linger: Duration,

    /// Names this run's rooms (probe-RUN-0, …). Default: made up.
    #[arg(long, value_name = "RUN")]
    pub run_id: Option<String>,
}

impl Options {
    /// Where the sessions' token comes from, if they have one.
    pub fn token(&self) -> Option<Source> {
        let file = self.token_file.clone().map(Source::File);
        file.or_else(|| self.token.clone().map(Source::Given))
    }

    /// How long to publish; none is until told to finish.
    pub fn publishing_time(&self) -> Option<Duration> {
        self.duration.or_else(|| self.control.is_none().then_some(Duration::from_secs(30)))
    }

    /// How many rooms each session is in.
    pub fn rooms_each(&self) -> usize {
        self.rooms_per_session.min(self.rooms).get()
    }
}

/// A time such as `500ms`, `30s`, `5m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit `{unit}`: use ms, s, m or h")),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a time such as 500ms, 30s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 1000000".to_owned()),
    }
}

fn positive_rate(text: &str) -> Result<f64, String> {
    rate(text).and_then(|rate| if rate > 0.0 { Ok(rate) } else { Err("must be above 0".to_owned()) })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["wscluster-probe", "--url", "ws://127.0.0.1/ws"].iter().chain(arguments))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn times_are_understood() {
        let table = [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("2", 2000), ("0.5s", 500)];
        for (text, millis) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5 m", "5d", "-1s", "five"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_control_a_run_ends_by_itself() {
        assert_eq!(parse(&[]).unwrap().publishing_time(), Some(Duration::from_secs(30)));
        assert_eq!(parse(&["--control", "0.0.0.0:9095"]).unwrap().publishing_time(), None);
        let both = parse(&["--control", "0.0.0.0:9095", "--duration", "1m"]).unwrap();
        assert_eq!(both.publishing_time(), Some(Duration::from_mins(1)));
    }

    #[test]
    fn a_token_is_given_or_read_from_a_file_and_never_shown() {
        assert!(parse(&[]).unwrap().token().is_none());
        let given = parse(&["--token", "top-secret"]).unwrap();
        assert!(matches!(given.token(), Some(Source::Given(_))));
        assert!(!format!("{given:?}").contains("top-secret"), "{given:?}");
        assert!(matches!(parse(&["--token-file", "f"]).unwrap().token(), Some(Source::File(_))));
        assert!(parse(&["--token", "t", "--token-file", "f"]).is_err());
    }

    #[test]
    fn affinity_is_proved_with_more_clients_by_default() {
        let numbers = |arguments: &[&str]| {
            let options = parse(arguments).unwrap();
            (options.affinity, options.sessions.get(), options.reconnects.get())
        };
        assert_eq!(numbers(&[]), (false, 100, 20));
        assert_eq!(numbers(&["--affinity"]), (true, 200, 20));
        assert_eq!(numbers(&["--affinity", "--sessions", "7", "--reconnects", "3"]), (true, 7, 3));
        assert!(parse(&["--reconnects", "3"]).is_err() && parse(&["--affinity", "--reconnects", "0"]).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            ["--sessions", "0"],
            ["--rooms", "0"],
            ["--rate", "-1"],
            ["--rate", "NaN"],
            ["--connect-rate", "0"],
            ["--duration", "soon"],
            ["--control", "9095"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }
}
