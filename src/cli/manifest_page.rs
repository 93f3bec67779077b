//! What is wrong with a manifest, shown where it is wrong.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::output::Output;
use crate::manifest::{Problem, Severity, Sources};

/// More problems than this nobody reads at once, and each page costs a walk through the whole file.
const MOST_SHOWN: usize = 200;

/// Shows the problems on standard error, and says how many more there are.
pub fn show(output: &Output, sources: &Sources, problems: &[Problem]) {
    for problem in problems.iter().take(MOST_SHOWN) {
        output.line(&render(problem, sources, output.color_err()));
    }
    let more = problems.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        output.line(&output.catalogue.text(&message!("manifest-more-problems", count = more)));
    }
}

/// One problem: `file:line:column`, the line itself with carets, what was meant.
fn render(problem: &Problem, sources: &Sources, color: bool) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(problem.message.as_str());
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
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
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
