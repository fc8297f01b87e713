//! The project's own commands: demo, test, bench, rollouts, autoscaling, fuzz, cluster, image, codegen.

mod autoscaling;
mod bench;
mod cluster;
mod codegen;
mod demo;
mod fuzz;
mod image;
mod marks;
mod rollouts;
mod site;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A Kubernetes, a fleet, live sessions through a rolling upgrade, and a report
    Demo(demo::DemoArgs),
    /// Everything that proves the project
    Test(test::TestArgs),
    /// Our gateway and its peers under the same load: what each costs
    Bench(bench::BenchArgs),
    /// What sessions went through in each end-to-end scenario, as a table
    Rollouts(rollouts::RolloutsArgs),
    /// A fleet that follows its connections, as a picture
    Autoscaling(autoscaling::AutoscalingArgs),
    /// Strange input for everything that reads what strangers send
    Fuzz(fuzz::FuzzArgs),
    /// A real Kubernetes on this machine: start it, look into it, take it down
    Cluster(cluster::Arguments),
    /// Build the container image as an OCI archive, without Docker
    Image(image::Arguments),
    /// Write the files that are generated from the types and the chart
    Codegen(codegen::CodegenArgs),
}

fn main() -> ExitCode {
    // A testbed's nodes are this same program in another role.
    wscluster_tests::become_node_if_asked();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Demo(arguments) => demo::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Test(arguments) => test::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Rollouts(arguments) => rollouts::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Autoscaling(arguments) => autoscaling::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Fuzz(arguments) => fuzz::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Cluster(arguments) => cluster::run(arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Codegen(arguments) => codegen::run(&arguments).map(|()| ExitCode::SUCCESS),
    }
}
