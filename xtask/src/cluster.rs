//! `cargo xtask cluster`: the testbed's commands. What they do is in the `wscluster-tests` crate.

use std::env;
use std::io::stdout;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use wscluster_tests::cluster::{Cluster, ClusterOptions, Instance, Layout, logs};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Name of the testbed; several stand side by side
    #[arg(long, short, global = true, default_value = "default", env = "WSCLUSTER_INSTANCE")]
    instance: String,
}

#[derive(Subcommand)]
enum Command {
    /// Start it, or mend it, and wait until it is ready
    Up {
        /// Number of nodes, 1 to 4
        #[arg(long, default_value_t = 2)]
        nodes: u32,
        /// End it when this process ends, however it ends (this process then stays until it is interrupted)
        #[arg(long)]
        lifeline: bool,
    },
    /// Take it down and remove all that it left
    Down,
    /// Show what it does and how to use it
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the logs of its components
    Logs {
        /// One component: apiserver, audit, containerd, controllers, coredns, etcd, keeper, kubelet, proxy, scheduler
        component: Option<String>,
        /// Of one node
        #[arg(long)]
        node: Option<u32>,
        /// Go on showing what is added
        #[arg(long, short)]
        follow: bool,
        /// How many lines of each
        #[arg(long, default_value_t = 40)]
        lines: usize,
    },
    /// Run a command, or a shell, inside a node, with kubectl at hand
    Shell {
        /// The node
        #[arg(long, default_value_t = 1)]
        node: u32,
        /// The command and its arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Load image archives on every node
    Import {
        /// OCI archives, as `cargo xtask image` writes them
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// End a node as a power cut would, or start it again
    Node {
        /// The node
        node: u32,
        /// What to do
        #[arg(value_enum)]
        action: NodeAction,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum NodeAction {
    Kill,
    Start,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let instance = arguments.instance.as_str();
    match arguments.command {
        Command::Up { nodes, lifeline } => up(&ClusterOptions { instance: instance.to_owned(), nodes, lifeline }),
        Command::Down => down(instance),
        Command::Status { json } => status(instance, json),
        Command::Logs { component, node, follow, lines } => {
            let layout = Layout::of(&instance.parse::<Instance>()?);
            let files = logs::files(&layout, node, component.as_deref())?;
            logs::print(&files, lines, follow, &mut stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Shell { node, command } => shell(&Cluster::attach(instance)?, node, &command),
        Command::Import { archives } => {
            let cluster = Cluster::attach(instance)?;
            archives.iter().try_for_each(|archive| cluster.import_image(archive))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Node { node, action } => {
            let cluster = Cluster::attach(instance)?;
            match action {
                NodeAction::Kill => cluster.kill_node(node)?,
                NodeAction::Start => cluster.start_node(node)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(options: &ClusterOptions) -> Result<ExitCode> {
    let cluster = Cluster::up(options)?;
    if cluster.was_running() {
        println!("testbed {} was running already", options.instance);
    }
    print!("{}", Cluster::status(&options.instance)?);
    if !options.lifeline {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::park();
    }
}

fn down(instance: &str) -> Result<ExitCode> {
    if Cluster::down(instance)? {
        println!("testbed {instance} is gone");
    } else {
        println!("there was no testbed {instance}");
    }
    Ok(ExitCode::SUCCESS)
}

fn status(instance: &str, json: bool) -> Result<ExitCode> {
    let status = Cluster::status(instance)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{status}");
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shell(cluster: &Cluster, node: u32, command: &[String]) -> Result<ExitCode> {
    let default = [env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())];
    let words = if command.is_empty() { &default[..] } else { command };
    let (program, rest) = words.split_first().context("a command has a name")?;
    let status = cluster.node_command(node, program)?.args(rest).status().context("cannot run nsenter")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
