//! The load generator's program: reads the command line, runs, and prints one JSON document.

mod connection;
mod engine;
mod frame;
mod measure;
mod options;
mod payload;
mod phases;
mod recorder;
mod subject;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut engine = engine::Engine::new(options::Options::parse())?;
    let report = phases::run(&mut engine)?;
    println!("{}", serde_json::to_string(&report)?);
    if engine.failed > 0 {
        eprintln!("{} did not get in; the first: {}", engine.failed, engine.first_failure);
    }
    Ok(())
}
