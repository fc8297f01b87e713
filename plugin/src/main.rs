//! `kubectl-wscluster`: reads the command line, brings a client and a terminal, and says by its exit status how it went.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use kubectl_wscluster::access::Access;
use kubectl_wscluster::arguments::Arguments;
use kubectl_wscluster::ui::Ui;
use kubectl_wscluster::{Outcome, run};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Outcome::COULD_NOT } else { 0 });
        }
    };
    match act(arguments).await {
        Ok(outcome) => ExitCode::from(outcome.code()),
        // Whoever read our output has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(Outcome::COULD_NOT)
        }
    }
}

async fn act(arguments: Arguments) -> anyhow::Result<Outcome> {
    // Another crate of a build may bring a second implementation of TLS; the process picks one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let access = Access::connect(&arguments.connection).await?;
    run(arguments.command, &access, &mut Ui::stdout()).await
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
