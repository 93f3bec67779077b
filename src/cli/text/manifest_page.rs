//! What is wrong with a manifest, shown where it is wrong.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::output::Output;
use super::{table, terminal_size};
use crate::catalogue::Catalogue;
use crate::manifest::{Problem, Severity, Sources};
use crate::report::Message;

/// More problems than this nobody reads at once, and each page costs a walk through the whole file.
const MOST_SHOWN: usize = 200;

/// `= warning: ` and the columns of a line number before it.
const LABEL: usize = 16;

/// Shows the problems on standard error, and says how many more there are.
pub fn show(output: &Output, sources: &Sources, problems: &[Problem]) {
    let width = std::io::stderr().is_terminal().then(|| terminal_size::of_stderr().0);
    let look = Look { catalogue: output.catalogue, color: output.color_err(), width };
    for problem in problems.iter().take(MOST_SHOWN) {
        output.line(&render(problem, sources, &look));
    }
    let more = problems.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        output.line(&output.catalogue.text(&message!("manifest-more-problems", count = more)));
    }
}

/// How a page looks.
struct Look {
    catalogue: &'static Catalogue,
    color: bool,
    /// Of a terminal.
    width: Option<usize>,
}

/// One problem: `file:line:column`, the line itself with carets, what was meant.
fn render(problem: &Problem, sources: &Sources, look: &Look) -> String {
    let Look { catalogue, color, width } = *look;
    // Its own colon follows.
    let name = |label| catalogue.word(label).trim_end_matches(':');
    let level = match problem.severity {
        Severity::Error => Level::ERROR.with_name(name(message!("label-error"))),
        Severity::Warning => Level::WARNING.with_name(name(message!("label-warning"))),
    };
    let broken = |message: &Message| match width {
        // What stands before the text takes so many columns.
        Some(width) => table::wrapped(&catalogue.text(message), width.saturating_sub(LABEL), 0),
        None => catalogue.text(message),
    };
    let title = level.primary_title(broken(&problem.message));
    let mut group = match problem.span {
        Some(span) => {
            let file = sources.file(span.file);
            let end = span.end.clamp(span.start, file.text.len());
            // A value of many lines is marked where it begins.
            let first_line = file.text[span.start.min(end)..end].find('\n').map_or(end, |newline| span.start + newline);
            group_with_source(title, &file.text, file.shown.to_string_lossy().into_owned(), span.start..first_line)
        }
        None => Group::with_title(title),
    };
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.with_name(name(message!("label-help"))).message(broken(help)));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = width.map_or(renderer.clone(), |width| renderer.term_width(width));
    renderer.render(&[group])
}

fn group_with_source<'a>(
    title: annotate_snippets::Title<'a>,
    text: &'a str,
    path: String,
    range: std::ops::Range<usize>,
) -> Group<'a> {
    title.element(Snippet::source(text).path(path).annotation(AnnotationKind::Primary.span(range)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Language;
    use crate::manifest::{Variables, read_manifest};

    #[test]
    fn a_problem_fits_40_60_80_and_120_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.json");
        let long = "x".repeat(60);
        std::fs::write(&path, format!("{{\n  \"project\": \"danganju\",\n  \"services\": {{ \"a\": {{ \"image\": \"a:1\", \"mem_limt\": \"16g\", \"档案\": [\"{long}\"] }} }}\n}}\n")).unwrap();
        let errors = read_manifest(&path, Variables::of_process()).unwrap_err();
        assert!(errors.problems.len() >= 2, "{:?}", errors.problems);
        for width in [40, 60, 80, 120] {
            for problem in &errors.problems {
                for catalogue in Language::ALL.map(Catalogue::of) {
                    let look = Look { catalogue, color: false, width: Some(width) };
                    // A path is never cut, and it depends on the machine how long it is.
                    let page = render(problem, &errors.sources, &look).replace(folder.path().to_str().unwrap(), "");
                    table::assert_fits(&page, width);
                }
            }
        }
    }
}
