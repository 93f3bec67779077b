//! How bars look: never wider than the terminal, where a line that wraps would hide what stands above it.

use std::fmt::Write;

use indicatif::{ProgressState, ProgressStyle};

use crate::catalogue::Catalogue;
use crate::cli::text::table::shortened;

/// Without a length until one is known: what is done, and for how long.
pub(super) fn waiting(catalogue: &'static Catalogue) -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {time} {wide_msg}").expect("the template is valid").with_key(
        "time",
        move |state: &ProgressState, line: &mut dyn Write| {
            let _ = line.write_str(&catalogue.ago(state.elapsed()));
        },
    )
}

/// With a length. What does not fit is cut from the end of the figures.
pub(super) fn moving(width: usize) -> ProgressStyle {
    let template = match width {
        100.. => "{spinner} {prefix} [{bar:20}] {wide_msg}",
        _ => "{spinner} {prefix} [{bar:8}] {wide_msg}",
    };
    ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> ")
}

/// What stands before a bar; the figures need the rest.
pub(super) fn prefix(text: &str, width: usize) -> String {
    shortened(text, width * 2 / 5)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use console::measure_text_width;
    use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};

    use super::*;
    use crate::catalogue::Language;

    /// A terminal of a width, and all that was written to it, a line each.
    #[derive(Debug, Clone)]
    struct Recording {
        width: u16,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl TermLike for Recording {
        fn width(&self) -> u16 {
            self.width
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.lines.lock().unwrap().push(text.to_owned());
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(style: ProgressStyle, subject: &str, width: u16) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let terminal = Recording { width, lines: Arc::clone(&lines) };
        let target = ProgressDrawTarget::term_like(Box::new(terminal));
        let bar = ProgressBar::with_draw_target(Some(1000), target).with_style(style);
        bar.set_prefix(prefix(subject, usize::from(width)));
        bar.set_message("812 MB of 1.4 GB, 210 MB/s, 4 s left");
        bar.abandon();
        let lines = lines.lock().unwrap();
        lines.iter().rev().find(|line| !line.trim().is_empty()).cloned().unwrap_or_default()
    }

    #[test]
    fn no_bar_is_wider_than_the_terminal() {
        for language in Language::ALL {
            for width in [40_u16, 80, 90, 120] {
                for subject in ["loading metis/metis_worker_gpu:v1.5_no_subtask", "正在加载 档案管理接口服务"]
                {
                    let styles = [waiting(Catalogue::of(language)), moving(usize::from(width))];
                    for line in styles.map(|style| drawn(style, subject, width)) {
                        assert!(line.contains("812 MB") || width == 40, "{line:?}");
                        assert!(measure_text_width(&line) <= usize::from(width), "{width}: {line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn how_long_something_takes_is_said_in_the_language() {
        let said = Language::ALL.map(|language| drawn(waiting(Catalogue::of(language)), "redis", 80));
        assert!(said[0].contains("redis 0 s ") && said[1].contains("redis 0 秒 "), "{said:?}");
    }
}
