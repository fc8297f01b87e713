//! `cargo xtask bench`: our gateway and its peers under the same load, in turns, and a table of what it cost each. The claim is
//! the ratio within one run; absolute figures are context, for machines differ.

mod charts;
mod cluster;
mod document;
mod flames;
pub(crate) mod machine;
mod operator;
mod processes;
mod results;
mod scenario;
mod stage;
mod subject;
mod table;
mod told;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use cluster::Plan;
use results::Results;
use scenario::{Load, MOST, Scenario};
use stage::Stage;
use subject::{PeerName, Subject};

/// Of many WsClusters so many have a gateway, for the operator to look at: what two nodes of a testbed carry.
const WITH_GATEWAY: u32 = 20;

/// Measures the gateway beside its peers.
///
/// The server has core 0; the load generator and Redis share core 1. Each round runs every subject in turn, each with a
/// Redis and a server of its own. Latency runs from the time at which a message was to be sent (open loop). The machine
/// should do nothing else meanwhile. `drain` and `fleet` are of another kind: a fleet on the testbed, once, and the verdict
/// over what its sessions went through. So is `operator`: what many WsClusters cost the operator.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench                                         a look: five minutes, one round, two peers
  cargo xtask bench hot-room --peers none --rounds 1        our gateway alone, a minute
  cargo xtask bench idle hot-room many-rooms --rounds 3 --json target/bench.json --document
  cargo xtask bench storm --peers none --rounds 1 --flame-graphs target/flames
  cargo xtask bench fleet --sessions 6000                   a rolling upgrade under 6,000 sessions, five minutes
  cargo xtask bench --from target/bench.json --document     write docs/bench.md from figures that are there")]
pub(crate) struct BenchArgs {
    /// What to measure, in this order. Default: idle, hot-room and many-rooms, as a look of five minutes.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Whom to compare with: node, socketio, centrifuge, nchan, bun; or none. Default: all of them; node and centrifuge where
    /// no scenario is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Option<Vec<PeerName>>,
    /// How often everything is measured; the table has median and range. Default: 5; 1 where no scenario is named.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Sessions, in place of each scenario's own number (at most 19,000, for one process holds 20,000 files; on the testbed
    /// 18,500 for each gateway).
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    sessions: Option<u32>,
    /// On the testbed: rooms, in place of the scenario's own number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rooms: Option<u32>,
    /// On the testbed: gateways.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=40))]
    gateways: u32,
    /// On the testbed: messages per second, over all rooms.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// For operator: WsClusters.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    clusters: u32,
    /// Instance of the testbed.
    #[arg(long, default_value = "bench")]
    instance: String,
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
    /// Draw a flame graph of our gateway for each load into this folder (last round). The gateway is built for it with frame
    /// pointers, and sampling costs something: figures of such a run are not for quoting.
    #[arg(long, value_name = "FOLDER")]
    flame_graphs: Option<PathBuf>,
    /// Build nothing: use the programs that were built before, whatever has changed since.
    #[arg(long)]
    built: bool,
    /// Measure nothing: take the figures from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "scenarios")]
    from: Option<PathBuf>,
}

impl BenchArgs {
    /// No scenario is named: a look that takes five minutes.
    fn is_a_look(&self) -> bool {
        self.scenarios.is_empty()
    }

    fn scenarios(&self) -> &[Scenario] {
        if self.is_a_look() { &[Scenario::Idle, Scenario::HotRoom, Scenario::ManyRooms] } else { &self.scenarios }
    }

    fn peers(&self) -> &[PeerName] {
        match &self.peers {
            Some(peers) => peers,
            None if self.is_a_look() => &[PeerName::Node, PeerName::Centrifuge],
            None => &[PeerName::Node, PeerName::Socketio, PeerName::Centrifuge, PeerName::Nchan, PeerName::Bun],
        }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.is_a_look() { 1 } else { 5 })
    }
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
    let plans = args.scenarios().iter().filter_map(|scenario| Plan::of(*scenario, args).transpose());
    let plans = plans.collect::<Result<Vec<_>>>()?;
    let mut results = Results::new(args.rounds());
    let many = args.scenarios().contains(&Scenario::Operator);
    if plans.len() + usize::from(many) < args.scenarios().len() {
        compare(args, &mut results)?;
    }
    for plan in &plans {
        on_cluster(plan, args, &mut results)?;
    }
    if many {
        operator::run(args.clusters, args.clusters.min(WITH_GATEWAY), &args.instance, &mut results)?;
    }
    Ok(results)
}

