//! `wscluster-operator`: reads the command line, brings a client and a shutdown signal, and hands over to `run`.

use std::process::ExitCode;

use clap::Parser;
use kube::Client;
use wscluster_operator::config::{Arguments, Command};
use wscluster_operator::{controller, logging, shutdown};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Crd => print!("{}", serde_yaml::to_string(&wscluster_crds::crd())?),
        Command::Run(config) => {
            logging::init();
            // Several crates of ours speak TLS; the process picks one implementation for all of them.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = Client::try_default().await?;
            controller::run(*config, client, shutdown::signal()).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
