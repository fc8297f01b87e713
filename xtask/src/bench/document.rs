//! The generated part of `docs/bench.md`: the machine and the tables, between two marks.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::results::Results;
use super::table;
use crate::workspace::root;

const BEGIN: &str = "<!-- figures: written by cargo xtask bench --document -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Writes the figures into the document.
pub(crate) fn write(results: &Results) -> Result<()> {
    let path = root().join("docs/bench.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = replace(&text, &section(results)).with_context(|| format!("{} lacks its marks", path.display()))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn section(results: &Results) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    for (name, value) in &results.machine {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    format!("{text}\n{}", table::all(results))
}

fn replace(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{section}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = format!("a\n{BEGIN}old\n{END}z\n");
        assert_eq!(replace(&text, "new"), Some(format!("a\n{BEGIN}\nnew\n{END}z\n")));
        assert_eq!(replace("a", "new"), None);
    }

    #[test]
    fn the_document_has_its_marks() {
        let text = std::fs::read_to_string(root().join("docs/bench.md")).unwrap();
        assert!(replace(&text, "").is_some());
    }
}
