//! What is wrong with a manifest, with places: all of it at once.

use super::source::{Sources, Span};
use crate::report::{Message, Told};

/// Whether a problem makes the manifest unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub message: Message,
    /// `None` where there is no text to show, a file that can't be read for instance.
    pub span: Option<Span>,
    /// What would be right.
    pub help: Option<Message>,
}

/// A collector of problems.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    left_out: usize,
}

/// A hostile file may have a problem at every byte; nobody reads on after so many.
const MOST_PROBLEMS: usize = 100;

impl Problems {
    pub fn add(&mut self, severity: Severity, span: Option<Span>, message: Message, help: Option<Message>) {
        if self.found.len() >= MOST_PROBLEMS && severity == Severity::Error {
            self.left_out += 1;
            return;
        }
        let problem = Problem { severity, message, span, help };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    pub fn error(&mut self, span: Span, message: Message) {
        self.add(Severity::Error, Some(span), message, None);
    }

    pub fn error_with_help(&mut self, span: Span, message: Message, help: Message) {
        self.add(Severity::Error, Some(span), message, Some(help));
    }

    pub fn warning(&mut self, span: Span, message: Message) {
        self.add(Severity::Warning, Some(span), message, None);
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The problems in the order of their places.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| (problem.span, problem.severity));
        if self.left_out > 0 {
            let message = message!("manifest-more-errors", count = self.left_out);
            self.found.push(Problem { severity: Severity::Error, message, span: None, help: None });
        }
        self.found
    }
}

/// What a document is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DocumentKind {
    #[default]
    Manifest,
    /// `sites.json`.
    Sites,
}

/// A manifest, or a file of sites, that can't be used: everything that is wrong with it, and the files to show it in.
#[derive(Debug, thiserror::Error)]
pub struct ManifestErrors {
    pub kind: DocumentKind,
    pub sources: Sources,
    /// Errors, and the warnings between them, in the order of their places.
    pub problems: Vec<Problem>,
}

impl ManifestErrors {
    /// How many of the problems are errors.
    pub fn count(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }
}

impl Told for ManifestErrors {
    fn message(&self) -> Message {
        let name = self.sources.files().first().map(|file| file.shown.display().to_string()).unwrap_or_default();
        match self.kind {
            DocumentKind::Manifest => message!("error-manifest", name = name, count = self.count()),
            DocumentKind::Sites => message!("error-sites", name = name, count = self.count()),
        }
    }
}

/// The known word that is nearest to a mistyped one, if one is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let most = (wrong.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&wrong, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_only_when_it_is_near() {
        let known = ["metis_worker", "metis_worker_gpu", "image"];
        assert_eq!(nearest("metis_wroker", known), Some("metis_worker"));
        assert_eq!(nearest("imagee", known), Some("image"));
        assert_eq!(nearest("postgres", known), None);
    }
}
