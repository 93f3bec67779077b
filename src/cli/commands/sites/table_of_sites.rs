//! The table of `sites`.

use super::list::{SiteReport, SitesReport};
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table::{self, Column, size};
use crate::sites::{RunSummary, shown};

pub(super) fn draw(report: &SitesReport, is_checked: bool, output: &Output) -> String {
    let title = |key| Column::new(output.catalogue.word(key));
    let mut columns = vec![title(message!("column-site"))];
    if is_checked {
        columns.extend([
            title(message!("column-state")),
            title(message!("column-user")).leaves(6),
            title(message!("column-engine")).leaves(1),
            title(message!("column-store")).leaves(3),
            title(message!("column-folder-free")).right().leaves(2),
            title(message!("column-engine-free")).right().leaves(4),
            title(message!("column-clock")).right().leaves(5),
            title(message!("column-program")).at_least(12).leaves(7),
        ]);
    } else {
        columns.extend([
            title(message!("column-address")).at_least(12),
            title(message!("column-folder")).at_least(12).leaves(1),
            title(message!("column-groups")).leaves(2),
        ]);
    }
    let rows: Vec<Vec<String>> = report.sites.iter().map(|site| row(site, is_checked, output)).collect();
    let mut text = table::fitted(&columns, &rows, output.width());
    for site in &report.sites {
        for line in site.problem.iter().chain(&site.warnings) {
            text.push_str(&format!("{}: {}\n", site.name, shown(line)));
        }
    }
    text
}

fn row(site: &SiteReport, is_checked: bool, output: &Output) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.as_deref().map(shown).unwrap_or_else(|| "-".to_owned());
    if !is_checked {
        let address = match &site.ssh {
            Some(ssh) => ssh.clone(),
            None => output.catalogue.word(message!("site-offline")).to_owned(),
        };
        return vec![site.name.clone(), address, or_dash(&site.folder), site.groups.join(" ")];
    }
    let state = match site.ok {
        Some(true) if site.warnings.is_empty() => output.paint_word(Tone::Good, message!("site-ok")),
        Some(true) => output.paint_word(Tone::Attention, message!("site-ok-but")),
        Some(false) => output.paint_word(Tone::Bad, message!("site-bad")),
        None => output.paint_word(Tone::Quiet, message!("site-offline")),
    };
    let bytes = |free: Option<u64>| free.map_or_else(|| "-".to_owned(), size);
    let clock = site.clock_ahead_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:+.1} s", ms as f64 / 1000.0));
    vec![
        site.name.clone(),
        state,
        site.user.as_deref().map_or_else(|| "-".to_owned(), user),
        or_dash(&site.engine),
        or_dash(&site.store),
        bytes(site.folder_free),
        bytes(site.engine_free),
        clock,
        or_dash(&site.program),
    ]
}

/// Who dpl works as there: `root`, or a user's number.
fn user(number: &str) -> String {
    match number {
        "0" => "root".to_owned(),
        number => shown(number),
    }
}

/// The table of `on SITE attach --list`.
pub(super) fn runs(runs: &[RunSummary], output: &Output) -> String {
    let title = |key| Column::new(output.catalogue.word(key));
    let columns = [
        title(message!("column-id")),
        title(message!("column-began")).leaves(1),
        title(message!("column-desk")).leaves(2),
        title(message!("column-exit-code")).right(),
        title(message!("column-command")).at_least(12),
    ];
    let row = |run: &RunSummary| {
        let code = match (run.code, run.is_running) {
            (Some(code), _) => code.to_string(),
            (None, true) => output.catalogue.word(message!("run-runs")).to_owned(),
            (None, false) => output.catalogue.word(message!("run-lost")).to_owned(),
        };
        vec![shown(&run.id), shown(&run.began), shown(&run.desk), code, shown(&run.command)]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    table::fitted(&columns, &rows, output.width())
}
