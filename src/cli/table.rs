//! Tables: columns that fit, wide characters counted right.

use console::{Alignment, measure_text_width, pad_str};

pub use crate::catalogue::size;

/// Columns with a header, two spaces apart. Cells may be painted; wide characters count as two.
pub fn columns(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let mut widths = vec![0; header.len()];
    for row in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(cell));
        }
    }
    let mut text = String::new();
    for row in [&header].into_iter().chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A column of a table that fits a width.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub title: &'static str,
    /// It may be cut down to so many columns; never where `None`.
    pub least: Option<usize>,
    /// It is cut only when no column is left that could be left out.
    pub is_cut_last: bool,
    /// Where cutting is not enough, the column with the highest number goes first; never where `None`.
    pub leaves: Option<u8>,
    pub alignment: Alignment,
}

impl Column {
    pub fn new(title: &'static str) -> Self {
        Self { title, least: None, is_cut_last: false, leaves: None, alignment: Alignment::Left }
    }

    pub fn right(self) -> Self {
        Self { alignment: Alignment::Right, ..self }
    }

    pub fn at_least(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    pub fn at_last_resort(self, least: usize) -> Self {
        Self { least: Some(least), is_cut_last: true, ..self }
    }

    pub fn leaves(self, rank: u8) -> Self {
        Self { leaves: Some(rank), ..self }
    }
}

/// Nothing is cut below this while there is a column that can be left out.
const COMFORTABLE: usize = 12;

/// As [`columns`], within `width`: the widest columns that may be cut are cut first, then columns are left out. A column
/// without any content is left out always.
pub fn fitted(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> String {
    let cell = |row: &[String], place: usize| row.get(place).map_or(0, |cell| measure_text_width(cell));
    let natural = |place: usize| rows.iter().map(|row| cell(row, place)).max().unwrap_or_default();
    let mut kept: Vec<usize> = (0..columns.len()).filter(|place| rows.is_empty() || natural(*place) > 0).collect();
    let widths = loop {
        let mut widths: Vec<usize> =
            kept.iter().map(|place| natural(*place).max(measure_text_width(columns[*place].title))).collect();
        let Some(limit) = width else { break widths };
        let leaving = kept.iter().copied().filter(|place| columns[*place].leaves.is_some());
        let leaving = leaving.max_by_key(|place| columns[*place].leaves);
        // What is cut to a few letters says less than what is missing: that comes last.
        let floor = if leaving.is_some() { COMFORTABLE } else { 0 };
        let mut over = (widths.iter().sum::<usize>() + 2 * kept.len().saturating_sub(1)).saturating_sub(limit);
        while over > 0 {
            let may_give = |(at, width): &(usize, usize)| {
                let column = &columns[kept[*at]];
                let may_be_cut = leaving.is_none() || !column.is_cut_last;
                may_be_cut
                    && column.least.is_some_and(|least| *width > least.max(floor).max(measure_text_width(column.title)))
            };
            let Some((widest, _)) = widths.iter().copied().enumerate().filter(may_give).max_by_key(|(_, width)| *width)
            else {
                break;
            };
            widths[widest] -= 1;
            over -= 1;
        }
        match leaving {
            Some(leaving) if over > 0 => kept.retain(|place| *place != leaving),
            _ => break widths,
        }
    };
    let mut text = String::new();
    let mut line = |cells: &dyn Fn(usize) -> String| {
        let cells = kept.iter().zip(&widths).map(|(place, width)| {
            pad_str(&shortened(&cells(*place), *width), *width, columns[*place].alignment, None).into_owned()
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    };
    line(&|place| columns[place].title.to_owned());
    for row in rows {
        line(&|place| row.get(place).cloned().unwrap_or_default());
    }
    text
}

/// As [`fitted`] at a terminal; elsewhere as [`columns`], with nothing cut and nothing left out.
pub fn within(titled: &[Column], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    match width {
        Some(width) => fitted(titled, &rows, Some(width)),
        None => columns(&titled.iter().map(|column| column.title).collect::<Vec<_>>(), rows),
    }
}

/// `text`, cut to `width` columns with an ellipsis where it is longer.
pub fn shortened(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_by_cutting_what_may_be_cut_and_leaving_out_what_may_be_missing() {
        let columns = [
            Column::new("NO").right(),
            Column::new("NAME").at_least(6),
            Column::new("PORTS").at_least(6).leaves(1),
            Column::new("EMPTY"),
        ];
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = [row(["1", "数据库服务", "127.0.0.1:80", ""]), row(["12", "b", "", ""])];
        let at = |width| fitted(&columns, &rows, width);
        assert_eq!(at(None), "NO  NAME        PORTS\n 1  数据库服务  127.0.0.1:80\n12  b\n");
        assert_eq!(at(Some(24)), "NO  NAME\n 1  数据库服务\n12  b\n");
        assert_eq!(at(Some(10)), "NO  NAME\n 1  数据…\n12  b\n");
        assert_eq!(at(Some(14)), "NO  NAME\n 1  数据库服务\n12  b\n");
        assert!(at(Some(24)).lines().all(|line| measure_text_width(line) <= 24));
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!((size(512), size(27_300_000), size(999_600)), ("512 B".into(), "27.3 MB".into(), "1.0 MB".into()));
    }

    #[test]
    fn wide_characters_keep_columns_straight() {
        let text = columns(&["NAME", "X"], vec![vec!["数据库".into(), "1".into()], vec!["ab".into(), "2".into()]]);
        assert_eq!(text, "NAME    X\n数据库  1\nab      2\n");
    }
}
