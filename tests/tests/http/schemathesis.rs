//! schemathesis against the served document.

use std::process::Command;

use anyhow::Result;
use libtest_mimic::Failed;
use wscluster_tests::{packages, python};

use crate::gateway::{Gateway, KEY};

/// The tool and everything it needs, pinned.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// Seconds of sending, for each kind of log.
const SECONDS: &str = "25";

/// Lets it loose on a gateway.
pub(crate) fn run(redis: bool) -> Result<(), Failed> {
    let (clean, report) = attack(redis).map_err(|error| format!("{error:#}"))?;
    if clean { Ok(()) } else { Err(report.into()) }
}

fn attack(redis: bool) -> Result<(bool, String)> {
    packages::ensure_http()?;
    let programs = python::environment("schemathesis", REQUIREMENTS)?;
    let gateway = Gateway::start(redis)?;
    let document = format!("http://{}/api/v1/openapi.json", gateway.public);
    let mut command = Command::new(programs.join("schemathesis"));
    command.args(["run", &document, "--header", &format!("Authorization: Bearer {KEY}"), "--max-time", SECONDS]);
    // A room is limited in bytes, which a schema cannot say: a valid name by the schema may still be too long.
    command.args(["--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]);
    // The same requests in every run: what it finds, it finds again.
    command.args(["--seed", "1"]);
    command.args(["--warnings", "off", "--no-color", "--output-sanitize", "false"]);
    let output = command
        .current_dir(gateway.folder.path())
        .env("HYPOTHESIS_STORAGE_DIRECTORY", gateway.folder.path())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = format!("{text}\n{}\nthe gateway:\n{}", String::from_utf8_lossy(&output.stderr), gateway.log());
    Ok((output.status.success(), report))
}
