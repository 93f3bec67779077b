//! The manual's pages, made from the grammar: one of the program, one of each command.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{chinese, examples};
use crate::catalogue::Language;

/// One page: `dpl-db-rebuild.1` and its text.
pub struct Page {
    pub file: String,
    pub text: String,
}

/// The program's page first, then those of the commands in the grammar's order.
pub fn pages(mut root: Command, language: Language) -> io::Result<Vec<Page>> {
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut Vec::new(), &mut pages, language)?;
    Ok(pages)
}

fn collect(command: &Command, path: &mut Vec<String>, pages: &mut Vec<Page>, language: Language) -> io::Result<()> {
    pages.push(page(command, path, language)?);
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        path.push(below.get_name().to_owned());
        collect(below, path, pages, language)?;
        path.pop();
    }
    Ok(())
}

fn page(command: &Command, path: &[String], language: Language) -> io::Result<Page> {
    let name = std::iter::once("dpl").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
    let man = Man::new(command.clone())
        .title(&name)
        .source(concat!("dpl ", env!("CARGO_PKG_VERSION")))
        .manual(["The manual of dpl", "dpl 手册"][language as usize]);
    let mut bytes = Vec::new();
    man.render_title(&mut bytes)?;
    man.render_name_section(&mut bytes)?;
    man.render_synopsis_section(&mut bytes)?;
    man.render_description_section(&mut bytes)?;
    man.render_options_section(&mut bytes)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut bytes)?;
    }
    examples_section(path, language).to_writer(&mut bytes)?;
    if path.is_empty() {
        exit_codes(language).to_writer(&mut bytes)?;
    }
    let mut text = String::from_utf8(bytes).map_err(io::Error::other)?;
    if language == Language::Chinese {
        text = with_chinese_titles(&text);
    }
    Ok(Page { file: format!("{name}.1"), text })
}

fn examples_section(path: &[String], language: Language) -> Roff {
    let mut roff = Roff::new();
    let shown = examples::of(&path.join(" "));
    if !shown.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (line, what) in shown {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(match language {
            Language::English => what,
            Language::Chinese => chinese::text(what),
        })]);
    }
    roff
}

/// What an exit code means, in English and in Chinese.
pub const EXIT_CODES: [(&str, [&str; 2]); 8] = [
    ("0", ["Done.", "已完成。"]),
    (
        "1",
        ["Failed; something may have been done, and the message says what.", "失败；可能已完成一部分，消息中会说明。"],
    ),
    ("2", ["Wrong usage.", "用法错误。"]),
    ("3", ["The manifest is wrong.", "清单有错误。"]),
    ("4", ["The engine can't be reached.", "无法连接引擎。"]),
    ("5", ["Another operator is working on the project.", "另一位操作者正在操作此项目。"]),
    ("6", ["plan --exit-code found work.", "plan --exit-code 发现有待执行的步骤。"]),
    (
        "130",
        [
            "Interrupted: what was begun is finished, or as it was before.",
            "已中断：已开始的步骤要么已完成，要么已恢复原状。",
        ],
    ),
];

fn exit_codes(language: Language) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning[language as usize])]);
    }
    roff
}

/// The titles of sections, as Chinese manuals have them.
const TITLES: [(&str, &str); 9] = [
    ("NAME", "名称"),
    ("SYNOPSIS", "概要"),
    ("DESCRIPTION", "描述"),
    ("OPTIONS", "选项"),
    ("SUBCOMMANDS", "子命令"),
    ("EVERYWHERE", "通用选项"),
    ("EXAMPLES", "示例"),
    ("\"EXIT STATUS\"", "退出状态"),
    ("VERSION", "版本"),
];

/// A page with its sections' titles in Chinese.
fn with_chinese_titles(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix(".SH ") {
        Some(title) => {
            let known = TITLES.iter().find(|(english, _)| *english == title);
            format!(".SH {}\n", known.map_or(title, |(_, chinese)| chinese))
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
