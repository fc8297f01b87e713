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

use anyhow::Result;
use clap::Parser;

fn main() -> Result<()> {
    let mut engine = engine::Engine::new(options::Options::parse())?;
    let report = phases::run(&mut engine)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
