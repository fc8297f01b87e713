//! The generated part of `docs/bench.md`, the machine and the tables, between two marks; and the picture beside it.

use std::fmt::Write;

use anyhow::Result;

use super::results::Results;
use super::{charts, table};
use crate::marks::Marks;
use crate::workspace::root;

const MARKS: Marks =
    Marks { begin: "<!-- figures: written by cargo xtask bench --document -->\n", end: "<!-- end of figures -->\n" };

const PICTURE: &str = "docs/images/bench.svg";

/// Writes the figures into the document, and draws them.
pub(crate) fn write(results: &Results) -> Result<()> {
    if let Some(picture) = charts::draw(results)? {
        std::fs::write(root().join(PICTURE), picture)?;
    }
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
