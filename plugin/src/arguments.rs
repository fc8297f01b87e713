//! The command line, parsed once.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_STATUS: &str = "\
Exit status: 0 done; 1 not so, and waiting will not help (a rollout failed or is paused, …);
2 not in the time given; 3 could not be done (wrong usage, no such WsCluster, not allowed); 130 Ctrl-C.
Colours and live redraw are for terminals only; NO_COLOR=1 turns colours off.";

/// Looks at and steers fleets of WebSocket gateways (WsClusters), through the API server alone.
#[derive(Debug, Parser)]
#[command(name = "kubectl-wscluster", bin_name = "kubectl wscluster", version, after_help = EXIT_STATUS)]
pub struct Arguments {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to reach the cluster, in kubectl's own words.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// The kubeconfig file. Default: $KUBECONFIG, else ~/.kube/config, else the Pod's own account.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Default: its current one.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// The namespace. Default: the context's.
    #[arg(long, short, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what a fleet is doing: revisions, gateways, rollout, and what needs attention.
    #[command(after_help = "\
Examples:
  kubectl wscluster status                  # all WsClusters of the namespace, or the one if there is only one
  kubectl wscluster status chat --watch     # redrawn on every change; one line per change when piped
  kubectl wscluster status chat -o json | jq .status.rollout")]
    Status(StatusArguments),
    /// Follows a rollout.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Has the operator change nothing until `resume`; it goes on reporting.
    #[command(after_help = "Example:\n  kubectl wscluster pause chat")]
    Pause(Named),
    /// Goes on after `pause`, or after a rollout paused itself; sessions lost so far are accepted.
    #[command(after_help = "Example:\n  kubectl wscluster resume chat")]
    Resume(Named),
    /// Goes back to the revision before: of a rollout under way or failed, the one that it came from.
    #[command(after_help = "\
Examples:
  kubectl wscluster undo chat --dry-run                # only says which fields would change
  kubectl wscluster undo chat
  kubectl wscluster undo chat --to-revision 1a2b3c     # as `history` lists them")]
    Undo(UndoArguments),
    /// Lists the revisions that `undo` can go back to, the latest first.
    #[command(after_help = "Example:\n  kubectl wscluster history chat")]
    History(HistoryArguments),
    /// Says where each number in force comes from: the arithmetic, what is set and what is default, the field to change.
    #[command(after_help = "Example:\n  kubectl wscluster explain chat")]
    Explain(ExplainArguments),
    /// Evicts one gateway, within the PodDisruptionBudget, and follows its sessions until it is gone.
    #[command(after_help = "Example:\n  kubectl wscluster drain chat-gateway-3c4d5e6f70-x2x9k")]
    Drain(DrainArguments),
    /// Holds real sessions from within the cluster while you change the fleet, and says whether one missed a message.
    #[command(after_help = "\
Examples:
  kubectl wscluster probe chat
  kubectl wscluster probe chat --sessions 500 --rooms 50 --rate 100 --duration 5m      # roll your gateways meanwhile
  kubectl wscluster probe chat -o json > report.json
Ctrl-C ends it early, with its report; twice, at once. Exit status: 0 nothing lost, doubled or reordered; 1 something
was; 3 it could not run.")]
    Probe(ProbeArguments),
}

/// Of a rollout.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Waits for the rollout to end: exit 0 complete, 1 failed or paused, 2 not within --timeout.
    #[command(after_help = "\
Examples:
  kubectl wscluster rollout status chat
  kubectl wscluster rollout status chat --timeout 10m || kubectl wscluster undo chat")]
    Status(RolloutStatusArguments),
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArguments {
    /// The WsCluster. Default: all of the namespace.
    pub name: Option<String>,
    /// Go on showing every change, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
    /// As what to print it. json: the objects themselves; with --watch one a line.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Arguments of `rollout status`.
#[derive(Args, Debug)]
pub struct RolloutStatusArguments {
    /// The WsCluster.
    pub name: String,
    /// How long to wait (30s, 10m, 1h30m). Default: until it is over.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// Arguments of `undo`.
#[derive(Args, Debug)]
pub struct UndoArguments {
    /// The WsCluster.
    pub name: String,
    /// The revision to go back to, or the beginning of its hash. Default: the one before.
    #[arg(long, value_name = "HASH")]
    pub to_revision: Option<String>,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `history`.
#[derive(Args, Debug)]
pub struct HistoryArguments {
    /// The WsCluster.
    pub name: String,
    /// As what to print it.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArguments {
    /// The WsCluster.
    pub name: String,
    /// As what to print it.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub struct DrainArguments {
    /// The gateway, by the name of its pod.
    pub pod: String,
}

/// Arguments of `probe`.
#[derive(Args, Debug)]
pub struct ProbeArguments {
    /// The WsCluster.
    pub name: String,
    /// Sessions to hold.
    #[arg(long, value_name = "N", default_value = "100")]
    pub sessions: NonZeroU32,
    /// Rooms to spread them over.
    #[arg(long, value_name = "N", default_value = "10")]
    pub rooms: NonZeroU32,
    /// Messages per second, over all rooms.
    #[arg(long, value_name = "N", default_value = "10")]
    pub rate: u32,
    /// How long to publish (30s, 5m, 1h).
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub duration: Duration,
    /// Publish through the gateways, and not to Redis.
    #[arg(long)]
    pub through_gateways: bool,
    /// Where the sessions connect. Default: the Service, by its name within the cluster.
    #[arg(long, value_name = "ws://HOST:PORT/ws")]
    pub url: Option<String>,
    /// A Secret in the namespace, and the key in it, with the token that the sessions show.
    #[arg(long, value_name = "SECRET/KEY", value_parser = secret_key)]
    pub token_secret: Option<SecretKey>,
    /// An image that holds /usr/bin/wscluster-probe. Default: the gateways'.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// As what to print the report; with json the progress goes to standard error.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// One WsCluster.
#[derive(Args, Debug)]
pub struct Named {
    /// The WsCluster.
    pub name: String,
}

/// As what to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

fn secret_key(text: &str) -> Result<SecretKey, String> {
    match text.split_once('/') {
        Some((name, key)) if !name.is_empty() && !key.is_empty() && !key.contains('/') => {
            Ok(SecretKey { name: name.to_owned(), key: key.to_owned() })
        }
        _ => Err("expected a Secret and a key of it, such as probe-token/token".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a time such as 30s, 10m or 1h30m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a time cannot be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_understood_as_kubectl_does() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "soon", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_named_with_its_key() {
        assert_eq!(secret_key("a/b"), Ok(SecretKey { name: "a".into(), key: "b".into() }));
        for text in ["", "a", "a/", "/b", "a/b/c"] {
            assert!(secret_key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn where_the_cluster_is_may_be_said_after_the_command() {
        let words = ["kubectl-wscluster", "rollout", "status", "chat", "-n", "web", "--context", "c"];
        let arguments = Arguments::try_parse_from(words).unwrap();
        assert_eq!(arguments.connection.namespace.as_deref(), Some("web"));
        assert_eq!(arguments.connection.context.as_deref(), Some("c"));
    }
}
