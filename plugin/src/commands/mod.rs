//! What the commands do: they ask and tell the API server, and leave deciding and drawing to others.

mod drain;
mod explain;
mod hold;
mod probe;
mod rollout;
mod status;
mod undo;

pub use explain::drawn as explanation;

use anyhow::Result;

use crate::Outcome;
use crate::access::Access;
use crate::arguments::{Command, RolloutCommand};
use crate::ui::Ui;

/// Does what was asked for. Ctrl-C ends it where it waits; a probe ends with its report.
pub async fn run(command: Command, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let farewell = match &command {
        Command::Probe(arguments) => return Box::pin(probe::run(arguments, access, ui)).await,
        Command::Drain(_) => "the eviction goes on",
        _ => "",
    };
    tokio::select! {
        outcome = act(command, access, ui) => return outcome,
        _ = tokio::signal::ctrl_c() => {}
    }
    if !farewell.is_empty() {
        ui.line(farewell)?;
    }
    Ok(Outcome::Interrupted)
}

async fn act(command: Command, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    match command {
        Command::Status(arguments) => status::run(&arguments, access, ui).await,
        Command::Rollout(RolloutCommand::Status(arguments)) => rollout::run(&arguments, access, ui).await,
        Command::Pause(named) => hold::pause(&named.name, access, ui).await,
        Command::Resume(named) => hold::resume(&named.name, access, ui).await,
        Command::Undo(arguments) => undo::undo(&arguments, access, ui).await,
        Command::History(arguments) => undo::history(&arguments, access, ui).await,
        Command::Explain(arguments) => explain::run(&arguments, access, ui).await,
        Command::Drain(arguments) => drain::run(&arguments.pod, access, ui).await,
        Command::Probe(arguments) => Box::pin(probe::run(&arguments, access, ui)).await,
    }
}