/// A scenario on the testbed: what was not kept of the promise counts as a failure of ours.
fn on_cluster(plan: &Plan, args: &BenchArgs, results: &mut Results) -> Result<()> {
    let (scenario, name) = (plan.scenario, plan.name());
    eprintln!("  {}: {name}", scenario.name());
    let outcome = cluster::run(plan, &args.instance)?;
    eprintln!("\n{}", outcome.report);
    for reason in outcome.broken(plan) {
        results.failed(Subject::Ours, &format!("{}, {name}: {reason}", scenario.name()));
    }
    results.add_phase(Subject::Ours, scenario, &name, "steady", outcome.steady.figures());
    results.add_phase(Subject::Ours, scenario, &name, plan.change_name(), outcome.sessions());
    results.add_phase(Subject::Ours, scenario, &name, "memory, MB", outcome.memory());
    Ok(())
}

/// The scenarios that put the same load on all subjects.
fn compare(args: &BenchArgs, results: &mut Results) -> Result<()> {
    if let Some(sessions) = args.sessions.filter(|sessions| *sessions > MOST) {
        bail!("--sessions {sessions}: one process holds {MOST}; only drain and fleet have several");
    }
    wscluster_tests::packages::ensure_redis()?;
    machine::allow_files()?;
    let flames = args.flame_graphs.as_deref();
    if flames.is_some() {
        wscluster_tests::packages::ensure_perf()?;
    }
    if !args.built {
        stage::build(flames.is_some())?;
    }
    let subjects = subjects(args, results);
    // On this thread, whose end would end its children (they ask the kernel for it).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        tokio::select! {
            outcome = rounds(args, &subjects, results) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
            _ = hang_up.recv() => bail!("hung up"),
        }
    })
}

/// Ours and the peers that can be had here.
fn subjects(args: &BenchArgs, results: &mut Results) -> Vec<Subject> {
    let mut subjects = vec![Subject::Ours];
    for peer in args.peers().iter().filter_map(|name| name.peer()) {
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
    let loads: Vec<Load> = args.scenarios().iter().flat_map(|scenario| scenario.loads(args)).collect();
    let each: Duration = loads.iter().map(Load::expected).sum();
    let (total, started) = (args.rounds() as usize * loads.len() * subjects.len(), Instant::now());
    let all = each * args.rounds() * subjects.len() as u32;
    eprintln!("  {total} runs, about {} minutes", all.as_secs().div_ceil(60));
    let mut done = 0;
    for round in 1..=args.rounds() {
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
                match Stage::new(*subject, args.flame_graphs.as_deref()).run(load).await {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(line: &[&str]) -> BenchArgs {
        Line::try_parse_from([&["bench"], line].concat()).unwrap().args
    }

    #[test]
    fn a_look_takes_five_minutes_and_what_is_named_is_measured_whole() {
        let look = args(&[]);
        let once: Duration =
            look.scenarios().iter().flat_map(|each| each.loads(&look)).map(|load| load.expected()).sum();
        let all = once * look.rounds() * (look.peers().len() as u32 + 1);
        assert!((Duration::from_mins(4)..=Duration::from_mins(5)).contains(&all), "{all:?}");
        let named = args(&["idle"]);
        assert_eq!((named.scenarios(), named.peers().len(), named.rounds()), (&[Scenario::Idle][..], 5, 5));
        let asked = args(&["--peers", "none", "--rounds", "2"]);
        assert_eq!((asked.peers(), asked.rounds()), (&[PeerName::None][..], 2));
    }
}
