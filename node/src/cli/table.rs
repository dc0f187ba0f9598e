//! Text in columns.

use std::io::{self, Write};

use super::style::{Style, Tone};

/// A piece of text in a column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text in a tone.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

/// Rows of cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.into_iter().map(|heading| Cell::toned(Tone::Dim, heading)).collect()] }
    }

    /// A table of names and what they are.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Adds a name and what it is.
    pub(crate) fn pair(&mut self, name: &str, value: impl Into<Cell>) {
        self.row([Cell::toned(Tone::Dim, name), value.into()]);
    }

    /// Prints it, each column as wide as its widest cell; the last one ends where it ends.
    pub(crate) fn print(&self, style: &Style, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let filled = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
            for (index, (cell, width)) in row.iter().zip(&widths).take(filled).enumerate() {
                let padding = if index + 1 == filled { 0 } else { width + 2 - cell.text.chars().count() };
                write!(out, "{}{:padding$}", style.paint(cell.tone, &cell.text), "")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let mut table = Table::new(["id", "text"]);
        table.row(["é".into(), "one".into()]);
        table.row(["long".into(), Cell::default()]);
        let mut out = Vec::new();
        table.print(&Style { is_terminal: false, colours: false }, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "id    text\né     one\nlong\n");
    }
}
