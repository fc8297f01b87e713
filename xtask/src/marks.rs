//! Documents with a generated part between two marks.

use std::path::Path;

use anyhow::{Context, Result};

/// The lines around a generated part.
#[derive(Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) begin: &'static str,
    pub(crate) end: &'static str,
}

impl Marks {
    /// Writes the generated part of a file; what is around it stays.
    pub(crate) fn write(self, path: &Path, part: &str) -> Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = self.replace(&text, part).with_context(|| format!("{} lacks its marks", path.display()))?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The text with another part; nothing if it lacks the marks.
    pub(crate) fn replace(self, text: &str, part: &str) -> Option<String> {
        let Self { begin, end } = self;
        let (before, rest) = text.split_once(begin)?;
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n{part}\n{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let marks = Marks { begin: "<!-- from -->\n", end: "<!-- to -->\n" };
        let text = "a\n<!-- from -->\nold\n<!-- to -->\nz\n";
        assert_eq!(marks.replace(text, "new").as_deref(), Some("a\n<!-- from -->\n\nnew\n<!-- to -->\nz\n"));
        assert_eq!(marks.replace("a", "new"), None);
    }
}
