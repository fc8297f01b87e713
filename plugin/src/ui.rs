//! Where a command's words go: a terminal that is redrawn, or plain lines. Leaves a terminal as it found it.

use std::io::{self, Write};

use console::{Style, Term};

/// Width where nobody says how wide the paper is.
const PLAIN_WIDTH: usize = 120;

/// Where a command's words go.
pub struct Ui {
    out: Box<dyn Write + Send>,
    paint: Paint,
    term: Option<Term>,
    drawn: usize,
}

impl Ui {
    /// Standard output, redrawn if it is a terminal.
    pub fn stdout() -> Self {
        let term = Term::stdout();
        let terminal = term.is_term();
        let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let term = (terminal && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")).then_some(term);
        Self { out: Box::new(io::stdout()), paint: Paint { coloured: coloured && term.is_some() }, term, drawn: 0 }
    }

    /// Plain lines into `out`.
    pub fn plain(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), paint: Paint { coloured: false }, term: None, drawn: 0 }
    }

    /// Whether what was drawn can be drawn over.
    pub fn is_live(&self) -> bool {
        self.term.is_some()
    }

    /// Columns of a line.
    pub fn width(&self) -> usize {
        self.term.as_ref().map_or(PLAIN_WIDTH, |term| usize::from(term.size().1))
    }

    /// Colours, if there are any.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// Writes text and a line's end.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref().trim_end_matches('\n'))?;
        self.out.flush()
    }

    /// Draws a frame over the one before. Only where it is live.
    pub fn redraw(&mut self, frame: &str) -> io::Result<()> {
        let height = self.term.as_ref().map_or(usize::MAX, |term| usize::from(term.size().0));
        let lines = fitting(frame, height);
        let mut text = if self.drawn == 0 { "\x1b[?25l".to_owned() } else { format!("\x1b[{}A\r", self.drawn) };
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        if self.drawn > 0 {
            let _ = self.out.write_all(b"\x1b[?25h");
            let _ = self.out.flush();
        }
    }
}

/// The lines of a frame that a screen has room for; the last row is the cursor's.
fn fitting(frame: &str, height: usize) -> Vec<String> {
    let lines: Vec<_> = frame.lines().map(str::to_owned).collect();
    let room = height.saturating_sub(1).max(1);
    if lines.len() <= room {
        return lines;
    }
    let hidden = lines.len() - (room - 1);
    let mut lines: Vec<_> = lines.into_iter().take(room - 1).collect();
    lines.push(format!("… {hidden} more lines"));
    lines
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Whether there are any.
    pub coloured: bool,
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Not as it should be.
    Bad,
}

impl Paint {
    /// `text` with its look.
    pub fn apply(self, look: Look, text: &str) -> String {
        if !self.coloured || text.is_empty() {
            return text.to_owned();
        }
        let style = Style::new().force_styling(true);
        let style = match look {
            Look::Plain => return text.to_owned(),
            Look::Strong => style.bold(),
            Look::Faint => style.dim(),
            Look::Good => style.green(),
            Look::Busy => style.yellow(),
            Look::Bad => style.red().bold(),
        };
        style.apply_to(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_too_high_says_how_much_is_hidden() {
        assert_eq!(fitting("a\nb\nc", 4), ["a", "b", "c"]);
        assert_eq!(fitting("a\nb\nc", 3), ["a", "… 2 more lines"]);
        assert_eq!(fitting("a\nb\nc", 0), ["… 3 more lines"]);
    }

    #[test]
    fn without_colours_text_is_left_alone() {
        assert_eq!(Paint { coloured: false }.apply(Look::Bad, "x"), "x");
        assert!(Paint { coloured: true }.apply(Look::Bad, "x").starts_with("\x1b["));
    }
}
