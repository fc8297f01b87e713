//! The command `wscluster-probe`: parses, runs, prints, and says by its exit status how it went.

use std::{
    fmt::Display,
    fs,
    io::{IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use wscluster_probe::{Options, Run, Verdict, affinity};

const VIOLATED: u8 = 1;
const COULD_NOT_RUN: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_env("WSCLUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match probe(options).await {
        Ok(Verdict::Ok) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(VIOLATED),
        Err(error) => {
            eprintln!("wscluster-probe: {error:#}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

async fn probe(options: Options) -> Result<Verdict> {
    let finish = CancellationToken::new();
    finish_on_signal(finish.clone())?;
    let json = options.json.clone();
    if options.affinity {
        let report = affinity::run(&options, finish, |report| print(report, json.as_deref())).await?;
        return Ok(report.verdict);
    }
    Ok(Run::new(options, finish).run(|report| print(report, json.as_deref())).await?.verdict)
}

/// The first signal finishes the run with a report; the second ends it at once.
fn finish_on_signal(finish: CancellationToken) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if finish.is_cancelled() {
                std::process::exit(i32::from(COULD_NOT_RUN));
            }
            eprintln!("finishing; once more to end at once");
            finish.cancel();
        }
    });
    Ok(())
}

fn print(report: &(impl Serialize + Display), json: Option<&Path>) -> Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    match json {
        Some(path) if path.as_os_str() == "-" => {
            eprint!("\n{report}");
            std::io::stdout().write_all(text.as_bytes())?;
        }
        Some(path) => {
            print!("\n{report}");
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => print!("\n{report}"),
    }
    Ok(())
}
