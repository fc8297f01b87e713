//! `kubectl wscluster` on a real fleet: everything that docs/kubectl.md shows, by its own code, through the API server alone.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use clap::Parser;
use kube::ResourceExt;
use kubectl_wscluster::access::Access;
use kubectl_wscluster::arguments::Arguments;
use kubectl_wscluster::ui::Ui;
use kubectl_wscluster::{Outcome, run};
use serde_json::{Value, json};

use crate::rollout::environment;
use crate::scenario::{Load, Scenario, assert_moved_at_most};
use crate::world::{MINUTE, logs};

/// A person rolls a change out, watches it, holds it, goes back, empties one gateway, and has all of it proven.
pub(crate) async fn a_fleet_is_followed_and_steered_from_the_shell(scenario: Scenario) -> Result<()> {
    scenario
        .deploy(&json!({
            "replicas": 2,
            "drain": {"minSeconds": 3, "timeoutSeconds": 60, "connectionsPerSecond": 200},
        }))
        .await?;
    let held = scenario.hold(Load::of(300)).await?;
    let watched = Words::default();
    let watching = tokio::spawn({
        let (access, watched) = (access(&scenario), watched.clone());
        async move { command(&access, "status chat --watch", watched).await }
    });
    let shell = Shell { access: access(&scenario) };
    roll_out_and_back(&scenario, &shell).await?;
    let pod = scenario.fleet.gateways().await?.first().map(ResourceExt::name_any).unwrap_or_default();
    let drained = shell.done(&format!("drain {pod}")).await?;
    ensure!(drained.contains(&format!("{pod} is gone")), "it was not followed to its end: {drained}");
    scenario.fleet.wait_rolled_out(2 * MINUTE).await?;
    watching.abort();
    std::fs::write(logs().join("kubectl-wscluster-watch.txt"), watched.text())?;
    ensure!(watched.text().contains("moved"), "the moves were not shown:\n{}", watched.text());
    // Forward, back, and one gateway of two emptied.
    assert_moved_at_most(&held.finish().await?, 3)?;
    let proof = shell.done("probe chat --sessions 50 --rooms 5 --duration 3s").await?;
    ensure!(proof.contains("nothing lost"), "the probe's verdict is not shown: {proof}");
    Ok(())
}

async fn roll_out_and_back(scenario: &Scenario, shell: &Shell) -> Result<()> {
    scenario.fleet.patch(environment("forward")).await?;
    shell.done("rollout status chat --timeout 3m").await?;
    let explained = shell.done("explain chat").await?;
    ensure!(explained.contains("spec.drain.minSeconds"), "the numbers' fields are not named: {explained}");
    let history: Value = serde_json::from_str(&shell.done("history chat -o json").await?)?;
    ensure!(history.as_array().is_some_and(|all| all.len() > 1), "not both revisions are known: {history}");
    shell.done("pause chat").await?;
    shell.done("undo chat").await?;
    let held = shell.ends("rollout status chat --timeout 1m", Outcome::Failed).await?;
    ensure!(held.contains("resume chat"), "the way on is not named: {held}");
    ensure!(scenario.fleet.get().await?.spec.gateway.env.is_empty(), "the spec is not what it was");
    shell.done("resume chat").await?;
    shell.done("rollout status chat --timeout 3m").await?;
    Ok(())
}

struct Shell {
    access: Access,
}

impl Shell {
    async fn done(&self, line: &str) -> Result<String> {
        self.ends(line, Outcome::Done).await
    }

    /// Runs a command, which must end so, and returns what it printed.
    async fn ends(&self, line: &str, expected: Outcome) -> Result<String> {
        let words = Words::default();
        let outcome = command(&self.access, line, words.clone()).await?;
        ensure!(outcome == expected, "`kubectl wscluster {line}` ended with {outcome:?}:\n{}", words.text());
        Ok(words.text())
    }
}

fn access(scenario: &Scenario) -> Access {
    Access { client: scenario.fleet.client().clone(), namespace: scenario.fleet.namespace().to_owned() }
}

async fn command(access: &Access, line: &str, words: Words) -> Result<Outcome> {
    let arguments = Arguments::try_parse_from(["kubectl-wscluster"].into_iter().chain(line.split(' ')))?;
    run(arguments.command, access, &mut Ui::plain(words)).await
}

/// What a command has printed so far.
#[derive(Clone, Default)]
struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panics in writing")).into_owned()
    }
}

impl Write for Words {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics in writing").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
