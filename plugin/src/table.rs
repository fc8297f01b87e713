//! Columns that line up, and give way where the screen is narrow.

use std::fmt::Display;

use console::{measure_text_width, truncate_str};

use crate::ui::{Look, Paint};

/// Between two columns.
const GAP: usize = 3;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// Where the screen is too narrow, those with the highest number go first. 0 stays.
    pub drop: u8,
}

/// A column that stays.
pub const fn column(title: &'static str) -> Column {
    Column { title, right: false, drop: 0 }
}

impl Column {
    /// With its text to the right.
    #[must_use]
    pub const fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// One that gives way.
    #[must_use]
    pub const fn drop(self, drop: u8) -> Self {
        Self { drop, ..self }
    }
}

/// Text and how it looks.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    look: Look,
}

/// A cell.
pub fn cell(text: impl Display, look: Look) -> Cell {
    Cell { text: text.to_string(), look }
}

/// A cell that looks like any other.
pub fn plain(text: impl Display) -> Cell {
    cell(text, Look::Plain)
}

/// Lines up `rows` under `columns` within `width`.
pub fn table(columns: &[Column], rows: &[Vec<Cell>], width: usize, paint: Paint) -> String {
    let mut widths: Vec<_> = (0..columns.len()).map(|index| widest(columns, rows, index)).collect();
    let mut shown: Vec<_> = (0..columns.len()).collect();
    while total(&shown, &widths) > width {
        let Some(least) = shown.iter().copied().filter(|&at| columns[at].drop > 0).max_by_key(|&at| columns[at].drop)
        else {
            break;
        };
        shown.retain(|&at| at != least);
    }
    let excess = total(&shown, &widths).saturating_sub(width);
    if let Some(&first) = shown.first().filter(|_| excess > 0) {
        widths[first] = widths[first].saturating_sub(excess).max(8);
    }
    let heads: Vec<_> = columns.iter().map(|column| cell(column.title, Look::Faint)).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        text.push_str(&line(columns, &shown, &widths, row, paint));
        text.push('\n');
    }
    text
}

fn widest(columns: &[Column], rows: &[Vec<Cell>], index: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| measure_text_width(&cell.text));
    cells.chain([measure_text_width(columns[index].title)]).max().unwrap_or(0)
}

fn total(shown: &[usize], widths: &[usize]) -> usize {
    shown.iter().map(|&at| widths[at]).sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

fn line(columns: &[Column], shown: &[usize], widths: &[usize], row: &[Cell], paint: Paint) -> String {
    let mut line = String::new();
    for (position, &at) in shown.iter().enumerate() {
        let Cell { text, look } = row.get(at).cloned().unwrap_or_default();
        let text = truncate_str(&text, widths[at], "…");
        let padding = " ".repeat(widths[at].saturating_sub(measure_text_width(&text)));
        let gap = if position == 0 { "" } else { "   " };
        let painted = paint.apply(look, &text);
        let last = position + 1 == shown.len();
        line.push_str(gap);
        match columns[at].right {
            true => line.extend([padding.as_str(), &painted]),
            false if last => line.push_str(&painted),
            false => line.extend([painted.as_str(), &padding]),
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [column("NAME"), column("N").right(), column("IMAGE").drop(1)];

    fn lines(width: usize) -> Vec<String> {
        let rows = [
            vec![plain("chat-gateway"), plain(7), plain("example.com/gateway:1")],
            vec![plain("a"), plain(12_345), plain("x")],
        ];
        table(&COLUMNS, &rows, width, Paint { coloured: false }).lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            lines(80),
            [
                "NAME               N   IMAGE",
                "chat-gateway       7   example.com/gateway:1",
                "a              12345   x"
            ]
        );
    }

    #[test]
    fn a_narrow_screen_drops_what_may_go_and_then_shortens_the_first_column() {
        assert_eq!(lines(20), ["NAME               N", "chat-gateway       7", "a              12345"]);
        assert_eq!(lines(17), ["NAME            N", "chat-gat…       7", "a           12345"]);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [vec![cell("a", Look::Good), plain(1), plain("x")]];
        let coloured = table(&COLUMNS, &rows, 80, Paint { coloured: true });
        let line = coloured.lines().nth(1).unwrap().replace("\x1b[32m", "").replace("\x1b[0m", "");
        assert_eq!(line, "a      1   x");
    }
}
