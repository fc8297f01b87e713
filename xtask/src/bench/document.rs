//! The generated part of `docs/bench.md`: the machine and the tables, between two marks.

use std::fmt::Write;

use anyhow::Result;

use super::results::Results;
use super::table;
use crate::marks::Marks;
use crate::workspace::root;

const MARKS: Marks =
    Marks { begin: "<!-- figures: written by cargo xtask bench --document -->\n", end: "<!-- end of figures -->\n" };

/// Writes the figures into the document.
pub(crate) fn write(results: &Results) -> Result<()> {
    MARKS.write(&root().join("docs/bench.md"), &section(results))
}

fn section(results: &Results) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    for (name, value) in &results.machine {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    format!("{text}\n{}", table::all(results))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_its_marks() {
        let text = std::fs::read_to_string(root().join("docs/bench.md")).unwrap();
        assert!(MARKS.replace(&text, "").is_some());
    }
}
