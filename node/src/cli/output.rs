//! Where answers go: standard output, for people or as the API's own JSON.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use nodespace_node::client::Answer;
use serde::Serialize;

use super::style::{Style, WIDTH_DEFAULT};
use super::table::Table;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Output {
    stream: BufWriter<Stdout>,
    /// Whether JSON was asked for.
    pub(crate) json: bool,
    /// How text looks.
    pub(crate) style: Style,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let style = Style::new(stdout.is_terminal());
        Self { stream: BufWriter::new(stdout), json, style }
    }

    /// Prints a line of text.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.stream, "{line}")
    }

    /// Prints a table of text.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        table.print(&self.style, &mut self.stream)
    }

    /// Prints JSON as it came, on a line of its own.
    pub(crate) fn raw(&mut self, json: &[u8]) -> io::Result<()> {
        self.stream.write_all(json.trim_ascii_end())?;
        self.stream.write_all(b"\n")
    }

    /// Prints a value of our own as JSON.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stream, value).map_err(io::Error::from)?;
        self.stream.write_all(b"\n")
    }

    /// Prints an answer: as it came when JSON was asked for, else as `text` shows it.
    pub(crate) fn answer<T>(&mut self, answer: &Answer<T>, text: impl FnOnce(&mut Self, &T) -> io::Result<()>) -> io::Result<()> {
        if self.json { self.raw(&answer.raw) } else { text(self, &answer.value) }
    }

    /// How many characters a line has room for.
    pub(crate) fn width(&self) -> usize {
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        columns.filter(|columns| *columns >= 40).unwrap_or(WIDTH_DEFAULT)
    }

    /// Sends everything on its way.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
