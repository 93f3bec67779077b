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

/// A time as every table shows it: UTC, to the second, as the names of backups have it.
pub fn time(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => at.to_owned(),
    }
}

/// A column of a table that fits a width.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub title: &'static str,
    /// It may be cut down to so many columns; never where `None`.
    pub least: Option<usize>,
    /// It is cut only when no column is left that could be left out.
    pub is_cut_last: bool,
    /// It is cut only when no other column can be cut: the name that a row is known by.
    pub is_cut_late: bool,
    /// Where cutting is not enough, the column with the highest number goes first; never where `None`.
    pub leaves: Option<u8>,
    pub alignment: Alignment,
}

impl Column {
    pub fn new(title: &'static str) -> Self {
        Self { title, least: None, is_cut_last: false, is_cut_late: false, leaves: None, alignment: Alignment::Left }
    }

    pub fn right(self) -> Self {
        Self { alignment: Alignment::Right, ..self }
    }

    pub fn at_least(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    pub fn cut_late(self) -> Self {
        Self { is_cut_late: true, ..self }
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

/// In a terminal that has no room for anything, columns are cut to this.
const LEAST_CUT: usize = 6;

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
            let givers = || widths.iter().copied().enumerate().filter(may_give);
            let early = givers().filter(|(at, _)| !columns[kept[*at]].is_cut_late).max_by_key(|(_, width)| *width);
            let Some((widest, _)) = early.or_else(|| givers().max_by_key(|(_, width)| *width)) else {
                break;
            };
            widths[widest] -= 1;
            over -= 1;
        }
        match leaving {
            Some(leaving) if over > 0 => kept.retain(|place| *place != leaving),
            _ => {
                // Better cut than wrapped.
                while let Some(widest) = widths.iter_mut().max().filter(|widest| over > 0 && **widest > LEAST_CUT) {
                    *widest -= 1;
                    over -= 1;
                }
                break widths;
            }
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

/// As [`columns`] where these fit into `width`; elsewhere a row's cells stand one below the other, and nothing is cut. For what
/// somebody agrees to.
pub fn whole(header: &[&str], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    let side_by_side = columns(header, rows.clone());
    let Some(width) = width.filter(|width| side_by_side.lines().any(|line| measure_text_width(line) > *width)) else {
        return side_by_side;
    };
    // Of two columns everybody knows which is which.
    let labels = if header.len() > 2 { header } else { &[] };
    let label_width = labels.iter().skip(1).map(|label| measure_text_width(label)).max().map_or(0, |widest| widest + 2);
    let indent = if labels.is_empty() { 4 } else { 2 };
    let mut text = String::new();
    for row in &rows {
        for (place, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            if place == 0 {
                text.push_str(&wrapped(cell, width, indent));
            } else {
                let label = labels.get(place).copied().unwrap_or_default();
                let label = pad_str(label, label_width, Alignment::Left, None);
                let begun = format!("{:indent$}{label}", "");
                let within = indent + label_width;
                text.push_str(&begun);
                text.push_str(
                    &wrapped(cell, width.saturating_sub(within), 0).replace('\n', &format!("\n{:within$}", "")),
                );
            }
            text.push('\n');
        }
    }
    text
}

/// No line is narrower than this, however narrow the terminal is.
const LEAST_LINE: usize = 8;

/// `text` in lines of at most `width` columns, broken at spaces where there are any; those behind the first begin `indent` columns
/// in.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let room = |is_first: bool| width.saturating_sub(if is_first { 0 } else { indent }).max(LEAST_LINE);
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in text.split_inclusive(' ') {
        let columns = measure_text_width(word.trim_end());
        if taken > 0 && taken + columns > room(lines.len() == 1) && columns <= room(false) {
            lines.push(String::new());
            taken = 0;
        }
        if taken + columns <= room(lines.len() == 1) {
            lines.last_mut().expect("there is always a line").push_str(word);
            taken += measure_text_width(word);
            continue;
        }
        // A word that no line holds, or a text in a language without spaces.
        for character in word.chars() {
            let columns = measure_text_width(character.encode_utf8(&mut [0; 4]));
            if taken + columns > room(lines.len() == 1) {
                lines.push(String::new());
                taken = 0;
            }
            lines.last_mut().expect("there is always a line").push(character);
            taken += columns;
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join(&format!("\n{:indent$}", ""))
}

/// `text`, cut to `width` columns with an ellipsis where it is longer.
pub fn shortened(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// The languages and the widths of terminals that every table is tested in.
#[cfg(test)]
pub fn every_width() -> impl Iterator<Item = (crate::catalogue::Language, usize)> {
    crate::catalogue::Language::ALL.into_iter().flat_map(|language| [40, 60, 80, 120].map(|width| (language, width)))
}

/// No line is longer than the terminal is wide.
#[cfg(test)]
#[track_caller]
pub fn assert_fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(measure_text_width(line) <= width, "{} of {width} columns: {line}\n{text}", measure_text_width(line));
    }
}

/// A page in both languages, whole and on narrow terminals; no line of it is longer than they are wide.
#[cfg(test)]
#[track_caller]
pub fn pages(page: impl Fn(&'static crate::catalogue::Catalogue, Option<usize>) -> String) -> String {
    use crate::catalogue::{Catalogue, Language};

    for (language, width) in every_width() {
        assert_fits(&page(Catalogue::of(language), Some(width)), width);
    }
    let of = |language| [None, Some(80), Some(60)].map(|width| page(Catalogue::of(language), width)).join("\n");
    [Language::English, Language::Chinese].map(of).join("\n")
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
    fn a_name_is_cut_when_nothing_else_can_be() {
        let columns = [Column::new("NAME").at_least(6).cut_late(), Column::new("WHAT").at_least(6)];
        let rows = [vec!["metis_worker_manager".to_owned(), "metis/worker_manager:1".to_owned()]];
        let at = |width| fitted(&columns, &rows, Some(width));
        assert_eq!(at(34), "NAME                  WHAT\nmetis_worker_manager  metis/worke…\n");
        assert_eq!(at(26), "NAME                WHAT\nmetis_worker_mana…  metis…\n");
    }

    #[test]
    fn what_is_agreed_to_is_never_cut() {
        let rows = || vec![vec!["create danganju-web-1".into(), "image changed: sha256:0123456789abcdef".into()]];
        assert_eq!(whole(&["STEP", "CAUSE"], rows(), Some(80)), columns(&["STEP", "CAUSE"], rows()));
        assert_eq!(whole(&["STEP", "CAUSE"], rows(), None), columns(&["STEP", "CAUSE"], rows()));
        let text = whole(&["STEP", "CAUSE"], rows(), Some(28));
        assert_eq!(text, "create danganju-web-1\n    image changed:\n    sha256:0123456789abcdef\n");
        let rows = vec![vec!["web:1".into(), "将载入".into(), "5 of 5".into(), String::new()]];
        let text = whole(&["IMAGE", "RESULT", "LAYERS", "FROM"], rows, Some(20));
        assert_eq!(text, "web:1\n  RESULT  将载入\n  LAYERS  5 of 5\n");
    }

    #[test]
    fn lines_break_at_spaces_and_elsewhere_only_where_there_are_none() {
        assert_eq!(wrapped("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrapped("数据库服务器磁盘", 10, 0), "数据库服务\n器磁盘");
        assert_eq!(wrapped("a 0123456789abc", 10, 0), "a 01234567\n89abc");
        assert_eq!(wrapped("", 10, 2), "");
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

    #[test]
    fn a_time_is_told_in_utc_to_the_second_wherever_it_is_from() {
        for at in ["2026-07-04T10:15:30Z", "2026-07-04T10:15:30.25Z", "2026-07-04T18:15:30+08:00"] {
            assert_eq!(time(at), "2026-07-04T10:15:30Z");
        }
        assert_eq!(time("once"), "once");
    }
}
