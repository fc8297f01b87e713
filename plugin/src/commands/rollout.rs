//! `rollout status`: waits until the newest spec is out, or will not be.

use std::future::pending;
use std::pin::pin;

use anyhow::Result;
use futures::TryStreamExt;
use tokio::time::sleep;

use crate::Outcome;
use crate::access::Access;
use crate::arguments::RolloutStatusArguments;
use crate::progress::{self, Progress};
use crate::ui::Ui;

pub(super) async fn run(arguments: &RolloutStatusArguments, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let name = &arguments.name;
    access.cluster(name).await?;
    let timeout = async {
        match arguments.timeout {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
    };
    let mut last = String::new();
    tokio::select! {
        outcome = follow(name, access, ui, &mut last) => return outcome,
        () = timeout => {}
    }
    ui.line(format!("not within the time given; {}", if last.is_empty() { "nothing was heard" } else { &last }))?;
    Ok(Outcome::TimedOut)
}

async fn follow(name: &str, access: &Access, ui: &mut Ui, last: &mut String) -> Result<Outcome> {
    let mut changes = pin!(access.watch(name));
    while let Some(change) = changes.try_next().await? {
        let Some(cluster) = change else {
            ui.line(format!("{name} is gone"))?;
            return Ok(Outcome::Failed);
        };
        let (line, outcome) = match progress::of(&cluster) {
            Progress::Waiting(line) => (line, None),
            Progress::Complete(line) => (line, Some(Outcome::Done)),
            Progress::Stopped(line) => (line, Some(Outcome::Failed)),
        };
        if line != *last {
            ui.line(&line)?;
            *last = line;
        }
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Failed)
}
