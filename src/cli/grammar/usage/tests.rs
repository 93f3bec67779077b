use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, Error};

use super::failure;
use crate::catalogue::{Catalogue, Language};
use crate::cli::commands::grammar;
use crate::cli::text::failure::Failure;

/// What is said in Chinese of an error of these words: the headline and the hint.
fn said(root: Command, error: &Error, words: &[OsString]) -> (String, String) {
    let catalogue = Catalogue::of(Language::Chinese);
    match failure(error, words, &root) {
        Failure::Usage { message, hint } => {
            (catalogue.text(&message), hint.map(|hint| catalogue.text(&hint)).unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

/// Words of English in a row, outside of what is quoted.
fn english(text: &str) -> Option<String> {
    let own: String = text.split('`').step_by(2).collect::<Vec<_>>().join("、");
    let phrases = own.split(|letter: char| !letter.is_ascii_alphabetic() && letter != ' ' && letter != '\'');
    phrases.map(str::trim).find(|phrase| phrase.split_whitespace().count() >= 3).map(str::to_owned)
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

#[test]
fn every_kind_of_a_wrong_command_line_is_said_in_chinese() {
    let not_utf8 = OsStr::from_bytes(b"\xff").to_owned();
    let mut lines: Vec<(Vec<OsString>, ErrorKind, &str, &str)> = vec![
        (words("dpl strat"), ErrorKind::InvalidSubcommand, "未知的命令 `strat`", "您是指 `start` 吗？"),
        (words("dpl db rebild"), ErrorKind::InvalidSubcommand, "`dpl db` 没有子命令 `rebild`", "您是指 `rebuild` 吗？"),
        (
            words("dpl load --dryrun"),
            ErrorKind::UnknownArgument,
            "`dpl load` 没有选项 `--dryrun`",
            "您是指 `--dry-run` 吗？",
        ),
        (
            words("dpl use a.json b"),
            ErrorKind::UnknownArgument,
            "`dpl use` 不接受更多参数，却给出了 `b`",
            "dpl use --help",
        ),
        (words("dpl save --format zip"), ErrorKind::InvalidValue, "`--format` 不能是 `zip`", "可用的有：layout"),
        (words("dpl list --state"), ErrorKind::InvalidValue, "`--state` 需要一个值", "dpl list --help"),
        (
            words("dpl start --parallel x"),
            ErrorKind::ValueValidation,
            "`--parallel` 不能是 `x`：应为 1 到 64 的整数",
            "--help",
        ),
        (
            words("dpl pack --delta-level 20"),
            ErrorKind::ValueValidation,
            "`--delta-level` 不能是 `20`：应为 1 到 19 的整数",
            "--help",
        ),
        (
            words("dpl use"),
            ErrorKind::MissingRequiredArgument,
            "`dpl use` 需要 <MANIFEST>",
            "写法：`dpl use <MANIFEST>`",
        ),
        (words("dpl list -q -v"), ErrorKind::ArgumentConflict, "不能与 `--", "dpl list --help"),
        (words("dpl list -q -q"), ErrorKind::ArgumentConflict, "`--quiet` 给出了不止一次", "dpl list --help"),
        (words("dpl db --json"), ErrorKind::MissingSubcommand, "`dpl db` 需要一个子命令", "可用的有：list"),
        (words("dpl list --json=yes"), ErrorKind::TooManyValues, "`--json` 不接受值 `yes`", "dpl list --help"),
    ];
    let line = [words("dpl pack --split"), vec![not_utf8]].concat();
    lines.push((line, ErrorKind::InvalidUtf8, "参数 `\u{fffd}` 不是有效的 UTF-8 文本", "dpl pack --help"));
    for (words, kind, headline, hint) in lines {
        // Help is shown in the language; what is wrong is found with either grammar.
        for language in Language::ALL {
            let error = grammar(language).try_get_matches_from(&words).expect_err("is wrong");
            assert_eq!(error.kind(), kind, "{words:?}");
            let (text, advice) = said(grammar(Language::English), &error, &words);
            assert!(text.contains(headline) && advice.contains(hint), "{words:?}: {text}\n{advice}");
            assert_eq!((english(&text), english(&advice)), (None, None), "{words:?}");
        }
    }
}

/// Kinds that no command of today gives; the first one that does is not to speak English.
#[test]
fn kinds_that_no_command_gives_yet_are_said_in_chinese_too() {
    let root = || {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Set);
        Command::new("dpl")
            .arg(flag("pair").num_args(2))
            .arg(flag("some").num_args(2..=4))
            .arg(flag("equal").require_equals(true))
    };
    for (line, kind, headline) in [
        ("dpl --pair a", ErrorKind::WrongNumberOfValues, "`--pair` 需要 2 个值，却给出了 1 个"),
        ("dpl --some a", ErrorKind::TooFewValues, "`--some` 需要 2 个值，却给出了 1 个"),
        ("dpl --equal a", ErrorKind::NoEquals, "请把值写作 `--equal=VALUE`"),
    ] {
        let error = root().try_get_matches_from(words(line)).expect_err("is wrong");
        assert_eq!(error.kind(), kind, "{line}");
        assert_eq!(said(root(), &error, &words(line)).0, headline);
    }
}

/// Every flag of every command with a value that makes no sense: those that take any text leave it to the command.
#[test]
fn what_a_flag_does_not_take_is_said_in_chinese_at_every_command() {
    fn collect(command: &Command, path: &[String], lines: &mut Vec<Vec<OsString>>) {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            let Some(flag) = argument.get_long() else { continue };
            lines.push(path.iter().cloned().chain([format!("--{flag}=?")]).map(OsString::from).collect());
        }
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            collect(below, &[path, &[below.get_name().to_owned()]].concat(), lines);
        }
    }
    let mut lines = Vec::new();
    collect(&grammar(Language::English), &["dpl".to_owned()], &mut lines);
    let mut wrong = 0;
    for words in lines {
        let Err(error) = grammar(Language::Chinese).try_get_matches_from(&words) else { continue };
        if [ErrorKind::InvalidValue, ErrorKind::ValueValidation].contains(&error.kind()) {
            wrong += 1;
        }
        if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let (text, _) = said(grammar(Language::English), &error, &words);
            assert_eq!(english(&text), None, "{words:?}: {text}");
        }
    }
    assert!(wrong > 10, "only {wrong} flags refused it");
}
