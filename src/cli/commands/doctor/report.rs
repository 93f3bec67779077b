//! What was found, and the page of it.

use console::{Alignment, measure_text_width, pad_str};
use schemars::JsonSchema;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table;
use crate::report::Message;

/// What `doctor --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorReport {
    /// Whether there is no problem; warnings don't count.
    pub ok: bool,
    pub checks: Vec<DoctorCheck>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorCheck {
    /// What was looked at: `engine`, `api`, `image store`, `storage driver`, `cgroups`, `clock`, `ports`, `gpu`, `logs`, …
    pub name: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Problem,
}

impl Verdict {
    /// The catalogue's word for it.
    fn word(self) -> Message {
        match self {
            Self::Ok => message!("word-ok"),
            Self::Warning => message!("word-warning"),
            Self::Problem => message!("word-problem"),
        }
    }
}

/// Says a sentence in the language of the report.
pub type Say<'a> = &'a dyn Fn(Message) -> String;

impl DoctorCheck {
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    /// The same as something that is not well, and what to do.
    pub fn but(self, verdict: Verdict, advice: String) -> Self {
        Self { verdict, advice: Some(advice), ..self }
    }
}

/// What was found gets so many columns beside its title, or a line of its own.
const LEAST_BESIDE: usize = 24;

/// A line for each check, and its advice under it; longer ones broken where a terminal is that wide.
pub fn page(report: &DoctorReport, output: &Output, width: Option<usize>) -> String {
    let verdicts = [Verdict::Ok, Verdict::Warning, Verdict::Problem];
    let widest = |words: &mut dyn Iterator<Item = &str>| words.map(measure_text_width).max().unwrap_or_default();
    let word_width = widest(&mut verdicts.iter().map(|verdict| output.catalogue.word(verdict.word())));
    let title_width = widest(&mut report.checks.iter().map(|check| title(check.name, output.catalogue)));
    let padded = |text: &str, width| pad_str(text, width, Alignment::Left, None).into_owned();
    let mut text = String::new();
    for check in &report.checks {
        let tone = match check.verdict {
            Verdict::Ok => Tone::Good,
            Verdict::Warning => Tone::Attention,
            Verdict::Problem => Tone::Bad,
        };
        let word = padded(&output.paint_word(tone, check.verdict.word()), word_width);
        let title = padded(title(check.name, output.catalogue), title_width);
        let (beside, width) = (word_width + title_width + 4, width.unwrap_or(usize::MAX));
        let is_beside = width >= beside + LEAST_BESIDE;
        let indent = if is_beside { beside } else { word_width + 2 };
        let lines =
            |text: &str| table::wrapped(text, width - indent.min(width), 0).replace('\n', &format!("\n{:indent$}", ""));
        match is_beside {
            true => text.push_str(&format!("{word}  {title}  {}\n", lines(&check.found))),
            false => text.push_str(&format!("{word}  {}\n{:indent$}{}\n", title.trim_end(), "", lines(&check.found))),
        }
        if let Some(advice) = &check.advice {
            text.push_str(&format!("{:indent$}{}\n", "", lines(&format!("→ {advice}"))));
        }
    }
    text
}

/// The catalogue's title for what was looked at.
fn title(name: &'static str, catalogue: &Catalogue) -> &'static str {
    catalogue.word(match name {
        "engine" => message!("doctor-title-engine"),
        "api" => message!("doctor-title-api"),
        "image store" => message!("doctor-title-image-store"),
        "storage driver" => message!("doctor-title-storage-driver"),
        "cgroups" => message!("doctor-title-cgroups"),
        "clock" => message!("doctor-title-clock"),
        "engine's disk" => message!("doctor-title-engine-disk"),
        "images' disk" => message!("doctor-title-images-disk"),
        "backups' disk" => message!("doctor-title-backups-disk"),
        "backups" => message!("doctor-title-backups"),
        "folders" => message!("doctor-title-folders"),
        "state" => message!("doctor-title-state"),
        "gpu" => message!("doctor-title-gpu"),
        "ports" => message!("doctor-title-ports"),
        "logs" => message!("doctor-title-logs"),
        "namesakes" => message!("doctor-title-namesakes"),
        "networks" => message!("doctor-title-networks"),
        "orphans" => message!("doctor-title-orphans"),
        "volumes" => message!("doctor-title-volumes"),
        "leftovers" => message!("doctor-title-leftovers"),
        "lock" => message!("doctor-title-lock"),
        "runtime" => message!("doctor-title-runtime"),
        "limits" => message!("doctor-title-limits"),
        "engine says" => message!("doctor-title-engine-says"),
        "images" => message!("doctor-title-images"),
        "secrets" => message!("doctor-title-secrets"),
        "databases" => message!("doctor-title-databases"),
        "snapshots" => message!("doctor-title-snapshots"),
        // A name without a title, which a test rules out, shows itself.
        name => return name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::output::{ColorMode, OutputSettings, ProgressMode};

    #[test]
    fn the_page_fits_40_60_80_and_120_columns_in_both_languages() {
        let check = |name, verdict, advice: Option<&str>| DoctorCheck {
            name,
            verdict,
            found: "/srv/danganju/images holds 1.4 GB，磁盘还有 512 MB 可用".to_owned(),
            advice: advice.map(str::to_owned),
        };
        let checks = vec![
            check("engine", Verdict::Ok, None),
            check("images' disk", Verdict::Warning, Some("remove images that nothing needs: `dpl images prune`")),
            check("ports", Verdict::Problem, Some("端口 5432 已被其他程序占用，请停止该程序或更改清单中的端口")),
        ];
        let report = DoctorReport { ok: false, checks };
        for (language, width) in table::every_width() {
            let settings = OutputSettings {
                json: false,
                quiet: false,
                verbose: false,
                progress: ProgressMode::None,
                color: ColorMode::Never,
                lang: Some(language),
            };
            let output = Output::new(&settings);
            let text = page(&report, &output, Some(width));
            table::assert_fits(&text, width);
            // Nothing is cut.
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).count();
            assert_eq!(letters(&text), letters(&page(&report, &output, None)));
        }
    }
}
