//! `cargo xtask autoscaling`: a fleet that follows its connections, as a picture and as what `kubectl get hpa` showed.

mod picture;

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use wscluster_tests::autoscaling::{FILE, Run};

use crate::marks::Marks;
use crate::workspace::{root, target};

const MARKS: Marks =
    Marks { begin: "<!-- run: written by cargo xtask autoscaling --document -->\n", end: "<!-- end of run -->\n" };

const DOCUMENT: &str = "docs/autoscaling.md";
const PICTURE: &str = "docs/images/autoscaling.svg";

/// Draws what the end-to-end test has seen.
#[derive(Args)]
pub(crate) struct AutoscalingArgs {
    /// The run. Default: that of the last `cargo xtask test e2e`.
    file: Option<PathBuf>,
    /// Write the picture to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the picture and the table into docs
    #[arg(long)]
    document: bool,
}

/// Prints the table, and draws the picture where it is wanted.
pub(crate) fn run(args: &AutoscalingArgs) -> Result<()> {
    let file = args.file.clone().unwrap_or_else(|| target().join("test-logs").join(FILE));
    let run = Run::read(&file)?;
    if let Some(svg) = &args.svg {
        picture::draw(&run, svg)?;
    }
    if args.document {
        picture::draw(&run, &root().join(PICTURE))?;
        return MARKS.write(&root().join(DOCUMENT), &section(&run)?);
    }
    print!("{}", table(&run));
    Ok(())
}

/// What `kubectl get hpa` showed at each mark, and one answer of the metrics API.
fn section(run: &Run) -> Result<String> {
    let mut text = format!("What `kubectl get hpa` showed meanwhile:\n\n```\n{}```", table(run));
    if let Some(told) = &run.told {
        let mut told = told.clone();
        // The others are like the first.
        told["items"].as_array_mut().into_iter().for_each(|items| items.truncate(1));
        let told = serde_json::to_string_pretty(&told)?;
        let _ = write!(
            text,
            "\n\nAnd `kubectl get --raw` of `pods/*/ws_active_connections`, as above, when it was even; its first item:\n\n```json\n{told}\n```"
        );
    }
    Ok(text)
}

/// What `kubectl get hpa` showed at each mark.
fn table(run: &Run) -> String {
    let Some(first) = run.marks.first() else { return String::new() };
    let mut lines = vec![vec!["AT".to_owned(), "WHAT".to_owned()]];
    lines[0].extend(first.autoscaler.iter().map(|(name, _)| name.clone()));
    for mark in &run.marks {
        let mut line = vec![format!("{:.0}s", mark.seconds), mark.what.clone()];
        line.extend(mark.autoscaler.iter().map(|(_, value)| value.clone()));
        lines.push(line);
    }
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column).unwrap_or(0)));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("   ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wscluster_tests::autoscaling::Mark;

    #[test]
    fn the_document_has_its_marks() {
        let text = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
        assert!(MARKS.replace(&text, "").is_some());
    }

    #[test]
    fn the_table_is_as_wide_as_its_cells() {
        let mark = |seconds, what: &str, replicas: &str| Mark {
            seconds,
            what: what.to_owned(),
            autoscaler: vec![("REPLICAS".to_owned(), replicas.to_owned())],
        };
        let run = Run { marks: vec![mark(1.2, "begin", "2"), mark(61.0, "a longer word", "6")], ..Run::default() };
        let wanted = "AT    WHAT            REPLICAS\n1s    begin           2\n61s   a longer word   6\n";
        assert_eq!(table(&run), wanted);
    }
}
