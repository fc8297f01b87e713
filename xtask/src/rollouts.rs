//! `cargo xtask rollouts`: what sessions went through in each end-to-end scenario, as a table.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use wscluster_tests::rollouts::{FILE, Records};

use crate::bench::machine;
use crate::marks::Marks;
use crate::workspace::{root, target};

const MARKS: Marks =
    Marks { begin: "<!-- table: written by cargo xtask rollouts --document -->\n", end: "<!-- end of table -->\n" };

/// Shows what the end-to-end tests have recorded.
#[derive(Args)]
pub(crate) struct RolloutsArgs {
    /// Files with records; where two have the same scenario the later one counts. Default: that of the last test run.
    files: Vec<PathBuf>,
    /// Write the table into docs/rollouts.md
    #[arg(long)]
    document: bool,
}

/// Prints the table, or writes it into the document.
pub(crate) fn run(args: &RolloutsArgs) -> Result<()> {
    let default = [target().join("test-logs").join(FILE)];
    let files = if args.files.is_empty() { &default[..] } else { &args.files };
    let mut all = Records::default();
    for file in files {
        all.merge(Records::read(file)?);
    }
    ensure!(!all.is_empty(), "there is no record in {}: `cargo xtask test e2e` makes them", names(files));
    if args.document {
        return MARKS.write(&root().join("docs/rollouts.md"), &section(&all));
    }
    print!("{}", all.table());
    Ok(())
}

fn section(all: &Records) -> String {
    let machine = machine::describe();
    let [cores, memory, kernel, commit] =
        ["cores", "memory", "kernel", "commit"].map(|name| machine.get(name).map_or("unknown", String::as_str));
    format!("{cores} cores, {memory}, Linux {kernel}, commit {commit}.\n\n{}", all.table())
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_its_marks() {
        let text = std::fs::read_to_string(root().join("docs/rollouts.md")).unwrap();
        assert!(MARKS.replace(&text, "").is_some());
    }
}
