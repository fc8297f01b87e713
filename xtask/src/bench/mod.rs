//! `cargo xtask bench`: our gateway and its peers under the same load, in turns, and a table of what it cost each. The claim is
//! the ratio within one run; absolute figures are context, for machines differ.

mod document;
mod machine;
mod processes;
mod results;
mod scenario;
mod stage;
mod subject;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use results::Results;
use scenario::{Load, Scenario};
use stage::Stage;
use subject::Subject;

/// Measures the gateway beside its peers.
///
/// The server has core 0; the load generator and Redis share core 1. Each round runs every subject in turn, each with a
/// Redis and a server of its own. Latency runs from the time at which a message was to be sent (open loop). The machine
/// should do nothing else meanwhile.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench hot-room --peers none --rounds 1        our gateway alone, a minute
  cargo xtask bench idle hot-room many-rooms --rounds 3 --json target/bench.json --document
  cargo xtask bench --from target/bench.json --document     write docs/bench.md from figures that are there")]
pub(crate) struct BenchArgs {
    /// What to measure, in this order.
    #[arg(value_enum, required_unless_present = "from")]
    scenarios: Vec<Scenario>,
    /// Whom to compare with: node, socketio, centrifuge; or none.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "node,socketio,centrifuge")]
    peers: Vec<subject::PeerName>,
    /// How often everything is measured; the table has median and range.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Sessions, in place of each scenario's own number (at most 19,000: one process holds 20,000 files).
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=19_000))]
    sessions: Option<u32>,
    /// Seconds of each measured phase, in place of each scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// Sizes that show growth as well: the hot room with 1,000 and 19,000 members.
    #[arg(long)]
    full: bool,
    /// Write all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables into docs/bench.md.
    #[arg(long)]
    document: bool,
    /// Build nothing: use the programs that were built before, whatever has changed since.
    #[arg(long)]
    built: bool,
    /// Measure nothing: take the figures from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "scenarios")]
    from: Option<PathBuf>,
}

/// Measures, and shows what came out.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let results = match &args.from {
        Some(path) => Results::read(path)?,
        None => measure(args)?,
    };
    print!("\n{}", table::all(&results));
    if let Some(path) = &args.json {
        results.write(path)?;
    }
    if args.document {
        document::write(&results)?;
    }
    let ours = results.failures.iter().find(|failure| failure.subject == Subject::Ours.name());
    ensure!(ours.is_none(), "our gateway failed: {}", ours.map_or("", |failure| &failure.reason));
    Ok(())
}

fn measure(args: &BenchArgs) -> Result<Results> {
    if let Some(path) = &args.json {
        // Said before the work, not after it.
        std::fs::write(path, "").with_context(|| format!("--json: cannot write to {}", path.display()))?;
    }
    wscluster_tests::packages::ensure_redis()?;
    machine::allow_files()?;
    if !args.built {
        stage::build()?;
    }
    let mut results = Results::new(args.rounds);
    let subjects = subjects(args, &mut results);
    // On this thread, whose end would end its children (they ask the kernel for it).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        tokio::select! {
            outcome = rounds(args, &subjects, &mut results) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
            _ = hang_up.recv() => bail!("hung up"),
        }
    })?;
    Ok(results)
}

/// Ours and the peers that can be had here.
fn subjects(args: &BenchArgs, results: &mut Results) -> Vec<Subject> {
    let mut subjects = vec![Subject::Ours];
    for peer in args.peers.iter().filter_map(|name| name.peer()) {
        let subject = Subject::Peer(peer);
        match peer.folder().and_then(|_| peer.title()) {
            Ok(title) => {
                results.machine.insert(subject.name().into(), title);
                subjects.push(subject);
            }
            Err(error) => {
                eprintln!("  {} is left out: {error:#}", peer.name());
                results.failed(subject, &format!("not installed: {error:#}"));
            }
        }
    }
    subjects
}

async fn rounds(args: &BenchArgs, subjects: &[Subject], results: &mut Results) -> Result<()> {
    let loads: Vec<Load> = args.scenarios.iter().flat_map(|scenario| scenario.loads(args)).collect();
    let each: Duration = loads.iter().map(Load::expected).sum();
    let (total, started) = (args.rounds as usize * loads.len() * subjects.len(), Instant::now());
    let all = each * args.rounds * subjects.len() as u32;
    eprintln!("  {total} runs, about {} minutes", all.as_secs().div_ceil(60));
    let mut done = 0;
    for round in 1..=args.rounds {
        for load in &loads {
            for subject in subjects {
                done += 1;
                let name = format!(
                    "[{done}/{total}] round {round}: {}, {}: {}",
                    load.scenario.name(),
                    load.name,
                    subject.name()
                );
                let step = wscluster_tests::progress::Step::start(name, Some(load.expected()));
                match Stage::new(*subject).run(load).await {
                    Ok(outcomes) => results.add(*subject, load, outcomes),
                    Err(error) => {
                        step.say(&format!("  {} failed: {error:#}", subject.name()));
                        results.failed(*subject, &format!("{}, {}: {error:#}", load.scenario.name(), load.name));
                    }
                }
                step.done();
            }
        }
    }
    eprintln!("  measured in {:.1} minutes", started.elapsed().as_secs_f64() / 60.0);
    Ok(())
}
