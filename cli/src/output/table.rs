//! Columns without borders, aligned, as wide as their widest cell.

use anstyle::Style;

struct Cell {
    text: String,
    style: Style,
}

/// A table that is built row by row.
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with a heading.
    pub fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let cells = headings.into_iter().map(|text| Cell { text: text.to_owned(), style: super::BOLD });
        Self { rows: vec![cells.collect()] }
    }

    /// A table without one.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row. Empty cells show as `-`; control characters are removed.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Style)>) {
        let cells = cells.into_iter().map(|(text, style)| {
            let text = super::harmless(&text, false);
            Cell { text: if text.is_empty() { "-".to_owned() } else { text }, style }
        });
        self.rows.push(cells.collect());
    }

    /// The table as text with colours, each line indented.
    pub fn render(&self, indent: usize) -> String {
        self.lines(indent, &self.widths())
    }

    /// The rows as they go on below others: columns as wide as theirs, or wider from here on.
    pub fn render_below(&self, above: &mut Vec<usize>) -> String {
        let own = self.widths();
        above.resize(above.len().max(own.len()), 0);
        above.iter_mut().zip(own).for_each(|(above, own)| *above = own.max(*above));
        self.lines(0, above)
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |n: usize| self.rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.text.chars().count()).max().unwrap_or(0);
        (0..columns).map(width).collect()
    }

    fn lines(&self, indent: usize, widths: &[usize]) -> String {
        let mut out = String::new();
        for row in &self.rows {
            out.push_str(&" ".repeat(indent));
            for (n, (cell, width)) in row.iter().zip(widths).enumerate() {
                out.push_str(&super::paint(cell.style, &cell.text));
                // No spaces at the end of a line.
                if n + 1 < row.len() {
                    out.push_str(&" ".repeat(width - cell.text.chars().count() + 3));
                }
            }
            out.push('\n');
        }
        out
    }
}
