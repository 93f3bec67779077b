//! Tables: columns that fit, wide characters counted right.

use console::{Alignment, measure_text_width, pad_str};

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

/// `text`, cut to `width` columns with an ellipsis where it is longer.
pub fn shortened(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// A size in the unit that a person would say: `512 B`, `27.3 MB`, `1.4 GB`; powers of 1000.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A duration as a person would say it: `0.4 s`, `12 s`, `3 min 20 s`.
pub fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 100.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// A duration in seconds, as [`duration`] says it.
pub fn seconds(seconds: f64) -> String {
    duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_as_people_say_them() {
        assert_eq!((size(512), size(27_300_000), size(999_600)), ("512 B".into(), "27.3 MB".into(), "1.0 MB".into()));
        assert_eq!(duration(std::time::Duration::from_millis(400)), "0.4 s");
        assert_eq!(duration(std::time::Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn wide_characters_keep_columns_straight() {
        let text = columns(&["NAME", "X"], vec![vec!["数据库".into(), "1".into()], vec!["ab".into(), "2".into()]]);
        assert_eq!(text, "NAME    X\n数据库  1\nab      2\n");
    }
}
